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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gptlib.status_line import aside, fitted

INTERRUPTED = 130  # the exit code after Ctrl-C or another signal


@contextmanager
def any_character() -> Iterator[None]:
    """Let stdout and stderr write what their encoding can, and stand in for the rest."""
    before = []
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if getattr(stream, "errors", None) == "strict" or errors == "replace":
            with contextlib.suppress(AttributeError, ValueError, OSError):  # a notebook's, say
                before.append((stream, stream.errors))
                stream.reconfigure(errors=errors)
    try:
        yield
    finally:
        for stream, errors in before:
            with contextlib.suppress(AttributeError, ValueError, OSError):
                stream.reconfigure(errors=errors)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the code that it comes from."""

    def show(message, *args, **options) -> None:
        tell(f"gptlib: warning: {' '.join(str(message).split())}")

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def tell(line: str) -> bool:
    """Write a line to stderr; False if nobody reads there any more."""
    try:
        with aside():
            print(line, file=sys.stderr, flush=True)
    except BrokenPipeError:
        leave(sys.stderr)
        return False
    return True


def progress(line: str) -> None:
    """Write a line of progress; when its reader has gone, ask the trainer to save and stop."""
    if not tell(fitted(line, sys.stderr)) and callable(signal.getsignal(signal.SIGTERM)):
        signal.raise_signal(signal.SIGTERM)


def leave(stream) -> None:
    """Stop writing to a stream whose reader has gone: Python flushes it once more at its end."""
    with contextlib.suppress(AttributeError, ValueError, OSError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def shell_line(words: Sequence[object]) -> str:
    """A command that can be pasted into this system's shell, whatever its words have in them."""
    join = subprocess.list2cmdline if os.name == "nt" else shlex.join
    return join([str(word) for word in words])
