"""The speedrun's exercises: fair lengths, a fair gain, pairs, seeds, rotation, Muon, overlap.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

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


def gain(fn: Callable[[Mapping[float, float], Mapping[float, float]], float]) -> Result:
    """Check `fn(base, change)`, losses by rate: what the change saves when both chose theirs."""

    def right(base: Mapping[float, float], change: Mapping[float, float]) -> float:
        return min(base.values()) - min(change.values())

    def best(losses: Mapping[float, float]) -> float:
        return min(losses, key=losses.__getitem__)

    def mean(losses: Mapping[float, float]) -> float:
        return statistics.fmean(losses.values())

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
            ({1e-2: 1.50, 3e-2: 1.62}, {1e-2: 1.57, 3e-2: 1.56}),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the sign: what is saved is the baseline's loss minus the change's",
                lambda base, change: -right(base, change),
            ),
            Wrong(
                "compared at the first rate, which suits neither: let both choose their best",
                lambda base, change: base[min(base)] - change[min(change)],
            ),
            Wrong(
                "the change had to run at the baseline's best rate: it may like another",
                lambda base, change: base[best(base)] - change[best(base)],
            ),
            Wrong(
                "the baseline had to run at the change's best rate: give it its own",
                lambda base, change: base[best(change)] - change[best(change)],
            ),
            Wrong(
                "that is the largest gain at any rate: it was picked where the baseline is weakest",
                lambda base, change: max(base[rate] - change[rate] for rate in base),
            ),
            Wrong(
                "a mean over rates counts rates that nobody would use",
                lambda base, change: mean(base) - mean(change),
            ),
        ],
        success="best against best: both sides were tuned",
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


def rotate(fn: Callable[[Tensor, int], Tensor]) -> Result:
    """Check `fn(x, m)`: x (D,) turned as `gptlib.rotary` turns a vector at position m."""

    def turned(
        x: Tensor,
        m: float,
        power: float = 2.0,
        way: float = 1.0,
        same_speed: bool = False,
        bad_sign: bool = False,
    ) -> Tensor:
        D = len(x)
        j = torch.arange(D // 2)
        angle = way * m * (torch.ones(D // 2) if same_speed else 10_000.0 ** (-power * j / D))
        a, b = x.chunk(2)
        sign = -1.0 if bad_sign else 1.0
        return torch.cat(
            [a * angle.cos() - b * angle.sin(), sign * a * angle.sin() + b * angle.cos()]
        )

    def neighbors(x: Tensor, m: int) -> Tensor:
        order = torch.cat([torch.arange(0, len(x), 2), torch.arange(1, len(x), 2)])
        out = torch.empty_like(x)
        out[order] = turned(x[order], m)
        return out

    return check(
        fn,
        cases=[
            (torch.tensor([1.0, 2.0, -1.0, 0.5]), 3),
            (torch.tensor([0.3, -1.2, 0.7, 1.9, -0.4, 0.8, 1.1, -2.0]), 11),
            (torch.tensor([1.0, 0.0, 0.0, 0.0]), 1),
        ],
        right=turned,
        wrongs=[
            Wrong(
                "turned the other way: the first coordinate is a cos - b sin",
                lambda x, m: turned(x, m, way=-1.0),
            ),
            Wrong(
                "neighbors were paired, 0 with 1, 2 with 3; here channel j goes with j + D/2 "
                "(both are used; checkpoints of the one cannot be read with the other)",
                neighbors,
            ),
            Wrong(
                "the speeds fall too slowly: the exponent is -2j / D",
                lambda x, m: turned(x, m, power=1.0),
            ),
            Wrong(
                "all pairs turn at one speed: after 2 pi tokens every pair is back at its start",
                lambda x, m: turned(x, m, same_speed=True),
            ),
            Wrong(
                "the position is missing: the angle is m times the pair's speed",
                lambda x, m: turned(x, 1.0),
            ),
            Wrong(
                "a sign: the second coordinate is a sin + b cos, or the length changes",
                lambda x, m: turned(x, m, bad_sign=True),
            ),
        ],
        success="turned, and exactly as long as before",
    )


def newton_schulz(fn: Callable[[Tensor, int], Tensor]) -> Result:
    """Check `fn(G, steps)`: G (R, C), R <= C, with its directions kept and its strengths lifted."""
    a, b, c = 3.4445, -4.7750, 2.0315

    def lifted(
        G: Tensor,
        steps: int,
        size: Callable[[Tensor], Tensor] = torch.linalg.norm,
        powers: tuple[float, float, float] = (a, b, c),
    ) -> Tensor:
        X = G / size(G)
        for _ in range(steps):
            S = X @ X.T
            X = powers[0] * X + powers[1] * S @ X + powers[2] * S @ S @ X
        return X

    def by_numbers(G: Tensor, steps: int) -> Tensor:
        X = G / G.norm()
        for _ in range(steps):
            X = a * X + b * X**3 + c * X**5
        return X

    def one_product(G: Tensor, steps: int) -> Tensor:
        X = G / G.norm()
        S = X @ X.T
        for _ in range(steps):
            X = a * X + b * S @ X + c * S @ S @ X
        return X

    def cut_each_time(G: Tensor, steps: int) -> Tensor:
        X = G
        for _ in range(steps):
            X = lifted(X, 1)
        return X

    def exactly(G: Tensor, steps: int) -> Tensor:
        U, _, Vt = torch.linalg.svd(G, full_matrices=False)
        return U @ Vt

    draw = torch.Generator().manual_seed(0)
    cases = [
        (scale * torch.randn(shape, generator=draw), steps)
        for scale, shape, steps in ((0.3, (2, 3), 1), (0.2, (3, 4), 3), (0.3, (4, 6), 5))
    ]
    return check(
        fn,
        cases=cases,
        right=lifted,
        wrongs=[
            Wrong(
                "the powers were taken number by number; those of a matrix are products: "
                "X @ X.T @ X",
                by_numbers,
            ),
            Wrong(
                "divide by the norm first: the polynomial lifts what lies between 0 and 1",
                lambda G, steps: lifted(G, steps, size=lambda G: torch.tensor(1.0)),
            ),
            Wrong(
                "divided by the largest number: a singular value may be larger than any number in "
                "the matrix, the norm is larger than all of them",
                lambda G, steps: lifted(G, steps, size=lambda G: G.abs().max()),
            ),
            Wrong(
                "the norm is for the start only: divided in every step, what rose sinks again",
                cut_each_time,
            ),
            Wrong(
                "X @ X.T has to be made anew in every step, from the X that was lifted",
                one_product,
            ),
            Wrong(
                "one step, whatever was asked: the loop has to hand its X on",
                lambda G, steps: lifted(G, 1),
            ),
            Wrong(
                "the fifth power is missing: c times X @ X.T, twice, before X",
                lambda G, steps: lifted(G, steps, powers=(a, b, 0.0)),
            ),
            Wrong(
                "that is the exact answer, strengths of one; Muon does without the decomposition "
                "and comes near",
                exactly,
            ),
        ],
        success="the same directions, and strengths near one, by products alone",
        tolerance=1e-3,
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
