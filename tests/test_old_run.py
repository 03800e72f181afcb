"""A run folder written by gptlib 0.1.0 before its modules were moved: it goes on."""

import json
import shutil

import pytest
import torch

from gptlib import GPT, CharTokenizer, GPTConfig, TrainConfig, Trainer, load_run
from gptlib.errors import CheckpointError

TEXT = "the fox sat. the hen sat. the fox ran.\n" * 40
SETTINGS = {"steps": 12, "batch_size": 8, "accumulate": 2, "lr": 1e-2, "warmup": 2, "seed": 3}
#: Steps 7 to 12 as the version that wrote the folder went on: loss after each.
LOSSES = [1.968152, 1.902452, 1.852610, 1.819571, 1.806430, 1.796823]


@pytest.fixture
def old_run(tmp_path, request):
    shutil.copytree(request.path.parent / "old_run", tmp_path / "run")
    return tmp_path / "run"


def trainer(run_dir, **changes) -> Trainer:
    tokenizer = CharTokenizer.train(TEXT)
    ids = torch.tensor(tokenizer.encode(TEXT)).numpy()
    config = GPTConfig(16, tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16, dropout=0.1)
    settings = TrainConfig(**SETTINGS | {"eval_every": 4, "save_every": 4} | changes)
    return Trainer(
        GPT(config), ids[:1200], ids[1200:], settings, run_dir, tokenizer,
        separator=tokenizer.encode("\n"),
    )  # fmt: skip


def test_it_goes_on_as_it_would_have_gone_on(old_run):
    before = (old_run / "log.jsonl").read_text("utf8")
    run = trainer(old_run).fit()
    assert run.finished and run.step == 12
    after = (old_run / "log.jsonl").read_text("utf8")
    assert after.startswith(before), "what was logged stays as it was written"
    losses = [line["loss"] for line in map(json.loads, after.splitlines()) if "loss" in line]
    assert losses[6:] == pytest.approx(LOSSES, abs=2e-4)


def test_it_is_loaded_to_be_sampled(old_run):
    model, tokenizer, manifest = load_run(old_run)
    assert (manifest["step"], tokenizer.vocab_size) == (4, 13)
    assert model(torch.tensor([tokenizer.encode("the ")]))[0].shape == (1, 4, 13)


def test_another_run_is_refused_in_it(old_run):
    with pytest.raises(CheckpointError, match="lr"):
        trainer(old_run, lr=3e-3).fit()


def test_a_log_that_lost_lines_is_refused(old_run):
    """The checkpoint counts on its bytes: lines of later steps would be glued to torn ones."""
    log = (old_run / "log.jsonl").read_bytes()
    for less in (b"", log[:200]):
        (old_run / "log.jsonl").write_bytes(less)
        with pytest.raises(CheckpointError, match=rf"has {len(less)} bytes, and the checkpoint"):
            trainer(old_run).fit()
        assert (old_run / "log.jsonl").read_bytes() == less
    (old_run / "log.jsonl").write_bytes(log)
    assert trainer(old_run).fit().finished
