"""Chapter 8's exercise on conversations: the right answer passes, each mistake has a diagnosis."""

import torch
from check_promises import CheckPromises

from gptlib.course.finetuning import checks_answers as checks


def right(ids, assistant, end):
    counts = (ids == assistant).cumsum(0) - (ids == end).cumsum(0) > 0
    return torch.where(counts, ids.roll(-1), -1)


def unshifted(ids, assistant, end):
    return torch.where(right(ids, assistant, end).roll(1) >= 0, ids, -1)


def endless(ids, assistant, end):
    targets = right(ids, assistant, end)
    targets[targets == end] = -1
    return targets


def last_only(ids, assistant, end):
    targets = right(ids, assistant, end)
    targets[: (ids == assistant).nonzero()[-1, 0]] = -1
    return targets


def never_off(ids, assistant, end):
    targets = torch.where((ids == assistant).cumsum(0) > 0, ids.roll(-1), -1)
    targets[-1] = -1
    return targets


def with_mark(ids, assistant, end):
    return torch.where(ids.roll(-1) == assistant, assistant, right(ids, assistant, end))


def everything(ids, assistant, end):
    return torch.cat([ids[1:], torch.tensor([-1])])


def questions(ids, assistant, end):
    return torch.where(right(ids, assistant, end) < 0, everything(ids, assistant, end), -1)


def zeros(ids, assistant, end):
    targets = right(ids, assistant, end)
    return targets.masked_fill(targets < 0, 0)


class TestAnswers(CheckPromises):
    module = checks
    right = ((checks.answer_targets, right),)
    wrong = (
        (checks.answer_targets, unshifted, "learns to copy it"),
        (checks.answer_targets, endless, "never told to stop"),
        (checks.answer_targets, last_only, "speaks twice"),
        (checks.answer_targets, never_off, "switch the loss off"),
        (checks.answer_targets, with_mark, "sets it"),
        (checks.answer_targets, questions, "other way round"),
        (checks.answer_targets, zeros, "passes over"),
        (checks.answer_targets, everything, "where does an answer begin"),
    )
