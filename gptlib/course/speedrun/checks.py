"""The speedrun's exercises on comparing: three clocks, a fair gain, pairs.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptlib.course.checking import Result, Wrong, check

Race = Mapping[str, Any]  # a run's `losses` by step, its windows `B` and milliseconds `ms` a step


def sooner(fn: Callable[[Race, Race, float], tuple[float, float, float]]) -> Result:
    """Check `fn(base, change, goal)`: how many times sooner the change gets to a loss.

    By steps, by windows and by milliseconds. A run has `losses` by step, `B` windows a step and
    `ms` a step, and is there at its first validation that is not above the goal.
    """

    def steps(run: Race, goal: float) -> int:
        return min(step for step, loss in run["losses"].items() if loss <= goal)

    def right(base: Race, change: Race, goal: float) -> tuple[float, ...]:
        fewer = steps(base, goal) / steps(change, goal)
        return fewer, fewer * base["B"] / change["B"], fewer * base["ms"] / change["ms"]

    def by(count: Callable[[Race, float], float]) -> Callable[..., tuple[float, ...]]:
        def answer(base: Race, change: Race, goal: float) -> tuple[float, ...]:
            fewer = count(base, goal) / count(change, goal)
            return fewer, fewer * base["B"] / change["B"], fewer * base["ms"] / change["ms"]

        return answer

    def last(run: Race, goal: float) -> int:
        return max(run["losses"])

    def lowest(run: Race, goal: float) -> int:
        return min(run["losses"], key=run["losses"].__getitem__)

    def settled(run: Race, goal: float) -> int:
        above = [step for step, loss in run["losses"].items() if loss > goal]
        return min(step for step in run["losses"] if step > max(above))

    def run(B: int, ms: float, *losses: float) -> Race:
        return {
            "losses": dict(zip((200, 400, 600, 800, 1000), losses, strict=True)),
            "B": B,
            "ms": ms,
        }

    return check(
        fn,
        cases=[
            (run(12, 50.0, 2.4, 2.1, 2, 1.89, 1.87), run(24, 80.0, 2.2, 1.9, 1.8, 1.7, 1.69), 1.9),
            (run(16, 30.0, 2.4, 2.2, 2.0, 1.95, 1.9), run(4, 12.0, 2.3, 2.0, 2.1, 1.93, 1.97), 2.0),
            (run(8, 20.0, 1.7, 1.5, 1.4, 1.42, 1.45), run(8, 50.0, 1.5, 1.6, 1.39, 1.3, 1.35), 1.5),
        ],
        right=right,
        wrongs=[
            Wrong(
                "all three upside down: what takes half as many is two times as soon",
                lambda *case: tuple(1 / share for share in right(*case)),
            ),
            Wrong(
                "the windows are upside down: a larger step reads more",
                lambda base, change, goal: (
                    right(base, change, goal)[0],
                    right(base, change, goal)[0] * change["B"] / base["B"],
                    right(base, change, goal)[2],
                ),
            ),
            Wrong(
                "the milliseconds are upside down: a slower step takes longer",
                lambda base, change, goal: (
                    *right(base, change, goal)[:2],
                    right(base, change, goal)[0] * change["ms"] / base["ms"],
                ),
            ),
            Wrong(
                "the three are three clocks: a step of one run need not read as much, nor last as "
                "long, as a step of the other",
                lambda *case: (right(*case)[0],) * 3,
            ),
            Wrong(
                "the time was counted for each window, and a step is what takes that long",
                lambda base, change, goal: (
                    *right(base, change, goal)[:2],
                    right(base, change, goal)[1] * base["ms"] / change["ms"],
                ),
            ),
            Wrong(
                "that compares whole runs; each is to be stopped when it first reaches the goal",
                by(last),
            ),
            Wrong("that is where each run was lowest, not where it reached the goal", by(lowest)),
            Wrong(
                "it got there the first time; that the loss went up again afterwards does not undo "
                "it",
                by(settled),
            ),
        ],
        success="three clocks, and a change can be ahead by one and behind by another",
        tolerance=1e-9,
    )  # fmt: skip


def gain(
    fn: Callable[[Mapping[float, float], Mapping[float, float]], tuple[float, bool]],
) -> Result:
    """Check `fn(base, change)`, losses by rate: what is saved when both chose theirs, and whether
    both searches have ended.
    """
    Losses = Mapping[float, float]

    def best(losses: Losses) -> float:
        return min(losses, key=losses.__getitem__)

    def inside(losses: Losses) -> bool:
        return min(losses) < best(losses) < max(losses)

    def saved(base: Losses, change: Losses) -> float:
        return min(base.values()) - min(change.values())

    def ended(base: Losses, change: Losses) -> bool:
        return inside(base) and inside(change)

    def right(base: Losses, change: Losses) -> tuple[float, bool]:
        return saved(base, change), ended(base, change)

    def mean(losses: Losses) -> float:
        return statistics.fmean(losses.values())

    def first_to_last(losses: Losses) -> bool:
        return best(losses) not in (next(iter(losses)), list(losses)[-1])

    def valued(of: Callable[[Losses, Losses], float]) -> Callable[..., tuple[float, bool]]:
        return lambda base, change: (of(base, change), ended(base, change))

    def judged(of: Callable[[Losses, Losses], bool]) -> Callable[..., tuple[float, bool]]:
        return lambda base, change: (saved(base, change), of(base, change))

    return check(
        fn,
        cases=[
            (
                {1e-3: 2.66, 2e-3: 2.37, 4e-3: 2.19, 8e-3: 2.10},
                {1e-3: 2.46, 2e-3: 2.24, 4e-3: 2.16, 8e-3: 2.13},
            ),
            (
                {1e-3: 1.91, 2e-3: 1.83, 4e-3: 1.77, 8e-3: 1.79},
                {1e-3: 1.95, 2e-3: 1.88, 4e-3: 1.79, 8e-3: 1.70},
            ),
            (
                {4e-3: 1.52, 1e-3: 1.71, 8e-3: 1.66, 2e-3: 1.60},
                {4e-3: 1.50, 1e-3: 1.68, 8e-3: 1.62, 2e-3: 1.49},
            ),
            ({1e-2: 1.50, 2e-2: 1.55, 3e-2: 1.62}, {1e-2: 1.57, 2e-2: 1.54, 3e-2: 1.56}),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the sign: what is saved is the baseline's loss minus the change's",
                valued(lambda base, change: -saved(base, change)),
            ),
            Wrong(
                "compared at the first rate, which suits neither: let both choose their best",
                valued(lambda base, change: base[min(base)] - change[min(change)]),
            ),
            Wrong(
                "the change had to run at the baseline's best rate: it may like another",
                valued(lambda base, change: base[best(base)] - change[best(base)]),
            ),
            Wrong(
                "the baseline had to run at the change's best rate: give it its own",
                valued(lambda base, change: base[best(change)] - change[best(change)]),
            ),
            Wrong(
                "that is the largest gain at any rate: it was picked where the baseline is weakest",
                valued(lambda base, change: max(base[rate] - change[rate] for rate in base)),
            ),
            Wrong(
                "a mean over rates counts rates that nobody would use",
                valued(lambda base, change: mean(base) - mean(change)),
            ),
            Wrong(
                "only the baseline's search was looked at: the change's best may lie at an end too",
                judged(lambda base, change: inside(base)),
            ),
            Wrong(
                "only the change's search was looked at: the baseline's best may lie at an end too",
                judged(lambda base, change: inside(change)),
            ),
            Wrong(
                "one finished search is not enough: both have to be",
                judged(lambda base, change: inside(base) or inside(change)),
            ),
            Wrong(
                "the ends are the smallest and the largest rate, whatever comes first in the "
                "dictionary",
                judged(lambda base, change: first_to_last(base) and first_to_last(change)),
            ),
            Wrong(
                "the other way round: a search has ended when its best lies between other rates",
                judged(lambda base, change: not ended(base, change)),
            ),
        ],
        success="best against best, and it is known whether both have been found",
        tolerance=1e-9,
    )


def paired(fn: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> Result:
    """Check `fn(a, b)`, losses of the same seeds: mean of a - b, and its standard error."""

    def gaps(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [x - y for x, y in zip(a, b, strict=True)]

    def with_error(of: Callable[..., float]) -> Callable[..., tuple[float, float]]:
        return lambda a, b: (statistics.fmean(gaps(a, b)), of(a, b))

    def error(values: Sequence[float]) -> float:
        return statistics.stdev(values) / len(values) ** 0.5

    def unpaired(a: Sequence[float], b: Sequence[float]) -> float:
        return (error(a) ** 2 + error(b) ** 2) ** 0.5

    def sizes(a: Sequence[float], b: Sequence[float]) -> list[float]:
        return [abs(gap) for gap in gaps(a, b)]

    right = with_error(lambda a, b: error(gaps(a, b)))
    return check(
        fn,
        cases=[
            ([1.92, 1.95, 1.90, 1.97], [1.91, 1.93, 1.91, 1.94]),
            ([2.10, 2.15, 2.08], [2.11, 2.11, 2.04]),
            ([1.5, 1.7, 1.6, 1.4, 1.8], [1.6, 1.75, 1.72, 1.43, 1.86]),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the sign: a minus b, seed by seed",
                lambda a, b: (-right(a, b)[0], right(a, b)[1]),
            ),
            Wrong(
                "that is chapter 4's error for seeds that are not paired: subtract first, then "
                "take the spread of the differences",
                with_error(unpaired),
            ),
            Wrong(
                "that is how one difference scatters; the mean of n scatters less, by the root "
                "of n",
                with_error(lambda a, b: statistics.stdev(gaps(a, b))),
            ),
            Wrong(
                "divided by n: the spread of a mean shrinks with the root of n",
                with_error(lambda a, b: statistics.stdev(gaps(a, b)) / len(a)),
            ),
            Wrong(
                "the spread was taken with n in the place of n - 1: the mean came from these "
                "very differences",
                with_error(lambda a, b: statistics.pstdev(gaps(a, b)) / len(a) ** 0.5),
            ),
            Wrong(
                "the root is missing: that is the error squared",
                with_error(lambda a, b: statistics.variance(gaps(a, b)) / len(a)),
            ),
            Wrong(
                "the signs were dropped: a change that helps once and hurts once does nothing",
                lambda a, b: (statistics.fmean(sizes(a, b)), error(sizes(a, b))),
            ),
        ],
        success="the luck that both runs of a seed share has dropped out",
        tolerance=1e-9,
    )
