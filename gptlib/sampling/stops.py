"""Where a text ends: sequences of tokens or of characters, and the watch for them.

One job: `Ending`. `gptlib.sampling.text_stream` cuts a text before a stop; here it is noticed, and
its tokens stay.
"""

from __future__ import annotations

import operator
from collections import deque
from collections.abc import Sequence

from gptlib.errors import ConfigError
from gptlib.sampling.prompts import has_truth, is_number
from gptlib.tokenizers.base import Tokenizer, shorten

#: Token ids, each of which ends a text; sequences of them; or strings, whatever their tokens.
Stop = Sequence[int | Sequence[int] | str]


def as_stops(stop: Stop, tokenizer: Tokenizer | None = None) -> tuple[tuple[int, ...] | str, ...]:
    """Every stop as a sequence of token ids, or as the string that it is.

    Raises:
        ConfigError: no list, one of something else than ids, non-empty lists of them or non-empty
            strings, or a string and no tokenizer to spell it.
    """
    try:
        stops = tuple(
            s if isinstance(s, str) else tuple(map(operator.index, [s] if is_number(s) else s))
            for s in stop
        )
    except TypeError:
        stops = ((),)
    if not all(stops) or has_truth(stop) or isinstance(stop, str):
        raise ConfigError(
            f"stop is {shorten(stop)}; give a list of token ids, or of lists with at least "
            "one, such as [tokenizer.encode('\\n\\n')]"
        )
    if tokenizer is None and any(isinstance(s, str) for s in stops):
        raise ConfigError(
            f"stop is {shorten(stop)}; give the tokenizer too (tokenizer=...), so that it can be "
            "seen what the tokens spell"
        )
    return stops


class Ending:
    """Watches the tokens of one row for a stop; the work at each is the same however many came.

    A string is found in whatever tokens it arrives, also where it begins within one or ends there.
    """

    def __init__(self, stop: Stop, tokenizer: Tokenizer | None = None) -> None:
        stops = as_stops(stop, tokenizer)
        self.stops = [s for s in stops if not isinstance(s, str)]
        self.strings = [s for s in stops if isinstance(s, str)]
        self.tail: deque[int] = deque(maxlen=max(map(len, self.stops), default=0))
        if tokenizer is not None and self.strings:
            self._coming: deque[int] = deque()
            self._pieces = tokenizer.decode_each(iter(self._coming.popleft, None))
            self._text = ""

    def reached(self, token: int) -> bool:
        """Take in the next token; say whether the row now ends in a stop."""
        self.tail.append(token)
        tail = tuple(self.tail)
        return any(tail[-len(s) :] == s for s in self.stops) or (
            bool(self.strings) and self._spelled(token)
        )

    def _spelled(self, token: int) -> bool:
        self._coming.append(token)
        self._text += next(self._pieces)  # a half character comes with its other half
        found = any(s in self._text for s in self.strings)
        # What may yet become a stop begins less than a stop before the end.
        self._text = self._text[max(0, len(self._text) - max(map(len, self.strings)) + 1) :]
        return found
