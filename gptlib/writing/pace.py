"""Waiting: as long as the server says, or a little longer each time where it says nothing.

One job: `Pace`, which all who ask share. What one of them is told (HTTP's `Retry-After`) all of
them obey, since a limit is the account's.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime

LONGEST_GUESS = 60.0  # seconds between two tries where the server does not say how many


class Pace:
    """When the next question may be asked.

    Args:
        sleep: waits so many seconds, and returns True if there is no use in waiting any more;
            `threading.Event().wait` is one. clock: seconds, from wherever.
    """

    def __init__(
        self, sleep: Callable[[float], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sleep, self._clock = sleep, clock
        self._until = -math.inf
        self._lock = threading.Lock()

    def hold(self, seconds: float) -> bool:
        """Nobody asks for so long. True if a second or more is new in that."""
        with self._lock:
            until = self._clock() + seconds
            new = until - max(self._until, self._clock()) >= 1
            self._until = max(self._until, until)
            return new

    def left(self) -> float:
        """Seconds that everybody still waits."""
        return max(0.0, self._until - self._clock())

    def wait(self) -> None:
        """Return when it is time to ask."""
        while (left := self.left()) > 0 and not self._sleep(left):
            pass  # somebody may have been told to wait longer meanwhile

    def back_off(self, failures: int) -> None:
        """Wait alone, twice as long after each failure; the dice keep workers out of step."""
        self._sleep(min(LONGEST_GUESS, 2.0**failures) * random.uniform(0.5, 1))


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer's headers ask to wait, None where that is no time.

    They are a number, or a date (RFC 9110, section 10.2.3); `retry-after-ms` is OpenAI's own.
    """
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            seconds = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return seconds if 0 < seconds < math.inf else None
    try:
        seconds = parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time()
    except (KeyError, ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
