"""A run ends where it is told to: by a signal, or when nothing gets better any more."""

import errno
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from gptlib import checkpoint
from gptlib.errors import CheckpointError
from gptlib.runs import read_jsonl
from gptlib.stopping import stop_signals
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

needs_hangup = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="POSIX only")
PATIENT = dict(
    steps=200, batch_size=8, lr=1e-2, warmup=0, eval_every=5, save_every=3, save_minutes=0,
    keep_last=2, patience=3,
)  # fmt: skip


@pytest.fixture
def train(make_model, tokenizer, tmp_path):
    """A function that trains on rolls of dice, of which only the odds can be learned."""
    rolls = np.random.default_rng(0).geometric(0.4, 400)
    noise = np.minimum(rolls, tokenizer.vocab_size - 1).astype(np.uint16)

    def make(name: str, report=None, **changes) -> Trainer:
        config = TrainConfig(**(PATIENT | changes))
        return Trainer(
            make_model(), noise[:300], noise[300:], config, tmp_path / name, tokenizer, report
        )

    return make


class Killed(BaseException):
    pass


def kill_at(trainer: Trainer, step: int) -> None:
    """End it as a kill would, in that step's update."""
    update = trainer._update

    def last():
        if trainer.step == step:
            raise Killed
        return update()

    trainer._update = last
    with pytest.raises(Killed):
        trainer.fit()


def test_a_run_stops_when_its_patience_is_used_up_and_says_so(train, tmp_path):
    said = []
    run = train("run", said.append).fit()
    assert run.finished and run.stopped_early and run.step == run.best_step + 3 * 5 < 200
    losses = [line["val"] for line in run.log if "val" in line]
    assert min(losses[-3:]) >= run.best_val == min(losses)
    assert [line for line in run.log if "stop" in line] == [
        {"step": run.step, "val": run.last_val, "stop": "patience"}
    ]
    assert said[-1].startswith(f"stopped early at step {run.step} of 200: no better validation")
    again = train("run").fit()  # there is nothing left to do
    assert (again.step, again.stopped_early, again.log) == (run.step, True, run.log)
    assert checkpoint.saved_steps(tmp_path / "run")[-1] == run.step


def test_a_killed_and_resumed_run_stops_at_the_same_step(train, tmp_path):
    whole = train("whole").fit()
    for step in (1, 7, whole.best_step + 1, whole.step - 1):
        kill_at(train("killed"), step)
    train("killed").fit(stop_after=whole.step - 2)
    killed = train("killed").fit()
    assert (killed.step, killed.best_step) == (whole.step, whole.best_step)
    for name in (
        "log.jsonl",
        "best",
        "latest",
        f"checkpoints/step_{whole.step:08d}/{checkpoint.MODEL}",
    ):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "killed" / name).read_bytes()
    assert checkpoint.saved_steps(tmp_path / "whole") == checkpoint.saved_steps(tmp_path / "killed")


def test_without_patience_nothing_changes_and_with_it_the_steps_before_are_the_same(train):
    short, long = (train(name, patience=n, steps=60).fit() for name, n in (("a", 3), ("b", 0)))
    assert short.stopped_early and not long.stopped_early and long.step == 60
    same = short.log[:-1]
    assert same == long.log[: len(same)] and "stop" not in json.dumps(long.log)


def test_patience_may_be_changed_when_asked_for(train):
    stopped = train("run", steps=60).fit()
    with pytest.raises(CheckpointError, match="patience was 3 and is now 0"):
        train("run", steps=60, patience=0).fit()
    run = train("run", steps=60, patience=0).fit(override=True)
    assert run.step == 60 > stopped.step and not run.stopped_early


@needs_hangup
def test_a_closed_terminal_saves_and_says_nothing_wrong(train, tmp_path, request):
    """The terminal is gone when the line about the stop is to be printed."""

    def gone(line: str) -> None:
        if one.step == 10:
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGHUP)  # the kernel and the shell both tell
        if one.step >= 10:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    inherited = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where nohup runs the tests
    request.addfinalizer(lambda: signal.signal(signal.SIGHUP, inherited))
    one = train("run", gone, save_every=0)
    before = signal.getsignal(signal.SIGHUP)
    run = one.fit()
    assert (run.step, run.finished) == (11, False)
    assert checkpoint.load_newest(tmp_path / "run")[2]["passing"]
    assert signal.getsignal(signal.SIGHUP) == before
    assert read_jsonl(tmp_path / "run" / "log.jsonl")[-1]["step"] == 11


def test_any_other_trouble_of_a_report_is_its_own(train):
    """A missing font, a disk elsewhere: nothing that the run folder could be blamed for."""
    for code in (errno.ENOSPC, errno.ENOENT):

        def fails(line: str, code=code) -> None:
            raise OSError(code, os.strerror(code), "font.ttf")

        with pytest.raises(OSError, match="font") as raised:
            train("run", fails).fit()
        assert raised.value.errno == code


@needs_hangup
def test_under_nohup_a_run_outlives_its_terminal():
    code = (
        "import os, signal\nfrom gptlib.stopping import stop_signals\n"
        "with stop_signals() as stopped:\n    os.kill(os.getpid(), signal.SIGHUP)\n"
        "    print(stopped.is_set())"
    )
    for how, flag in ((signal.SIG_DFL, b"True\n"), (signal.SIG_IGN, b"False\n")):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True,
            preexec_fn=lambda how=how: signal.signal(signal.SIGHUP, how),
        )  # fmt: skip
        assert done.stdout == flag, done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_twice_it_stops_at_once(number):
    with pytest.raises(KeyboardInterrupt), stop_signals() as stopped:
        signal.raise_signal(number)
        assert stopped.is_set()
        signal.raise_signal(number)
