"""Settings that cannot work, or are not settings, are refused before anything is trained."""

from dataclasses import asdict

import pytest

from gptlib.cli import main
from gptlib.errors import ConfigError
from gptlib.model_config import GPTConfig
from gptlib.presets import PRESETS
from gptlib.train_config import TrainConfig, with_changes


@pytest.mark.parametrize(
    ("config", "key", "meant"),
    [(TrainConfig, "step", "steps"), (TrainConfig, "learning_rate", None),
     (TrainConfig, "save_minute", "save_minutes"), (GPTConfig, "n_layers", "n_layer"),
     (GPTConfig, "alibi", None)],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_name(config, key, meant):
    with pytest.raises(ConfigError, match=f"has no {key}") as refused:
        config.from_dict({key: 5})
    assert (f"did you mean {meant}?" in str(refused.value)) == bool(meant)


def test_what_an_older_version_wrote_is_read():
    config = TrainConfig(steps=7, lr=3e-4, optimizer="muon")
    assert TrainConfig.from_dict(asdict(config)) == config
    older = {k: v for k, v in asdict(config).items() if k not in ("patience", "muon_parts")}
    assert TrainConfig.from_dict(older) == config


def test_a_rate_that_would_climb_to_its_end_is_refused():
    with pytest.raises(ConfigError, match="min_lr is 0.002 and lr is 0.001"):
        TrainConfig(lr=1e-3, min_lr=2e-3)
    assert TrainConfig(lr=1e-3, min_lr=1e-3).min_lr == 1e-3
    assert TrainConfig(lr=1e-3, min_lr=2e-3, schedule="constant").lr == 1e-3  # it has no end


def test_a_min_lr_that_was_not_given_follows_lr():
    assert TrainConfig().min_lr == TrainConfig(lr=1e-4).min_lr == 1e-4
    assert TrainConfig(lr=1e-5).min_lr == pytest.approx(1e-6)


@pytest.mark.parametrize(("name", "preset"), PRESETS.items())
@pytest.mark.parametrize("lr", [1e-5, 0.0])
def test_a_preset_at_a_lower_rate_never_climbs(name, preset, lr):
    config = TrainConfig.from_dict(with_changes(preset.train, {"lr": lr}))
    if config.schedule != "constant":
        assert config.min_lr <= config.lr == lr
    same = with_changes(preset.train, {"lr": preset.train["lr"] / 2, "steps": 3})
    assert same.get("min_lr") == preset.train.get("min_lr")  # where it need not follow


def test_a_min_lr_that_is_given_is_taken_as_it_is():
    cpu = PRESETS["cpu"].train
    assert with_changes(cpu, {"lr": 1e-5})["min_lr"] == pytest.approx(1e-6)
    assert with_changes(cpu, {"lr": 1e-5, "min_lr": 0.0})["min_lr"] == 0.0
    with pytest.raises(ConfigError, match="would climb"):
        TrainConfig.from_dict(with_changes(cpu, {"lr": 1e-5, "min_lr": 1e-3}))


def test_the_command_line_follows(tmp_path, monkeypatch):
    (tmp_path / "fox.txt").write_text("The fox sat. The hen ran.\n" * 60)
    given = []
    monkeypatch.setattr(
        "gptlib.train_config.TrainConfig.from_dict",
        classmethod(lambda cls, values: given.append(values) or cls(**values)),
    )
    words = "--preset cpu --lr 1e-5 --n-layer 1 --n-head 1 --n-embd 8 --block-size 8 --steps 1"
    words += " --warmup 0 --batch-size 2 --eval-every 1"
    out = ["--corpus", str(tmp_path / "fox.txt"), "--out", str(tmp_path / "run")]
    assert main(["train", *out, *words.split()]) == 0
    assert given[0]["min_lr"] == pytest.approx(1e-6)


@pytest.mark.parametrize("patience", [-1, 1.5, True, "3"])
def test_a_patience_that_is_no_count_is_refused(patience):
    with pytest.raises(ConfigError, match="patience"):
        TrainConfig(patience=patience)
