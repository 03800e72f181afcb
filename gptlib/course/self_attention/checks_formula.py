"""Chapter 2's exercise on the whole formula: attention of the last few tokens to all before them.

One job: `attention` compares a learner's function with torch's own and names the mistake behind a
wrong answer.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def _future(S: int, T: int, late: int = 1) -> Tensor:
    """Boolean (S, T): True where a key comes `late` tokens or more after the query."""
    return torch.ones(S, T, dtype=torch.bool).triu(T - S + late)


def _right(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    past = ~_future(q.size(-2), k.size(-2))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=past)


def _spoiled(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    upper_left: bool,
    scale: Callable[[int, int], float] = lambda D, T: math.sqrt(D),
    late: int = 1,
    turned: bool = False,
    fill: float = -math.inf,
    dim: int = -1,
    after: bool = False,
) -> Tensor:
    """Attention with one thing wrong; `upper_left` counts the mask's diagonal from query 0."""
    scores = q @ k.mT / scale(q.size(-1), k.size(-2))
    S, T = scores.shape[-2:]
    future = _future(T, T, late)[:S] if upper_left else _future(S, T, late)
    if turned:
        future = _future(T, T, late).T[:S] if upper_left else _future(T, T, late).T[T - S :]
    if after:
        return scores.softmax(dim).masked_fill(future, 0) @ v
    return scores.masked_fill(future, fill).softmax(dim) @ v


def _both(diagnosis: str, **spoil: object) -> list[Wrong]:
    """One mistake, with the mask's diagonal where it belongs and counted from query 0."""
    return [
        Wrong(diagnosis, partial(_spoiled, upper_left=upper_left, **spoil))  # type: ignore[arg-type]
        for upper_left in (False, True)
    ]


def _square_filled(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    T = k.size(-2)
    return (q @ k.mT).masked_fill(_future(T, T), -math.inf)


def _square_added(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    T = k.size(-2)
    return q @ k.mT + torch.zeros(T, T).masked_fill(_future(T, T), -math.inf)


_SQUARE = (
    "your mask has a row for each of the T tokens, but only the last S of them ask: it has to be "
    "(S, T), as the scores are"
)


def _cases() -> list[tuple[Tensor, Tensor, Tensor]]:
    dice = torch.Generator().manual_seed(0)
    cases = []
    for B, S, T, D in ((2, 5, 5, 4), (3, 7, 7, 16), (2, 3, 7, 16), (2, 1, 6, 4)):
        k, v = torch.randn(2, B, T, D, generator=dice)
        cases.append((2 * torch.randn(B, S, D, generator=dice), k, v))
    return cases


def attention(fn: Attention) -> Result:
    """Exercise 2.3: queries (B, S, D) of the last S of T tokens, keys and values (B, T, D), to
    outputs (B, S, D), compared with torch's own."""
    return check(
        fn,
        cases=_cases(),
        right=_right,
        wrongs=[
            Wrong(
                "these are the weights, (B, S, T): what each token is given is the values, "
                "weighted by them",
                when=lambda got, q, k, v: got.shape == (q @ k.mT).shape != v.shape,
            ),
            Wrong(
                "right while every token asks, but with S < T query 0 is not token 0: it belongs "
                "to token T − S, and the mask begins farther to the right",
                partial(_spoiled, upper_left=True),
            ),
            Wrong(
                "no mask: every token sees the whole text, its future included",
                lambda q, k, v: F.scaled_dot_product_attention(q, k, v),
            ),
            *_both(
                "the mask comes too late: after the softmax the rows no longer sum to 1, and the "
                "divisor still holds the future's scores",
                after=True,
            ),
            *_both(
                "the future's scores were set to 0, whose exp is 1: to get no weight a score has "
                "to be −∞",
                fill=0.0,
            ),
            *_both(
                "the mask is turned over: each token sees itself and what comes after it, and "
                "the past is hidden",
                turned=True,
            ),
            *_both(
                "each token sees one too many, its successor: the diagonal is not hidden, but "
                "all to the right of it is",
                late=2,
            ),
            *_both("the scores are not divided: their spread grows as √D", scale=lambda D, T: 1.0),
            *_both(
                "the scores are divided by D: a sum of D products has a spread of √D",
                scale=lambda D, T: D,
            ),
            *_both(
                "the scores are multiplied by √D, which makes them louder: divide",
                scale=lambda D, T: D**-0.5,
            ),
            *_both(
                "the scores are divided by the root of the number of tokens: what a score adds "
                "up are the D products of two vectors",
                scale=lambda D, T: math.sqrt(T),
            ),
            *_both(
                "the softmax went down the columns: it is a row, one token's weights, that sums "
                "to 1",
                dim=-2,
            ),
            *_both(
                "the softmax went over the texts, which never see each other: a row, the last "
                "axis, sums to 1",
                dim=0,
            ),
            *_both(
                "the diagonal is hidden too, and the first token is left with nothing: a token may "
                "always see itself",
                late=0,
            ),
            Wrong(
                "some outputs are nan: a row with nothing but −∞ in it has no softmax, and 0 · −∞ "
                "is no number either, so fill the mask in and do not multiply it",
                when=lambda got, q, k, v: got.isnan().any(),
            ),
            Wrong(_SQUARE, _square_filled),
            Wrong(_SQUARE, _square_added),
            Wrong(
                "the last axis of q meets the last axis of k: turn the last two axes of k, `.mT`",
                lambda q, k, v: q @ k,
            ),
        ],
        success="torch's own, to the fifth digit, whether all tokens ask or only the last",
    )
