"""How sure a share of right answers is, and the difference between two of them.

One job: `wilson` for one model, `compare` for two that answered the same questions, `sign_test` for
two of which somebody prefers one, again and again.

Sources: Wilson, Probable inference, the law of succession, and statistical inference, Journal of
the American Statistical Association 22 (1927), 209-212. McNemar, Note on the sampling error of the
difference between correlated proportions or percentages, Psychometrika 12 (1947), 153-157.
Newcombe, Two-sided confidence intervals for the single proportion: comparison of seven methods,
Statistics in Medicine 17 (1998a), 857-872; Improved confidence intervals for the difference between
binomial proportions based on paired data, Statistics in Medicine 17 (1998b), 2635-2650.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from gptlib.errors import DataError

Z = NormalDist().inv_cdf(0.975)  # 1.96: of a normal variable, 95% lies within so many deviations


def wilson(right: int, n: int) -> tuple[float, float]:
    """The 95% interval of a share, `right` of `n` (Wilson 1927; Newcombe 1998a, method 3).

    Derived in chapter 6, *Does it know anything?*

    It never leaves [0, 1] and holds what it promises for few questions and for shares near 0 or 1,
    where the share plus and minus 1.96 standard errors does not.

    Raises:
        DataError: no questions, or more right answers than questions.
    """
    if not 0 <= right <= n or n < 1:
        raise DataError(f"{right} right answers of {n}; give a share of one question or more")
    p, spread = right / n, Z * math.sqrt(right * (n - right) / n + Z * Z / 4)
    middle = right + Z * Z / 2
    low, high = ((middle + sign * spread) / (n + Z * Z) for sign in (-1, 1))
    return max(0.0, min(low, p)), min(1.0, max(high, p))  # rounding may miss p, 0 and 1


@dataclass(frozen=True)
class Comparison:
    """Two models on the same n questions.

    Attributes:
        both, only_a, only_b, neither: how many questions each answered right.
        difference: share of a minus share of b. ci95: its 95% interval.
        p_value: how often two equally good models would differ on as many questions so unevenly.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    difference: float
    ci95: tuple[float, float]
    p_value: float

    @property
    def n(self) -> int:
        """How many questions."""
        return self.both + self.only_a + self.only_b + self.neither


def compare(a: Sequence[bool], b: Sequence[bool]) -> Comparison:
    """Whether one of two models is better on the same questions, answer by answer.

    Derived in chapter 6, *Does it know anything?*

    Questions that both answer alike say nothing about which is better. The test looks at the rest
    only, where a fair coin would decide between equal models (McNemar 1947, in its exact form); it
    sees smaller differences than two intervals side by side do. The interval is Newcombe's
    (1998b, method 10), which combines the two Wilson intervals by how alike the answers are.

    Args:
        a, b: for each question whether it was answered right, in the same order.

    Raises:
        DataError: no answers, or not as many of one as of the other.
    """
    if len(a) != len(b) or not len(a):
        raise DataError(
            f"there are {len(a)} answers of one model and {len(b)} of the other; give both for the "
            "same questions, one or more"
        )
    n, cells = len(a), {(x, y): 0 for x in (True, False) for y in (True, False)}
    for x, y in zip(a, b, strict=True):
        cells[x, y] += 1
    both, only_a, only_b, neither = cells.values()
    p, q = (both + only_a) / n, (both + only_b) / n
    (p_low, p_high), (q_low, q_high) = wilson(both + only_a, n), wilson(both + only_b, n)
    phi = _likeness(both, only_a, only_b, neither)
    below = _combined(p - p_low, q_high - q, phi)
    above = _combined(p_high - p, q - q_low, phi)
    return Comparison(
        both, only_a, only_b, neither,
        difference=p - q, ci95=(p - q - below, p - q + above), p_value=_coin(only_a, only_b),
    )  # fmt: skip


def sign_test(wins: int, losses: int) -> float:
    """How often two equally good models would win so unevenly; ties have been left out.

    It is exact and two-sided: a fair coin that is thrown `wins + losses` times. Without a throw
    it is 1.

    Derived in chapter 9, *Which of two texts is better?*

    Raises:
        DataError: a number below 0.
    """
    if wins < 0 or losses < 0:
        raise DataError(f"{wins} wins and {losses} losses; give two counts of 0 or more")
    return _coin(wins, losses)


def _combined(x: float, y: float, phi: float) -> float:
    """The deviation of a difference, from those of its two sides and their correlation."""
    return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))


def _likeness(both: int, only_a: int, only_b: int, neither: int) -> float:
    """Correlation of two rows of answers; a positive one is corrected for few questions."""
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    if not margins:
        return 0.0
    excess, n = both * neither - only_a * only_b, both + only_a + only_b + neither
    return (max(excess - n / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def _coin(heads: int, tails: int) -> float:
    """How often a fair coin is at least as uneven as this; exact, by whole numbers."""
    n, total, ways = heads + tails, 0, 1
    for k in range(min(heads, tails) + 1):
        total += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, 2 * total / 2**n) if heads != tails else 1.0
