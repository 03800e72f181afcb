"""The checks' base: one line for every answer, and never an exception of the learner's."""

import pytest
import torch

from gptlib.course.answers import describe, difference, same
from gptlib.course.checking import NOT_RETURNED, NOT_WRITTEN, Result, Wrong, attempt, check

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
        (lambda x: x, "✗ for 1: found 1, which is too small by a factor of about 2"),
        (lambda x: None, repr(NOT_WRITTEN)),
        (lambda x: [].append(2 * x), repr(NOT_RETURNED)),
        (lambda x: ..., repr(NOT_WRITTEN)),
        (lambda x: "two", "✗ for 1: expected a number, found 'two'"),
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
        (1.0, torch.tensor(1.0), True),
        ("1.0", 1.0, False),
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
    assert describe(torch.tensor([0.3])) == "[0.3]"
    assert describe([0.1 + 0.2, (torch.tensor(0.3).item(),)]) == "[0.3, (0.3)]"
    assert describe(torch.zeros(5, 5)) == "a tensor of shape (5, 5)"
    assert len(describe("x" * 500)) <= 60


GRID = torch.tensor([[0.3, 0.7], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("got", "expected", "words"),
    [
        (GRID.tolist(), GRID, "expected a tensor of shape (2, 2), found a list of 2"),
        (GRID.numpy(), GRID, "found a numpy array of shape (2, 2)"),
        (GRID[0], GRID, "expected the shape (2, 2), found (2,)"),
        (GRID.long(), GRID, "whole numbers (int64)"),
        (2 * GRID, GRID, "every number is too large by a factor of about 2"),
        (GRID * torch.tensor([[1], [2]]), GRID, "2 numbers are too large by a factor of about 2"),
        (-GRID, GRID, "every number is right but for the sign"),
        (GRID.softmax(0), GRID, "4 of 4 numbers are not; the first of them, at [0, 0], is"),
        (GRID + torch.tensor([[0, 0], [0, 0.01]]), GRID, "1 of 4 numbers are not"),
        (GRID / 0, GRID, "is infinite"),
        (float("nan"), 0.3, "which is not a number"),
        (0.3 + 1e-4, 0.3, "a little too large"),
        (-0.2, 0.3, "of the wrong sign"),
        (3.0, 0.0, "found 3, which is too large"),
        (3.0, "0.7", "expected a str, found the number 3"),
        ("b", "0.7", "expected another str, found 'b'"),
        ({}, {"a": 0.7}, "expected another dict, found {}"),
        ((1.0, 2.0), (1.0, 3.0), "of your 2 answers, the second: found 2"),
        ((1.0,), (1.0, 3.0), "expected 2 answers, found 1"),
        (1.0, (1.0, 3.0), "expected 2 answers in a tuple, found the number 1"),
    ],
)
def test_a_difference_is_told_without_the_right_answer(got, expected, words):
    assert words in difference(got, expected)
    assert "0.7" not in difference(got, expected)


def test_a_mistake_that_raises_has_its_diagnosis_too():
    def flat(x):
        return x - x.mean(1)

    cases = [(torch.ones(2, 3),)]
    known = [Wrong("the means lie down", lambda x: x - x.sum(1))]
    result = check(flat, cases, lambda x: x - x.mean(1, keepdim=True), known)
    assert repr(result) == "✗ the means lie down"
