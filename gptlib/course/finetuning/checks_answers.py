"""Chapter 8's exercise on conversations: which of their tokens carry loss.

One job: `answer_targets` checks it and names the mistake that explains a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check

USER, ASSISTANT, END = 1, 2, 3  # the ids of the exercise's marks


def answer_targets(fn: Callable[[Tensor, int, int], Tensor]) -> Result:
    """Check `fn(ids, assistant, end)`: the ids of a conversation (T,) and of two marks to targets
    (T,): the id that follows, where it is of an answer or its end, and -1 elsewhere."""

    def targets(ids: Tensor, counts: list[bool], shift: int = 1, ignored: int = -1) -> Tensor:
        """What stands `shift` later, where `counts` says so of a position."""
        later = torch.cat([ids[shift:], ids.new_full((shift,), ignored)])
        return torch.where(torch.tensor(counts), later, ignored)

    def answering(ids: Tensor, assistant: int, end: int) -> list[bool]:
        """Of each position, whether it lies in an answer: its mark does, its end does not."""
        inside, found = False, []
        for token in ids.tolist():
            inside = token == assistant or (inside and token != end)
            found.append(inside)
        return found

    def right(ids: Tensor, assistant: int, end: int) -> Tensor:
        return targets(ids, answering(ids, assistant, end))

    def unshifted(ids: Tensor, assistant: int, end: int) -> Tensor:
        counts = answering(ids, assistant, end)
        return targets(ids, [False, *counts[:-1]], shift=0)

    def without_end(ids: Tensor, assistant: int, end: int) -> Tensor:
        found = right(ids, assistant, end)
        return found.masked_fill(found == end, -1)

    def last_only(ids: Tensor, assistant: int, end: int) -> Tensor:
        last = int((ids == assistant).nonzero().max())
        counts = answering(ids, assistant, end)
        return targets(ids, [count and n >= last for n, count in enumerate(counts)])

    def from_first(ids: Tensor, assistant: int, end: int) -> Tensor:
        first = int((ids == assistant).nonzero().min())
        return targets(ids, [n >= first for n in range(len(ids))])

    def with_mark(ids: Tensor, assistant: int, end: int) -> Tensor:
        counts = answering(ids, assistant, end)
        ahead = [token == assistant for token in ids.tolist()[1:]] + [False]
        return targets(ids, [a or b for a, b in zip(counts, ahead, strict=True)])

    def questions(ids: Tensor, assistant: int, end: int) -> Tensor:
        return targets(ids, [not count for count in answering(ids, assistant, end)])

    def zeros(ids: Tensor, assistant: int, end: int) -> Tensor:
        return targets(ids, answering(ids, assistant, end), ignored=0)

    def everything(ids: Tensor, assistant: int, end: int) -> Tensor:
        return targets(ids, [True] * len(ids))

    one = torch.tensor([0, USER, 11, 12, ASSISTANT, 21, 22, 23, END])
    two = torch.tensor([*one.tolist(), USER, 13, ASSISTANT, 24, 25, END])
    return check(
        fn,
        cases=[(one, ASSISTANT, END), (two, ASSISTANT, END)],
        right=right,
        wrongs=[
            Wrong(
                "a target is the id that comes next, and these are the ids themselves: a model "
                "that may read what it is asked for learns to copy it",
                unshifted,
            ),
            Wrong(
                "the end of an answer carries no loss here, so this model is never told to stop",
                without_end,
            ),
            Wrong("only the last answer is learned; here the assistant speaks twice", last_only),
            Wrong(
                "the first answer never ends: all that follows it is learned, the next question "
                "too; what may switch the loss off again?",
                from_first,
            ),
            Wrong(
                "the mark of the assistant's turn is learned too; whoever asks sets it, and the "
                "model is asked for what comes after",
                with_mark,
            ),
            Wrong("it is the other way round: the questions are learned", questions),
            Wrong("0 is an id like any other; -1 is what the loss passes over", zeros),
            Wrong("the questions are learned as well; where does an answer begin?", everything),
        ],
        success="the answers and their ends carry the loss, and nothing that was asked",
    )
