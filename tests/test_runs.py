"""A run folder gives its model back, or says why not."""

import errno
import os
import shutil
from dataclasses import asdict, replace

import pytest
import torch

from gptlib import checkpoint
from gptlib.errors import CheckpointError, ConfigError, DeviceError, TokenizerError
from gptlib.runs import _check_size, check_same_run, initial_weights, load_run, read_jsonl
from gptlib.tokenizers import CharTokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


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


def test_a_run_on_bare_ids_is_loaded_without_a_tokenizer(make_model, ids, tmp_path):
    config = TrainConfig(steps=2, batch_size=4, warmup=1, eval_every=1)
    trained = Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path).fit()
    for which in ("best", "latest"):
        model, tokenizer, manifest = load_run(tmp_path, which)
        assert tokenizer is None and manifest["tokenizer"] is None and not model.training
    assert torch.equal(model.lm_head.weight, trained.model.lm_head.weight)
    again = Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path).fit()
    assert again.step == 2


def test_a_run_that_lost_its_tokenizer_is_still_an_error(run_dir):
    shutil.rmtree(run_dir / "tokenizer")
    with pytest.raises(TokenizerError, match=r"has no tokenizer\.json"):
        load_run(run_dir)


def test_a_new_run_begins_with_the_weights_of_another(run_dir, make_model, tokenizer):
    model = make_model(dropout=0.0)
    torch.nn.init.zeros_(model.lm_head.weight)
    about = initial_weights(model, run_dir, tokenizer)
    source, _, manifest = load_run(run_dir)
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), source.parameters(),
                                                 strict=True))  # fmt: skip
    assert model.lm_head.weight is model.transformer.wte.weight and model.training
    assert about == {
        "run": str(run_dir), "step": 2, "weights_sha256": manifest["sha256"][checkpoint.MODEL]
    }  # fmt: skip


def test_weights_of_another_shape_or_tokenizer_are_one_error(run_dir, make_model):
    model = make_model(n_layer=1, rotary=True)
    before = model.lm_head.weight.clone()
    other = CharTokenizer.train("abc")
    with pytest.raises(CheckpointError, match="cannot be where this run begins") as refused:
        initial_weights(model, run_dir, other)
    for part in ("n_layer is 2 there and 1 here", "rotary is False there", "tokenizer's sha256"):
        assert part in str(refused.value)
    with pytest.raises(CheckpointError, match="tokenizer's sha256 begins"):
        initial_weights(make_model(), run_dir, other)
    assert torch.equal(model.lm_head.weight, before)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM])
def test_a_folder_that_may_not_be_read_is_not_missing(run_dir, monkeypatch, code):
    def refuse(path, *args, **kwargs):
        raise PermissionError(code, os.strerror(code), str(path))

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(CheckpointError, match="may not be read.*chmod"):
        load_run(run_dir)


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


def test_a_run_is_loaded_where_it_is_wanted(run_dir, monkeypatch):
    model, _, _ = load_run(run_dir, device="cpu")
    assert model.device == torch.device("cpu") and not model.training
    with pytest.raises(DeviceError, match="'cuda:99' is not on this machine"):
        load_run(run_dir, device="cuda:99")
    monkeypatch.setattr("gptlib.runs.find_device", lambda asked: {"auto": "meta"}[asked])
    elsewhere, _, _ = load_run(run_dir, device="auto")
    assert elsewhere.device == torch.device("meta")
