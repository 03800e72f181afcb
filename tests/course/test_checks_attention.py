"""Chapter 2's checks: the right answer passes, each wrong answer gets its own diagnosis."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.self_attention import checks as attention


def future(T, diagonal=1):
    return torch.ones(T, T, dtype=torch.bool).triu(diagonal)


def masked(scores, diagonal=1, fill=-math.inf):
    return scores.masked_fill(future(len(scores), diagonal), fill)


def rows(scores):
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def over_all(scores):
    return (scores - scores.max()).exp()


def dots(q, k):
    return q @ k.transpose(-2, -1)


def last_move(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def rotated(attend, x, order):
    y = torch.cat([x[-1:], x[:-1][order]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def every_row(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y) - attend(x)).abs().max()


def signed(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y)[-1] - attend(x)[-1]).max()


def shuffled_outputs(attend, x, order):
    y = attend(x)
    return (torch.cat([y[:-1][order], y[-1:]])[-1] - y[-1]).abs().max()


RIGHT = [
    (attention.causal_weights, lambda s: torch.softmax(masked(s), dim=-1)),
    (attention.causal_weights, lambda s: rows(s + torch.full_like(s, -math.inf).triu(1))),
    (attention.softmax, rows),
    (attention.softmax, lambda s: torch.softmax(s, dim=-1)),
    (attention.scaled_scores, lambda q, k: dots(q, k) * k.shape[-1] ** -0.5),
    (attention.shuffle_the_past, last_move),
    (attention.shuffle_the_past, lambda *args: last_move(*args).item()),
]

WRONG = [
    (attention.causal_weights, "after the softmax", lambda s: s.softmax(-1).tril()),
    (attention.causal_weights, "exp(0) is 1", lambda s: masked(s, fill=0.0).softmax(-1)),
    (attention.causal_weights, "diagonal is masked", lambda s: masked(s, 0).softmax(-1)),
    (
        attention.causal_weights,
        "masked the past",
        lambda s: s.masked_fill(future(len(s)).T, -math.inf).softmax(-1),
    ),
    (attention.causal_weights, "nothing was masked", lambda s: s.softmax(-1)),
    (attention.causal_weights, "a little weight", lambda s: masked(s, fill=-10.0).softmax(-1)),
    (
        attention.causal_weights,
        "a little weight",
        lambda s: (s - 10 * future(len(s)).float()).softmax(-1),
    ),
    (attention.softmax, "the whole table", lambda s: over_all(s) / over_all(s).sum(-1, True)),
    (attention.softmax, "keepdim=True the rows' numbers", lambda s: (s - s.amax(-1)).exp()),
    (attention.softmax, "keepdim=True the rows' numbers", lambda s: s.exp() / s.exp().sum(-1)),
    (attention.softmax, "dim=-2", lambda s: s.softmax(-2)),
    (attention.softmax, "exp(1000)", lambda s: s.exp() / s.exp().sum(-1, keepdim=True)),
    (attention.softmax, "all the weights together", lambda s: s.flatten().softmax(0).view_as(s)),
    (attention.softmax, "divide by the sum", torch.exp),
    (attention.softmax, "divide by the sum", lambda s: (s - s.amax(-1, keepdim=True)).exp()),
    (attention.softmax, "negative weights", lambda s: s / s.sum(-1, keepdim=True)),
    (
        attention.scaled_scores,
        "√C",
        lambda q, k: dots(q, k) * (q.shape[1] * q.shape[3]) ** -0.5,
    ),
    (attention.scaled_scores, "nothing was scaled", dots),
    (attention.scaled_scores, "divided by D", lambda q, k: dots(q, k) / q.shape[-1]),
    (attention.scaled_scores, "√T", lambda q, k: dots(q, k) / q.shape[-2] ** 0.5),
    (attention.scaled_scores, "multiplied", lambda q, k: dots(q, k) * q.shape[-1] ** 0.5),
    (attention.scaled_scores, "down the columns", lambda q, k: dots(k, q) / q.shape[-1] ** 0.5),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0.0),
    (attention.shuffle_the_past, "every row", every_row),
    (attention.shuffle_the_past, "shuffled the outputs", shuffled_outputs),
    (attention.shuffle_the_past, "another token asks", rotated),
    (attention.shuffle_the_past, "absolute value", signed),
]


class TestAttention(CheckPromises):
    module, right = attention, RIGHT
    wrong = tuple((check, answer, words) for check, words, answer in WRONG)
