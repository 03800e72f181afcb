"""What a resumed run gets back: in whatever it was and is now computed in."""

import itertools
import math

import pytest
import torch

from gptlib import checkpoint, trainer
from gptlib.errors import CheckpointError, DeviceError
from gptlib.runs import read_jsonl
from gptlib.runtime import DTYPES, Runtime
from gptlib.train_config import TrainConfig
from gptlib.train_state import same_runtime
from gptlib.trainer import Trainer

CONFIG = dict(steps=6, batch_size=4, warmup=1, eval_every=3, save_minutes=0)


@pytest.fixture
def train(make_model, ids, tokenizer, tmp_path, monkeypatch):
    """A function that trains, or goes on, on a machine that chooses `dtype` unless asked."""

    def run(dtype: str, asked: str = "auto", stop_after=None, said=None, fit=True, **changes):
        def detect(device: str = "auto", wanted: str = "auto") -> Runtime:
            return Runtime("cpu", dtype if wanted == "auto" else wanted)

        monkeypatch.setattr(Runtime, "detect", detect)
        config = TrainConfig(**(CONFIG | changes), dtype=asked)
        report = (said if said is not None else []).append
        one = Trainer(
            make_model(), ids[:2000], ids[2000:], config, tmp_path / "run", tokenizer, report
        )
        return one.fit(stop_after=stop_after) if fit else one

    return run


@pytest.mark.parametrize(("before", "after"), [*itertools.product(DTYPES, DTYPES)])
def test_a_run_goes_on_from_each_number_type_in_each(train, before, after, tmp_path):
    said = []
    train(before, before, stop_after=3)
    run = train(after, after, said=said)
    assert run.finished and math.isfinite(run.last_val)
    state, manifest = checkpoint.load_newest(tmp_path / "run")[1:]
    assert manifest["runtime"] == {"device": "cpu", "dtype": after}
    assert bool(state["scaler"]) == (after == "float16")
    exact = [line for line in said if "no longer exact" in line]
    assert len(exact) == (before != after)
    assert all(before in line and after in line for line in exact)


def test_a_choice_left_to_the_machine_is_kept_on_another_machine(train, tmp_path):
    said = []
    train("bfloat16", stop_after=3)
    train("float32", said=said)  # "auto" would choose float32 here
    assert checkpoint.load_newest(tmp_path / "run")[2]["runtime"]["dtype"] == "bfloat16"
    assert [line for line in said if "goes on in bfloat16, as before" in line]
    assert not [line for line in said if "exact" in line]


def test_what_this_machine_cannot_is_said_with_the_reason(monkeypatch):
    def detect(device: str = "auto", dtype: str = "auto") -> Runtime:
        if dtype == "float16":
            raise DeviceError("float16 does not train on a CPU")
        return Runtime("cpu", dtype)

    monkeypatch.setattr(Runtime, "detect", detect)
    here = Runtime("cpu", "float32")
    now, line = same_runtime(here, "auto", {"device": "cuda", "dtype": "float16"})
    assert now == here
    assert line == (
        "computed so far on cuda in float16, goes on on cpu in float32 (float16 does not train on "
        "a CPU): it is no longer exact"
    )
    now, line = same_runtime(here, "float32", {"device": "cpu", "dtype": "bfloat16"})
    assert now == here and "bfloat16" in line and "no longer exact" in line
    now, line = same_runtime(here, "auto", {"device": "cuda", "dtype": "bfloat16"})
    assert now == Runtime("cpu", "bfloat16") and "on cuda" in line


@pytest.mark.parametrize("before", [None, {}, {"dtype": 3}, "float32", {"device": "cpu"}])
def test_older_checkpoints_do_not_tell_and_go_on_as_they_did(before):
    here = Runtime("cpu", "float32")
    assert same_runtime(here, "auto", before) == (here, "")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_where_a_gradient_overflows_no_optimizer_steps(train, optimizer, monkeypatch):
    """In float16; the embedding's gradient belongs to AdamW, the blocks' to Muon."""
    one = train("float16", fit=False, optimizer=optimizer)
    update, seen = Trainer._update, []

    def watched(self):
        hook = None
        if self.step == 2:
            hook = self.model.transformer.wpe.weight.register_hook(lambda grad: grad * math.inf)
        before = {n: p.detach().clone() for n, p in self.model.named_parameters()}
        moments = [len(o.state) for o in self.state.optimizers]
        scale = self.state.scaler.get_scale()
        result = update(self)
        if hook:
            hook.remove()
        moved = {n for n, p in self.model.named_parameters() if not torch.equal(p, before[n])}
        seen.append((moved, scale / self.state.scaler.get_scale(), moments))
        return result

    monkeypatch.setattr(Trainer, "_update", watched)
    run = one.fit()
    names = {n for n, _ in run.model.named_parameters()}
    assert [moved for moved, _, _ in seen[:3]] == [names, names, set()]
    assert seen[2][1] == 2  # and the scale is halved
    assert run.finished and seen[3][0] == names


def test_steps_below_the_step_reached_are_refused_in_true_words(train, tmp_path, make_model, ids,
                                                                tokenizer):  # fmt: skip
    train("float32", stop_after=5)
    log = read_jsonl(tmp_path / "run" / "log.jsonl")
    config = TrainConfig(**(CONFIG | {"steps": 4}))
    shorter = Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path / "run", tokenizer)
    with pytest.raises(CheckpointError, match="is at step 5, beyond the 4 steps .* give it 5"):
        shorter.fit(override=True)
    assert read_jsonl(tmp_path / "run" / "log.jsonl") == log
    assert train("float32").finished


def test_a_run_keeps_what_it_was_told_to_be_computed_in(train, tmp_path, monkeypatch):
    """The negative control of the tests above: without the manifest's word it would change."""
    train("bfloat16", stop_after=3)
    monkeypatch.setattr(trainer, "same_runtime", lambda now, asked, before: (now, ""))
    train("float32")
    assert checkpoint.load_newest(tmp_path / "run")[2]["runtime"]["dtype"] == "float32"
