"""Checks of chapter 0's exercises: softmax, the slope of a weight, nudging, tanh, calibration.

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


# --- nudging --------------------------------------------------------------------------------------


def _cubic(w: Array) -> float:
    return float((w**3).sum() + w[0] * w[-1])


def _bent(w: Array) -> float:
    return float(np.exp(w[0]) * w[1] ** 2 + w[-1] ** 3)


_PLACES = (
    (_rows((1, 2, -1))[0], _cubic, 0.1),
    (_rows((0.5, -1, 2, 1))[0], _bent, 0.2),
)


def _differences(
    w: Array,
    loss: Callable[[Array], float],
    eps: float,
    up: float = 1.0,
    down: float = 1.0,
    restore: bool = True,
) -> Array:
    """Return (loss(w + up·eps) − loss(w − down·eps)) for each weight; one may forget to restore."""
    found = np.zeros(len(w))
    w = w.copy()
    for n in range(len(w)):
        before = w[n]
        w[n] = before + up * eps
        high = loss(w)
        w[n] = before - down * eps
        found[n] = high - loss(w)
        if restore:
            w[n] = before
    return found


def nudges(fn: Callable) -> Result:
    """Check fn(w (N,), loss, eps) -> slopes (N,) by central differences."""
    return _check(
        fn,
        _PLACES,
        lambda w, loss, eps: _differences(w, loss, eps) / (2 * eps),
        {
            "that is the one-sided difference: it counts half the bend of the curve as slope; "
            "nudge down as well as up": lambda w, loss, eps: (
                _differences(w, loss, eps, down=0) / eps
            ),
            "one-sided, and downward: nudge up as well as down": lambda w, loss, eps: (
                _differences(w, loss, eps, up=0) / eps
            ),
            "twice the slope: from w − eps to w + eps is a way of 2 eps": (
                lambda w, loss, eps: _differences(w, loss, eps) / eps
            ),
            "one-sided, yet divided by 2 eps: half the slope; measure from w − eps": (
                lambda w, loss, eps: _differences(w, loss, eps, down=0) / (2 * eps)
            ),
            "that is the change of the loss, not yet the change per unit of weight: divide by 2 "
            "eps": _differences,
            "the sign is turned round: up minus down": lambda w, loss, eps: (
                -_differences(w, loss, eps) / (2 * eps)
            ),
            "the first slope is right and the others belong to another place: put each weight "
            "back before you nudge the next": lambda w, loss, eps: (
                _differences(w, loss, eps, restore=False) / (2 * eps)
            ),
            "all weights were nudged at once: that is the slope along the diagonal, one number; "
            "nudge one weight at a time": lambda w, loss, eps: np.full(
                len(w), (loss(w + eps) - loss(w - eps)) / (2 * eps)
            ),
        },
        "two looks at each weight, and the bend cancels",
    )


# --- back through tanh ----------------------------------------------------------------------------

_LAYER = (
    (
        _rows((1, 0, 0.5), (0.25, 1, 0)),
        _rows((0.5, -0.8), (0.1, 0.9)),
        _rows((0.3, -0.3), (-0.1, 0.1)),
        _rows((1, -0.5), (0.25, 2)),
    ),
    (
        _rows((1, 0.5), (0, 1), (0.75, 0.25), (1, 1)),
        _rows((0.2, -0.4, 0.6), (-0.9, 0.3, 0.1), (0.5, 0.5, -0.5), (0.8, -0.1, 0.4)),
        _rows((0.2, -0.1, -0.1), (0.05, 0.1, -0.15), (-0.2, 0.1, 0.1), (0.1, 0.1, -0.2)),
        _rows((1, 0.5, -1), (0, 2, 0.25), (-0.5, 1, 1)),
    ),
)


def hidden_slopes(fn: Callable) -> Result:
    """Check fn(x (B, C), h (B, U), dz (B, V), w2 (U, V)) -> slope of the loss for w1, (C, U)."""
    return _check(
        fn,
        _LAYER,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h**2)),
        {
            "the tanh was walked past: where a unit is near ±1 it hardly moves, and passes little "
            "blame on; multiply by 1 − h²": lambda x, h, dz, w2: x.T @ (dz @ w2.T),
            "tanh was applied twice: h is already tanh of the sum, so its slope is 1 − h²": (
                lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - np.tanh(h) ** 2))
            ),
            "the square is missing: the slope of tanh is 1 − h², which a negative h does not "
            "raise above 1": lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h)),
            "h(1 − h) is the slope of the logistic function; this unit is a tanh, with slope "
            "1 − h²": lambda x, h, dz, w2: x.T @ (dz @ w2.T * h * (1 - h)),
            "w2 was not turned round: forward it leads from units to digits, and the blame goes "
            "the other way, through w2.T": lambda x, h, dz, w2: x.T @ (dz @ w2 * (1 - h**2)),
            "divided by the number of pictures twice: dz already holds the mean's 1/B": (
                lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h**2)) / len(x)
            ),
            "that is the slope for w2, or begins like it: w1 stands between the pixels and the "
            "units, so the blame of the units is paired with x": lambda x, h, dz, w2: h.T @ dz,
        },
        "back through w2, damped where a unit is already sure, then paired with the pixels",
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
