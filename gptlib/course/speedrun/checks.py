"""The speedrun's exercises on comparing: fair lengths, a fair gain, pairs, seeds, overlap.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from gptlib.course.checking import Result, Wrong, check


def fair_steps(fn: Callable[[int, int, float, int, float], tuple[float, float]]) -> Result:
    """Check `fn(steps, B, ms, new_B, new_ms)`: steps for equal tokens, and for equal time."""

    def right(steps: int, B: int, ms: float, new_B: int, new_ms: float) -> tuple[float, float]:
        return steps * B / new_B, steps * ms / new_ms

    return check(
        fn,
        cases=[(2000, 12, 50.0, 24, 80.0), (600, 16, 30.0, 4, 12.0), (1000, 32, 90.0, 48, 150.0)],
        right=right,
        wrongs=[
            Wrong(
                "the two are swapped: first the steps that read as much, then those that take as "
                "long",
                lambda steps, B, ms, new_B, new_ms: right(steps, B, ms, new_B, new_ms)[::-1],
            ),
            Wrong(
                "both upside down: a larger or slower step needs fewer of them",
                lambda steps, B, ms, new_B, new_ms: (steps * new_B / B, steps * new_ms / ms),
            ),
            Wrong(
                "the tokens are upside down: steps times windows must stay what it was",
                lambda steps, B, ms, new_B, new_ms: (steps * new_B / B, steps * ms / new_ms),
            ),
            Wrong(
                "the time is upside down: steps times milliseconds must stay what it was",
                lambda steps, B, ms, new_B, new_ms: (steps * B / new_B, steps * new_ms / ms),
            ),
            Wrong(
                "equally many steps is the one comparison that is not fair: the larger batch has "
                "then read more, and taken longer",
                lambda steps, B, ms, new_B, new_ms: (steps, steps),
            ),
            Wrong(
                "the steps were kept for the tokens: a step of more windows reads more",
                lambda steps, B, ms, new_B, new_ms: (steps, steps * ms / new_ms),
            ),
            Wrong(
                "both answers are for equal tokens: twice the windows need not take twice the "
                "milliseconds",
                lambda steps, B, ms, new_B, new_ms: (steps * B / new_B,) * 2,
            ),
        ],
        success="as much text, or as much time: the same run can win one race and lose the other",
        tolerance=1e-9,
    )


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


def seeds_needed(fn: Callable[[float, float], int]) -> Result:
    """Check `fn(sd, difference)`: the fewest pairs that put it two standard errors from zero."""

    def exact(sd: float, difference: float) -> float:
        return (2 * sd / difference) ** 2

    return check(
        fn,
        cases=[(0.0047, 0.005), (0.021, 0.005), (0.003, 0.005), (0.012, 0.005), (0.04, 0.11)],
        right=lambda sd, difference: math.ceil(exact(sd, difference)),
        wrongs=[
            Wrong(
                "the square is missing: an error shrinks with the root of n, so half the error "
                "takes four times the seeds",
                lambda sd, difference: math.ceil(2 * sd / difference),
            ),
            Wrong(
                "that puts the difference one error from zero, where luck alone is once in three; "
                "two were asked for",
                lambda sd, difference: math.ceil((sd / difference) ** 2),
            ),
            Wrong(
                "that doubles the error for two means that share nothing; sd is already that of "
                "the differences",
                lambda sd, difference: math.ceil(2 * exact(sd, difference)),
            ),
            Wrong("nobody runs a part of a seed: round up", exact),
            Wrong(
                "rounded to the nearest, which is sometimes one pair too few: round up",
                lambda sd, difference: round(exact(sd, difference)),
            ),
            Wrong(
                "rounded down: that is one pair too few",
                lambda sd, difference: math.floor(exact(sd, difference)),
            ),
            Wrong(
                "upside down: the noisier the difference, the more seeds it takes",
                lambda sd, difference: math.ceil((2 * difference / sd) ** 2),
            ),
        ],
        success="half the difference takes four times the seeds",
        tolerance=1e-9,
    )


def interaction(fn: Callable[[float, float, float, float], float]) -> Result:
    """Check `fn(neither, a, b, both)`: what two changes save together beyond their two savings."""

    def right(neither: float, a: float, b: float, both: float) -> float:
        return (neither - both) - (neither - a) - (neither - b)

    return check(
        fn,
        cases=[(2.66, 2.46, 2.19, 2.16), (1.9, 1.8, 1.85, 1.6), (2.0, 2.1, 1.9, 1.8)],
        right=right,
        wrongs=[
            Wrong(
                "the sign: less than the two savings added up must come out negative",
                lambda neither, a, b, both: -right(neither, a, b, both),
            ),
            Wrong(
                "that is all that the two save together; take away what each saves alone",
                lambda neither, a, b, both: neither - both,
            ),
            Wrong(
                "that is what the two savings add up to; what do both save, and how much more is "
                "it?",
                lambda neither, a, b, both: 2 * neither - a - b,
            ),
            Wrong(
                "that is what b saves where a is in already; take away what b saves alone",
                lambda neither, a, b, both: a - both,
            ),
            Wrong(
                "that is what a saves where b is in already; take away what a saves alone",
                lambda neither, a, b, both: b - both,
            ),
            Wrong(
                "neither was subtracted twice over: its loss enters three times, with + - -, and "
                "so once in the end, with -",
                lambda neither, a, b, both: a + b - 2 * neither - both,
            ),
        ],
        success="negative: they do the same work twice; positive: each makes room for the other",
        tolerance=1e-9,
    )
