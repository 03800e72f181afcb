"""What the lab of the digits looks for in the slopes that an operation hands back.

One job: `diagnose`, which compares them with the right ones and names the mistake that made them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gptlib.course.answers import describe
from gptlib.course.checking import Result, failed
from gptlib.course.digits.networks import Array

#: From the slope for a node to one for each of those that it was made of.
Slopes = Callable[[Array], Sequence[Array]]

# A mistake: (arrays, value, slope) to the slopes that it hands back. They are functions of the
# operation's inputs, of what it returned, and of the slope that arrived.
_Mistake = Callable[[Sequence[Array], Array, Array], Sequence[Array]]

_MISTAKES: dict[str, dict[str, _Mistake]] = {
    "add": {},
    "mul": {
        "each gets its own value: a push at a is multiplied by b, so a's slope is slope * b": (
            lambda x, out, g: (g * x[0], g * x[1])
        ),
    },
    "matmul": {
        "the two slopes have changed places: a's comes first": (
            lambda x, out, g: (x[0].T @ g, g @ x[1].T)
        ),
        "not transposed: a row of a met the columns of b on the way forward, so its slope meets "
        "the rows: slope @ b.T": lambda x, out, g: (g @ x[1], x[0] @ g),
        "a's slope is right and b's is not: columns were read with rows of a, so a.T @ slope": (
            lambda x, out, g: (g @ x[1].T, x[0] @ g)
        ),
        "b's slope is right and a's is not: slope @ b.T": (
            lambda x, out, g: (g @ x[1], x[0].T @ g)
        ),
        "the products stand the wrong way round, slope before a: a.T @ slope": (
            lambda x, out, g: (g @ x[1].T, g @ x[0].T)
        ),
    },
    "transpose": {
        "not turned back: the slope lies as the transpose does": lambda x, out, g: (g,),
    },
    "exp": {
        "multiplied by what went in: the slope of exp is what came out": (
            lambda x, out, g: (g * x[0],)
        ),
        "that is exp of the slope: the slope is multiplied by what came out": (
            lambda x, out, g: (np.exp(g),)
        ),
    },
    "log": {
        "divided by what came out: the slope of the logarithm is 1 over what went in": (
            lambda x, out, g: (g / out,)
        ),
        "multiplied where it is divided: 1 over what went in": lambda x, out, g: (g * x[0],),
    },
    "tanh": {
        "1 − a²: the square is that of what came out, 1 − tanh²": (
            lambda x, out, g: (g * (1 - x[0] ** 2),)
        ),
        "the square is missing: 1 − tanh², not 1 − tanh": lambda x, out, g: (g * (1 - out),),
        "tanh taken twice: what came out is tanh already": (
            lambda x, out, g: (g * (1 - np.tanh(out) ** 2),)
        ),
    },
    "relu": {
        "where nothing went through forward, nothing comes back: the slope is 0 for a < 0": (
            lambda x, out, g: (g,)
        ),
        "the slope was cut, not the way: it passes where a was above 0, whatever its own sign": (
            lambda x, out, g: (np.maximum(g, 0),)
        ),
        "multiplied by what came out: a relu passes all of the slope or none": (
            lambda x, out, g: (g * out,)
        ),
    },
    "total": {
        "multiplied by the numbers that were added: each of them counts once": (
            lambda x, out, g: (g * x[0],)
        ),
        "shared out: each number that was added moves the total by all of its push": (
            lambda x, out, g: (g * np.ones_like(x[0]) / x[0].shape[-1],)
        ),
    },
    "mean": {
        "not divided: a push at one of n numbers moves the mean by an nth of it": (
            lambda x, out, g: (g * np.ones_like(x[0]),)
        ),
        "divided by the rows: the mean is over all numbers, a.size": (
            lambda x, out, g: (g * np.ones_like(x[0]) / len(x[0]),)
        ),
        "divided by the columns: the mean is over all numbers, a.size": (
            lambda x, out, g: (g * np.ones_like(x[0]) / x[0].shape[-1],)
        ),
    },
}


def diagnose(
    name: str,
    arrays: Sequence[Array],
    value: Array,
    slope: Array,
    got: Any,
    wanted: Sequence[Array],
) -> Result | None:
    """What is wrong with the slopes of one operation on one case, or None.

    Args:
        arrays: what went in. value: what came out. slope: what arrived, of its shape.
        got: what the learner's `back` returned. wanted: the right slopes.
    """
    if isinstance(got, np.ndarray) and len(wanted) == 1:
        return failed(f"{name}: back returns one slope for each input, in a tuple, also for one")
    if not isinstance(got, (list, tuple)) or len(got) != len(wanted):
        return failed(
            f"{name}: back returns one slope for each of its {len(wanted)}, found {describe(got)}"
        )
    found = [np.asarray(g) for g in got]
    if not all(np.issubdtype(g.dtype, np.number) for g in found):
        return failed(f"{name}: slopes are arrays, found {describe(got)}")
    if _same(found, wanted):
        return None
    for words, mistake in _MISTAKES[name].items():
        if _same(found, mistake(arrays, value, slope), loose=True):
            return failed(f"{name}: {words}")
    return failed(f"{name}: {_shape(found, wanted) or _size(name, found, wanted, slope)}")


def _same(found: Sequence[Array], wanted: Sequence[Array], loose: bool = False) -> bool:
    """Whether all slopes are equal; `loose` lets one of a smaller shape be spread first."""
    for f, w in zip(found, wanted, strict=True):
        if f.shape != w.shape and not (loose and w.size == f.size):
            return False
        if not np.allclose(f, w.reshape(f.shape), atol=1e-9):
            return False
    return True


def _shape(found: Sequence[Array], wanted: Sequence[Array]) -> str | None:
    """What the shape of a slope says, where one has another shape than its input."""
    for f, w in zip(found, wanted, strict=True):
        if f.shape == w.shape:
            continue
        if f.size > w.size:
            return (
                f"an input of shape {w.shape} was spread over the others, and got a slope of shape "
                f"{f.shape}: each of its copies moves the result, so sum over them"
            )
        if f.size == w.size:
            return (
                f"a slope of shape {f.shape} for an input of shape {w.shape}: keep the axes of "
                "length 1, or the next operation spreads them otherwise"
            )
        return (
            f"a slope of shape {f.shape} for an input of shape {w.shape}: every number that went "
            "in gets a slope of its own, so spread it back"
        )
    return None


def _size(name: str, found: Sequence[Array], wanted: Sequence[Array], slope: Array) -> str:
    """What the numbers say, where all shapes are right."""
    if all(np.allclose(f, f.ravel()[0]) for f in found) and slope.size > 1:
        return "the slope that arrives is not passed on: multiply by it, the way goes on"
    for f, w in zip(found, wanted, strict=True):
        if np.allclose(f, -w):
            return "a slope has the wrong sign"
    if name in ("add", "mul"):
        for f, w in zip(found, wanted, strict=True):
            ratio = f / w
            if np.allclose(ratio, ratio.ravel()[0]) and not np.isclose(ratio.ravel()[0], 1):
                return "copies of a number that was spread are averaged: their slopes add up"
    wrong = [n for n, (f, w) in enumerate(zip(found, wanted, strict=True)) if not np.allclose(f, w)]
    which = " and ".join(("first", "second")[n] for n in wrong)
    return f"the shapes are right, and the slope for the {which} input is not torch's"
