"""The terminal that a command writes to, which may not know a character or may have gone away.

One job: that no command fails for what it prints. A character that the terminal's encoding lacks
becomes `?`; a reader that has seen enough ends the command as it ends `cat`.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from typing import TextIO

from gptlib.paths import kept_path
from gptlib.status_line import aside, fitted

INTERRUPTED = 130  # the exit code after Ctrl-C or another signal


@contextmanager
def any_character() -> Generator[None]:
    """Let stdout and stderr write what their encoding can, and stand in for the rest."""
    before: list[tuple[TextIOWrapper, str | None]] = []
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if not isinstance(stream, TextIOWrapper):  # closed, or a notebook's
            continue
        if stream.errors == "strict" or errors == "replace":
            with contextlib.suppress(ValueError, OSError):
                before.append((stream, stream.errors))
                stream.reconfigure(errors=errors)
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(ValueError, OSError):
                stream.reconfigure(errors=errors)


@contextmanager
def plain_warnings() -> Generator[None]:
    """Show a warning as one line, without the place in the code that it comes from."""

    def show(message: Warning | str, *args: object, **options: object) -> None:
        tell(f"gptlib: warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def tell(line: str) -> bool:
    """Write a line to stderr; False if nobody reads there any more.

    A terminal that was closed, or a full disk under a file, loses the line and ends nothing.
    """
    try:
        with aside():
            print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        leave(sys.stderr)
        return False
    except OSError:
        leave(sys.stderr)
    return True


def progress(line: str) -> None:
    """Write a line of progress; when its reader has gone, ask the trainer to save and stop."""
    if not tell(fitted(line, sys.stderr)) and callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


def leave(stream: TextIO | None) -> None:
    """Stop writing to a stream whose reader has gone: Python flushes it once more at its end."""
    if stream is None:  # closed from the beginning
        return
    with contextlib.suppress(AttributeError, ValueError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shell_line(words: Sequence[object]) -> str:
    """A command that can be pasted into this system's shell, whatever its words have in them; of a
    path in the home folder, gptlib itself expands the `~`."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([kept_path(str(word)) if word else "" for word in words])
