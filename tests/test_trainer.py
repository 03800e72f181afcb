"""Training does what its settings say, and an interrupted run ends as if it had not been."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from gptlib import checkpoint
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.runs import load_run, read_jsonl
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

CONFIG = dict(steps=24, batch_size=4, accumulate=2, lr=3e-3, warmup=4, eval_every=6, save_every=5)


def trainer(make_model, ids, tokenizer, run_dir, **changes) -> Trainer:
    config = TrainConfig(**(CONFIG | changes))
    return Trainer(make_model(), ids[:2000], ids[2000:], config, run_dir, tokenizer)


def digest(path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def same_state(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_state, a, b))
    return a == b


@pytest.fixture
def unbroken(make_model, ids, tokenizer, tmp_path):
    trainer(make_model, ids, tokenizer, tmp_path / "unbroken").fit()
    return tmp_path / "unbroken"


def assert_same_run(a, b, kept: bool = True) -> None:
    assert digest(a / "log.jsonl") == digest(b / "log.jsonl")
    assert not kept or checkpoint.saved_steps(a) == checkpoint.saved_steps(b)
    last = [checkpoint.folder_of(run, CONFIG["steps"]) for run in (a, b)]
    assert digest(last[0] / checkpoint.MODEL) == digest(last[1] / checkpoint.MODEL)
    states = [checkpoint.load(place)[1] for place in last]
    assert same_state(*states)
    for name in ("best", "latest"):
        assert (a / name).read_text() == (b / name).read_text()


NEWEST = dict(
    rotary=True, qk_norm=True, norm="rmsnorm", activation="relu2", tied_head=False, zero_init=True,
    softcap=9.0,
)  # fmt: skip


@pytest.mark.parametrize(
    ("shape", "settings"),
    [
        ({}, {"optimizer": "adamw"}),
        ({}, {"optimizer": "muon"}),
        (NEWEST, {"optimizer": "muon", "muon_parts": "heads", "embed_lr": 3.0, "head_lr": 0.5}),
    ],
    ids=["adamw", "muon", "newest"],
)
def test_a_run_stopped_anywhere_and_resumed_is_the_same_run(
    shape, settings, make_model, ids, tokenizer, tmp_path
):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"

    def make():
        return make_model(**shape)

    trainer(make, ids, tokenizer, unbroken, **settings).fit()
    for stop in (1, 6, 11, 13, 23, None):
        run = trainer(make, ids, tokenizer, broken, **settings).fit(stop_after=stop)
        assert run.finished == (stop is None)
    assert_same_run(unbroken, broken)


def test_without_the_random_state_it_is_not_the_same_run(
    unbroken, make_model, ids, tokenizer, tmp_path, monkeypatch
):
    """The negative control: the test above can fail."""
    broken = tmp_path / "broken"
    trainer(make_model, ids, tokenizer, broken).fit(stop_after=11)
    monkeypatch.setattr("gptlib.runtime.set_random_state", lambda state: None)
    trainer(make_model, ids, tokenizer, broken).fit()
    assert digest(unbroken / "log.jsonl") != digest(broken / "log.jsonl")


CHILD = """
import sys, numpy as np, torch
sys.path.insert(0, {tests!r})
from conftest import TEXT
from gptlib import GPT, GPTConfig, CharTokenizer, TrainConfig, Trainer
torch.set_num_threads(1)
tokenizer = CharTokenizer.train(TEXT)
ids = np.array(tokenizer.encode(TEXT), dtype=np.uint16)
torch.manual_seed(1)
V = tokenizer.vocab_size
model = GPT(GPTConfig(16, V, 2, 2, 16, dropout=0.1, attn_dropout=0.1))
config = TrainConfig(**{config!r})
run = Trainer(model, ids[:2000], ids[2000:], config, {run_dir!r}, tokenizer, report=print).fit()
print("finished" if run.finished else "stopped", run.step, flush=True)
"""


def child(run_dir, **changes) -> subprocess.Popen:
    code = CHILD.format(
        tests=os.path.dirname(__file__), config=CONFIG | changes, run_dir=str(run_dir)
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_step_saves_and_says_so(tmp_path, number):
    process = child(tmp_path, steps=100_000, eval_every=100_000, save_every=0)
    while process.poll() is None and len(read_jsonl(tmp_path / "log.jsonl")) < 8:
        time.sleep(0.005)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0, out
    assert "resume to go on" in out and "stopped" in out
    _, _, manifest = checkpoint.load_newest(tmp_path)
    assert manifest["step"] == read_jsonl(tmp_path / "log.jsonl")[-1]["step"]
    assert manifest["passing"]


def test_a_torn_log_is_cut_to_what_was_saved(unbroken, make_model, ids, tokenizer, tmp_path):
    broken = tmp_path / "broken"
    trainer(make_model, ids, tokenizer, broken).fit(stop_after=10)
    with open(broken / "log.jsonl", "a") as file:
        file.write('{"step": 11, "loss": 1.0}\n{"step": 12, "lo')
    trainer(make_model, ids, tokenizer, broken).fit()
    assert_same_run(unbroken, broken)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    unbroken, make_model, ids, tokenizer, tmp_path
):
    broken = tmp_path / "broken"
    trainer(make_model, ids, tokenizer, broken).fit(stop_after=15)
    newest = checkpoint.folder_of(broken, 15) / checkpoint.STATE
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="step_00000015/state.pt is damaged"):
        trainer(make_model, ids, tokenizer, broken).fit()
    assert_same_run(unbroken, broken)


def test_evaluation_changes_no_weight(make_model, ids, tokenizer, tmp_path):
    for name, every in (("often", 2), ("seldom", 24)):
        trainer(make_model, ids, tokenizer, tmp_path / name, eval_every=every).fit()
    last = [checkpoint.folder_of(tmp_path / n, 24) / checkpoint.MODEL for n in ("often", "seldom")]
    assert digest(last[0]) == digest(last[1])


def test_accumulation_changes_the_sum_by_rounding_only(make_model, ids, tokenizer, tmp_path):
    logs = []
    for n in (1, 4):
        settings = dict(accumulate=n, steps=3)
        run = Trainer(
            make_model(dropout=0.0, attn_dropout=0.0), ids[:2000], ids[2000:],
            TrainConfig(**(CONFIG | settings)), tmp_path / str(n), tokenizer,
        ).fit()  # fmt: skip
        logs.append([line["loss"] for line in run.log if "loss" in line])
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)


def test_the_best_is_kept_and_loaded(make_model, ids, tokenizer, tmp_path):
    """Of loaded dice only the odds can be learned; after that, training memorizes rolls."""
    rolls = np.random.default_rng(0).geometric(0.4, 400)
    noise = np.minimum(rolls, tokenizer.vocab_size - 1).astype(np.uint16)
    config = TrainConfig(
        steps=200, batch_size=8, lr=1e-2, warmup=0, eval_every=5, save_minutes=0, keep_last=1
    )
    run = Trainer(make_model(), noise[:300], noise[300:], config, tmp_path, tokenizer).fit()
    assert 0 < run.best_step < 200 and run.best_val < run.last_val
    assert checkpoint.saved_steps(tmp_path) == [run.best_step, 200]
    for which, step in (("best", run.best_step), ("latest", 200)):
        model, loaded, manifest = load_run(tmp_path, which)
        assert manifest["step"] == step and loaded == tokenizer and not model.training
    last, _, _ = load_run(tmp_path, "latest")
    assert torch.equal(last.lm_head.weight, run.model.lm_head.weight)


def test_training_learns(make_model, ids, tokenizer, tmp_path):
    model = make_model(dropout=0.0, attn_dropout=0.0)
    config = TrainConfig(steps=300, batch_size=16, lr=1e-2, warmup=10, eval_every=100)
    run = Trainer(model, ids[:2000], ids[2000:], config, tmp_path, tokenizer).fit()
    assert run.log[0]["val"] > 2.3 and run.best_val < 0.25  # three sentences, in turn


def test_the_log_and_the_speed_file_say_what_they_promise(unbroken):
    log = read_jsonl(unbroken / "log.jsonl")
    assert [line["step"] for line in log if "val" in line] == [0, 6, 12, 18, 24]
    assert [line["step"] for line in log if "loss" in line] == list(range(1, 25))
    assert log[-2]["tokens"] == 24 * 4 * 16
    assert not any("second" in key or "time" in key for line in log for key in line)
    assert read_jsonl(unbroken / "speed.jsonl")[-1].keys() == {
        "step", "seconds", "tokens_per_s", "mfu"
    }  # fmt: skip
    assert json.loads((unbroken / "config.json").read_text())["train"]["steps"] == 24


def test_a_run_is_not_begun_twice_and_may_save_more_often(make_model, ids, tokenizer, tmp_path):
    trainer(make_model, ids, tokenizer, tmp_path).fit(stop_after=5)
    with pytest.raises(CheckpointError, match="already holds a run"):
        trainer(make_model, ids, tokenizer, tmp_path).fit(resume=False)
    assert trainer(make_model, ids, tokenizer, tmp_path, save_every=1).fit().finished


def test_a_longer_schedule_is_possible_when_asked_for(make_model, ids, tokenizer, tmp_path):
    trainer(make_model, ids, tokenizer, tmp_path).fit(stop_after=5)
    longer = trainer(make_model, ids, tokenizer, tmp_path, steps=30, lr=1e-3)
    with pytest.raises(CheckpointError, match="steps was 24 and is now 30"):
        longer.fit()
    run = longer.fit(override=True)
    assert run.finished and run.step == 30
    other = trainer(make_model, ids, tokenizer, tmp_path, steps=40, batch_size=8)
    with pytest.raises(CheckpointError, match="batch_size was 4 and is now 8"):
        other.fit(override=True)


def test_a_lost_machine_goes_on_from_the_mirror(unbroken, make_model, ids, tokenizer, tmp_path):
    def on(machine) -> Trainer:
        one = trainer(make_model, ids, tokenizer, tmp_path / machine)
        one.mirror_to = tmp_path / "drive"
        return one

    on("first").fit(stop_after=12)
    on("second").fit()  # a fresh disk: nothing but the mirror
    assert_same_run(unbroken, tmp_path / "second", kept=False)


def test_a_changed_thread_count_is_said(make_model, ids, tokenizer, tmp_path):
    trainer(make_model, ids, tokenizer, tmp_path).fit(stop_after=5)
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match="threads"):
            trainer(make_model, ids, tokenizer, tmp_path).fit(stop_after=7)
    finally:
        torch.set_num_threads(before)


def test_bfloat16_follows_the_same_curve(make_model, ids, tokenizer, tmp_path):
    losses = {}
    for dtype in ("float32", "bfloat16"):
        folder = tmp_path / dtype
        run = trainer(make_model, ids, tokenizer, folder, dtype=dtype, steps=60).fit()
        losses[dtype] = run.last_val
        assert run.model.lm_head.weight.dtype == torch.float32
    assert losses["bfloat16"] == pytest.approx(losses["float32"], abs=0.03)


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"batch_size": 2.5}, {"accumulate": 3}, {"lr": -1.0}, {"beta2": 1.0},
              {"lr": float("nan")}, {"schedule": "linear"}, {"sampling": "all"}, {"keep_last": 0}],
)  # fmt: skip
def test_bad_settings_are_refused(wrong):
    with pytest.raises(ConfigError):
        TrainConfig(**(CONFIG | wrong))


def test_bad_data_is_refused_before_the_first_step(make_model, ids, tokenizer, tmp_path):
    with pytest.raises(DataError, match="float"):
        Trainer(make_model(), ids.astype(float), ids, TrainConfig(**CONFIG), tmp_path, tokenizer)
    one = trainer(make_model, ids, tokenizer, tmp_path)
    for stop in (0, -1, 2.5, True):
        with pytest.raises(ConfigError, match="stop_after is .*give a step"):
            one.fit(stop_after=stop)
    assert not (tmp_path / "log.jsonl").exists()


@pytest.mark.parametrize(
    "change",
    [{"step": 3}, {"best": {}}, {"best": {"val": "low", "step": 1}}, {"last_val": "low"},
     {"random": 3}, {"optimizers": []}, {"log_bytes": "many"}, {"log_bytes": -1}],
)  # fmt: skip
def test_a_state_that_makes_no_sense_is_refused(change, make_model, ids, tokenizer, tmp_path):
    """Well sealed, but not what a trainer saves."""
    trainer(make_model, ids, tokenizer, tmp_path).fit(stop_after=5)
    weights, state, manifest = checkpoint.load_newest(tmp_path)
    about = {k: v for k, v in manifest.items() if k not in ("step", "sha256")}
    checkpoint.save(tmp_path, 5, weights, state | change, about)
    with pytest.raises(CheckpointError, match="cannot go on from|cannot write"):
        trainer(make_model, ids, tokenizer, tmp_path).fit()


def test_a_kill_before_the_last_pruning_leaves_no_checkpoint_too_many(
    unbroken, make_model, ids, tokenizer, tmp_path, monkeypatch
):
    class Killed(BaseException):
        pass

    def die_at_the_end(run_dir, *others):
        if checkpoint.saved_steps(run_dir)[-1] == CONFIG["steps"]:
            raise Killed
        return prune(run_dir, *others)

    prune = checkpoint.prune
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(checkpoint, "prune", die_at_the_end)
        trainer(make_model, ids, tokenizer, tmp_path / "run").fit()
    assert len(checkpoint.saved_steps(tmp_path / "run")) > len(checkpoint.saved_steps(unbroken))
    trainer(make_model, ids, tokenizer, tmp_path / "run").fit()
    assert_same_run(tmp_path / "run", unbroken)
