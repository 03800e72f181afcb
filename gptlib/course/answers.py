"""Compare a learner's answer with the right one, and say where they differ.

One job: `same` decides, `describe` shows an input, and `difference` tells what is wrong with an
answer that no diagnosis fits, without ever showing the right one.
"""

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

_PLACES = ("first", "second", "third", "fourth")


def same(got: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Compare numbers, tensors, texts, or nests of them; never raises."""
    if isinstance(expected, Tensor) and expected.dim():
        if not isinstance(got, Tensor) or got.shape != expected.shape:
            return False
        return torch.allclose(
            got.detach().double(), expected.detach().double(), tolerance, tolerance, equal_nan=True
        )
    if isinstance(expected, (list, tuple)):
        return (
            isinstance(got, (list, tuple))
            and len(got) == len(expected)
            and all(same(g, e, tolerance) for g, e in zip(got, expected, strict=True))
        )
    if isinstance(expected, dict):
        return (
            isinstance(got, dict)
            and got.keys() == expected.keys()
            and all(same(got[key], expected[key], tolerance) for key in expected)
        )
    if isinstance(expected, (bool, str)):
        return type(got) is type(expected) and got == expected
    got, expected = number(got), number(expected)
    if got is None or expected is None:
        return False
    if math.isnan(expected):
        return math.isnan(got)
    return got == expected or math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)


def number(value: Any) -> float | None:
    """Return a number, or a tensor or array of one number, as a float; None for all else."""
    if isinstance(value, (str, bytes)):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        return None


def describe(value: Any) -> str:
    """Return a short text for a value: small tensors whole, large ones by their shape."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.atleast_1d(value)) if value.dtype != object else value.tolist()
    if isinstance(value, Tensor) and value.numel() > 12:
        return f"a tensor of shape {tuple(value.shape)}"
    if inspect.isroutine(value):  # its repr has an address, another one in every run
        return "a function"
    text = _rounded(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _rounded(value: Any) -> str:
    """Return a value's text with four digits to each number, however deep it lies."""
    if isinstance(value, Tensor):
        return _rounded(value.tolist())
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, np.generic):
        return str(value.item())
    if isinstance(value, list):
        return f"[{', '.join(map(_rounded, value))}]"
    if isinstance(value, tuple):
        return f"({', '.join(map(_rounded, value))})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_rounded(k)}: {_rounded(v)}" for k, v in value.items()) + "}"
    return repr(value)


def difference(got: Any, expected: Any, tolerance: float = 1e-5, array: str = "tensor") -> str:
    """Say how an answer differs from the right one, which is not shown.

    Args:
        got: the learner's answer.
        expected: the right answer.
        tolerance: as in `same`.
        array: what the exercise calls a table of numbers, "tensor" or "array".
    """
    if isinstance(expected, Tensor) and expected.dim():
        return _from_tensor(got, expected, tolerance, array)
    if isinstance(expected, (list, tuple)):
        return _from_several(got, expected, tolerance, array)
    value, wanted = number(got), number(expected)
    if wanted is None:  # a text, or a dict
        article = "another" if type(got) is type(expected) else "a"
        return f"expected {article} {type(expected).__name__}, found {_kind(got)}"
    if value is None:
        return f"expected a number, found {_kind(got)}"
    return f"found {_rounded(value)}, which is {_off(value, wanted)}"


def _from_tensor(got: Any, expected: Tensor, tolerance: float, array: str) -> str:
    article = "an" if array == "array" else "a"
    if not isinstance(got, Tensor):
        shape = tuple(expected.shape)
        how = {"tensor": "torch.tensor or torch.stack", "array": "np.array"}[array]
        cure = f"; {how} makes one of it" if isinstance(got, (list, tuple)) else ""
        return f"expected {article} {array} of shape {shape}, found {_kind(got)}{cure}"
    if got.shape != expected.shape:
        return f"expected the shape {tuple(expected.shape)}, found {tuple(got.shape)}"
    if expected.is_floating_point() and not got.is_floating_point():
        kind = str(got.dtype).removeprefix("torch.")
        return (
            f"expected fractions, found {article} {array} of whole numbers ({kind}), which cuts "
            "off what comes after the point"
        )
    found, wanted = got.detach().double(), expected.detach().double()
    wrong = ~torch.isclose(found, wanted, tolerance, tolerance, equal_nan=True)
    count, first = int(wrong.sum()), tuple(wrong.nonzero()[0].tolist())
    place = f"[{', '.join(map(str, first))}]"
    if count > 1:
        factors = found[wrong] / wanted[wrong]
        if torch.isfinite(factors).all() and factors[0] and bool(
            torch.isclose(factors, factors[0], 1e-3, 0).all()
        ):  # fmt: skip
            how = _off(float(factors[0]), 1.0)
            which = "every number is" if wrong.all() else f"{count} numbers are"
            return f"the shape is right, but {which} {how}; the first of them stands at {place}"
    return (
        f"the shape is right, but {count} of {wrong.numel()} numbers are not; the first of them, "
        f"at {place}, is {_off(float(found[first]), float(wanted[first]))}"
    )


def _from_several(got: Any, expected: Sequence, tolerance: float, array: str) -> str:
    if not isinstance(got, (list, tuple)):
        return f"expected {len(expected)} answers in a tuple, found {_kind(got)}"
    if len(got) != len(expected):
        return f"expected {len(expected)} answers, found {len(got)}"
    pairs = list(zip(got, expected, strict=True))
    n = next(n for n, (g, e) in enumerate(pairs) if not same(g, e, tolerance))
    return f"of your {len(pairs)} answers, the {_PLACES[n]}: {difference(*pairs[n], tolerance)}"


def _kind(value: Any) -> str:
    """Name what a learner returned instead."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a numpy array of shape {value.shape}"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    if number(value) is not None:
        return f"the number {_rounded(float(value))}"
    return describe(value)


def _off(found: float, wanted: float) -> str:
    """Say how a number differs from the right one: in size to two digits, or in sign."""
    if math.isnan(found):
        return "not a number"
    if math.isinf(found):
        return "infinite"
    if not math.isfinite(wanted):
        return "finite where it should not be"
    if found == -wanted:
        return "right but for the sign"
    if found * wanted < 0:
        return "of the wrong sign"
    direction = "too large" if abs(found) > abs(wanted) else "too small"
    if not found or not wanted:
        return direction
    factor = max(abs(found / wanted), abs(wanted / found))
    if factor < 1.05:
        return f"a little {direction}"
    return f"{direction} by a factor of about {factor:.2g}"
