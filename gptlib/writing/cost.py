"""What answers cost, before they are asked for and while they come.

One job: `Prices`, in dollars per million tokens as servers publish them, and a `Budget` that gives
no leave to ask where the answer might cost more than is left. A question's cost is known when it is
answered; until then it counts with the most that it can cost: a token for each byte that is sent,
since no byte-level tokenizer makes more of them, and as many for the answer as it may have. What
was under way when a process was killed is in no tally.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from typing import NamedTuple

from gptlib.errors import ConfigError

OVERHEAD = 32  # tokens that a chat's form may add to what is sent
BYTES_PER_TOKEN = 4  # of English, about


@dataclass(frozen=True)
class Tokens:
    """Tokens that were sent, and tokens that were written."""

    sent: int
    written: int

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.sent + other.sent, self.written + other.written)


NOTHING = Tokens(0, 0)


class Prices(NamedTuple):
    """Dollars per million tokens."""

    sent: float
    written: float

    def cost(self, tokens: Tokens) -> float:
        """In dollars."""
        return (self.sent * tokens.sent + self.written * tokens.written) / 1e6


def at_most(sent: str, max_tokens: int) -> Tokens:
    """The most tokens that an answer to this text can be billed with."""
    return Tokens(len(sent.encode()) + OVERHEAD, max_tokens)


def about(sent: str, written: float) -> Tokens:
    """A guess for English, where answers have so many tokens."""
    return Tokens(len(sent.encode()) // BYTES_PER_TOKEN + OVERHEAD // 2, round(written))


class Budget:
    """Counts what was spent, and what the questions under way may yet cost. Threads share it.

    Args:
        prices: None where they are not known; then tokens are counted and nothing is refused.
        limit: in dollars, for all that was ever spent; None for none. spent: so far, tokens.

    Raises:
        ConfigError: a limit without prices, or one of them negative or no number.
    """

    def __init__(
        self, prices: Prices | None, limit: float | None = None, spent: Tokens = NOTHING
    ) -> None:
        if limit is not None and prices is None:
            raise ConfigError("--max-cost goes with --prices; give the server's two prices")
        if not all(math.isfinite(x) and x >= 0 for x in [*(prices or ()), limit or 0]):
            raise ConfigError(
                f"prices are {tuple(prices or ())} and the most that may be spent is {limit}; give "
                "dollars, 0 or more"
            )
        self._prices, self._limit = prices, math.inf if limit is None else limit
        self.spent = spent
        self._taken = 0.0  # dollars that are under way
        self._lock = threading.Lock()

    @property
    def cost(self) -> float | None:
        """Dollars spent, or None where no prices are known."""
        return None if self._prices is None else self._prices.cost(self.spent)

    def take(self, most: Tokens) -> bool:
        """Set aside the most that a question can cost; False if there is not so much left."""
        if self._prices is None:
            return True
        with self._lock:
            cost = self._prices.cost(most)
            if self._prices.cost(self.spent) + self._taken + cost > self._limit:
                return False
            self._taken += cost
            return True

    def settle(self, most: Tokens, billed: Tokens) -> None:
        """Book what it did cost."""
        with self._lock:
            self.spent = self.spent + billed
            if self._prices is not None:
                self._taken -= self._prices.cost(most)
