"""What every chapter's checks promise: right answers pass, each mistake has its own diagnosis.

A test file derives a class from `CheckPromises`; `conftest.py` beside this one feeds its tests from
the class's `right` and `wrong`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import torch

from gptlib.course.checking import NOT_RETURNED

NONSENSE = torch.zeros(7, 5), np.zeros((7, 5)), np.array(1.0), "seven", [1.0]
NOT_FINITE = float("nan"), float("inf")  # some checks know how these come about


LONG = re.compile(r"\d\.\d{7}")  # a float of 32 bits that nobody rounded


def numbers(value) -> list[float]:
    """All numbers in an answer, however deep they lie."""
    if isinstance(value, (list, tuple)):
        return [number for part in value for number in numbers(part)]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return numbers(value.tolist())
    return [float(value)] if isinstance(value, (int, float)) else []


def shown(message: str, answers: Sequence) -> list[float]:
    """The numbers of right answers that a message gives away, to four digits.

    Numbers of one or two digits say nothing: 4 may be a shape, and 0.5 a factor.
    """
    there = {
        float(n.replace(",", "")) for n in re.findall(r"\d[\d,]*\.?\d*(?:e[+-]?\d+)?", message)
    }
    telling = [n for answer in answers for n in numbers(answer) if float(f"{n:.1e}") != n]
    return [n for n in telling if any(abs(n - t) <= 1e-3 * abs(n) for t in there)]


def by_hand(answer, change):
    """A learner's function that does everything right and then spoils it by `change`."""
    return lambda *args: change(answer(*args))


class CheckPromises:
    """Derive from it, with these three.

    module: the chapter's checks. right: pairs (check, answer). wrong: triples (check, answer, words
    of its diagnosis that no other diagnosis of that check has).
    """

    module: ModuleType
    right: Sequence[tuple[Callable, Callable]]
    wrong: Sequence[tuple[Callable, Callable, str]]

    def test_a_right_answer_passes(self, check, answer):
        result = check(answer)
        assert result.passed is True, result

    def test_a_wrong_answer_gets_its_own_diagnosis(self, check, answer, words):
        result = check(answer)
        assert result.passed is False
        assert words in result.message
        assert not repr(result).endswith("…")
        others = {w for c, _, w in self.wrong if c is check and w != words}
        assert not [w for w in others if w in result.message]

    def test_a_stub_an_exception_and_nonsense_get_one_line(self, check):
        def stub(*args): ...

        def broken(*args):
            raise RuntimeError("the goose is loose")

        assert check(stub).passed is None and check(lambda *args: ...).passed is None
        assert "not written yet" in repr(check(stub))
        assert check(broken).passed is False
        assert "RuntimeError: the goose is loose" in check(broken).message
        assert check(lambda: 0).passed is False
        assert check(3).passed is False and check("not a function").passed is False
        for nonsense in (*NONSENSE, *NOT_FINITE):
            result = check(lambda *args, value=nonsense: value)
            assert result.passed is False, nonsense
            assert "\n" not in repr(result) and " 0x" not in repr(result)
            assert not LONG.search(result.message), result

    def test_no_wrong_answer_is_told_the_right_one(self, check):
        answer = next(answer for known, answer in self.right if known is check)
        inputs = []

        def spy(*args):
            inputs.append(args)
            return answer(*args)

        assert check(spy).passed is True
        answers = [answer(*args) for args in inputs]

        def listed(value):
            return value.tolist() if isinstance(value, (torch.Tensor, np.ndarray)) else [value]

        def whole(value):
            return (value * 0).long() if isinstance(value, torch.Tensor) else 0

        def wider(value):
            return value[None] if isinstance(value, (torch.Tensor, np.ndarray)) else (value, value)

        def larger(value):
            return tuple(map(larger, value)) if isinstance(value, (list, tuple)) else value * 1.7

        for change in (listed, whole, wider, larger, lambda value: 0, lambda value: 1.0):
            result = check(by_hand(answer, change))
            if result.passed is not True:  # a list of one number, say
                assert not shown(result.message, answers), result
                assert not LONG.search(result.message), result
                found = re.search(r"expected (.*?), found (.*)", result.message)
                assert not found or found[1] != found[2], result

    def test_a_forgotten_return_is_not_called_unwritten(self, check):
        answer = next(answer for known, answer in self.right if known is check)

        def without_return(*args):
            answer(*args)

        assert check(without_return) == NOT_RETURNED
        assert "`return`" in repr(NOT_RETURNED)

    def test_a_function_that_changes_its_arguments_harms_nothing(self, check):
        def vandal(*args):
            for value in args:
                if isinstance(value, torch.Tensor):
                    value.zero_()
                elif isinstance(value, np.ndarray):
                    value.fill(0)
                elif isinstance(value, list):
                    value.clear()

        assert check(vandal) == NOT_RETURNED
        right = next(answer for known, answer in self.right if known is check)
        assert check(right).passed is True

    def test_every_check_is_tested(self):
        public = {
            value
            for name, value in vars(self.module).items()
            if callable(value)
            and getattr(value, "__module__", "") == self.module.__name__
            and not name.startswith("_")
        }
        assert public == {check for check, _ in self.right}
        assert public == {check for check, _, _ in self.wrong}
