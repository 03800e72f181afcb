"""The exercises' checkers: one line of answer, which names the likely mistake.

One job: run a learner's function on cases and say ✓, ✗ with a diagnosis, or ○ for a stub that is
not written yet. A check never raises on what the learner wrote: an exception becomes a line too.

    def double(fn):
        return check(
            fn,
            cases=[(1.0,), (3.0,)],
            right=lambda x: 2 * x,
            wrongs=[Wrong("that is the square, not twice the number", lambda x: x * x)],
            success="twice is twice",
        )
"""

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

_LONGEST = 300  # characters of one answer


@dataclass(frozen=True, repr=False)
class Result:
    """What a check found: `passed` is True, False, or None for a stub that is not written yet."""

    passed: bool | None
    message: str

    def __repr__(self) -> str:
        mark = {True: "✓", False: "✗", None: "○"}[self.passed]
        line = " ".join(f"{mark} {self.message}".split())
        return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"

    def __bool__(self) -> bool:
        return self.passed is True


def passed(message: str) -> Result:
    """Return the answer to a right solution."""
    return Result(True, message)


def failed(message: str) -> Result:
    """Return the answer to a wrong solution; the message says what is wrong and where to look."""
    return Result(False, message)


NOT_WRITTEN = Result(None, "not written yet: fill in the function and run the cell again")


@dataclass(frozen=True)
class Wrong:
    """A wrong answer that people really give, and what to tell whoever gives it.

    Args:
        diagnosis: the sentence to show, which names the misconception.
        answer: a function that makes the mistake: it gets a case and returns the wrong answer.
        when: used in place of `answer` where no single function makes the mistake:
            `when(got, *case)` says whether the learner's value `got` shows it.
    """

    diagnosis: str
    answer: Callable[..., Any] | None = None
    when: Callable[..., bool] | None = None

    def explains(self, case: Sequence[Any], got: Any, tolerance: float) -> bool:
        """Say whether this mistake turns the case into what the learner returned."""
        try:
            if self.when is not None:
                return bool(self.when(got, *copy.deepcopy(case)))
            return same(got, self.answer(*copy.deepcopy(case)), tolerance)
        except Exception:  # the mistake cannot be made on this case
            return False


def attempt(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a learner's function on copies of the arguments.

    Returns what it returned, or a `Result` to hand on when it is a stub or raised.
    """
    if not callable(fn):
        return failed(f"expected a function, found {describe(fn)}")
    try:
        value = fn(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    except NotImplementedError:
        return NOT_WRITTEN
    except Exception as error:
        return failed(f"your function raised {type(error).__name__}: {error}")
    return NOT_WRITTEN if value is None or value is Ellipsis else value


def check(
    fn: Callable[..., Any],
    cases: Iterable[Sequence[Any]],
    right: Callable[..., Any],
    wrongs: Iterable[Wrong] = (),
    success: str = "right",
    tolerance: float = 1e-5,
) -> Result:
    """Run a learner's function on every case and diagnose the first kind of mistake that fits.

    Args:
        fn: the learner's function.
        cases: the argument tuples; each call gets its own copy.
        right: the reference, called with the same arguments.
        wrongs: the mistakes to look for, in order; one is named only if it explains every case on
            which the answer was wrong.
        success: what to say when all cases agree.
        tolerance: greatest difference between numbers that count as equal, absolute and relative.
    """
    cases = [tuple(case) for case in cases]
    missed = []
    for case in cases:
        got = attempt(fn, *case)
        if isinstance(got, Result):
            return got
        if not same(got, right(*copy.deepcopy(case)), tolerance):
            missed.append((case, got))
    if not missed:
        return passed(success)
    for wrong in wrongs:
        if all(wrong.explains(case, got, tolerance) for case, got in missed):
            return failed(wrong.diagnosis)
    case, got = missed[0]
    expected = right(*copy.deepcopy(case))
    inputs = ", ".join(describe(argument) for argument in case)
    return failed(f"for {inputs} expected {describe(expected)}, found {describe(got)}")


def same(got: Any, expected: Any, tolerance: float = 1e-5) -> bool:
    """Compare numbers, tensors, texts, or nests of them; never raises."""
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
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
    try:
        got, expected = float(got), float(expected)
    except (TypeError, ValueError, RuntimeError):
        return False
    if math.isnan(expected):
        return math.isnan(got)
    return got == expected or math.isclose(got, expected, rel_tol=tolerance, abs_tol=tolerance)


def describe(value: Any) -> str:
    """Return a short text for a value: small tensors whole, large ones by their shape."""
    if isinstance(value, torch.Tensor):
        if value.numel() > 12:
            return f"a tensor of shape {tuple(value.shape)}"
        if value.is_floating_point():
            value = (value.detach() * 1e4).round() / 1e4
        return str(value.tolist())
    if isinstance(value, float):
        return f"{value:.4g}"
    if inspect.isroutine(value):  # its repr has an address, another one in every run
        return "a function"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
