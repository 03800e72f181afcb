"""Where a text ends: token sequences, and the watch for them.

One job: `Ending`. Stops are spelled in tokens here; `gptlib.sampling.text_stream` has those that
are spelled in letters.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence

from gptlib.errors import ConfigError
from gptlib.sampling.prompts import has_truth, is_number
from gptlib.tokenizers.base import shorten

#: Token ids, each of which ends a text, or sequences of them.
Stop = Sequence[int | Sequence[int]]


def as_sequences(stop: Stop) -> tuple[tuple[int, ...], ...]:
    """Every stop as a sequence of token ids.

    Raises:
        ConfigError: no list, or one of something else than ids or non-empty lists of them.
    """
    try:
        stops = tuple(tuple(map(operator.index, [s] if is_number(s) else s)) for s in stop)
    except TypeError:
        stops = ((),)
    if not all(stops) or has_truth(stop):
        raise ConfigError(
            f"stop is {shorten(stop)}; give a list of token ids, or of lists with at least "
            "one, such as [tokenizer.encode('\\n\\n')]"
        )
    return stops


class Ending:
    """Watches the tokens of one row for a stop; the work at each is the same however many came."""

    def __init__(self, stops: Sequence[tuple[int, ...]]) -> None:
        self.stops = stops
        self.tail: deque[int] = deque(maxlen=max(map(len, stops), default=0))

    def reached(self, token: int) -> bool:
        """Take in the next token; say whether the row now ends in a stop."""
        self.tail.append(token)
        tail = tuple(self.tail)
        return any(tail[-len(s) :] == s for s in self.stops)
