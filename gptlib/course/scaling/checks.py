"""Chapter 4's exercises: readings, early stopping, who may be the best, FLOPs, a budget.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

from gptlib.course.checking import Result, Wrong, check
from gptlib.course.scaling.law import Law


def readings(fn: Callable[[int, int, int], tuple[int, float]]) -> Result:
    """Check `fn(windows, B, steps)`: how often dealt windows were read, and which share once more.

    Windows are dealt like cards: each once, then all anew.
    """

    def right(windows: int, B: int, steps: int) -> tuple[int, float]:
        times, over = divmod(steps * B, windows)
        return times, over / windows

    return check(
        fn,
        cases=[(3921, 64, 5000), (3921, 64, 2000), (1000, 8, 50), (90, 12, 50)],
        right=right,
        wrongs=[
            Wrong(
                "steps were called passes: a step reads one batch, not the whole text",
                lambda windows, B, steps: (steps, 0.0),
            ),
            Wrong(
                "the batch is missing: a step reads B windows",
                lambda windows, B, steps: right(windows, 1, steps),
            ),
            Wrong(
                "that is the mean over all windows; no window was read a fraction of a time",
                lambda windows, B, steps: (steps * B / windows, right(windows, B, steps)[1]),
            ),
            Wrong(
                "rounded to the nearest: a pass that is under way has not reached every window",
                lambda windows, B, steps: (
                    round(steps * B / windows), right(windows, B, steps)[1]
                ),
            ),
            Wrong(
                "rounded up: a pass that is under way has not reached every window",
                lambda windows, B, steps: (
                    -(-steps * B // windows), right(windows, B, steps)[1]
                ),
            ),
            Wrong(
                "that is the share that the pass under way has not reached yet",
                lambda windows, B, steps: (
                    right(windows, B, steps)[0], 1 - right(windows, B, steps)[1]
                ),
            ),
            Wrong(
                "that is how many windows were read once more; divide by how many there are",
                lambda windows, B, steps: divmod(steps * B, windows),
            ),
        ],
        success="every window as often as there were whole passes, and some of them once more",
        tolerance=1e-9,
    )  # fmt: skip


def gated_flops(fn: Callable[[int, int, int, int, int, int], float]) -> Result:
    """Check `fn(V, T, C, L, F, W)`: FLOPs a token to train a GPT of another build.

    It has a head of its own, a gate in each feed-forward layer, F wide, and each token looks back
    at W places. Matrices only.
    """

    def count(
        V: int, T: int, C: int, L: int, F: int, W: int,
        each: int = 6, wide: int = 3, tables: int = 1, places: int = 0, reach: int | None = None,
    ) -> float:  # fmt: skip
        weights = tables * V * C + places * T * C + L * (4 * C * C + wide * C * F)
        return each * weights + 2 * each * L * C * (W if reach is None else reach)

    def but(**change: int) -> Callable[..., float]:
        return lambda V, T, C, L, F, W: count(V, T, C, L, F, W, **change)

    return check(
        fn,
        cases=[
            (65, 256, 384, 6, 1024, 64), (50257, 1024, 768, 12, 2048, 256),
            (300, 128, 96, 2, 200, 128),
        ],
        right=count,
        wrongs=[
            Wrong("forward only: the way back costs twice as much again", but(each=2)),
            Wrong(
                "the token table was counted beside the head: a row that is looked up multiplies "
                "nothing, whether the head is tied or not",
                but(tables=2),
            ),
            Wrong("the head is missing: its V × C weights multiply once a token", but(tables=0)),
            Wrong(
                "the position table was counted: it is looked up and added, never multiplied",
                but(places=1),
            ),
            Wrong(
                "that is a feed-forward layer without a gate: there are three matrices of C × F",
                but(wide=2),
            ),
            Wrong(
                "that is the feed-forward layer of GPT-2, 8C²: here its width is F",
                lambda V, T, C, L, F, W: count(V, T, C, L, 8 * C, W, wide=1),
            ),
            Wrong(
                "each token was compared with all T places; here it looks back at W",
                lambda V, T, C, L, F, W: count(V, T, C, L, F, T),
            ),
            Wrong(
                "attention's own two products are missing: they have no weights, and cost",
                but(reach=0),
            ),
            Wrong(
                "attention's own products were counted forward only",
                lambda V, T, C, L, F, W: count(V, T, C, L, F, W, reach=0) + 4 * L * C * W,
            ),
        ],
        success="what multiplies is counted, and nothing that is only looked up",
        tolerance=1e-12,
    )  # fmt: skip


def contenders(fn: Callable[[Mapping[str, Sequence[float]]], list[str]]) -> Result:
    """Check `fn(losses)`, losses by seed for each name: the names that may be the best.

    That is the lowest mean, and each that does not stand two standard errors of the difference
    above it. One seed has no scatter, so nothing can be said against or by means of it.
    """
    Losses = Mapping[str, Sequence[float]]

    def error(values: Sequence[float]) -> float:
        return statistics.variance(values) / len(values)

    def left(
        losses: Losses,
        apart: Callable[[Sequence[float], Sequence[float]], float],
        errors: float = 2,
        lone: bool = True,
    ) -> list[str]:
        lowest = min(losses, key=lambda name: statistics.fmean(losses[name]))

        def may(name: str) -> bool:
            if min(len(losses[name]), len(losses[lowest])) < 2:
                return lone or name == lowest
            gap = statistics.fmean(losses[name]) - statistics.fmean(losses[lowest])
            return name == lowest or gap < errors * apart(losses[name], losses[lowest])

        return [name for name in losses if may(name)]

    def of_means(a: Sequence[float], b: Sequence[float]) -> float:
        return (error(a) + error(b)) ** 0.5

    def rather(
        apart: Callable[[Sequence[float], Sequence[float]], float] = of_means,
        errors: float = 2,
        lone: bool = True,
    ) -> Callable[[Losses], list[str]]:
        return lambda losses: left(losses, apart, errors, lone)

    def three(mean: float, of_mean: float) -> list[float]:
        """Three losses whose mean has this error."""
        d = of_mean * 3**0.5
        return [round(mean + d, 4), round(mean, 4), round(mean - d, 4)]

    return check(
        fn,
        cases=[
            ({"near": three(2.010, 0.01), "lowest": three(2.000, 0.01)},),
            ({"lowest": three(2.000, 0.01), "near": three(2.018, 0.01)},),
            ({"lowest": three(1.500, 0.02), "steady": three(1.520, 0.002)},),
            ({"steady": three(1.500, 0.002), "loose": three(1.520, 0.02)},),
            ({"lowest": three(2.000, 0.01), "far": three(2.033, 0.01)},),
            ({"far": three(2.044, 0.01), "lowest": three(2.000, 0.01)},),
            ({"lowest": [1.00, 1.01], "lone": [1.4], "far": [1.50, 1.51, 1.52]},),
        ],
        right=rather(),
        wrongs=[
            Wrong("one error apart: luck alone goes as far one time in three", rather(errors=1)),
            Wrong(
                "only one of the two means was called uncertain: the difference has the luck of "
                "both",
                rather(apart=lambda a, b: error(a) ** 0.5),
            ),
            Wrong(
                "the error of the lowest mean alone: the difference has the luck of both",
                rather(apart=lambda a, b: error(b) ** 0.5),
            ),
            Wrong(
                "a setting with one seed was ruled out, or ruled others out: nothing is known "
                "about its scatter",
                rather(lone=False),
            ),
            Wrong(
                "the two errors were added: they rarely point the same way; add their squares",
                rather(apart=lambda a, b: error(a) ** 0.5 + error(b) ** 0.5),
            ),
            Wrong(
                "that is how single runs scatter, not how means do: divide each variance by its "
                "number of seeds",
                rather(apart=lambda a, b: (statistics.variance(a) + statistics.variance(b)) ** 0.5),
            ),
            Wrong(
                "those are the ones that are ruled out",
                lambda losses: [name for name in losses if name not in rather()(losses)],
            ),
            Wrong(
                "that is the lowest mean alone: which others stand too near to be ruled out?",
                rather(errors=0, lone=False),
            ),
        ],
        success="nobody is ruled out by luck, nor by a single seed",
    )


def early_stop(fn: Callable[[Sequence[float], int], tuple[int, int]]) -> Result:
    """Check `fn(vals, patience)`: (index of the best, index at which training stops).

    Training stops at the first validation that is the `patience`-th in a row without a new best,
    or at the last.
    """

    def right(vals: Sequence[float], patience: int) -> tuple[int, int]:
        best = 0
        for index, val in enumerate(vals):
            if val < vals[best]:
                best = index
            if index - best == patience:
                return best, index
        return best, len(vals) - 1

    def against_previous(vals: Sequence[float], patience: int) -> tuple[int, int]:
        best, worse = 0, 0
        for index, val in enumerate(vals):
            best = index if val < vals[best] else best
            worse = worse + 1 if index and val >= vals[index - 1] else 0
            if worse == patience:
                return best, index
        return best, len(vals) - 1

    def never_reset(vals: Sequence[float], patience: int) -> tuple[int, int]:
        best, worse = 0, 0
        for index, val in enumerate(vals):
            if val < vals[best]:
                best = index
            elif index:
                worse += 1
            if worse == patience:
                return best, index
        return best, len(vals) - 1

    return check(
        fn,
        cases=[
            ([2.0, 2.1, 2.05, 2.2, 2.3, 2.4, 1.0], 3),
            ([3.0, 2.5, 2.6, 2.0, 2.1, 1.8, 1.9, 1.7], 3),
            ([2.0, 1.9, 2.4, 2.3, 2.2, 2.1], 2),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the last model was kept, not the best: training stopped because it had got worse",
                lambda vals, patience: (right(vals, patience)[1],) * 2,
            ),
            Wrong(
                "one validation too late: stop at the patience-th without a new best",
                lambda vals, patience: (
                    right(vals, patience)[0], min(right(vals, patience)[1] + 1, len(vals) - 1)
                ),
            ),
            Wrong(
                "that compares with the validation before; 2.4, 2.3, 2.2 goes down and is no new "
                "best: compare with the best so far",
                against_previous,
            ),
            Wrong(
                "the count goes on over a new best: it must begin at 0 again",
                never_reset,
            ),
            Wrong(
                "looked at validations that would never have been made: stop first, then choose",
                lambda vals, patience: (
                    min(range(len(vals)), key=vals.__getitem__), right(vals, patience)[1]
                ),
            ),
            Wrong(
                "it never stopped: that is the best of a run that went on to the end",
                lambda vals, patience: (
                    min(range(len(vals)), key=vals.__getitem__), len(vals) - 1
                ),
            ),
        ],
        success="stopped in time, and the best one kept",
    )  # fmt: skip


def choose(fn: Callable[[Law, float, Sequence[float]], tuple[float, float]]) -> Result:
    """Check `fn(law, flops, sizes)`: (N, R), the best of the sizes and the tokens it can read."""

    def by(key: Callable[[Law, float, float], float]) -> Callable[..., tuple[float, float]]:
        def answer(law: Law, flops: float, sizes: Sequence[float]) -> tuple[float, float]:
            N = min(sizes, key=lambda N: key(law, N, flops / (6 * N)))
            return N, flops / (6 * N)

        return answer

    right = by(lambda law, N, R: law(N, R))

    def without_six(law: Law, flops: float, sizes: Sequence[float]) -> tuple[float, float]:
        N = min(sizes, key=lambda N: law(N, flops / N))
        return N, flops / N

    law = Law(0.6, 60.0, 0.55, 300.0, 0.45)
    paper = Law(1.69, 406.4, 0.34, 410.7, 0.28)
    return check(
        fn,
        cases=[
            (law, 1e12, [1e4, 3e4, 1e5, 3e5, 1e6, 3e6]),
            (paper, 5.76e23, [4e8, 4e9, 4e10, 2.8e11, 1e12]),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the two are swapped: first the size N, then the tokens R",
                lambda law, flops, sizes: right(law, flops, sizes)[::-1],
            ),
            Wrong(
                "R is FLOPs / (6 N): each weight costs six for every token",
                without_six,
            ),
            Wrong(
                "that is the largest model, which wins where all read the same; with fixed FLOPs "
                "it reads least",
                by(lambda law, N, R: -N),
            ),
            Wrong(
                "that is the smallest model: it reads most, and cannot hold it",
                by(lambda law, N, R: N),
            ),
            Wrong(
                "twenty tokens a parameter is another law's answer for another text: ask this law",
                by(lambda law, N, R: abs(R / N - 20)),
            ),
            Wrong(
                "that is the highest loss: take the smallest",
                by(lambda law, N, R: -law(N, R)),
            ),
        ],
        success="the size at which a little more model and a little more text are worth the same",
        tolerance=1e-9,
    )
