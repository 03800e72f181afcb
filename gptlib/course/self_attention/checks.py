"""Checks of chapter 2's exercises: softmax, shuffle the past, scale, mask; and of its lab.

One job: compare a learner's function with the right one on small seeded cases, and name the
misconception behind each of the usual wrong answers.
"""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gptlib.course.answers import same
from gptlib.course.checking import Result, Wrong, check
from gptlib.course.self_attention import leaks


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _future(scores: Tensor, diagonal: int = 1) -> Tensor:
    """Boolean (T, T): True where the key comes after the query."""
    return torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal)


def causal_weights(fn: Callable[[Tensor], Tensor]) -> Result:
    """Exercise 2.4: scores (T, T) to weights that look only at the past and sum to 1."""

    def right(scores: Tensor) -> Tensor:
        return scores.masked_fill(_future(scores), -math.inf).softmax(-1)

    def after(scores: Tensor) -> Tensor:
        return scores.softmax(-1).masked_fill(_future(scores), 0.0)

    def zeros(scores: Tensor) -> Tensor:
        return scores.masked_fill(_future(scores), 0.0).softmax(-1)

    def not_itself(scores: Tensor) -> Tensor:
        return scores.masked_fill(_future(scores, 0), -math.inf).softmax(-1)

    def backwards(scores: Tensor) -> Tensor:
        return scores.masked_fill(_future(scores).T, -math.inf).softmax(-1)

    def faint(got: Tensor, scores: Tensor) -> bool:
        """The past is shared out as it should be, but the future kept something."""
        past = got.masked_fill(_future(scores), 0.0)
        past = past / past.sum(-1, keepdim=True)
        return bool(got.triu(1).any()) and same(past, right(scores))

    return check(
        fn,
        cases=[(_random(4, 4),), (3 * _random(6, 6, seed=1),)],
        right=right,
        wrongs=[
            Wrong(
                "no value of the future is added, but the rows no longer sum to 1: you masked "
                "after the softmax, and its divisor still holds the future's scores, which leak "
                "through it; mask the scores instead",
                after,
            ),
            Wrong(
                "future scores were set to 0, and exp(0) is 1, so the future still gets weight; "
                "the score that softmax turns into nothing is minus infinity",
                zeros,
            ),
            Wrong(
                "the diagonal is masked too: a token may look at itself, and the first one has "
                "nothing else to look at, hence the nan in its row",
                not_itself,
            ),
            Wrong(
                "you kept the future and masked the past: row t is the query, so its future is "
                "the columns to the right of t, above the diagonal",
                backwards,
            ),
            Wrong(
                "the weights above the diagonal are not zero: nothing was masked",
                lambda scores: scores.softmax(-1),
            ),
            Wrong(
                "the future still gets a little weight: exp of a finite number is never 0, however "
                "far below the others it lies; the score that softmax turns into nothing is minus "
                "infinity",
                when=faint,
            ),
        ],
        success="every row sums to 1 and no token sees its future",
    )


def softmax(fn: Callable[[Tensor], Tensor]) -> Result:
    """Exercise 2.1: softmax over the last axis, written out, safe for large scores."""

    def unsafe(scores: Tensor) -> Tensor:
        e = scores.exp()
        return e / e.sum(-1, keepdim=True)

    def over_columns(scores: Tensor) -> Tensor:
        return scores.softmax(-2)

    def over_everything(scores: Tensor) -> Tensor:
        e = (scores - scores.max()).exp()
        return e / e.sum()

    def largest_of_all(scores: Tensor) -> Tensor:
        e = (scores - scores.max()).exp()
        return e / e.sum(-1, keepdim=True)

    def lying_down(scores: Tensor) -> Tensor:
        e = (scores - scores.amax(-1, keepdim=True)).exp()
        return e / e.sum(-1)

    def without_max(scores: Tensor) -> Tensor:
        return (scores - scores.amax(-1, keepdim=True)).exp()

    def without_exp(scores: Tensor) -> Tensor:
        return scores / scores.sum(-1, keepdim=True)

    masked = _random(5, 5, seed=2).masked_fill(_future(torch.zeros(5, 5)), -math.inf)
    return check(
        fn,
        cases=[(_random(3, 4),), (_random(2, 3, 5, seed=1),), (masked,), (1000 * _random(3, 3),)],
        right=lambda scores: scores.softmax(-1),
        wrongs=[
            Wrong(
                "the columns sum to 1, not the rows: dim=-2 makes the queries compete for a key; "
                "the keys compete for a query, which is the last axis",
                over_columns,
            ),
            Wrong(
                "right for small scores, but exp(1000) is infinity and inf / inf is nan: subtract "
                "each row's largest score first, which changes no weight",
                unsafe,
            ),
            Wrong(
                "right until a row lies far below another: you subtracted the largest score of "
                "the whole table, and to exp such a row is all zeros; subtract each row's own "
                "largest score",
                largest_of_all,
            ),
            Wrong(
                "a row was divided by, or lost, a number that belongs to another: without "
                "keepdim=True the rows' numbers lie down as a row, and broadcasting spreads them "
                "over the columns, or fails",
                lying_down,
            ),
            Wrong(
                "all the weights together sum to 1: each row must do so by itself; "
                "sum over dim=-1 with keepdim=True",
                over_everything,
            ),
            Wrong(
                "these are positive but do not sum to 1: divide by the sum of the row",
                without_max,
            ),
            Wrong(
                "these are positive but do not sum to 1: divide by the sum of the row",
                torch.exp,
            ),
            Wrong(
                "you divided the scores themselves by their sum: negative scores then give "
                "negative weights; take exp first",
                without_exp,
            ),
        ],
        success="each row sums to 1, at any size of score",
    )


def scaled_scores(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Exercise 2.3: q, k (B, H, T, D) to scores (B, H, T, T) of unit spread."""

    def divided(by: Callable[[Tensor], float]) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda q, k: q @ k.transpose(-2, -1) / by(q)

    def channels(q: Tensor) -> int:
        return q.size(1) * q.size(-1)

    cases = [(_random(2, 3, 5, 4), _random(2, 3, 5, 4, seed=1))]
    cases.append((_random(1, 2, 7, 16, seed=2), _random(1, 2, 7, 16, seed=3)))
    return check(
        fn,
        cases=cases,
        right=divided(lambda q: math.sqrt(q.size(-1))),
        wrongs=[
            Wrong(
                "you divided by √C, all channels of all heads: a score adds up only the D products "
                "of its own head, so its spread is √D; √C leaves the heads too undecided",
                divided(lambda q: math.sqrt(channels(q))),
            ),
            Wrong(
                "nothing was scaled: the spread of these scores still grows as √D",
                divided(lambda q: 1.0),
            ),
            Wrong(
                "you divided by D: the variance of a score is D, its spread is √D",
                divided(lambda q: q.size(-1)),
            ),
            Wrong(
                "you divided by √T: a score adds up D products, however many tokens there are",
                divided(lambda q: math.sqrt(q.size(-2))),
            ),
            Wrong(
                "you multiplied by √D where you should divide: the spread is now D",
                divided(lambda q: 1 / math.sqrt(q.size(-1))),
            ),
            Wrong(
                "that is queries down the columns: score[t, s] is query t with key s, "
                "so the product is q @ k.transpose(-2, -1)",
                lambda q, k: k @ q.transpose(-2, -1) / math.sqrt(q.size(-1)),
            ),
        ],
        success="unit spread at every D, whatever the number of heads",
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
    """Exercise 2.2: how far the last output moves when the tokens before it change places."""

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
    mended: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Result:
    """The lab: judge what has been built so far; answer with the last of it or the first fault.

    Args:
        leak_report: (head, T, parts) to (T, T) bool: whether output s, a row, moves when token t
            changes, in those of its q, k and v that `parts` names.
        worth: a head to the nats a toss that a model saves with it on a fair coin.
        verdict: for each of `lab.HEADS` "safe", or the letters of a later token that reach back.
        mended: one of the heads, mended.
    """
    found = leaks.report(leak_report)
    if found and worth is not None:
        found = leaks.worth(worth)
    if found and verdict is not None:
        found = leaks.verdict(verdict)
    if found and mended is not None:
        found = leaks.mended(mended)
    return found
