"""What every chapter's checks promise: right answers pass, each mistake has its own diagnosis.

A test file derives a class from `CheckPromises`; `conftest.py` beside this one feeds its tests from
the class's `right` and `wrong`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np
import torch

NONSENSE = torch.zeros(7, 5), np.zeros((7, 5)), np.array(1.0), "seven", [1.0]
NOT_FINITE = float("nan"), float("inf")  # some checks know how these come about


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
            assert "expected" in result.message or nonsense in NOT_FINITE, nonsense
            assert "\n" not in repr(result) and " 0x" not in repr(result)

    def test_a_function_that_changes_its_arguments_harms_nothing(self, check):
        def vandal(*args):
            for value in args:
                if isinstance(value, torch.Tensor):
                    value.zero_()
                elif isinstance(value, np.ndarray):
                    value.fill(0)
                elif isinstance(value, list):
                    value.clear()

        assert check(vandal).passed is None
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
