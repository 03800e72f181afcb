"""Trackers: a training's curves in TensorBoard or in Trackio, while it goes on.

Neither library is needed, nor imported before its tracker is made. Both get what `log.jsonl` has,
under its step. That file is the record of a run; a tracker's copy of it is for looking.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Generator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from gptlib.callbacks import Callback
from gptlib.errors import ConfigError
from gptlib.status_line import aside

STEP_PARTS = ("loss", "lr", "grad_norm")


class TensorBoardTracker(Callback):
    """Writes for `tensorboard --logdir`.

    A run that was killed makes the steps after its last checkpoint again. TensorBoard is told where
    it goes on, and strikes out what an earlier process wrote of later steps.

    Args:
        folder: where TensorBoard's files stand, e.g. `runs/mine/tensorboard`; one for each run.

    Raises:
        ConfigError: TensorBoard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        self._library, self._folder = _library("tensorboard", "torch.utils.tensorboard"), folder
        self._writer: Any = None  # of a library that need not be installed

    def began(self, about: dict, step: int, steps: int) -> None:
        first = step + 1 if step else 0  # a new run validates at step 0, one that goes on does not
        self._writer = self._library.SummaryWriter(str(self._folder), purge_step=first)
        if not step:
            self._writer.add_text("about", f"```\n{json.dumps(about, indent=1)}\n```", 0)

    def stepped(self, line: dict) -> None:
        for part in STEP_PARTS:
            self._writer.add_scalar(f"train/{part}", line[part], line["step"])

    def validated(self, line: dict) -> None:
        self._writer.add_scalar("val/loss", line["val"], line["step"])
        if line["tokens_per_s"]:
            self._writer.add_scalar("speed/tokens_per_s", line["tokens_per_s"], line["step"])
        self._writer.flush()

    def ended(self, step: int, finished: bool) -> None:
        if self._writer:
            self._writer.close()


class TrackioTracker(Callback):
    """Logs to Trackio, for `trackio show --project gptlib`.

    Trackio cannot strike out what it has. So a run that goes on after an interruption is a run of
    its own there, "NAME from step N", in the group NAME. The steps between the last checkpoint and
    a kill are in both, each with the values of its own process.

    Args:
        name: of the run. project: what it belongs to.

    Raises:
        ConfigError: Trackio is not installed.
    """

    def __init__(self, name: str, project: str = "gptlib") -> None:
        self._library, self._name, self._project = _library("trackio", "trackio"), name, project
        self._run = None

    def began(self, about: dict, step: int, steps: int) -> None:
        name = f"{self._name} from step {step}" if step else self._name
        with _aside():
            self._run = self._library.init(
                project=self._project, name=name, group=self._name, config=about, embed=False
            )

    def stepped(self, line: dict) -> None:
        metrics = {f"train/{part}": line[part] for part in STEP_PARTS}
        self._library.log(metrics, step=line["step"])

    def validated(self, line: dict) -> None:
        metrics = {"val/loss": line["val"]}
        if line["tokens_per_s"]:
            metrics["speed/tokens_per_s"] = line["tokens_per_s"]
        self._library.log(metrics, step=line["step"])

    def ended(self, step: int, finished: bool) -> None:
        if self._run:
            with _aside():
                self._library.finish()


def make_tracker(kind: str, run_dir: Path) -> Callback:
    """The tracker of a run folder, by its name on the command line."""
    if kind == "trackio":
        return TrackioTracker(run_dir.resolve().name)
    return TensorBoardTracker(run_dir / "tensorboard")


def _library(extra: str, module: str) -> ModuleType:
    try:
        return import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"the tracker {extra} is not installed here ({error}); pip install {extra}"
        ) from error


@contextmanager
def _aside() -> Generator[None]:
    """Let a library print what it likes, but not into a command's result or over a line."""
    with aside(), redirect_stdout(sys.stderr):
        yield
