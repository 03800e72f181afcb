"""Chapter 7's exercises: new tokens, packed rows, what the loss counts, when to stop.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check

START, END = 1, 2  # the ids of the exercise on targets


def _rows(count: int) -> int:
    """The least multiple of 64 that holds so many rows."""
    return -(-count // 64) * 64


def _grown(table: Tensor, used: int, rows: int, new: Tensor | None = None) -> Tensor:
    """The first `used` rows, and below them `new`, or else their mean, up to `rows` rows."""
    below = table[:used].mean(0) if new is None else new
    return torch.cat([table[:used], below.expand(rows - used, -1)])


def grow_tables(fn: Callable[[Tensor, Tensor, int, list[str]], tuple[Tensor, Tensor]]) -> Result:
    """Check `fn(table, head, used, new)`: token table and head, (V, C) each, of which the first
    `used` rows belong to tokens and the rest is padding, to both grown for the names in `new`.

    The old tokens' rows stay, all others are their mean, and the rows are a multiple of 64.
    """

    def right(table: Tensor, head: Tensor, used: int, new: list[str]) -> tuple[Tensor, Tensor]:
        rows = _rows(used + len(new))
        return _grown(table, used, rows), _grown(head, used, rows)

    def of_each(one: Callable[[Tensor, int, list[str]], Tensor]) -> Callable[..., tuple]:
        return lambda table, head, used, new: (one(table, used, new), one(head, used, new))

    def after_padding(table: Tensor, used: int, new: list[str]) -> Tensor:
        rows = _rows(len(table) + len(new))
        return torch.cat([table, table[:used].mean(0).expand(rows - len(table), -1)])

    def fits(got: object, table: Tensor, used: int, new: list[str]) -> bool:
        shape = (_rows(used + len(new)), table.size(1))
        return isinstance(got, Tensor) and got.shape == shape

    def moved(got: tuple, table: Tensor, head: Tensor, used: int, new: list[str]) -> bool:
        sides = list(zip(got, (table, head), strict=True))
        return all(fits(g, t, used, new) for g, t in sides) and any(
            not torch.allclose(g[:used], t[:used]) for g, t in sides
        )

    def drawn(got: tuple, table: Tensor, head: Tensor, used: int, new: list[str]) -> bool:
        sides = list(zip(got, (table, head), strict=True))
        return all(
            fits(g, t, used, new)
            and torch.allclose(g[:used], t[:used])
            and not torch.allclose(g[used], g[used + 1])
            for g, t in sides
        )

    dice = torch.Generator().manual_seed(1)
    table, head = torch.randn(2, 64, 3, generator=dice) + torch.tensor([0.5, -1.0, 2.0])
    small, its_head = torch.randn(2, 40, 2, generator=dice)
    marks = ["<|start|>", "<|title|>", "</|title|>", "<|end|>"]
    return check(
        fn,
        cases=[(table, head, 62, marks), (small, its_head, 40, marks)],
        right=right,
        wrongs=[
            Wrong(
                "that many rows are no multiple of 64, so the last tile of each product with the "
                "head is a ragged one",
                of_each(lambda t, used, new: _grown(t, used, used + len(new))),
            ),
            Wrong(
                "the new rows stand after the padding: new ids follow the last token's, and the "
                "padding begins after them",
                of_each(after_padding),
            ),
            Wrong(
                "the mean counts the padding: those rows belong to no token and were never taught "
                "anything",
                of_each(lambda t, used, new: _grown(t, used, _rows(used + len(new)), t.mean(0))),
            ),
            Wrong(
                "rows of zeros: as a head, such a row says a logit of 0 whatever was read, which "
                "may be far above all others",
                of_each(lambda t, used, new: _grown(t, used, _rows(used + len(new)), 0 * t[0])),
            ),
            Wrong(
                "the head was forgotten: this model's is not tied, and it cannot name what has no "
                "row there",
                lambda t, h, used, new: (_grown(t, used, _rows(used + len(new))), h),
            ),
            Wrong(
                "the head's new rows are the table's mean: it is untied, so take its own",
                lambda t, h, used, new: (
                    _grown(t, used, _rows(used + len(new))),
                    _grown(h, used, _rows(used + len(new)), t[:used].mean(0)),
                ),
            ),
            Wrong(
                "old rows have moved: whatever is done to them, the model no longer says what it "
                "said before",
                when=moved,
            ),
            Wrong(
                "random rows: each of them is a stranger that may shout; their mean is what the "
                "model expects when it knows nothing",
                when=drawn,
            ),
        ],
        success="old rows untouched, new ones an average token, and a multiple of 64 of them",
    )


def block_mask(fn: Callable[[Tensor], Tensor]) -> Result:
    """Check `fn(docs)`: the number of its document for each token of a packed row, (T,), to a mask
    (T, T): True where the token of the row may look at the token of the column."""

    def same_story(docs: Tensor) -> Tensor:
        return docs[:, None] == docs[None]

    def causal(docs: Tensor) -> Tensor:
        return torch.ones(len(docs), len(docs), dtype=torch.bool).tril()

    def right(docs: Tensor) -> Tensor:
        return same_story(docs) & causal(docs)

    def starts_only(docs: Tensor) -> Tensor:
        first = torch.ones_like(docs, dtype=torch.bool)
        first[1:] = docs[1:] != docs[:-1]
        return causal(docs) & (~first[:, None] | torch.eye(len(docs), dtype=torch.bool))

    def not_the_starts(docs: Tensor) -> Tensor:
        first = torch.ones_like(docs, dtype=torch.bool)
        first[1:] = docs[1:] != docs[:-1]
        return causal(docs) & ~(first[None] & ~same_story(docs))

    return check(
        fn,
        cases=[
            (torch.tensor([0, 0, 0, 1, 1, 2, 2, 2]),),
            (torch.tensor([4, 5, 5, 5, 5, 6]),),
        ],
        right=right,
        wrongs=[
            Wrong("it looks across: that mask is causal and knows nothing of stories", causal),
            Wrong("it looks ahead: within its story a token sees what comes after it", same_story),
            Wrong(
                "transposed, it sees the future and not the past: row i is the token that looks",
                lambda docs: right(docs).T,
            ),
            Wrong(
                "each token is hidden from itself: a story's first token then has nothing to look "
                "at, and a softmax over nothing is nan",
                lambda docs: same_story(docs) & causal(docs).tril(-1),
            ),
            Wrong(
                "a story's first token alone is kept from looking back: all that follow it still "
                "read the story before",
                starts_only,
            ),
            Wrong(
                "the other stories' first tokens alone are hidden: everything behind them is "
                "still read",
                not_the_starts,
            ),
            Wrong(
                "upside down, True is what is hidden: torch's attention reads True as may look",
                lambda docs: ~right(docs),
            ),
            Wrong(
                "that is a mask to be added to the scores: return True and False",
                lambda docs: torch.zeros(len(docs), len(docs)).masked_fill(
                    ~right(docs), float("-inf")
                ),
            ),
        ],
        success="each token sees its own story up to itself, and nothing else",
    )


def story_targets(fn: Callable[[Tensor, int, int], Tensor]) -> Result:
    """Check `fn(ids, start, end)`: a packed row (T + 1,) to its targets (T,), with -1 for what the
    loss should not count: the first token of the next story, and padding.

    The row is stories from `start` to `end`, and is filled up with `end`.
    """

    def masked(ids: Tensor, hidden: Tensor) -> Tensor:
        return ids[1:].masked_fill(hidden, -1)

    def padding(ids: Tensor, end: int) -> Tensor:
        return (ids[1:] == end) & (ids[:-1] == end)

    def right(ids: Tensor, start: int, end: int) -> Tensor:
        return masked(ids, (ids[1:] == start) | padding(ids, end))

    def after_first_end(ids: Tensor, start: int, end: int) -> Tensor:
        return masked(ids, (ids[:-1] == end).cumsum(0) > 0)

    def one_late(ids: Tensor, start: int, end: int) -> Tensor:
        pads = torch.zeros_like(ids, dtype=torch.bool)
        pads[1:] = padding(ids, end)
        return masked(ids, (ids[:-1] == start) | pads[:-1])

    two = [START, 5, 6, 7, END, START, 8, 9, END, END, END, END]
    three = [START, 5, END, START, 6, 7, 8, END, START, 9, 5]
    return check(
        fn,
        cases=[(torch.tensor(row), START, END) for row in (two, three)],
        right=right,
        wrongs=[
            Wrong(
                "no story's end counts any more, so the model never learns to stop: only an end "
                "that follows an end is padding",
                lambda ids, start, end: masked(ids, (ids[1:] == start) | (ids[1:] == end)),
            ),
            Wrong(
                "everything after the first end is hidden: a packed row has several stories, and "
                "all of them are paid for",
                after_first_end,
            ),
            Wrong(
                "one place too late: it looks at what is read, where it should look at what is "
                "asked for",
                one_late,
            ),
            Wrong(
                "the padding counts: filled up rows would mostly teach to repeat the end",
                lambda ids, start, end: masked(ids, ids[1:] == start),
            ),
            Wrong(
                "the next story's first token counts: which story follows is the packer's "
                "doing, and nothing before it can know",
                lambda ids, start, end: masked(ids, padding(ids, end)),
            ),
            Wrong(
                "not shifted: a target is the token after the one that is read",
                lambda ids, start, end: right(ids, start, end) * 0 + ids[:-1],
            ),
            Wrong(
                "nothing is hidden yet: those are all targets",
                lambda ids, start, end: ids[1:],
            ),
            Wrong(
                "what does not count is 0 there, which is the id of some token: say -1",
                lambda ids, start, end: right(ids, start, end).clamp(min=0),
            ),
        ],
        success="every story pays for its words and its end, and for nothing beside",
    )


def _stop(vals: Sequence[float], patience: int) -> tuple[int, int]:
    """The best epoch, and the one after which it stops; both from 1. The exercise's reference."""
    best = 1
    for epoch, val in enumerate(vals, 1):
        if val < vals[best - 1]:
            best = epoch
        if epoch - best >= patience:
            return best, epoch
    return best, len(vals)


def early_stop(fn: Callable[[list[float], int], tuple[int, int]]) -> Result:
    """Check `fn(vals, patience)`: validation losses after each epoch, to the epoch whose weights
    are kept and the one after which training stops, `patience` epochs without a new best."""

    def against_the_last(vals: list[float], patience: int) -> tuple[int, int]:
        rises = 0
        for epoch, (before, val) in enumerate(pairwise(vals), 2):
            rises = rises + 1 if val >= before else 0
            if rises >= patience:
                return vals.index(min(vals[:epoch])) + 1, epoch
        return vals.index(min(vals)) + 1, len(vals)

    def in_all(vals: list[float], patience: int) -> tuple[int, int]:
        best, rises = 1, 0
        for epoch, val in enumerate(vals, 1):
            if val < vals[best - 1]:
                best = epoch
            elif epoch > 1:
                rises += 1
            if rises >= patience:
                return best, epoch
        return best, len(vals)

    published = [5.042, 4.985, 5.053, 5.215]  # from its third epoch on
    rising = [2.9, 2.5, 2.6, 2.7, 2.8, 3.0]
    bumpy = [3.0, 2.6, 2.7, 2.5, 2.55, 2.52, 2.54, 2.4, 2.6, 2.5, 2.7, 2.8, 2.6]
    cases = [(published, 2), (rising, 2), (bumpy, 3), (bumpy, 2), ([2.0, 1.8, 1.7], 2)]
    return check(
        fn,
        cases=cases,
        right=_stop,
        wrongs=[
            Wrong(
                "it stops at the first rise, whatever the patience: one worse epoch is luck",
                lambda vals, patience: _stop(vals, 1),
            ),
            Wrong(
                "patience was counted from the first epoch: count from the best one so far",
                lambda vals, patience: (
                    vals.index(min(vals[:patience])) + 1,
                    min(patience, len(vals)),
                ),
            ),
            Wrong(
                "the last epoch's weights are kept: those are the ones that patience was spent on; "
                "keep the best",
                lambda vals, patience: (_stop(vals, patience)[1],) * 2,
            ),
            Wrong(
                "it knows the future: the lowest of all epochs may come after it has stopped",
                lambda vals, patience: (
                    vals.index(min(vals)) + 1,
                    min(len(vals), vals.index(min(vals)) + 1 + patience),
                ),
            ),
            Wrong(
                "it never stops: that is the best of all epochs, and the last",
                lambda vals, patience: (vals.index(min(vals)) + 1, len(vals)),
            ),
            Wrong(
                "one epoch too patient: it stops when so many have passed without a new best",
                lambda vals, patience: _stop(vals, patience + 1),
            ),
            Wrong(
                "each epoch was compared with the one before it: compare with the best so far, or "
                "a curve that goes up and down never stops",
                against_the_last,
            ),
            Wrong(
                "bad epochs were added up over the whole run: a new best sets the count to nothing",
                in_all,
            ),
            Wrong(
                "counted from 0: the first epoch is number 1",
                lambda vals, patience: tuple(n - 1 for n in _stop(vals, patience)),
            ),
        ],
        success="the best weights are kept, and patience ends where it was said to",
    )
