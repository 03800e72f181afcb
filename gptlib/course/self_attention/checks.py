"""Checks of chapter 2's exercises: shuffled past, one place back, two pieces; and of its lab.

One job: compare a learner's function with the right one on small seeded cases, and name the
misconception behind each of the usual wrong answers.
"""

import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gptlib.course.answers import same
from gptlib.course.checking import Result, Wrong, attempt, check, failed, passed
from gptlib.course.self_attention import leaks


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _future(scores: Tensor, diagonal: int = 1) -> Tensor:
    """Boolean (T, T): True where the key comes after the query."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)


Triple = tuple[Tensor, Tensor, Tensor]  # largest score, sum of exp(score - it), average (C,)


class _Piece:
    """What is kept of a piece of a row; it unpacks as (m, s, a), and a check does not print it.

    Args:
        scores: (T,). x: vectors (T, C).
    """

    def __init__(self, scores: Tensor, x: Tensor) -> None:
        self.tokens, e = len(scores), (scores - scores.max()).exp()
        self.kept = scores.max(), e.sum(), e @ x / e.sum()

    def __repr__(self) -> str:
        return f"a piece of {self.tokens} tokens"

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.kept)

    def __getitem__(self, n: int) -> Tensor:
        return self.kept[n]


def _pieces(first: int, second: int, loud: float, lead: float, seed: int) -> tuple[_Piece, _Piece]:
    """Return two pieces of a row; the second one's scores are higher by `lead`."""
    scores = loud * _random(first + second, seed=seed)
    scores[first:] += lead
    x = _random(first + second, 3, seed=seed + 100)
    return _Piece(scores[:first], x[:first]), _Piece(scores[first:], x[first:])


def joined(fn: Callable[[Triple, Triple], Triple]) -> Result:
    """Exercise 2.4: two pieces of a softmax average, each (m, s, a), to those of the whole row."""

    def right(one: Triple, other: Triple) -> Triple:
        (m1, s1, a1), (m2, s2, a2) = one, other
        m = torch.maximum(m1, m2)
        s1, s2 = s1 * (m1 - m).exp(), s2 * (m2 - m).exp()
        return m, s1 + s2, (s1 * a1 + s2 * a2) / (s1 + s2)

    def upside_down(one: Triple, other: Triple) -> Triple:
        (m1, s1, a1), (m2, s2, a2) = one, other
        m = torch.maximum(m1, m2)
        s1, s2 = s1 * (m - m1).exp(), s2 * (m - m2).exp()
        return m, s1 + s2, (s1 * a1 + s2 * a2) / (s1 + s2)

    def not_divided(one: Triple, other: Triple) -> Triple:
        m, s, a = right(one, other)
        return m, s, s * a

    def average(of: Callable[[Triple, Triple], Tensor]) -> Callable[..., bool]:
        """A test of the third answer alone."""

        def when(got: Any, one: Triple, other: Triple) -> bool:
            return len(got) == 3 and same(got[2], of(one, other))

        return when

    def of_averages(one: Triple, other: Triple) -> Tensor:
        return (one[2] + other[2]) / 2

    def by_sums(one: Triple, other: Triple) -> Tensor:
        return (one[1] * one[2] + other[1] * other[2]) / (one[1] + other[1])

    def unsafe(one: Triple, other: Triple) -> Tensor:
        s1, s2 = one[1] * one[0].exp(), other[1] * other[0].exp()
        return (s1 * one[2] + s2 * other[2]) / (s1 + s2)

    def right_average(one: Triple, other: Triple) -> Tensor:
        return right(one, other)[2]

    def lower(got: Any, one: Triple, other: Triple) -> bool:
        return len(got) == 3 and same(got[0], torch.minimum(one[0], other[0]))

    return check(
        fn,
        cases=[
            _pieces(4, 3, loud=1, lead=0, seed=1),
            _pieces(2, 5, loud=1, lead=3, seed=2),
            _pieces(5, 2, loud=1, lead=-3, seed=3),
            _pieces(3, 4, loud=1000, lead=0, seed=4),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the first of the three is not the largest score of the whole row: keep the larger "
                "m, or exponentials grow beyond all bounds",
                when=lower,
            ),
            Wrong(
                "right for small scores, but exp(1000) is infinity and inf / inf is nan: never "
                "take exp of m itself, only of m minus the larger m",
                when=average(unsafe),
            ),
            Wrong(
                "each sum was corrected the wrong way round: it was taken below its own m, and "
                "below a larger m every exponential is smaller, by exp(own m − larger m)",
                upside_down,
            ),
            Wrong(
                "the third is the weighted sum, not yet the average: divide it by the new s",
                not_divided,
            ),
            Wrong(
                "that is the mean of the two averages, as if each piece had half of the weight: "
                "a piece weighs as much as its exponentials come to",
                when=average(of_averages),
            ),
            Wrong(
                "you weighed each average by its s as it stands, but the two sums were taken below "
                "different largest scores: bring both below the larger m first",
                when=average(by_sums),
            ),
            Wrong(
                "the average is right, but what goes with it is not: s has to be the sum below the "
                "new m, or the next piece cannot be joined",
                when=average(right_average),
            ),
        ],
        success="two pieces make the row they came from, at any size of score",
    )


def _kind(value: Any) -> str:
    """Name what stands where a matrix should, without its numbers."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"


def one_back(fn: Callable[[], tuple[Tensor, Tensor]]) -> Result:
    """Exercise 2.2: W_Q and W_K, (2, 2) each, by which every hour looks at the hour before it."""
    got = attempt(fn)
    if isinstance(got, Result):
        return got
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return failed(f"expected two matrices in a tuple, W_Q and W_K, found {_kind(got)}")
    for name, matrix in zip(("W_Q", "W_K"), got, strict=True):
        if not isinstance(matrix, Tensor) or matrix.shape != (2, 2):
            return failed(f"expected a tensor of shape (2, 2) for {name}, found {_kind(matrix)}")
    W_Q, W_K = (matrix.detach().float() for matrix in got)
    hours = torch.arange(12) * math.radians(30)
    clock = torch.stack([hours.cos(), hours.sin()], dim=1)  # (T, 2)
    scores = (clock @ W_Q) @ (clock @ W_K).T  # (T, T)
    weights = scores.masked_fill(_future(scores), -math.inf).softmax(-1)
    if not bool(weights.isfinite().all()):
        return failed("some weights are not numbers: are W_Q and W_K finite?")
    least = weights.diagonal(-1).min().item()
    if least > 0.9:
        return passed("each hour looks one hour back, with nine tenths of its weight or more")
    if scores.std() < 1e-4:
        return failed(
            "all scores are equal, so everybody gets the plain average: is a matrix zero?"
        )
    back = (torch.arange(12) - scores.argmax(-1)) % 12  # how far each hour's favorite is behind
    if (back != back[0]).any():
        return failed(
            "the hours do not agree how far back to look: q has to be the hand turned by one angle "
            "for all, and a row times ((cos, −sin), (sin, cos)) is; mind the signs, a mirror "
            "has others"
        )
    told = {
        0: "each hour looks at itself: a hand is nearest to itself, so W_Q has to turn it",
        11: "the hand is turned forward, to an hour that the mask hides: change the sign of the "
        "angle",
        1: f"each hour likes the one before it best, but gives it {least:.2f} in the worst row: "
        "the cosines of neighbors differ by little, so ask louder",
    }
    places = int(back[0])
    return failed(
        told.get(places, f"each hour looks {places} hours back: one hour is 30°, π/6 in radians")
    )


class _Attend:
    """One small causal head on x (T, C), with or without an order of its own."""

    def __init__(self, positions: bool) -> None:
        self.positions = positions

    def __repr__(self) -> str:
        return f"attention with{'' if self.positions else 'out'} positions"

    def __call__(self, x: Tensor) -> Tensor:
        T, C = x.shape
        if self.positions:
            x = x + _random(T, C, seed=9)
        scores = (x @ _random(C, C, seed=7) @ x.T) / math.sqrt(C)
        return scores.masked_fill(_future(scores), -math.inf).softmax(-1) @ x


def _noting(fn: Any, asked: list[bool]) -> Any:
    """Let a learner's function be checked, and note whether it called the `attend` it was given."""
    if not callable(fn):
        return fn

    @functools.wraps(fn)
    def call(attend: Callable, x: Tensor, order: Tensor) -> Any:
        def attend_and_note(x: Tensor) -> Tensor:
            asked.append(True)
            return attend(x)

        return fn(attend_and_note, x, order)

    return call


def shuffle_the_past(fn: Callable[[Callable, Tensor, Tensor], float]) -> Result:
    """Exercise 2.1: how far the last output moves when the tokens before it change places."""

    def shuffled(x: Tensor, order: Tensor) -> Tensor:
        return torch.cat([x[:-1][order], x[-1:]])

    def right(attend: Callable, x: Tensor, order: Tensor) -> float:
        return (attend(shuffled(x, order))[-1] - attend(x)[-1]).abs().max().item()

    def all_rows(attend: Callable, x: Tensor, order: Tensor) -> float:
        return (attend(shuffled(x, order)) - attend(x)).abs().max().item()

    def signed(attend: Callable, x: Tensor, order: Tensor) -> float:
        return (attend(shuffled(x, order))[-1] - attend(x)[-1]).max().item()

    def outputs(attend: Callable, x: Tensor, order: Tensor) -> float:
        y = attend(x)
        return (shuffled(y, order)[-1] - y[-1]).abs().max().item()

    def with_query(attend: Callable, x: Tensor, order: Tensor) -> float:
        everyone = torch.cat([x[-1:], x[:-1][order]])
        return (attend(everyone)[-1] - attend(x)[-1]).abs().max().item()

    def without_query(attend: Callable, x: Tensor, order: Tensor) -> float:
        return (attend(x[order])[-1] - attend(x)[-1]).abs().max().item()

    asked: list[bool] = []
    order = torch.tensor([3, 0, 4, 1, 2])
    return check(
        _noting(fn, asked),
        cases=[
            (_Attend(positions=False), _random(6, 4, seed=5), order),
            (_Attend(positions=True), _random(6, 4, seed=5), order),
            (_Attend(positions=True), _random(6, 4, seed=14), order),
        ],
        right=right,
        wrongs=[
            Wrong(
                "you never called attend: it may be zero, but that is what the experiment has to "
                "find out; attend to x and to the shuffled x",
                when=lambda got, attend, x, order: not asked,
            ),
            Wrong(
                "you compared every row: a token in the middle has a different past after the "
                "shuffle, and of course it moves; compare the last row only, which sees the same "
                "tokens in another order",
                all_rows,
            ),
            Wrong(
                "you shuffled the outputs: the last row stays where it is and nothing can move; "
                "shuffle x before you attend",
                outputs,
            ),
            Wrong(
                "the last token moved too, so another token asks the question: shuffle x[:-1] and "
                "put x[-1:] back at the end",
                with_query,
            ),
            Wrong(
                "the last token was lost: order is a shuffle of those before it, so x[order] is "
                "one token short and another one asks; put x[-1:] back at the end",
                without_query,
            ),
            Wrong(
                "a fall counts as much as a rise: take the absolute value before the largest",
                signed,
            ),
        ],
        success="without positions nothing moves: attention knows what was said, not when",
        tolerance=1e-4,
    )


def find_the_leak(
    leak_report: Callable[[Callable, int, str], Tensor],
    worth: Callable[[Callable], float] | None = None,
    verdict: Mapping[str, str] | None = None,
    rebuilt: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Result:
    """The lab: judge what has been built so far; answer with the last of it or the first fault.

    Args:
        leak_report: (head, T, parts) to (T, T) bool: whether output s, a row, moves when token t
            changes, in those of its q, k and v that `parts` names.
        worth: a head to the nats a toss that a model saves with it on a fair coin.
        verdict: for each of `lab.HEADS` "safe", or the letters of a later token that reach back.
        rebuilt: one of the heads that leak, written anew.
    """
    found = leaks.report(leak_report)
    if found and worth is not None:
        found = leaks.worth(worth)
    if found and verdict is not None:
        found = leaks.verdict(verdict)
    if found and rebuilt is not None:
        found = leaks.rebuilt(rebuilt)
    return found
