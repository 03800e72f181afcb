"""The exercises' checkers: one line of answer, which names the likely mistake.

One job: run a learner's function on cases and say ✓, ✗ with a diagnosis, or ○ for a stub that is
not written yet. A check never raises on what the learner wrote: an exception becomes a line too. It
never shows the right answer either: where no diagnosis fits, it says where the answer differs.

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
import dis
import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gptlib.course.answers import describe, difference, same

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
NOT_RETURNED = failed("nothing was returned: is there a `return` in front of the answer?")
_OF_A_STUB = {"RESUME", "NOP", "LOAD_CONST", "RETURN_CONST", "RETURN_VALUE"}


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
    when: Callable[..., object] | None = None

    def explains(self, case: Sequence[Any], got: Any, tolerance: float) -> bool:
        """Say whether this mistake turns the case into what the learner returned."""
        try:
            if self.when is not None:
                return bool(self.when(got, *copy.deepcopy(case)))
            if self.answer is not None:
                return same(got, self.answer(*copy.deepcopy(case)), tolerance)
        except Exception:  # the mistake cannot be made on this case
            pass
        return False

    def raises(self, case: Sequence[Any], got: Result) -> bool:
        """Say whether this mistake raises what the learner's function raised on the case."""
        if self.answer is None:
            return False
        try:
            self.answer(*copy.deepcopy(case))
        except Exception as error:
            return got.message == _raised(error)
        return False


def attempt(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a learner's function on copies of the arguments.

    Returns what it returned, or a `Result` to hand on: it is a stub, returned nothing or raised.
    """
    if not callable(fn):
        return failed(f"expected a function, found {describe(fn)}")
    try:
        value = fn(*copy.deepcopy(args), **copy.deepcopy(kwargs))
    except NotImplementedError:
        return NOT_WRITTEN
    except Exception as error:
        return failed(_raised(error))
    if value is Ellipsis or (value is None and _is_stub(fn)):
        return NOT_WRITTEN
    return NOT_RETURNED if value is None else value


def _raised(error: Exception) -> str:
    return f"your function raised {type(error).__name__}: {error}"


def _is_stub(fn: Callable[..., Any]) -> bool:
    """Say whether a function's body holds nothing: a docstring, `...` or `pass`."""
    code = getattr(inspect.unwrap(fn), "__code__", None)
    return code is not None and all(i.opname in _OF_A_STUB for i in dis.get_instructions(code))


def check(
    fn: Callable[..., Any],
    cases: Iterable[Sequence[Any]],
    right: Callable[..., Any],
    wrongs: Iterable[Wrong] = (),
    success: str = "right",
    tolerance: float = 1e-5,
    array: str = "tensor",
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
        array: what the exercise calls a table of numbers, "tensor" or "array".
    """
    cases, wrongs = [tuple(case) for case in cases], list(wrongs)
    missed = []
    for case in cases:
        got = attempt(fn, *case)
        if isinstance(got, Result):
            known = [wrong.diagnosis for wrong in wrongs if wrong.raises(case, got)]
            return failed(known[0]) if known else got
        if not same(got, right(*copy.deepcopy(case)), tolerance):
            missed.append((case, got))
    if not missed:
        return passed(success)
    for wrong in wrongs:
        if all(wrong.explains(case, got, tolerance) for case, got in missed):
            return failed(wrong.diagnosis)
    case, got = missed[0]
    inputs = ", ".join(describe(argument) for argument in case)
    return failed(f"for {inputs}: {difference(got, right(*copy.deepcopy(case)), tolerance, array)}")
