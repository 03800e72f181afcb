"""Chapter 8's exercises: LoRA by hand, its merging, and conversations that are packed into a row.

One job: each function checks one exercise and names the mistake that explains a wrong answer. The
exercise on what carries the loss has a file of its own, `checks_answers`.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, attempt, check, failed, passed

Start = Callable[[int, int, int], tuple[Tensor, Tensor]]
Forward = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]


def _dice(*shapes: Sequence[int], seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [0.15 * torch.randn(*shape, generator=generator) for shape in shapes]


#: W, A, B and alpha: a wide matrix, and a square one, in which a turned product has the same shape.
_LAYERS = (
    (*_dice((40, 32), (4, 32), (40, 4)), 8.0),
    (*_dice((32, 32), (3, 32), (32, 3), seed=1), 4.0),
)


def forward(fn: Forward) -> Result:
    """Check `fn(x, W, A, B, alpha)`: what a frozen W (out, in) and LoRA's A (rank, in) and
    B (out, rank) beside it make of x (…, in): (…, out)."""

    def with_scale(scale: Callable[[Tensor, float], float]) -> Forward:
        return lambda x, W, A, B, alpha: x @ W.T + x @ A.T @ B.T * scale(A, alpha)

    right = with_scale(lambda A, alpha: alpha / A.size(0))
    inputs = _dice((7, 32), (2, 5, 32), seed=2)
    return check(
        fn,
        cases=[(x, *layer) for x in inputs for layer in _LAYERS],
        right=right,
        wrongs=[
            Wrong(
                "alpha is forgotten, and the rank with it: what the narrow way says is multiplied "
                "by alpha / rank",
                with_scale(lambda A, alpha: 1.0),
            ),
            Wrong(
                "alpha is there and the rank is not: twice the rank would be twice as loud",
                with_scale(lambda A, alpha: alpha),
            ),
            Wrong(
                "you divide by the rank and forget alpha",
                with_scale(lambda A, alpha: 1 / A.size(0)),
            ),
            Wrong(
                "you divide by the width of the input; A is (rank, in), so its rank is A.size(0)",
                with_scale(lambda A, alpha: alpha / A.size(1)),
            ),
            Wrong(
                "that is rsLoRA's scale, by the root of the rank; this one divides by the rank",
                with_scale(lambda A, alpha: alpha / math.sqrt(A.size(0))),
            ),
            Wrong(
                "that is the narrow way alone: what does W say of x?",
                lambda x, W, A, B, alpha: right(x, 0 * W, A, B, alpha),
            ),
            Wrong(
                "that is W alone: the narrow way is missing",
                lambda x, W, A, B, alpha: x @ W.T,
            ),
            Wrong(
                "the whole sum is scaled, W's part too; only the change is",
                lambda x, W, A, B, alpha: (x @ W.T + x @ A.T @ B.T) * alpha / A.size(0),
            ),
        ],
        success="two ways, one output; and no matrix of W's size was written down",
    )


def start(fn: Start) -> Result:
    """Check `fn(out_features, in_features, rank)`: A (rank, in) and B (out, rank) before the first
    step, so that the layer begins as the old one and can learn."""
    for out_features, in_features, rank in ((48, 32, 4), (32, 40, 8)):
        got = attempt(fn, out_features, in_features, rank)
        if isinstance(got, Result):
            return got
        if not (
            isinstance(got, tuple | list)
            and len(got) == 2
            and all(isinstance(part, Tensor) and part.dim() == 2 for part in got)
        ):
            return failed("return two matrices, A and B, in this order")
        A, B = got
        if wrong := _wrong_start(A, B, (out_features, in_features, rank)):
            return failed(wrong)
    return passed("the model begins as it was, and the gradient of B is not zero")


def _wrong_start(A: Tensor, B: Tensor, sizes: tuple[int, int, int]) -> str:
    """What is wrong with how A and B begin, or nothing."""
    out_features, in_features, rank = sizes
    shapes = tuple(A.shape), tuple(B.shape)
    if shapes == ((out_features, rank), (rank, in_features)):
        return "A and B have changed places: A reads the input, and is (rank, in)"
    if shapes == ((in_features, rank), (rank, out_features)):
        return "both are turned: A is (rank, in) and B is (out, rank), as torch keeps a Linear's"
    if shapes != ((rank, in_features), (out_features, rank)):
        return f"for {sizes} the shapes are {shapes[0]} and {shapes[1]}: is A (rank, in), and B?"
    a, b = bool(A.any()), bool(B.any())
    if not (A.isfinite().all() and B.isfinite().all()):
        return "there are numbers that are not finite: torch.empty holds whatever was there before"
    if not a and not b:
        return (
            "both are zero: the gradient of each is multiplied by the other, so neither ever moves"
        )
    if a and b:
        return "both differ from zero, so B A does too: the model is spoiled before the first step"
    if torch.linalg.matrix_rank(A if a else B) < rank:
        return (
            "its rows are all alike, so the rank is 1 from the start and all of them learn the "
            "same: draw them at random"
        )
    if (A if a else B).abs().mean() > 3:
        return "these numbers are so large that the first step of the other matrix is a jump"
    return ""


def merge(fn: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Result:
    """Check `fn(W, A, B, alpha)`: the one matrix (out, in) that does what W (out, in) and LoRA's
    A (rank, in) and B (out, rank) beside it do. W stays as it was."""
    moved: list[bool] = []

    def scaled(scale: Callable[[Tensor, float], float]) -> Callable[..., Tensor]:
        return lambda W, A, B, alpha: W + B @ A * scale(A, alpha)

    def of_rank(A: Tensor, alpha: float) -> float:
        return alpha / A.size(0)

    right = scaled(of_rank)
    result = check(
        _watched(fn, moved),
        cases=_LAYERS,
        right=right,
        wrongs=[
            Wrong(
                "the change is too small, or too large: multiply B A by alpha / rank",
                scaled(lambda A, alpha: 1.0),
            ),
            Wrong(
                "alpha is there and the rank is not: a LoRA of rank 64 would shout 64 times as "
                "loud as one of rank 1",
                scaled(lambda A, alpha: alpha),
            ),
            Wrong(
                "you divided by the width of the input. A is (rank, in): its rank is A.size(0)",
                scaled(lambda A, alpha: alpha / A.size(1)),
            ),
            Wrong(
                "that is rsLoRA's scale; this one divides by the rank itself",
                scaled(lambda A, alpha: alpha / math.sqrt(A.size(0))),
            ),
            Wrong(
                "the change is merged twice; once is all that it was trained to do",
                scaled(lambda A, alpha: 2 * of_rank(A, alpha)),
            ),
            Wrong(
                "that is the change alone. Where is what the model knew before?",
                lambda W, A, B, alpha: B @ A * of_rank(A, alpha),
            ),
            Wrong(
                "the change is taken away, which is how one takes an adapter out again",
                scaled(lambda A, alpha: -of_rank(A, alpha)),
            ),
            Wrong(
                "B A is turned. transformers keeps GPT-2's matrices as (in, out) and has to turn "
                "it; W here is (out, in)",
                when=_turned,
            ),
        ],
        success="one matrix, as fast as the old one, and the old one is untouched",
    )
    if result and any(moved):
        return failed(
            "the right matrix, and W itself has changed: merge twice, and the change is in it "
            "twice. Build a new one"
        )
    return result


def _watched(fn: Any, moved: list[bool]) -> Any:
    """The learner's function; `moved` is told of each call whether it changed W."""
    if not callable(fn):
        return fn

    @functools.wraps(fn)
    def watched(W: Tensor, *others: Any) -> Any:
        before = W.clone()
        got = fn(W, *others)
        moved.append(not W.equal(before))
        return got

    return watched


def _turned(got: Tensor, W: Tensor, A: Tensor, B: Tensor, alpha: float) -> bool:
    """Whether the change, or the whole, is the right one turned."""
    change = B @ A * alpha / A.size(0)
    if got.shape == W.T.shape and torch.allclose(got, (W + change).T, atol=1e-5):
        return True
    return W.size(0) == W.size(1) and torch.allclose(got, W + change.T, atol=1e-5)


Packed = tuple[Tensor, Tensor, Tensor]


def pack(fn: Callable[[list[list[int]], int], Packed]) -> Result:
    """Check `fn(texts, T)`: texts of ids, together no longer than T, to one row: ids, the number of
    each token's text, from 0 and -1 for padding, and its position in its own text, (T,) each.
    Padding has the id 0 and the position 0."""

    def right(texts: list[list[int]], T: int) -> Packed:
        ids, number, position = torch.zeros(T).long(), torch.full((T,), -1), torch.zeros(T).long()
        at = 0
        for n, text in enumerate(texts):
            end = at + len(text)
            ids[at:end], number[at:end] = torch.tensor(text), n
            position[at:end] = torch.arange(len(text))
            at = end
        return ids, number, position

    def spoiled(change: Callable[[Tensor, Tensor, Tensor], Packed]) -> Callable[..., Packed]:
        return lambda texts, T: change(*right(texts, T))

    def used(number: Tensor) -> Tensor:
        return number >= 0

    def from_one(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, number, torch.where(used(number), position + 1, 0)

    def run_on(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, number, torch.where(used(number), torch.arange(len(ids)), 0)

    def wholly_run_on(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, number, torch.arange(len(ids))

    def padding_counts(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, torch.where(used(number), number, int(number.max())), position

    def padding_zero(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, torch.where(used(number), number, 0), position

    def counted_from_one(ids: Tensor, number: Tensor, position: Tensor) -> Packed:
        return ids, torch.where(used(number), number + 1, -1), position

    def only_first(texts: list[list[int]], T: int) -> Packed:
        return right(texts[:1], T)

    def without_padding(texts: list[list[int]], T: int) -> Packed:
        n = sum(map(len, texts))
        ids, number, position = right(texts, T)
        return ids[:n], number[:n], position[:n]

    cases = [([[7, 8, 9], [5, 6], [4, 3, 2, 1]], 12), ([[9, 9], [2, 4, 6]], 6), ([[3, 1, 2]], 5)]
    return check(
        fn,
        cases=cases,
        right=right,
        wrongs=[
            Wrong(
                "the positions run on from one text into the next: the second text begins where no "
                "text ever begins when the model is asked to write",
                spoiled(run_on),
            ),
            Wrong(
                "the positions run on to the end of the row, over every border and the padding",
                spoiled(wholly_run_on),
            ),
            Wrong("positions begin at 0: the first token of a text was at 1", spoiled(from_one)),
            Wrong(
                "the padding has the number of the last text, which may now look at it and be "
                "counted longer than it is; give it -1",
                spoiled(padding_counts),
            ),
            Wrong(
                "the padding has the number 0, which is the first text's; give it -1",
                spoiled(padding_zero),
            ),
            Wrong("texts are counted from 0 here", spoiled(counted_from_one)),
            Wrong("only the first text is there: a row holds all of them", only_first),
            Wrong("the row ends with its last text; fill it up to T", without_padding),
        ],
        success="each text reads as if it stood alone, and the row is full of texts",
    )
