"""The checks' base: one line for every answer, and never an exception of the learner's."""

import pytest
import torch

from gptlib.course.checks import NOT_WRITTEN, Result, Wrong, attempt, check, describe, same

CASES = [(1.0,), (3.0,)]
WRONGS = [
    Wrong("that is the square", lambda x: x * x),
    Wrong("that is too large by a constant", when=lambda got, x: got > 2 * x),
]


def double(fn) -> Result:
    return check(fn, CASES, lambda x: 2 * x, WRONGS, success="twice is twice")


def fail(x):
    raise KeyError("no such thing")


@pytest.mark.parametrize(
    ("fn", "line"),
    [
        (lambda x: 2 * x, "✓ twice is twice"),
        (lambda x: x * x, "✗ that is the square"),
        (lambda x: 2 * x + 1, "✗ that is too large by a constant"),
        (lambda x: x, "✗ for 1 expected 2, found 1"),
        (lambda x: None, repr(NOT_WRITTEN)),
        (lambda x: ..., repr(NOT_WRITTEN)),
        (lambda x: "two", "✗ for 1 expected 2, found 'two'"),
        (fail, "✗ your function raised KeyError: 'no such thing'"),
        (3, "✗ expected a function, found 3"),
    ],
)
def test_every_answer_is_one_line(fn, line):
    result = double(fn)
    assert repr(result) == line
    assert bool(result) == line.startswith("✓")


def test_a_stub_that_says_so_is_not_written():
    def stub(x):
        raise NotImplementedError

    assert attempt(stub, 1) is NOT_WRITTEN
    assert repr(NOT_WRITTEN).startswith("○")


def test_a_function_that_spoils_its_arguments_spoils_only_a_copy():
    def spoil(x):
        return x.mul_(2)

    case = torch.ones(3)
    assert check(spoil, [(case,)], lambda x: 2 * x)
    assert case.equal(torch.ones(3))


def test_a_long_or_broken_message_stays_one_line():
    line = repr(Result(False, "one\ntwo " * 200))
    assert "\n" not in line and len(line) == 300 and line.endswith("…")


@pytest.mark.parametrize(
    ("got", "expected", "equal"),
    [
        (torch.tensor([1.0]), torch.tensor([1.0 + 1e-7]), True),
        (torch.tensor([1.0]), torch.tensor([[1.0]]), False),
        (torch.tensor([float("nan")]), torch.tensor([float("nan")]), True),
        (1.0, torch.tensor([1.0]), False),
        (torch.tensor(2.0), 2.0, True),
        (float("inf"), float("inf"), True),
        (True, 1.0, True),
        (1, True, False),
        ((1, [2.0]), (1, [2.0]), True),
        ({"a": 1}, {"a": 2}, False),
        (object(), 1.0, False),
    ],
)
def test_same(got, expected, equal):
    assert same(got, expected) is equal


def test_describe_is_short():
    assert describe(torch.tensor([0.5, 0.25])) == "[0.5, 0.25]"
    assert describe(torch.zeros(5, 5)) == "a tensor of shape (5, 5)"
    assert len(describe("x" * 500)) <= 60
