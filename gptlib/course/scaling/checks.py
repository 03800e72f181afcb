"""Chapter 4's exercises: passes, FLOPs, a difference of seeds, early stopping, a budget.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import statistics
from collections.abc import Callable, Sequence

from gptlib.course.checking import Result, Wrong, check
from gptlib.course.scaling.law import Law


def passes(fn: Callable[[int, int, int, int], float]) -> Result:
    """Check `fn(steps, B, T, characters)`: how often a run has read its training text."""

    def right(steps: int, B: int, T: int, characters: int) -> float:
        return steps * B * T / characters

    return check(
        fn,
        cases=[(5000, 64, 256, 1003854), (2000, 12, 64, 1003854), (100, 4, 8, 6400)],
        right=right,
        wrongs=[
            Wrong(
                "steps were called epochs: a step reads one batch, not the whole text",
                lambda steps, B, T, characters: steps,
            ),
            Wrong(
                "a window was counted as one character: it has T, and each is a prediction",
                lambda steps, B, T, characters: steps * B / characters,
            ),
            Wrong(
                "the batch is missing: a step reads B windows of T characters",
                lambda steps, B, T, characters: steps * T / characters,
            ),
            Wrong(
                "upside down: that is the share of the reading that one pass is",
                lambda steps, B, T, characters: characters / (steps * B * T),
            ),
            Wrong(
                "that is how many characters were read; divide by how many there are",
                lambda steps, B, T, characters: steps * B * T,
            ),
            Wrong(
                "cut to whole passes: two and a half readings are not two; divide with /",
                lambda steps, B, T, characters: steps * B * T // characters,
            ),
        ],
        success="5,000 steps of the published table are 81.6 passes",
        tolerance=1e-9,
    )


def training_flops(fn: Callable[[int, int, int, int, int], float]) -> Result:
    """Check `fn(V, T, C, L, tokens)`: FLOPs to train a GPT with a tied head on so many tokens.

    Matrices only: biases and norms are left out.
    """

    def weights(V: int, C: int, L: int) -> int:
        return V * C + 12 * L * C * C

    def right(V: int, T: int, C: int, L: int, tokens: int) -> float:
        return tokens * (6 * weights(V, C, L) + 12 * L * C * T)

    def with_weights(count: Callable[[int, int, int, int], int]) -> Callable[..., float]:
        return lambda V, T, C, L, tokens: tokens * (6 * count(V, T, C, L) + 12 * L * C * T)

    return check(
        fn,
        cases=[(65, 256, 384, 6, 1000), (45, 64, 96, 4, 1), (50257, 1024, 768, 12, 7)],
        right=right,
        wrongs=[
            Wrong(
                "forward only, 2 for each weight: the way back costs twice as much again",
                lambda V, T, C, L, tokens: right(V, T, C, L, tokens) / 3,
            ),
            Wrong(
                "forward only for the weights, all of it for attention: 6 for each weight",
                lambda V, T, C, L, tokens: tokens * (2 * weights(V, C, L) + 12 * L * C * T),
            ),
            Wrong(
                "one for each weight: a weight multiplies and adds, forward once and back twice",
                lambda V, T, C, L, tokens: tokens * (weights(V, C, L) + 12 * L * C * T),
            ),
            Wrong(
                "attention's own two products are missing: 12 L C T a token, no weights in them",
                lambda V, T, C, L, tokens: tokens * 6 * weights(V, C, L),
            ),
            Wrong(
                "the position table was counted: it is looked up and added, never multiplied",
                with_weights(lambda V, T, C, L: weights(V, C, L) + T * C),
            ),
            Wrong(
                "two mistakes: the position table was counted, which multiplies nothing, and "
                "attention's two products were forgotten, which have no weights",
                lambda V, T, C, L, tokens: tokens * 6 * (weights(V, C, L) + T * C),
            ),
            Wrong(
                "the head is missing: the token table multiplies once a token, as the tied head",
                with_weights(lambda V, T, C, L: 12 * L * C * C),
            ),
            Wrong(
                "the token table was counted twice: looking a row up multiplies nothing",
                with_weights(lambda V, T, C, L: weights(V, C, L) + V * C),
            ),
            Wrong(
                "attention grows with T squared a window, so with T a token, not T squared",
                lambda V, T, C, L, tokens: tokens * (6 * weights(V, C, L) + 12 * L * C * T * T),
            ),
            Wrong(
                "that is for one token; multiply by how many are read",
                lambda V, T, C, L, tokens: right(V, T, C, L, 1),
            ),
        ],
        success="6 for each weight that multiplies, 12 L C T for attention, times the tokens",
        tolerance=1e-12,
    )


def difference(fn: Callable[[Sequence[float], Sequence[float]], tuple[float, float]]) -> Result:
    """Check `fn(a, b)`: (mean of a minus mean of b, standard error of that), seeds unpaired."""

    def error(values: Sequence[float]) -> float:
        return statistics.variance(values) / len(values)

    def right(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
        return statistics.fmean(a) - statistics.fmean(b), (error(a) + error(b)) ** 0.5

    def with_error(of: Callable[..., float]) -> Callable[..., tuple[float, float]]:
        return lambda a, b: (right(a, b)[0], of(a, b))

    return check(
        fn,
        cases=[([1.5, 1.7, 1.6], [1.4, 1.5, 1.3, 1.8]), ([2.0, 2.3], [2.5, 2.1, 2.2])],
        right=right,
        wrongs=[
            Wrong(
                "the difference has the wrong sign: a minus b",
                lambda a, b: (-right(a, b)[0], right(a, b)[1]),
            ),
            Wrong(
                "that is how single runs scatter, not how means do: divide each variance by its "
                "number of seeds",
                with_error(lambda a, b: (statistics.variance(a) + statistics.variance(b)) ** 0.5),
            ),
            Wrong(
                "the two errors were added: they rarely point the same way; add their squares",
                with_error(lambda a, b: error(a) ** 0.5 + error(b) ** 0.5),
            ),
            Wrong(
                "divided by n: the mean was fitted to these very runs, so divide by n - 1",
                with_error(
                    lambda a, b: (
                        (statistics.pvariance(a) / len(a) + statistics.pvariance(b) / len(b)) ** 0.5
                    )
                ),
            ),
            Wrong(
                "the root is missing: a variance is in nats squared",
                with_error(lambda a, b: error(a) + error(b)),
            ),
            Wrong(
                "only the first mean's error: the second is uncertain as well",
                with_error(lambda a, b: error(a) ** 0.5),
            ),
        ],
        success="the difference, and by how much it strays by the luck of the seeds",
        tolerance=1e-9,
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
