"""Text as it settles: shown while a model still writes, and never taken back.

One job: `until_stop`. What may yet turn out to be the beginning of a stop waits until that is
decided; what was withheld is given when the text ends. Each character is looked at a bounded
number of times, however long the text grows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence


def until_stop(pieces: Iterable[str], stops: Sequence[str]) -> Iterator[str]:
    """Yield the text of `pieces` up to the first of `stops` that it comes to spell.

    Derived in chapter 7, *When is the text over, and what has the reader seen?*

    The stop itself is left out, whatever pieces it arrives in. Joined, the result is the text
    before the stop, or all of it.
    """
    held = ""
    for piece in pieces:
        held += piece
        places = [place for stop in stops if (place := held.find(stop)) >= 0]
        if places:
            if min(places):
                yield held[: min(places)]
            return
        settled = len(held) - max((_beginning(held, stop) for stop in stops), default=0)
        if settled:
            yield held[:settled]
            held = held[settled:]
    if held:
        yield held


def _beginning(text: str, stop: str) -> int:
    """How many characters at the end of `text` are the beginning of `stop`."""
    most = min(len(text), len(stop) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(stop[:n])), 0)
