"""What a run tells while it goes on: its log, its speed, and the time left.

One job: `RunLog`, the files `log.jsonl` and `speed.jsonl` of a run folder and the line of progress.
The log tells what was computed and is the same however often a run was interrupted; times stand in
the other file.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gptlib import files
from gptlib.callbacks import Callback
from gptlib.checkpoint import writing
from gptlib.errors import CheckpointError
from gptlib.progress import validation_line
from gptlib.status_line import aside

LOG, SPEED = "log.jsonl", "speed.jsonl"


class RunLog:
    """The log of a run and the clock of its training.

    Args:
        run_dir: where the files are. leads: only one process of a job writes and speaks.
        report: called with a line of progress, or None. callbacks: told of all that happens.
    """

    def __init__(
        self,
        run_dir: Path,
        leads: bool,
        report: Callable[[str], None] | None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.run_dir, self.leads = run_dir, leads
        self._report = report if leads else None
        self.callbacks = list(callbacks) if leads else []
        self._step, self._steps, self._early = 0, 0, False
        self._stretch = 0.0
        self.start_clock(0)

    def report(self, line: str) -> None:
        """Say a line. A terminal that was closed hears nothing, and the run goes on."""
        try:
            if self._report:
                with aside():
                    self._report(line)
        except OSError as error:
            if error.errno not in (errno.EIO, errno.EPIPE):
                raise

    def begin(self, about: dict, step: int, steps: int) -> None:
        """Training goes on from `step` of `steps`; `about` is what a manifest tells of the run."""
        self._step, self._steps, self._early = step, steps, False
        for callback in self.callbacks:
            callback.began(about, step, steps)
        self.start_clock(step)

    @contextmanager
    def listened(self) -> Generator[None]:
        """Tell the callbacks that training is over, however it ends."""
        try:
            yield
        except BaseException:
            for callback in self.callbacks:
                callback.ended(self._step, False)
            raise
        for callback in self.callbacks:
            callback.ended(self._step, self._early or self._step == self._steps)

    def step(self, line: dict) -> None:
        """Write the line of a step."""
        self._step = line["step"]
        self.write(line)
        for callback in self.callbacks:
            callback.stepped(line)

    def write(self, line: dict, name: str = LOG) -> None:
        if not self.leads:
            return
        with writing(self.run_dir):
            files.append_line(self.run_dir / name, line, durable=False)  # `sync` flushes them all

    def sync(self) -> int:
        """Flush the log to disk before a checkpoint that counts on it; returns its bytes."""
        with writing(self.run_dir), open(self.run_dir / LOG, "ab") as file:
            files.flush(file.fileno(), self.run_dir)
            return file.tell()

    def cut(self, size: int, name: str = LOG) -> None:
        """Cut a log to `size` bytes: what came after them will be made again.

        Raises:
            CheckpointError: it has fewer, so what a checkpoint counts on is gone.
        """
        with writing(self.run_dir), open(self.run_dir / name, "ab") as file:
            there = file.tell()
            file.truncate(min(size, there))
        if there < size:
            raise CheckpointError(
                f"{self.run_dir / name} has {there:,} bytes, and the checkpoint counts on {size:,} "
                "of them; restore the file from a copy, or begin again in another folder"
            )

    def start_clock(self, step: int | None = None) -> None:
        """Time training from now on; a run that begins or goes on gives its `step`."""
        self._began = time.perf_counter()
        if step is not None:
            self._seconds, self._timed_from = 0.0, step

    def stop_clock(self) -> None:
        """What comes now, such as a validation, is not training time."""
        self._stretch = time.perf_counter() - self._began

    def validated(
        self, val: float, loss: float, batch_tokens: int, utilization: float, early: bool
    ) -> None:
        """Write a validation, and tokens/s and MFU since the last one; report a line.

        Args:
            val, loss: of validation and of the last step, in nats per token.
            batch_tokens: tokens a step. utilization: MFU at one token a second, 0 if unknown.
            early: the run ends with this one, for lack of a better one.
        """
        step, steps, self._early = self._step, self._steps, early
        self.write({"step": step, "val": val} | ({"stop": "patience"} if early else {}))
        taken, self._timed_from = step - self._timed_from, step
        rate = mfu = left = None
        if taken:
            self._seconds += self._stretch
            rate = taken * batch_tokens / self._stretch
            mfu = rate * utilization or None
            left = (steps - step) * self._stretch / taken
            speed = {"step": step, "seconds": self._seconds, "tokens_per_s": rate, "mfu": mfu}
            self.write(speed, SPEED)
        told = {"step": step, "val": val, "loss": loss, "tokens_per_s": rate, "mfu": mfu}
        told["seconds_left"] = left
        for callback in self.callbacks:
            callback.validated(told)
        self.report(validation_line(told, steps))
