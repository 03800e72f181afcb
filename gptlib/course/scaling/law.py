"""A scaling law: the loss as a function of parameters and of text read, fitted to runs.

One job: `fit_law`, `bootstrap`, and what follows from a law. The form and the way of fitting are
those of Hoffmann et al. (2022, section 3.3 and appendix D.2): L(N, R) = E + a / N^alpha +
b / R^beta, with a Huber loss on the logarithms and many starting points. (They write D for the
tokens, A and B for the factors; in this book D is the size of a head, B a batch.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from gptlib.errors import DataError

DELTA = 1e-3  # where the Huber loss turns from a parabola into a line, as in the paper


@dataclass(frozen=True)
class Law:
    """L(N, R) = E + a / N^alpha + b / R^beta, in nats per token.

    Attributes:
        E: what is left with endless parameters and text: an estimate of the floor.
        a, alpha: what a small model costs. b, beta: what little text costs.
    """

    E: float
    a: float
    alpha: float
    b: float
    beta: float

    @overload
    def __call__(self, N: float, R: float) -> float: ...

    @overload
    def __call__(self, N: np.ndarray, R: float | np.ndarray) -> np.ndarray: ...

    def __call__(self, N: float | np.ndarray, R: float | np.ndarray) -> float | np.ndarray:
        """The loss at N parameters and R tokens read; numbers or arrays of one shape."""
        return self.E + self.a / N**self.alpha + self.b / R**self.beta

    def best_size(self, flops: float) -> float:
        """The N that gives the lowest loss for so many FLOPs, where 6 N R of them are spent.

        Hoffmann et al. (2022), equation 4.
        """
        ratio = (self.alpha * self.a) / (self.beta * self.b)
        power = 1 / (self.alpha + self.beta)
        return ratio**power * (flops / 6) ** (self.beta * power)


def fit_law(N: Sequence[float], R: Sequence[float], losses: Sequence[float]) -> Law:
    """Fit a law to runs of N parameters that read R tokens.

    Derived in chapter 4, *What does size buy, and what does text?*

    Raises:
        DataError: fewer than 6 runs, or fewer than 3 different N or R: five numbers cannot be
            found from them.
    """
    problem = _Problem(N, R, losses)
    if not problem.enough(np.ones((1, len(problem.losses))))[0]:
        raise DataError(
            f"{len(problem.losses)} runs with {len(set(problem.N))} sizes and "
            f"{len(set(problem.R))} amounts of text; five numbers need at least 6 runs, 3 sizes "
            "and 3 amounts"
        )
    starts = problem.starts()
    fitted, objective = problem.solve(starts, np.ones((len(starts), len(problem.losses))))
    return problem.law(fitted[objective.argmin()])


def bootstrap(
    N: Sequence[float], R: Sequence[float], losses: Sequence[float], n: int = 200, seed: int = 0
) -> list[Law]:
    """Fit n laws, each to as many runs drawn from these with replacement.

    How far they lie apart says how much the law depends on which runs there happened to be.
    """
    problem, dice = _Problem(N, R, losses), np.random.default_rng(seed)
    count = len(problem.losses)
    weights = np.zeros((0, count))
    while len(weights) < n:
        drawn = dice.integers(count, size=(n, count))
        drawn = np.stack([np.bincount(row, minlength=count) for row in drawn])
        weights = np.concatenate([weights, drawn[problem.enough(drawn)]])[:n]
    first, objective = problem.solve(problem.starts(), np.ones((27, count)))
    starts = first[objective.argsort()[[0, 9, 18]]]  # the best of all, and two of the others
    fitted, objective = problem.solve(
        np.tile(starts, (n, 1)), np.repeat(weights, len(starts), axis=0)
    )
    best = objective.reshape(n, -1).argmin(1)
    return [problem.law(fitted.reshape(n, -1, 5)[k, which]) for k, which in enumerate(best)]


def interval(values: Sequence[float], share: float = 0.8) -> tuple[float, float]:
    """The middle `share` of values: (low, high)."""
    low, high = np.quantile(values, [(1 - share) / 2, (1 + share) / 2])
    return float(low), float(high)


class _Problem:
    """Many fits to the same runs at once, by Levenberg and Marquardt's method.

    scipy's `least_squares` takes one at a time: 40 ms each, and a bootstrap 20 s for half a second
    here; where the floor goes to zero it gives up in the long valley before the end.

    A fit is five numbers: log E, log of the size term at the middle N, alpha, and the same two for
    the text. Logarithms keep E and both terms positive; the middle keeps factor and power apart.
    """

    def __init__(self, N: Sequence[float], R: Sequence[float], losses: Sequence[float]) -> None:
        self.N, self.R, self.losses = (np.asarray(x, dtype=float) for x in (N, R, losses))
        if not all((x > 0).all() and np.isfinite(x).all() for x in (self.N, self.R, self.losses)):
            raise DataError("a size, an amount of text or a loss is not positive; check the runs")
        self.middle_N, self.middle_R = np.log(self.N).mean(), np.log(self.R).mean()
        self.size, self.text = np.log(self.N) - self.middle_N, np.log(self.R) - self.middle_R

    def enough(self, weights: np.ndarray) -> np.ndarray:
        """Which rows of weights (S, n) keep enough different runs to fix five numbers: (S,)."""

        def kinds(values: np.ndarray) -> np.ndarray:
            return np.sum([((weights > 0) & (values == v)).any(1) for v in set(values)], axis=0)

        return ((weights > 0).sum(1) >= 6) & (kinds(self.N) >= 3) & (kinds(self.R) >= 3)

    def starts(self) -> np.ndarray:
        """Starting points (27, 5): a low or high floor, and each power small, middling, large."""
        low = self.losses.min()
        rest = np.log(max(self.losses.mean() - 0.6 * low, 1e-3) / 2)
        return np.array([
            [np.log(share * low), rest, alpha, rest, beta]
            for share in (0.2, 0.6, 0.9) for alpha in (0.2, 0.5, 1.0) for beta in (0.2, 0.5, 1.0)
        ])  # fmt: skip

    def residuals(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log of fitted over measured loss (S, n), and its derivatives (S, n, 5)."""
        floor = np.exp(x[:, :1]) + 0 * self.size
        size = np.exp(x[:, 1:2] - x[:, 2:3] * self.size)
        text = np.exp(x[:, 3:4] - x[:, 4:5] * self.text)
        total = floor + size + text
        slopes = np.stack([floor, size, -size * self.size, text, -text * self.text], -1)
        return np.log(total / self.losses), slopes / total[..., None]

    def objective(self, residuals: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The weighted Huber loss of each row, (S,)."""
        size = np.abs(residuals)
        huber = np.where(size <= DELTA, size**2 / 2, DELTA * (size - DELTA / 2))
        return (weights * huber).sum(1)

    def solve(self, x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Go down from each start (S, 5); returns the ends and their objectives (S,)."""
        damping = np.full(len(x), 1e-2)
        residuals, slopes = self.residuals(x)
        reached = self.objective(residuals, weights)
        for _ in range(200):
            # Far residuals pull with a constant force: as a parabola with a smaller weight.
            pull = weights * np.minimum(1, DELTA / np.maximum(np.abs(residuals), 1e-12))
            curvature = np.einsum("sn,sni,snj->sij", pull, slopes, slopes)
            gradient = np.einsum("sn,sni,sn->si", pull, slopes, residuals)
            diagonal = np.einsum("sii->si", curvature)
            curvature = curvature + np.eye(5) * (damping[:, None] * diagonal + 1e-12)[..., None]
            step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
            tried = x - np.clip(step, -1, 1)
            tried[:, [2, 4]] = np.clip(tried[:, [2, 4]], 1e-3, 5)  # a power, and no step function
            tried[:, [0, 1, 3]] = np.clip(tried[:, [0, 1, 3]], -15, 15)
            new_residuals, new_slopes = self.residuals(tried)
            new = self.objective(new_residuals, weights)
            better = new < reached
            x = np.where(better[:, None], tried, x)
            residuals = np.where(better[:, None], new_residuals, residuals)
            slopes = np.where(better[:, None, None], new_slopes, slopes)
            reached = np.where(better, new, reached)
            damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-9, 1e6)
            if (np.abs(step).max() < 1e-7) or (damping >= 1e6).all():
                break
        return x, reached

    def law(self, x: np.ndarray) -> Law:
        a, b = np.exp(x[1] + x[2] * self.middle_N), np.exp(x[3] + x[4] * self.middle_R)
        return Law(*(float(v) for v in (np.exp(x[0]), a, x[2], b, x[4])))
