"""How far something has come: what a `StatusLine` tells of it.

`progress` is for anything that can be counted, and `TrainingProgress` for a training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gptlib.callbacks import Callback
from gptlib.status_line import EVERY, StatusLine, in_notebook


@contextmanager
def progress(
    what: str,
    total: float | None = None,
    unit: str = "",
    *,
    done: float = 0,
    stream=None,
    clock: Callable[[], float] = time.monotonic,
    in_notebooks: bool = True,
) -> Iterator[Counter]:
    """Show how far something has come, while the block lasts; nothing is left of it.

    Args:
        what: what is being done, e.g. "measuring". total: how much there is, or None.
        unit: of what is counted; "B" is shown in kB, MB and GB. done: how much was done before.
        stream, clock, in_notebooks: see `StatusLine`.
    """
    counter = Counter(what, total, unit, done, clock)
    line = StatusLine(counter.tell, stream, clock, in_notebooks)
    counter.renew = line.renew
    line.open()
    try:
        yield counter
    finally:
        line.close()


class Counter:
    """Counts what is done, and tells it with its rate and the time left."""

    def __init__(
        self, what: str, total: float | None, unit: str, done: float, clock: Callable[[], float]
    ) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done, self.note, self._clock = done, "", clock
        self._began, self._from = clock(), done
        self.renew: Callable[[], None] = lambda: None

    def advance(self, n: float = 1, note: str = "") -> None:
        """So much more is done."""
        self.at(self.done + n, note=note)

    def at(self, done: float, total: float | None = None, note: str = "") -> None:
        """So much is done in all."""
        self.done, self.total, self.note = done, total or self.total, note or self.note
        self.renew()

    def tell(self) -> tuple[list[str], float | None]:
        """The parts of a line, and the share that is done."""
        of = f"/{self._amount(self.total)}" if self.total else ""
        unit = self.unit if self.unit == "B" else f" {self.unit}"
        counted = bool(self.done or self.total)
        parts = [self.what + f" {self._amount(self.done)}{of}{unit}" * counted]
        parts += [self.note] if self.note else []
        seconds, new = self._clock() - self._began, self.done - self._from
        if seconds >= EVERY and new > 0:
            rate = new / seconds
            parts += [f"{self._amount(rate)}{unit}/s"] if rate >= 1 else []
            parts += [time_left((self.total - self.done) / rate)] if self.total else []
        return parts, self.done / self.total if self.total else None

    def _amount(self, n: float) -> str:
        if self.unit == "B":
            from tqdm import tqdm

            return tqdm.format_sizeof(n)
        return f"{n:,.0f}"


def time_left(seconds: float) -> str:
    """How long something will take, e.g. "01:30 left"."""
    from tqdm import tqdm

    return f"{tqdm.format_interval(max(0.0, seconds))} left"


class TrainingProgress(Callback):
    """Shows how a training goes, in a line that is renewed: step, loss, tokens/s and time left.

    Args:
        lines: leave a line at each validation; False where `Trainer(report=...)` does so. In a
            notebook the line tells no speed and no time, so that the notebook is stored the same
            however fast the machine was.
        stream, clock, in_notebooks: see `StatusLine`.
    """

    def __init__(
        self,
        lines: bool = True,
        *,
        stream=None,
        clock: Callable[[], float] = time.monotonic,
        in_notebooks: bool = True,
    ) -> None:
        self._lines, self._clock = lines, clock
        self._line = StatusLine(self._tell, stream, clock, in_notebooks)

    def began(self, about: dict, step: int, steps: int) -> None:
        self._step, self._steps, self._loss = step, steps, math.nan
        self._tokens = 0.0  # of a step
        self._rate: float | None = None  # steps per second
        self._timed_from = step, self._clock()
        self._line.open()

    def stepped(self, line: dict) -> None:
        self._step, self._loss = line["step"], line["loss"]
        self._tokens = line["tokens"] / line["step"]
        self._line.renew()

    def validated(self, line: dict) -> None:
        speed = line["tokens_per_s"]
        self._rate = speed / self._tokens if speed and self._tokens else self._rate
        self._timed_from = line["step"], self._clock()  # validation is not training time
        if self._lines:
            self._line.keep(validation_line(line, self._steps, speed=not in_notebook()))

    def ended(self, step: int, finished: bool) -> None:
        self._line.close()

    def _tell(self) -> tuple[list[str], float]:
        step, moment = self._timed_from
        seconds = self._clock() - moment
        if seconds >= EVERY and self._step > step:
            self._rate = (self._step - step) / seconds
        parts = [f"step {self._step}/{self._steps}"]
        parts += [f"loss {self._loss:.4f}"] if math.isfinite(self._loss) else []
        if self._rate:
            parts.append(f"{self._rate * self._tokens:,.0f} tokens/s")
            parts.append(time_left((self._steps - self._step) / self._rate))
        return parts, self._step / self._steps


def validation_line(line: dict, steps: int, speed: bool = True) -> str:
    """What is said at a validation, e.g. "step 150/600  val 1.2345  train 1.1234".

    Args:
        line: as `Callback.validated` gets it. steps: of the whole training.
        speed: say how fast it went, and how long it will take, where that is known.
    """
    said = f"step {line['step']}/{steps}  val {line['val']:.4f}"
    if math.isfinite(line["loss"]):
        said += f"  train {line['loss']:.4f}"
    if speed and line["tokens_per_s"]:
        known = "unknown" if line["mfu"] is None else f"{line['mfu']:.1%}"
        said += f"  {line['tokens_per_s']:,.0f} tokens/s  MFU {known}"
        said += f"  {line['seconds_left'] / 60:.1f} min left"
    return said
