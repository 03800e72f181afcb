"""Checks of chapter 0's exercises: softmax, slopes, a gradient check, a bend, calibration.

One job: tell a learner whether a function of numpy arrays is right and, where it is not, which of
the usual misunderstandings produces exactly the numbers that it returned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gptlib.course.checking import Result, Wrong, check
from gptlib.course.digits.networks import Array, Labels


def _on_arrays(fn: Any) -> Any:
    """Let a function of numpy arrays be checked with tensors, which the base compares."""
    if not callable(fn):
        return fn

    @functools.wraps(fn)
    def call(*args: Any) -> Any:
        arrays = [a.numpy() if isinstance(a, torch.Tensor) else a for a in args]
        with np.errstate(all="ignore"):
            value = fn(*arrays)
        if isinstance(value, np.ndarray) and value.ndim:
            return torch.from_numpy(np.array(value))
        return float(value) if isinstance(value, (np.ndarray, np.generic)) else value

    return call


def _check(fn: Callable, cases: Sequence, right: Callable, wrongs: dict, success: str) -> Result:
    """Run the base's check on a function of arrays; `wrongs` maps a diagnosis to its mistake."""
    known = [Wrong(words, _on_arrays(mistake)) for words, mistake in wrongs.items()]
    return check(_on_arrays(fn), cases, _on_arrays(right), known, success, array="array")


def _rows(*rows: Sequence[float]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float64)


# --- softmax --------------------------------------------------------------------------------------

_SCORES = (
    (_rows((1, 0), (-1, 2)),),
    (_rows((0.5, 1.5, 0), (2, -2, 1), (0, 0, 3)),),
    (_rows((1000, 999), (-1000, -1001)),),
)


def _softmax(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def _columns(z: Array) -> Array:
    e = np.exp(z - z.max(axis=0))
    return e / e.sum(axis=0)


def _shared(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def _in_one_pot(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum()


def _lying_down(z: Array) -> Array:
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1)


def softmax(fn: Callable) -> Result:
    """Check fn(scores (B, V)) -> probabilities (B, V), each row summing to 1."""
    return _check(
        fn,
        _SCORES,
        _softmax,
        {
            "right for modest scores, and not a number for large ones: exp(1000) is more than the "
            "machine can hold, exp(-1000) less; subtract the row's largest score first, which "
            "cancels in the fraction": lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True),
            "your columns sum to 1, not your rows: that lets the pictures compete for a digit, and "
            "it is the digits that compete for a picture; sum over axis=1": _columns,
            "the whole table sums to 1: each picture has its own probability of 1 to share out; "
            "sum over axis=1": _shared,
            "all rows were divided by one total, that of every number there is: sum() needs its "
            "axis, 1, and has to keep it": _in_one_pot,
            "two things: sum() without an axis adds up every number there is, and e to the 1000 is "
            "more than the machine can hold": lambda z: np.exp(z) / np.exp(z).sum(),
            "row i was divided by the wrong total: without keepdims=True the totals lie down as a "
            "row, and broadcasting spreads them over the columns": _lying_down,
            "there is no exp: a negative score would become a negative probability; raise e to the "
            "score first": lambda z: z / z.sum(axis=1, keepdims=True),
            "each score was squashed by itself, so a row need not sum to 1: divide by the sum over "
            "the row, in which the digits compete": lambda z: 1 / (1 + np.exp(-z)),
            "these are the logarithms of the probabilities; softmax itself returns numbers from "
            "0 to 1": lambda z: (
                z
                - z.max(1, keepdims=True)
                - np.log(np.exp(z - z.max(1, keepdims=True)).sum(1, keepdims=True))
            ),
        },
        "rows sum to 1, and a score of 1,000 does no harm",
    )


# --- the slope of every weight --------------------------------------------------------------------

_GUESSES = (
    (
        _rows((1, 0), (0.5, 1), (0, 0.25)),
        torch.tensor([0, 3, 1]),
        _rows((0.4, 0.3, 0.2, 0.1), (0.25, 0.25, 0.25, 0.25), (0.1, 0.6, 0.1, 0.2)),
    ),
    (
        _rows((1, 0.5, 0, 1), (0.25, 1, 1, 0)),
        torch.tensor([2, 0]),
        _rows((0.2, 0.3, 0.5), (0.1, 0.8, 0.1)),
    ),
)


def _error(p: Array, y: Labels) -> Array:
    return p - np.eye(p.shape[1])[y]


def weight_slopes(fn: Callable) -> Result:
    """Check fn(x (B, C), y (B,), p (B, V)) -> slope of the mean loss for w, (C, V)."""
    return _check(
        fn,
        _GUESSES,
        lambda x, y, p: x.T @ _error(p, y) / len(y),
        {
            "that is the slope of the summed loss: the loss is a mean, so divide by the number of "
            "pictures, or a larger batch takes larger steps": lambda x, y, p: x.T @ _error(p, y),
            "the sign is turned round: y − p points downhill; the slope says where the loss grows, "
            "and the minus belongs to the step": lambda x, y, p: -x.T @ _error(p, y) / len(y),
            "the target is missing: without taking 1 from the probability of the right digit, "
            "every score is told to fall": lambda x, y, p: x.T @ p / len(y),
            "the labels were taken off as numbers, so that a 7 counts seven times: make each of "
            "them a row with a 1 at its digit first, np.eye(V)[y]": lambda x, y, p: (
                x.T @ (p - y[:, None]) / len(y)
            ),
            "the table is lying on its side, (V, C): pixels go down, digits across, as in w": (
                lambda x, y, p: _error(p, y).T @ x / len(y)
            ),
            "divided by the number of digits: the mean is taken over pictures, len(y)": (
                lambda x, y, p: x.T @ _error(p, y) / p.shape[1]
            ),
            "divided by the number of pixels: the mean is taken over pictures, len(y)": (
                lambda x, y, p: x.T @ _error(p, y) / x.shape[1]
            ),
            "only the right digit's weights have a slope: its nine rivals have to give way, each "
            "by its own probability": lambda x, y, p: (
                x.T @ (_error(p, y) * np.eye(p.shape[1])[y]) / len(y)
            ),
            "p(1 − p) slipped in: that factor belongs to a squared error, and the logarithm in "
            "cross-entropy cancels it": lambda x, y, p: x.T @ (_error(p, y) * p * (1 - p)) / len(y),
        },
        "each pixel passes the blame p − y on, in proportion to its ink",
    )


# --- a gradient check -----------------------------------------------------------------------------

# What each weight of the loss is there for.
_BOWL, _FLAT, _COUPLED, _CUBIC, _LARGE, _HIGH, _LOW, _SMALL = range(8)


def _terrain(w: Array) -> float:
    bowls = ((w[[_BOWL, _COUPLED, _LOW]] - 0.5) ** 2).sum() + 0.05 * w[_BOWL] * w[_COUPLED]
    slopes = 0.03 * w[_FLAT] + 2000 * w[_LARGE] + 0.25 * w[_HIGH] + 0.01 * w[_SMALL]
    return float(10 + bowls + slopes + 50 * w[_CUBIC] ** 3)


def _claims(w: Array, *lies: int) -> torch.Tensor:
    """The slopes of `_terrain`, three of which may be lies of more than a millionth."""
    true = np.array([0.0, 0.03, 0.0, 150 * w[_CUBIC] ** 2, 2000, 0.25, 0.0, 0.01])
    for n, other in ((_BOWL, _COUPLED), (_COUPLED, _BOWL)):
        true[n] = 2 * (w[n] - 0.5) + 0.05 * w[other]
    true[_LOW] = 2 * (w[_LOW] - 0.5)
    off = np.zeros(8)
    off[[_LARGE, _HIGH, _LOW, _SMALL]] = 2e-7, 1e-5, -1e-5, 5e-5
    off[[n for n in (_HIGH, _LOW, _SMALL) if n not in lies]] = 0
    return torch.from_numpy(true * (1 + off))


_PLACES = tuple(
    (w, _terrain, _claims(w.numpy(), *lies))
    for w, lies in (
        (_rows((0.52, 1, 0.52, 0.2, 0.001, 1, 0.47, 2))[0], (_HIGH, _LOW, _SMALL)),
        (_rows((0.51, 2, 0.49, 0.3, 0.001, 2, 0.46, 1))[0], ()),
    )
)


def _positions(fn: Any) -> Any:
    """Let an answer be a list, whether it was a list, a set, or an array of places or of bools."""

    def listed(value: Any) -> Any:
        found = np.array(sorted(value) if isinstance(value, (set, tuple)) else value)
        if found.ndim != 1 or (found.size and found.dtype.kind not in "ib"):
            return value
        return (np.flatnonzero(found) if found.dtype.kind == "b" else np.sort(found)).tolist()

    @functools.wraps(fn)
    def call(w: torch.Tensor, loss: Callable, claimed: torch.Tensor) -> Any:
        value = fn(w.numpy(), loss, claimed.numpy())
        return listed(value) if isinstance(value, (list, set, tuple, np.ndarray)) else value

    return call if callable(fn) else fn


def _liars(w: torch.Tensor, loss: Callable, claimed: torch.Tensor) -> list[int]:
    off = claimed / _claims(w.numpy()) - 1
    return torch.nonzero(abs(off) > 1e-6).flatten().tolist()


def _accuses(*weights: int) -> Callable[..., bool]:
    return lambda got, *case: bool(set(weights) & set(got) - set(_liars(*case)))


def nudges(fn: Callable) -> Result:
    """Check fn(w (N,), loss, claimed (N,)) -> positions of claims off by more than a millionth."""
    wrongs = {
        "those are slopes, or shares: return the positions of the claims that are wrong": (
            lambda got, w, *_: len(got) and any(n != int(n) for n in got)
        ),
        "these are the claims that are right: return the others": (
            lambda got, w, *case: set(got) == set(range(len(w))) - set(_liars(w, *case))
        ),
        "a weight without any bend stands accused, which only rounding can have done: the nudge is "
        "too small, on the left arm of Figure 0.4": _accuses(_FLAT),
        "a right slope in a bowl stands accused: a push to one side counts half the bend as slope; "
        "push down as well, and divide by the whole way between": _accuses(_BOWL),
        "each weight has to be put back before the next is pushed: a slope that hangs on another "
        "weight stands accused": _accuses(_COUPLED),
        "a right slope stands accused where the bend itself changes: to both sides that costs a "
        "share that grows with the square of the nudge, so take a smaller one": _accuses(_CUBIC),
        "a millionth of the slope was asked for: a fixed distance accuses large slopes and lets "
        "small ones go": _accuses(_LARGE),
        "claims on one side of the truth got away: take the absolute value of what they are off": (
            lambda got, *case: set(got) in ({_HIGH, _SMALL}, {_LOW})
        ),
        "nobody is accused wrongly, but lies got away: is your tolerance a millionth?": (
            lambda got, *case: set(got) < set(_liars(*case))
        ),
    }
    known = [Wrong(words, when=when) for words, when in wrongs.items()]
    return check(
        _positions(fn), _PLACES, _liars, known, "each lie found, and nobody accused wrongly"
    )


# --- back through a bend --------------------------------------------------------------------------

_LAYER = (
    (
        _rows((1, 0, 0.5), (0.25, 1, 0)),
        _rows((0.5, 0.2), (0.1, 0.9)),
        _rows((0.3, -0.3), (-0.1, 0.1)),
        _rows((1, -0.5), (0.25, 2)),
    ),
    (
        _rows((1, 0.5), (0, 1), (0.75, 0.25), (1, 1)),
        _rows((0.2, 0.4, 0.6), (0.9, 0.3, 0.1), (0.5, 0.5, 0.7), (0.8, 0.1, 0.4)),
        _rows((0.2, -0.1, -0.1), (0.05, 0.1, -0.15), (-0.2, 0.1, 0.1), (0.1, 0.1, -0.2)),
        _rows((1, 0.5, -1), (0, 2, 0.25), (-0.5, 1, 1)),
    ),
)


def _through(slope: Callable[[Array], Array]) -> Callable[..., Array]:
    """The whole way back, with a bend whose slope is a function of what it returned."""
    return lambda x, h, dz, w2: x.T @ (dz @ w2.T * slope(h))


def hidden_slopes(fn: Callable) -> Result:
    """Check fn(x (B, C), h (B, U), dz (B, V), w2 (U, V)) -> slope of the loss for w1, (C, U).

    The bend is the logistic function, h = 1 / (1 + exp(-a)).
    """
    return _check(
        fn,
        _LAYER,
        _through(lambda h: h * (1 - h)),
        {
            "the bend was walked past: where a unit is near 0 or 1 it hardly moves, and passes "
            "little blame on; multiply by its slope": _through(lambda h: 1.0 + 0 * h),
            "1 − h² is the slope of tanh, and this bend is the logistic function: its bottom is "
            "1 + e^−a; which share of that moves with a push on a?": _through(lambda h: 1 - h**2),
            "the bend was applied twice: h is what it returned, so its slope is a formula in h "
            "itself": _through(lambda h: np.exp(-h) / (1 + np.exp(-h)) ** 2),
            "that is the share by which h grows: the amount is this share of h": (
                _through(lambda h: 1 - h)
            ),
            "h alone is the slope of e to the power: here a push moves a part of the bottom only, "
            "and that part is not all of it": _through(lambda h: h),
            "h² is the square of 1 over the bottom: the push reaches the bottom through e^−a, so "
            "the chain has one factor more": _through(lambda h: h**2),
            "the sign is turned round: a push up makes e^−a smaller, so the bottom shrinks and h "
            "grows": _through(lambda h: h * (h - 1)),
            "w2 was not turned round: forward it leads from units to digits, and the blame goes "
            "the other way, through w2.T": lambda x, h, dz, w2: x.T @ (dz @ w2 * h * (1 - h)),
            "divided by the number of pictures twice: dz already holds the mean's 1/B": (
                lambda x, h, dz, w2: x.T @ (dz @ w2.T * h * (1 - h)) / len(x)
            ),
            "that is the slope for w2, or begins like it: w1 stands between the pixels and the "
            "units, so the blame of the units is paired with x": lambda x, h, dz, w2: h.T @ dz,
        },
        "back through w2, damped where a unit is near 0 or 1, then paired with the pixels",
    )


# --- calibration ----------------------------------------------------------------------------------

_JUDGED = (
    (
        _rows((0.55, 0.6, 0.75, 0.9, 0.95, 0.99))[0],
        torch.tensor([True, False, False, True, True, True]),
        _rows((0.7, 0.85))[0],
    ),
    (
        _rows((0.4, 0.45, 0.9, 0.92, 0.97))[0],
        torch.tensor([True, True, False, True, True]),
        _rows((0.5, 0.7, 0.95))[0],
    ),
)


def _groups(sure: Array, right: NDArray[np.bool_], edges: Array) -> Array:
    """Return (share of all answers, accuracy − mean confidence) of each group that is not empty."""
    group = np.digitize(sure, edges)
    return np.array(
        [
            ((group == n).mean(), right[group == n].mean() - sure[group == n].mean())
            for n in range(len(edges) + 1)
            if (group == n).any()
        ]
    ).T


def calibration(fn: Callable) -> Result:
    """Check fn(sure (B,), right (B,), edges) -> mean gap between confidence and accuracy."""

    def by_group(combine: Callable[[Array, Array], Any]) -> Callable[..., float]:
        return lambda sure, right, edges: float(combine(*_groups(sure, right, edges)))

    return _check(
        fn,
        _JUDGED,
        by_group(lambda share, gap: (share * abs(gap)).sum()),
        {
            "a group of one answer weighs as much as a group of a thousand: weight each gap by the "
            "group's share of the answers": by_group(lambda share, gap: abs(gap).mean()),
            "gaps of opposite sign cancelled: overconfident here and too modest there is not "
            "calibrated; take the absolute value in each group": by_group(
                lambda share, gap: (share * gap).sum()
            ),
            "the absolute value came last: by then too sure here and too modest there have "
            "cancelled; take it in each group": by_group(
                lambda share, gap: abs((share * gap).sum())
            ),
            "the gaps were squared: take their absolute value, so that the answer is in the unit "
            "of probability": by_group(lambda share, gap: (share * gap**2).sum()),
            "the gaps were added up without their weights: multiply each by the group's share of "
            "the answers": by_group(lambda share, gap: abs(gap).sum()),
            "each answer was compared with its own confidence: a single answer is right or wrong, "
            "and only a group has an accuracy": lambda sure, right, edges: float(
                abs(right - sure).mean()
            ),
            "an empty group has no mean, and one not-a-number spoils the sum: leave empty groups "
            "out": lambda sure, right, edges: float("nan"),
        },
        "sure and right agree within this much, group by group",
    )
