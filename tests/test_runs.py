"""A run folder gives its model back, or says why not."""

from dataclasses import asdict, replace

import pytest
import torch

from gptlib import checkpoint
from gptlib.errors import CheckpointError, ConfigError
from gptlib.runs import _check_size, check_same_run, load_run, read_jsonl
from gptlib.train_config import TrainConfig


@pytest.fixture
def run_dir(tmp_path, make_model, tokenizer):
    model = make_model()
    about = {"model": model.config.to_dict()}
    tokenizer.save(tmp_path / "tokenizer")
    for step in (1, 2, 3):
        mark = {"transformer.ln_f.bias": torch.full((16,), float(step))}
        weights = checkpoint.plain_weights(model) | mark
        checkpoint.save_weights(tmp_path, step, weights, about)
    checkpoint.point(tmp_path, "best", 2)
    return tmp_path


def step_of(run_dir, which) -> float:
    model, _, manifest = load_run(run_dir, which)
    assert manifest["step"] == model.transformer.ln_f.bias[0]
    return manifest["step"]


def test_best_and_latest(run_dir):
    assert (step_of(run_dir, "best"), step_of(run_dir, "latest")) == (2, 3)
    (run_dir / "best").unlink()
    assert step_of(run_dir, "best") == 3
    with pytest.raises(ConfigError):
        load_run(run_dir, "first")


def test_a_damaged_best_is_named_and_another_used(run_dir):
    (checkpoint.folder_of(run_dir, 2) / checkpoint.MODEL).write_bytes(b"")
    with pytest.warns(UserWarning, match="step_00000002"):
        assert step_of(run_dir, "best") == 3
    (run_dir / "best").write_bytes(b"\xff\x00nonsense\n")
    with pytest.warns(UserWarning, match="passed over"):
        assert step_of(run_dir, "best") == 3


def test_nothing_to_load_is_said(tmp_path):
    with pytest.raises(CheckpointError, match="nothing was saved yet"):
        load_run(tmp_path)
    with pytest.raises(CheckpointError, match="neither a run folder nor a model that ships"):
        load_run("no-such-model")


def test_a_checkpoint_of_something_else_is_refused(tmp_path, tokenizer):
    checkpoint.save_weights(tmp_path, 1, {"w": torch.zeros(2)}, {})
    with pytest.raises(CheckpointError, match="does not say what model"):
        load_run(tmp_path)


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": 2}\n{"st')
    assert read_jsonl(path) == [{"step": 1}, {"step": 2}]
    assert read_jsonl(tmp_path / "none.jsonl") == []


def test_a_run_made_before_a_setting_existed_goes_on(make_model):
    model = make_model().config.to_dict()
    now = {"model": model, "train": asdict(TrainConfig()), "data": {}, "tokenizer": None}
    now["threads"] = 1
    before = {k: v for k, v in model.items() if k not in ("rotary", "norm")}
    check_same_run(now | {"model": before}, now)
    with pytest.raises(CheckpointError, match="rotary was False and is now True"):
        check_same_run(now | {"model": before}, now | {"model": model | {"rotary": True}})


def test_an_error_is_one_line_even_where_it_quotes_several():
    manifest = {"model": {"\n": 1}, "train": {}, "data": {}, "tokenizer": None}
    with pytest.raises(CheckpointError) as refused:
        check_same_run(manifest, {**manifest, "model": {}, "threads": 1})
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"bias": False, "tied_head": False}])
def test_a_size_is_known_before_memory_is_taken(make_model, options):
    model = make_model(**options)
    weights = checkpoint.plain_weights(model)
    _check_size(model.config, weights)
    with pytest.raises(CheckpointError, match="speaks of a model of"):
        _check_size(replace(model.config, n_embd=32), weights)
    with pytest.raises(CheckpointError, match="with more"):
        _check_size(replace(model.config, vocab_size=2**62), weights)
