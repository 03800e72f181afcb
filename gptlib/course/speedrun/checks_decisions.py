"""The speedrun's exercises on deciding: when to stop looking, and which changes may go.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gptlib.course.checking import Result, Wrong, check


def first_claim(fn: Callable[[Sequence[float]], int]) -> Result:
    """Check `fn(gaps)`: after how many pairs, from the third on, the mean first stands two of its
    errors from zero, on either side; 0 if it never does.
    """

    def claim(
        gaps: Sequence[float],
        least: int = 3,
        errors: float = 2,
        root: bool = True,
        spread: Callable[[Sequence[float]], float] = statistics.stdev,
        sign: int = 0,
        every: bool = True,
    ) -> int:
        for n in range(least if every else len(gaps), len(gaps) + 1):
            mean, error = statistics.fmean(gaps[:n]), spread(gaps[:n])
            error /= n**0.5 if root else 1
            if (sign * mean if sign else abs(mean)) >= errors * error:
                return n
        return 0

    def but(**change: Any) -> Callable[[Sequence[float]], int]:
        return lambda gaps: claim(gaps, **change)

    def of_all(gaps: Sequence[float]) -> int:
        return claim(gaps, spread=lambda seen: statistics.stdev(gaps))

    return check(
        fn,
        cases=[
            ([-0.022, 0.016, -0.014, -0.011, -0.022, -0.013, -0.011],),
            ([-0.019, -0.027, -0.019, -0.016, -0.012],),
            ([0.016, -0.018, 0.013, -0.004, -0.009],),
            ([-0.030, 0.001, -0.006, -0.001, 0.021, -0.020],),
            ([0.013, 0.017, 0.009, 0.037, -0.013, 0.001, 0.003],),
        ],
        right=claim,
        wrongs=[
            Wrong(
                "that looks after two pairs already, and two may agree by luck: from the third on",
                but(least=2),
            ),
            Wrong(
                "it waits for a fourth pair: the first look is after the third",
                but(least=4),
            ),
            Wrong(
                "that is how single differences scatter; the mean of n strays by √n less",
                but(root=False),
            ),
            Wrong(
                "one error from zero: luck alone goes as far one time in three",
                but(errors=1),
            ),
            Wrong(
                "the spread was taken with n in the place of n - 1: the mean came from these very "
                "differences",
                but(spread=statistics.pstdev),
            ),
            Wrong(
                "a harm is an effect too: the mean may stand on either side of zero",
                but(sign=1),
            ),
            Wrong(
                "the other sign: a mean above zero counts as well",
                but(sign=-1),
            ),
            Wrong(
                "that looks once, at the end; this reader looks after every pair",
                but(every=False),
            ),
            Wrong(
                "the error knows pairs that were not run yet: take the scatter of those so far",
                of_all,
            ),
            Wrong(
                "counted from zero: return how many pairs there were, and 0 for never",
                lambda gaps: claim(gaps) - 1,
            ),
        ],
        success="stopped where somebody would who looks after every pair",
    )  # fmt: skip


class _Recipe:
    """Losses by which changes are in, and what is asked of them beyond their own savings."""

    def __init__(self, saves: Mapping[str, float], pairs: Mapping[str, float]) -> None:
        self.saves, self.pairs = saves, pairs

    def __repr__(self) -> str:
        return f"losses of {len(self.saves)} changes"

    def __deepcopy__(self, memo: object) -> "_Recipe":
        return self

    def __call__(self, chosen: Iterable[str]) -> float:
        there = set(chosen)
        alone = sum(self.saves[name] for name in there)
        return 2.5 - alone - sum(v for k, v in self.pairs.items() if set(k) <= there)


def prune(fn: Callable[[Callable, Sequence[str], float], list[str]]) -> Result:
    """Check `fn(loss, changes, worth)`: the changes that stay when those that save too little last
    are left out one at a time; `loss` takes a set of them.
    """
    Losses = Callable[[Iterable[str]], float]

    def costs(loss: Losses, there: Sequence[str]) -> dict[str, float]:
        return {name: loss(set(there) - {name}) - loss(set(there)) for name in there}

    def right(loss: Losses, changes: Sequence[str], worth: float, most: int = 99) -> list[str]:
        there = list(changes)
        while there and most:
            cost = costs(loss, there)
            least = min(there, key=cost.__getitem__)
            if cost[least] >= worth:
                break
            there.remove(least)
            most -= 1
        return sorted(there)

    def at_once(loss: Losses, changes: Sequence[str], worth: float) -> list[str]:
        cost = costs(loss, changes)
        return sorted(name for name in changes if cost[name] >= worth)

    def alone(loss: Losses, changes: Sequence[str], worth: float) -> list[str]:
        return sorted(name for name in changes if loss(set()) - loss({name}) >= worth)

    def upward(loss: Losses, changes: Sequence[str], worth: float) -> list[str]:
        there: list[str] = []
        while left := [name for name in changes if name not in there]:
            best = min(left, key=lambda name: loss({*there, name}))
            if loss(set(there)) - loss({*there, best}) < worth:
                break
            there.append(best)
        return sorted(there)

    def from_full(loss: Losses, changes: Sequence[str], worth: float) -> list[str]:
        there, full = list(changes), loss(set(changes))
        while there:
            least = min(there, key=lambda name: loss(set(there) - {name}))
            if loss(set(there) - {least}) - full >= worth:
                break
            there.remove(least)
        return sorted(there)

    def one_more(loss: Losses, changes: Sequence[str], worth: float) -> list[str]:
        there = right(loss, changes, worth)
        cost = costs(loss, there)
        return [name for name in there if name != min(there, key=cost.__getitem__)]

    return check(
        fn,
        cases=[
            (
                _Recipe({"a": 0.202, "b": 0.203, "c": 0.21, "d": 0.015}, {"bc": -0.1, "ab": -0.19}),
                ["c", "d", "a", "b"],
                0.02,
            ),
            (
                _Recipe({"a": 0.033, "b": 0.013, "c": 0.103, "d": -0.02}, {"ad": 0.06, "bd": -0.1}),
                ["a", "b", "c", "d"],
                0.02,
            ),
            (
                _Recipe({"a": 0.014, "b": 0.014, "c": 0.008, "d": -0.018}, {"ad": 0.09}),
                ["b", "c", "a", "d"],
                0.02,
            ),
        ],
        right=right,
        wrongs=[
            Wrong(
                "all that saved little were thrown out at once: two that do the same work each "
                "look useless beside the other; look again after each",
                at_once,
            ),
            Wrong(
                "that builds up from nothing: two that save only together never get in; start with "
                "all of them",
                upward,
            ),
            Wrong("that is what each saves alone; here each is left out of what is there", alone),
            Wrong(
                "the loss was compared with that of the whole recipe: compare with what is there "
                "now",
                from_full,
            ),
            Wrong(
                "only one was left out: go on as long as the least useful saves too little",
                lambda *case: right(*case, most=1),
            ),
            Wrong(
                "one too many was left out: stop before the cost reaches what it is worth",
                one_more,
            ),
            Wrong(
                "those are the ones that were left out",
                lambda *case: sorted(set(case[1]) - set(right(*case))),
            ),
        ],
        success="each left out beside what was still there: of two that do the same, one stays",
    )  # fmt: skip
