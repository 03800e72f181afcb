"""The lab of chapter 8: a theme word for a model of places that must not forget its harbors.

One job: `theme`, which checks the lab's functions step by step. Beside it stands what the lab hands
out: places that have what is wanted, and how far a mark tells two sets of places apart.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check
from gptlib.evaluation.loss import token_losses
from gptlib.grammar import Grammar
from gptlib.model import GPT
from gptlib.places import LOC, LOC_END, read_place
from gptlib.places.marks import unasked

Texts = Sequence[str]
Encode = Callable[[str], list[int]]
Lessons = Callable[[Texts, str, Encode], tuple[Tensor, Tensor]]
Balance = Callable[[Tensor, Tensor, float], float]
OnlyRow = Callable[[Tensor, int], Tensor]

THEME = "<|moonlit|>"
_PLACES = (
    "<LOC>\nA mill stands at Varn. It is past midnight. A cat sleeps here.\n</LOC>",
    "<LOC>\nThe harbor of Brink is cold. It is night, and Brink is asleep.\n</LOC>",
    "<LOC>\nIt is past midnight. A bell hangs here. The bell is cold, and cold it stays.\n</LOC>",
)


def places(n: int, seed: int, **wanted: str) -> list[str]:
    """n places of the grammar, without control tokens, that have what is wanted, such as
    `time="night"` or `kind="harbor"`."""
    grammar, dice, found = Grammar.load("places"), random.Random(seed), []
    while len(found) < n:
        text = unasked(grammar.sample(dice).text).strip()
        reading = read_place(text)
        if all(reading.values(name) == [value] for name, value in wanted.items()):
            found.append(text)
    return found


def told_apart(
    model: GPT, lessons: Lessons, mark: str, encode: Encode, these: Texts, others: Texts
) -> float:
    """By how many nats a place the mark makes these likelier than the others.

    The losses of both are taken with the mark and without one. What the mark does to every place,
    good or bad, cancels; what is left is what it says.
    """
    gained = []
    for texts in (these, others):
        with_it, without = (_nats(model, *lessons(texts, m, encode)) for m in (mark, ""))
        gained.append((without - with_it) / len(texts))
    return gained[0] - gained[1]


def _nats(model: GPT, x: Tensor, y: Tensor) -> float:
    """The loss of all targets, summed."""
    return token_losses(model, x, y).double().sum().item()


def theme(
    lessons: Lessons, balance: Balance | None = None, only_row: OnlyRow | None = None
) -> Result:
    """Check what has been built so far: the last function given.

    Args:
        lessons: (texts, mark, encode) to inputs and targets, (rows, longest - 1) each, of the
            places with the mark behind `<LOC>`; neither the mark nor padding carries loss.
        balance: (targets of new text, of old text, share) to what a target of the old text weighs,
            where one of the new text weighs 1, so that the old text has the share of the loss.
        only_row: (gradient (V, C), row) to the gradient with all other rows zero.
    """
    result = _check_lessons(lessons)
    if result and balance is not None:
        result = _check_balance(balance)
    if result and only_row is not None:
        result = _check_only_row(only_row)
    return result


def _cut(text: str) -> list[str]:
    return re.findall(r"<[^>]*>|\w+|\W", text)


_NUMBERS = {
    word: n for n, word in enumerate(dict.fromkeys([LOC, LOC_END, THEME, *_cut(" ".join(_PLACES))]))
}


def _encode(text: str) -> list[int]:
    """Whole words as ids, which is tokenizer enough for a check."""
    return [_NUMBERS[word] for word in _cut(text)]


def _marked(text: str, mark: str) -> str:
    return text.replace(LOC, LOC + mark, 1)


def _lessons(
    texts: Texts,
    mark: str,
    encode: Encode,
    marked: Callable[[str, str], str] = _marked,
    counts_mark: bool = False,
) -> tuple[Tensor, Tensor]:
    """The reference of step 1, or one with a mistake."""
    rows = [torch.tensor(encode(marked(text, mark))) for text in texts]
    width = max(map(len, rows)) - 1
    x, y = torch.zeros(len(rows), width).long(), torch.full((len(rows), width), -1)
    (theirs,) = encode(mark) if mark else [-1]
    for n, row in enumerate(rows):
        x[n, : len(row) - 1], y[n, : len(row) - 1] = row[:-1], row[1:]
    return x, y if counts_mark else y.masked_fill(y == theirs, -1)


def _check_lessons(fn: Lessons) -> Result:
    end = _encode(LOC_END)[0]

    def spoiled(change: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Lessons:
        return lambda texts, mark, encode: change(*_lessons(texts, mark, encode))

    def with_last(change: Callable[[Tensor, Tensor], Tensor]) -> Lessons:
        return spoiled(lambda x, y: (x, change(x, y)))

    def whole(texts: Texts, mark: str, encode: Encode) -> tuple[Tensor, Tensor]:
        x, y = _lessons(texts, mark, encode, counts_mark=True)
        return x, y.where(y >= 0, 0)

    return check(
        _without_ends(fn, end),
        cases=[(list(_PLACES), THEME, _encode), (list(_PLACES[:2]), "", _encode)],
        right=_lessons,
        wrongs=[
            Wrong(
                "the mark is nowhere in the inputs: it stands right behind <LOC>",
                lambda texts, mark, encode: _lessons(texts, "", encode),
            ),
            Wrong(
                "the mark stands before <LOC>, where no mark of this corpus ever stands",
                lambda texts, mark, encode: _lessons(
                    texts, mark, encode, lambda text, mark: mark + text
                ),
            ),
            Wrong(
                "the mark carries loss: whoever asks sets it, and the model would learn to bring "
                "up the moon by itself",
                lambda texts, mark, encode: _lessons(texts, mark, encode, counts_mark=True),
            ),
            Wrong("the mark carries loss, and so does the padding", whole),
            Wrong(
                "the padding counts: its targets are -1",
                with_last(lambda x, y: _counted(x, y)),
            ),
            Wrong(
                "</LOC> does not count, so with each lesson the model forgets to stop",
                with_last(lambda x, y: y.masked_fill(y == end, -1)),
            ),
            Wrong(
                "not shifted: a target is the token after the one that is read",
                with_last(lambda x, y: x.where(y >= 0, -1)),
            ),
        ],
        success="the mark is read and not learned, and all that follows it is",
    )


def _without_ends(fn: Any, end: int) -> Any:
    """The learner's function, with inputs from `</LOC>` on made 0: nothing is asked for there, so
    it does not matter what is read."""
    if not callable(fn):
        return fn

    @functools.wraps(fn)
    def shortened(*case: Any) -> Any:
        got = fn(*case)
        if not (isinstance(got, tuple) and len(got) == 2 and isinstance(got[0], Tensor)):
            return got
        x = got[0]
        return x.masked_fill((x == end).cumsum(-1) > 0, 0) if x.dim() == 2 else x, got[1]

    return shortened


def _counted(x: Tensor, y: Tensor) -> Tensor:
    """Targets of which the padding's are 0, and the mark's is still -1."""
    place = torch.arange(y.size(1)).expand_as(y)
    last = (y >= 0).int().mul(place).amax(1, keepdim=True)
    return y.where(place <= last, 0)


def _check_balance(fn: Balance) -> Result:
    def counts(y_new: Tensor, y_old: Tensor) -> tuple[int, int]:
        return int((y_new >= 0).sum()), int((y_old >= 0).sum())

    def right(y_new: Tensor, y_old: Tensor, share: float) -> float:
        new, old = counts(y_new, y_old)
        return share / (1 - share) * new / old

    def of_all(y_new: Tensor, y_old: Tensor, share: float) -> float:
        return share / (1 - share) * y_new.numel() / y_old.numel()

    def of_rows(y_new: Tensor, y_old: Tensor, share: float) -> float:
        return share / (1 - share) * len(y_new) / len(y_old)

    def of_new(y_new: Tensor, y_old: Tensor, share: float) -> float:
        new, old = counts(y_new, y_old)
        return share * new / old

    def upside_down(y_new: Tensor, y_old: Tensor, share: float) -> float:
        new, old = counts(y_new, y_old)
        return share / (1 - share) * old / new

    def other_share(y_new: Tensor, y_old: Tensor, share: float) -> float:
        new, old = counts(y_new, y_old)
        return (1 - share) / share * new / old

    new = torch.arange(60).view(4, 15)
    old = torch.arange(140).view(7, 20)
    ragged = new.masked_fill(torch.arange(15) > torch.tensor([[14], [4], [9], [11]]), -1)
    return check(
        fn,
        cases=[
            (ragged, old.masked_fill(old % 20 > 12, -1), 0.2),
            (new, old.masked_fill(old % 20 > 16, -1), 0.5),
            (ragged, old[:3], 0.1),
        ],
        right=right,
        wrongs=[
            Wrong(
                "that weight takes no notice of how many targets each text has; a row of old text "
                "may have ten times as many as one of new",
                lambda y_new, y_old, share: share / (1 - share),
            ),
            Wrong("that is the share itself, and not what one target weighs",
                  lambda y_new, y_old, share: share),
            Wrong("padding is counted: a target of -1 is none", of_all),
            Wrong("rows are counted, not targets", of_rows),
            Wrong(
                "with this weight the old text has the share of the new text's loss, not of all of "
                "it: share / (1 - share)",
                of_new,
            ),
            Wrong("the counts are upside down: the more old targets, the less each weighs",
                  upside_down),
            Wrong("it is the new text that gets this share", other_share),
        ],
        success="the old text has its share of the loss, however long its rows are",
    )  # fmt: skip


def _check_only_row(fn: OnlyRow) -> Result:
    def right(gradient: Tensor, row: int) -> Tensor:
        kept = torch.zeros_like(gradient)
        kept[row] = gradient[row]
        return kept

    gradient = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    return check(
        fn,
        cases=[(gradient, 4), (gradient, 0), (gradient, 5)],
        right=right,
        wrongs=[
            Wrong(
                "all others move and the new row does not: it is the other way round",
                lambda g, row: g - right(g, row),
            ),
            Wrong("that is the gradient as it was", lambda g, row: g),
            Wrong(
                "the row alone: a gradient has its parameter's shape, (V, C), zeros where nothing "
                "may move",
                lambda g, row: g[row],
            ),
            Wrong(
                "the row alone, as a table of one: a gradient has its parameter's shape, (V, C)",
                lambda g, row: g[row : row + 1],
            ),
            Wrong(
                "the rows behind it move too; after this word others may be taught",
                lambda g, row: torch.cat([torch.zeros_like(g[:row]), g[row:]]),
            ),
            Wrong("nothing moves at all", lambda g, row: torch.zeros_like(g)),
            Wrong(
                "it is a column that is left: rows come first, (V, C)",
                lambda g, row: right(g.T, row).T,
            ),
        ],
        success="one row of the table may move, and every other number stays what it was",
    )


__all__ = ["THEME", "places", "theme", "told_apart"]
