"""The speedrun's ablation: one change at a time, paired seeds, nothing run twice."""

import json

import pytest
import torch

from gptlib.course.recipes import RECIPES
from gptlib.course.records import read_record
from gptlib.course.speedrun import ablation as speedrun
from gptlib.course.sweep import mean_rate, run_sweep
from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.presets import Preset, preset
from gptlib.train_config import TrainConfig

TINY = Preset(
    "tiny", dict(n_layer=1, n_head=2, n_embd=8, block_size=8),
    dict(steps=6, batch_size=4, lr=1e-2, min_lr=0.0, warmup=1, eval_every=6, sampling="random"),
)  # fmt: skip
PARTS = {"rotary": dict(rotary=True), "half-batch": dict(batch_size=2)}
OTHERS = {"rmsnorm": dict(norm="rmsnorm")}


def test_every_change_stands_alone_and_is_left_out():
    found = speedrun.variants(PARTS, OTHERS, lr=0.1, tried=(2.0,))
    tuned, slice_ = dict(lr=0.1), dict(test_characters=speedrun.TEST_CHARACTERS)
    both = tuned | dict(rotary=True, batch_size=2)
    assert found == {
        "base": {}, "tuned": tuned, "all": both,
        "test-base": slice_, "test-tuned": tuned | slice_, "test-all": both | slice_,
        "base-lr-0.2": dict(lr=0.2), "all-lr-0.2": both | dict(lr=0.2),
        "plus-rotary": tuned | dict(rotary=True), "plus-half-batch": tuned | dict(batch_size=2),
        "plus-rmsnorm": tuned | dict(norm="rmsnorm"),
        "without-rotary": tuned | dict(batch_size=2),
        "without-half-batch": tuned | dict(rotary=True),
        "all-plus-rmsnorm": both | dict(norm="rmsnorm"),
    }  # fmt: skip


def test_two_parts_may_not_set_one_field():
    with pytest.raises(ConfigError, match="both set rotary"):
        speedrun.plan(TINY, PARTS | {"again": dict(rotary=False)}, OTHERS)


def test_the_shipped_plan_is_made_of_settings_that_exist():
    sweep = speedrun.plan(preset("nanogpt-cpu"), seeds=2)
    assert len(sweep.points) == 2 * len(speedrun.variants())
    assert len({point.name for point in sweep.points}) == len(sweep.points)
    fields = set(GPTConfig.__dataclass_fields__) | set(TrainConfig.__dataclass_fields__)
    for point in sweep.points:
        assert set(point.settings) - {"tokens", "evals", "test_characters"} <= fields
        assert point.settings["tokens"] == 2000 * 12 * 64


def test_the_preset_is_the_base_with_all_parts():
    base, fast = preset("nanogpt-cpu"), preset("speedrun-cpu")
    everything = speedrun.variants()["all"]
    found = base.model | base.train | everything
    # the ablation is about bfloat16; the preset asks for it where it is fast
    assert found | {"steps": 1000, "dtype": "fast"} == fast.model | fast.train
    sizes = [GPT(GPTConfig(vocab_size=65, **p.model)).num_params() for p in (base, fast)]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.05)
    kalevala = preset("speedrun-kalevala")
    assert GPT(GPTConfig(vocab_size=51, **kalevala.model)).num_params() <= 160_051
    TrainConfig(**kalevala.train)


def test_the_ablation_runs_resumes_and_compares(tmp_path, monkeypatch):
    corpus = tmp_path / "goose.txt"
    corpus.write_text("the goose sat on the ladder. the gull sat on the goose.\n" * 60)
    monkeypatch.setattr(speedrun, "TEST_CHARACTERS", 500)
    sweep = speedrun.plan(TINY, PARTS, OTHERS, str(corpus), seeds=2, evals=2, name="tiny")
    out, work = tmp_path / "tiny", tmp_path / "work"
    assert not run_sweep(sweep, out, work, only="base", report=lambda line: None)
    first = (out / "log.jsonl").read_text()
    said = []
    run_sweep(sweep, out, work, report=said.append)
    assert len(said) == 24  # eight of thirty-two were there: base, at two other rates, and its test
    assert (out / "log.jsonl").read_text().startswith(first)
    run_sweep(sweep, out, work, report=said.append)
    assert len(said) == 24
    record = read_record(out)
    rows = speedrun.compare(record)
    assert list(rows) == list(speedrun.variants(PARTS, OTHERS))
    assert {name for name, row in rows.items() if "test" in row} == {
        "test-base", "test-tuned", "test-all",
    }  # fmt: skip
    assert rows["plus-half-batch"]["steps"] == 12 and rows["base"]["steps"] == 6
    assert {row["tokens"] for row in rows.values()} == {6 * 4 * 8}
    assert rows["plus-rotary"]["params"] == rows["base"]["params"] - 8 * 8
    alone, base = (rows[name]["val"]["values"] for name in ("plus-rotary", "base"))
    gaps = [a - b for a, b in zip(alone, base, strict=True)]
    assert rows["plus-rotary"]["val_minus_base"]["values"] == gaps and any(gaps)
    assert "val_minus_tuned" in rows["plus-rotary"] and "val_minus_tuned" not in rows["tuned"]
    assert "val_minus_base" not in rows["base"] and "val_minus_all" not in rows["all"]


def test_the_command_writes_the_comparison_into_the_record(tmp_path, monkeypatch):
    monkeypatch.setitem(speedrun.PARTS, "rotary", dict(rotary=True))
    for name in set(speedrun.PARTS) - {"rotary"}:
        monkeypatch.delitem(speedrun.PARTS, name)
    monkeypatch.delitem(speedrun.OTHERS, "compile")
    monkeypatch.setattr(speedrun, "preset", lambda name: TINY)
    corpus = tmp_path / "goose.txt"
    corpus.write_text("the goose sat on the ladder. the gull sat on the goose.\n" * 60)
    monkeypatch.setattr(speedrun, "TEST_CHARACTERS", 500)
    arguments = ["--corpus", str(corpus), "--seeds", "1", "--steps", "2", "--out"]
    speedrun.main([*arguments, str(tmp_path / "run"), "--work", str(tmp_path / "work")])
    about = json.loads((tmp_path / "run" / "record.json").read_text())
    assert set(about["result"]["variants"]) == set(
        speedrun.variants({"rotary": dict(rotary=True)}, {"rmsnorm": dict(norm="rmsnorm")})
    )
    assert about["config"]["threads"] == torch.get_num_threads()
    assert about["command"].startswith(
        "python -m gptlib.course.speedrun.ablation --preset nanogpt-cpu"
    )
    assert "speedrun-cpu" in RECIPES


def test_the_rate_of_a_run_counts_every_stretch_and_survives_a_resume():
    speed = [
        {"seconds": 10.0, "tokens_per_s": 100.0},  # compiled here
        {"seconds": 12.0, "tokens_per_s": 500.0},
        {"seconds": 2.0, "tokens_per_s": 500.0},  # resumed: the clock began anew
    ]
    assert mean_rate(speed) == pytest.approx((1000 + 1000 + 1000) / 14)
