"""The speedrun's exercises on vectors and matrices: a query that turns, a gradient that is lifted.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


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
