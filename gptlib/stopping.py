"""How a run is asked to stop from outside.

One job: `stop_signals`. SIGTERM is what a scheduler sends before it takes the machine, SIGINT is
Ctrl-C, and SIGHUP comes when a terminal or the connection to it is closed.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

HANGUP = getattr(signal, "SIGHUP", None)  # not on Windows


@contextmanager
def stop_signals() -> Generator[threading.Event]:
    """Turn these signals into a flag that the loop reads between steps.

    SIGTERM or Ctrl-C for the second time raises KeyboardInterrupt at once; a closed terminal may
    say so several times. Under `nohup` a run outlives its terminal.
    """
    stopped, before, seen = threading.Event(), {}, set()

    def handle(number: int, frame: FrameType | None) -> None:
        if number in seen and number != HANGUP:
            raise KeyboardInterrupt
        seen.add(number)
        stopped.set()

    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGTERM, signal.SIGINT]
        if HANGUP is not None and signal.getsignal(HANGUP) is not signal.SIG_IGN:
            numbers.append(HANGUP)
        for number in numbers:
            before[number] = signal.signal(number, handle)
    try:
        yield stopped
    finally:
        for number, old in before.items():
            signal.signal(number, signal.SIG_DFL if old is None else old)
