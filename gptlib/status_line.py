"""One line that is renewed in place, where there is a place for it.

One job: `StatusLine`. A terminal shows the line at the bottom of what is written, and a notebook in
an output of its own; both at most once a second. What a notebook keeps does not tell how long
anything took. A pipe, a file and a dumb terminal show no such line at all: whoever has something to
say to them says it in lines that stay. The line is made of parts, the most important first, and
loses the last of them where it would be wider than the terminal. A line that is opened while
another one is takes its place, and begins with the first part of that one.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

EVERY = 1.0  # seconds between two renewals, at least
GAP = "  "  # between the parts of a line

_open: list[StatusLine] = []  # the last one is shown


class StatusLine:
    """A line that is renewed in place, from `open` to `close`.

    Args:
        tell: returns the parts of the line, and the share that is done, from 0 to 1, or None.
        stream: where to show it (default: stderr). clock: seconds, from wherever.
        in_notebooks: False where nothing must be left in a notebook, not even an empty output.

    A terminal that has been closed ends the line and nothing else.

    Attributes:
        is_shown: it can be seen, and what else is written has to make room: see `aside`.
    """

    def __init__(
        self,
        tell: Callable[[], tuple[Sequence[str], float | None]],
        stream=None,
        clock: Callable[[], float] = time.monotonic,
        in_notebooks: bool = True,
    ) -> None:
        self._tell, self._clock, self._in_notebooks = tell, clock, in_notebooks
        self._stream = sys.stderr if stream is None else stream
        self._screen: _Terminal | _Notebook | None = None
        self._drawn, self.is_shown = -math.inf, False

    def open(self) -> None:
        """Show the line, in place of the one that was open before."""
        self.close()
        if in_notebook():
            self._screen = _Notebook() if self._in_notebooks else None
        elif is_terminal(self._stream):
            self._screen = _Terminal(self._stream)
        if self._screen:
            for line in _open[-1:]:
                line.hide()
            _open.append(self)
            self.renew(now=True)

    def renew(self, now: bool = False) -> None:
        """Show what there is to tell by now, unless that was done less than a second ago."""
        if not _open or _open[-1] is not self:
            return
        moment = self._clock()
        if now or moment - self._drawn >= EVERY:
            self._drawn, self.is_shown = moment, True
            parts, share = self._tell()
            parts = [line._tell()[0][0] for line in _open[:-1]] + list(parts)  # what it is part of
            self._do(lambda screen: screen.show(parts, share))

    def keep(self, line: str) -> None:
        """Leave a line, above the one that is renewed."""
        if isinstance(self._screen, _Notebook):
            self._screen.kept.append(line)
            self.renew(now=True)
        elif self._stream is not None:
            with aside():
                self._do(lambda _: print(fitted(line, self._stream), file=self._stream, flush=True))

    def hide(self) -> None:
        """Take the line away until it is renewed."""
        if self.is_shown:
            self.is_shown = False
            self._do(lambda screen: screen.hide())

    def close(self) -> None:
        """Take the line away for good."""
        if self in _open:
            self.hide()
            self._leave()
            for line in _open[-1:]:
                line.renew(now=True)
        self._screen = None

    def _leave(self) -> None:
        if self in _open:
            _open.remove(self)

    def _do(self, act: Callable) -> None:
        try:
            act(self._screen)
        except (OSError, ValueError):  # closed, or gone: no reason to end what is being done
            self._leave()


@contextmanager
def aside() -> Iterator[None]:
    """Take the line that is shown away while another is written, and show it again below."""
    shown = [line for line in _open[-1:] if line.is_shown]  # not if it has been taken away already
    for line in shown:
        line.hide()
    try:
        yield
    finally:
        for line in shown:
            line.renew(now=True)


def in_notebook() -> bool:
    """Does this process answer to a notebook?"""
    python = sys.modules.get("IPython")
    return hasattr(python.get_ipython(), "kernel") if python else False


def is_terminal(stream) -> bool:
    """Can a line be renewed on this stream?

    Not where a notebook runs a command with `!`: its output is a terminal that remembers all.
    """
    try:
        shown = stream.isatty()
    except (AttributeError, ValueError):  # None, or closed
        return False
    return shown and os.environ.get("TERM") != "dumb" and "JPY_PARENT_PID" not in os.environ


def fitted(line: str, stream) -> str:
    """A line without its last parts, as far as they do not fit on a terminal; else as it is."""
    if not is_terminal(stream):
        return line
    parts = line.split(GAP)
    return _fit(parts, max(len(parts[0]), _width(stream)))


def _fit(parts: Sequence[str], width: int) -> str:
    """As many parts as there is room for, and of the first one what there is room for."""
    from tqdm.utils import disp_len, disp_trim

    line = disp_trim(parts[0], width)
    for part in parts[1:]:
        longer = line + GAP + part
        if disp_len(longer) > width:
            break
        line = longer
    return line


def _width(stream) -> int:
    """Columns of a terminal, without the last one, after which some begin a new line."""
    try:
        columns = os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError, AttributeError):
        columns = 0
    return max(1, (columns or 80) - 1)


def _with_bar(parts: Sequence[str], share: float | None, width: int, plain: bool) -> str:
    """The line, and before it how much is done, where there is room for both."""
    from tqdm import tqdm
    from tqdm.utils import disp_len

    line = GAP.join(parts)
    if share is not None:
        bar = tqdm.format_meter(
            min(1.0, max(0.0, share)), 1, 0, ascii=plain, bar_format="{percentage:3.0f}%|{bar:10}| "
        )
        if disp_len(bar + line) <= width:
            return bar + line
    return _fit(parts, width)


class _Terminal:
    """The last line of a terminal. No escape codes: a carriage return and blanks are enough."""

    def __init__(self, stream) -> None:
        self._stream, self._shown = stream, 0
        self._encoding = getattr(stream, "encoding", None) or "ascii"

    def show(self, parts: Sequence[str], share: float | None) -> None:
        from tqdm.utils import disp_len

        if self._in_background():
            return
        parts = [
            part.encode(self._encoding, "backslashreplace").decode(self._encoding) for part in parts
        ]
        plain, width = not self._encoding.lower().startswith("utf"), _width(self._stream)
        line = _with_bar(parts, share, width, plain)
        length = disp_len(line)
        self._write("\r" + line + " " * (min(self._shown, width) - length))
        self._shown = length

    def hide(self) -> None:
        if self._shown:
            blanks = self._shown + len("^C")  # which a terminal shows after the line
            self._write("\r" + " " * min(blanks, _width(self._stream)) + "\r")
            self._shown = 0

    def _in_background(self) -> bool:
        """Does the terminal belong to another command by now, such as the shell's next one?"""
        try:
            return os.tcgetpgrp(self._stream.fileno()) != os.getpgrp()
        except (OSError, AttributeError):  # nobody's, or a system without jobs
            return False

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


class _Notebook:
    """An output of a notebook's cell: the lines that stay, and below them the one that is renewed.

    It is text and no widget, so that the stored notebook shows it everywhere.
    """

    def __init__(self) -> None:
        from IPython.display import display

        self.kept: list[str] = []
        self._output = display(self._text(), raw=True, display_id=True)

    def show(self, parts: Sequence[str], share: float | None) -> None:
        self._output.update(self._text(_with_bar(parts, share, 100, False)), raw=True)

    def hide(self) -> None:
        self._output.update(self._text(), raw=True)

    def _text(self, *last: str) -> dict:
        return {"text/plain": "\n".join([*self.kept, *last])}
