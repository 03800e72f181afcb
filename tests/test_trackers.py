"""Trackers get what the log gets, and a run that goes on after a kill goes on there.

With the real libraries where they are installed, else with stand-ins that keep what they are told.
"""

import importlib
import math
import sys
from types import SimpleNamespace

import pytest

from gptlib.cli import main
from gptlib.errors import ConfigError
from gptlib.runs import read_jsonl
from gptlib.trackers import TensorBoardTracker, TrackioTracker, make_tracker

SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


class Board:
    """Stands for `torch.utils.tensorboard`: what TensorBoard would show of a folder."""

    def __init__(self) -> None:
        self.shown: dict[str, dict[int, float]] = {}

    def SummaryWriter(self, folder: str, purge_step: int):
        for name, curve in self.shown.items():
            self.shown[name] = {step: y for step, y in curve.items() if step < purge_step}
        return self

    def add_scalar(self, name: str, value: float, step: int) -> None:
        assert step not in self.shown.setdefault(name, {}), "logged twice"
        self.shown[name][step] = value

    def add_text(self, *about) -> None:
        pass

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def read(self, folder) -> dict:
        return self.shown


class RealBoard:
    """TensorBoard itself, and how it reads a folder."""

    def read(self, folder) -> dict:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray

        events = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 0})
        events.Reload()
        shown = {
            tag: {event.step: event.value for event in events.Scalars(tag)}
            for tag in events.Tags()["scalars"]
        }
        for tag in events.Tags()["tensors"]:
            if "text" not in tag and "about" not in tag:
                shown[tag] = {
                    e.step: float(make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)
                }
        return shown


@pytest.fixture
def board(monkeypatch):
    try:
        importlib.import_module("torch.utils.tensorboard")
        return RealBoard()
    except ImportError:
        board = Board()
        monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", board)
        return board


@pytest.fixture
def trackio(monkeypatch, tmp_path):
    """Trackio, or what stands for it; with `read`, which returns its runs by name."""
    try:
        monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
        real = importlib.import_module("trackio")
        from trackio.sqlite_storage import SQLiteStorage

        def read() -> dict:
            return {
                run.name: {
                    (line["step"], key): line[key]
                    for line in SQLiteStorage.get_logs("gptlib", run.name, run_id=run.id)
                    for key in line
                    if "/" in key
                }
                for run in real.Api().runs("gptlib")
            }

        return SimpleNamespace(read=read)
    except ImportError:
        runs: dict[str, dict] = {}
        current: list[dict] = []

        def init(project, name, group, config, embed) -> object:
            print("* created a run")  # as Trackio does, on stdout
            assert project == "gptlib" and name.startswith(group) and "model" in config
            current[:] = [runs.setdefault(name, {})]
            return current

        def log(metrics: dict, step: int) -> None:
            assert not {(step, key) for key in metrics} & current[0].keys(), "logged twice"
            current[0].update({(step, key): value for key, value in metrics.items()})

        library = SimpleNamespace(
            init=init, log=log, finish=current.clear, read=lambda: runs, current=current
        )
        monkeypatch.setitem(sys.modules, "trackio", library)
        return library


ABOUT = {"model": {"n_layer": 2}, "train": {"steps": 8}}


def drive(tracker, start: int, stop: int, shift: float, killed: bool = False) -> None:
    """A training that goes on from `start`, with values that tell who made them."""
    tracker.began(ABOUT, start, 8)
    speed = {"tokens_per_s": None, "mfu": None, "seconds_left": None}
    if start == 0:
        tracker.validated({"step": 0, "val": 3.0, "loss": math.nan, **speed})
    for step in range(start + 1, stop + 1):
        line = {"step": step, "loss": step + shift, "lr": 0.125, "grad_norm": 1.0}
        tracker.stepped(line | {"tokens": step * 64})
        if step % 2 == 0:
            speed["tokens_per_s"] = 100.0
            tracker.validated({"step": step, "val": step + shift, "loss": 1.0, **speed})
    if not killed:
        tracker.ended(stop, stop == 8)


def test_tensorboard_goes_on_after_a_kill(board, tmp_path):
    drive(TensorBoardTracker(tmp_path / "board"), 0, 6, shift=0.0, killed=True)
    drive(TensorBoardTracker(tmp_path / "board"), 4, 8, shift=0.5)
    shown = board.read(tmp_path / "board")
    assert shown["train/loss"] == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5.5, 6: 6.5, 7: 7.5, 8: 8.5}
    assert shown["val/loss"] == {0: 3, 2: 2, 4: 4, 6: 6.5, 8: 8.5}
    assert shown["train/lr"].keys() == shown["train/grad_norm"].keys() == set(range(1, 9))
    assert shown["speed/tokens_per_s"].keys() == {2, 4, 6, 8}


def test_trackio_gets_a_run_for_each_start(trackio, capsys):
    drive(TrackioTracker("mine"), 0, 6, shift=0.0)
    drive(TrackioTracker("mine"), 4, 8, shift=0.5)
    runs = trackio.read()
    assert runs.keys() == {"mine", "mine from step 4"}
    losses = [
        {key[0]: y for key, y in run.items() if key[1] == "train/loss"} for run in runs.values()
    ]
    assert losses == [{step: step for step in range(1, 7)}, {5: 5.5, 6: 6.5, 7: 7.5, 8: 8.5}]
    assert runs["mine"][0, "val/loss"] == 3 and runs["mine from step 4"][8, "val/loss"] == 8.5
    assert capsys.readouterr().out == ""  # stdout is for a command's result


@pytest.mark.parametrize("kind", ["tensorboard", "trackio"])
def test_a_missing_library_is_said_before_anything_is_made(kind, tmp_path, monkeypatch, capsys):
    for module in ("torch.utils.tensorboard", "trackio"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install {kind}"):
        make_tracker(kind, tmp_path)
    (tmp_path / "text.txt").write_text("the fox sat. the hen ran.\n" * 100)
    argv = ["train", "--corpus", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    assert main([*argv, "--tracker", kind]) == 2
    assert f"pip install {kind}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    assert main([*argv, "--steps", "1"]) == 0  # and without a tracker nothing is missing


def test_train_with_a_tracker_is_told_what_the_log_is_told(board, tmp_path, capsys):
    (tmp_path / "text.txt").write_text("the fox sat. the hen ran.\n" * 100)
    argv = ["train", "--corpus", str(tmp_path / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    argv += ["--steps", "6", "--tracker", "tensorboard"]
    assert main([*argv, "--stop-after", "3"]) == 0
    assert main([*argv, "--resume"]) == 0
    shown = board.read(tmp_path / "run" / "tensorboard")
    log = read_jsonl(tmp_path / "run" / "log.jsonl")
    for name, key in (("train/loss", "loss"), ("train/lr", "lr"), ("val/loss", "val")):
        wanted = {line["step"]: pytest.approx(line[key], rel=1e-6) for line in log if key in line}
        assert shown[name] == wanted


def test_a_training_that_fails_before_it_begins_ends_quietly(board, trackio, tmp_path):
    for tracker in (TensorBoardTracker(tmp_path), TrackioTracker("mine")):
        tracker.ended(0, False)
