"""Every check of chapter 1 knows the right answer, and each wrong answer by its own name."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.bigram import checks as bigram

LN2 = math.log(2)


def gradient(z, target):
    return z.softmax(0) - torch.eye(len(z))[target]


def weighted(x, n):
    return (x * n).sum() / n.sum()


def only_target(z, target, lr):
    move = torch.zeros_like(z)
    move[target] = lr * (1 - z.softmax(0)[target])
    return z + move


def turned(p, totals):
    return (p * totals[:, None]).T


def in_nats(value, unit, n, bits=LN2, log=math.log):
    return {"nats": value, "bits": value * bits, "perplexity": log(value)}[unit] / n


def searched(entropy, ends=(0.01, 100.0), steps=60, up=True):
    """A learner's search, with what it takes for the entropy of p at a temperature."""

    def search(p, wanted):
        low, high = ends
        for _ in range(steps):
            middle = (low + high) / 2
            if bool(entropy(p, middle) < wanted) is up:
                low = middle
            else:
                high = middle
        return (low + high) / 2

    return search


def entropy(p, t, log=torch.log):
    q = (p.log() / t).softmax(0)
    q = q[q > 0]
    return -(q * log(q)).sum()


def with_nan(p, t):
    q = (p.log() / t).softmax(0)
    return -(q * q.log()).sum()


def of_probabilities(p, t):
    q = (p / t).softmax(0)
    return -torch.xlogy(q, q).sum()


def rounded(p, wanted):
    return round(searched(entropy)(p, wanted), 1)


RIGHT = [
    (bigram.came_before, lambda p, n: turned(p, n) / turned(p, n).sum(1, keepdim=True)),
    (bigram.came_before, lambda p, n: (turned(p, n).T / turned(p, n).T.sum(0)).T),
    (bigram.nats, in_nats),
    (
        bigram.nats,
        lambda x, unit, n: (
            in_nats(x ** (1 / n), unit, 1) if unit[0] == "p" else in_nats(x, unit, n)
        ),
    ),
    (bigram.perplexity, lambda x, n: math.exp(weighted(x, n))),
    (bigram.perplexity, lambda x, n: 2 ** (weighted(x, n) / math.log(2))),
    (bigram.temperature_for, searched(entropy)),
    (bigram.temperature_for, searched(entropy, ends=(0.05, 20), steps=14)),
    (bigram.gradient_step, lambda z, t, lr: z - lr * gradient(z, t)),
]

WRONG = [
    (bigram.came_before, lambda p, n: (p / p.sum(0)).T, "the same say"),
    (bigram.came_before, lambda p, n: ((p * n) / (p * n).sum(0)).T, "the same say"),
    (bigram.came_before, lambda p, n: turned(p, n).T / turned(p, n).T.sum(0), "in columns"),
    (bigram.came_before, lambda p, n: p, "what comes after"),
    (bigram.came_before, lambda p, n: turned(p, n) / turned(p, n).sum(0), "columns sum to 1"),
    (bigram.came_before, lambda p, n: turned(p, n) / turned(p, n).sum(1), "without keepdim"),
    (bigram.came_before, lambda p, n: turned(p, n) / turned(p, n).sum(), "whole table"),
    (bigram.came_before, turned, "those are the counts"),
    (bigram.came_before, lambda p, n: turned(p, n).softmax(1), "softmax turns"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, n, bits=1 / math.log(2)), "wrong way"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, n, bits=1), "as they were"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, n, log=math.exp), "exp leads"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, n, log=math.log2), "log2 of a perplexity"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, n, log=float), "without its logarithm"),
    (bigram.nats, lambda x, unit, n: in_nats(x / n, unit, 1), "no sum that letters"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, 1), "one character at a time"),
    (bigram.nats, lambda x, unit, n: in_nats(x, unit, 1) * n, "costs more than one"),
    (bigram.perplexity, lambda x, n: x.exp().mean(), "mean of the perplexities"),
    (bigram.perplexity, lambda x, n: weighted(x.exp(), n), "exp came before the mean"),
    (bigram.perplexity, lambda x, n: math.exp(x.mean()), "a short text weighs"),
    (bigram.perplexity, lambda x, n: weighted(x, n), "that is the mean loss"),
    (bigram.perplexity, lambda x, n: 2 ** weighted(x, n), "mixes two units"),
    (bigram.perplexity, lambda x, n: (x * n).sum().exp(), "sum of all surprises"),
    (bigram.perplexity, lambda x, n: math.exp(-weighted(x, n)), "below 1"),
    (bigram.temperature_for, lambda p, h: 1 / searched(entropy)(p, h), "hot and cold"),
    (bigram.temperature_for, lambda p, h: p / 2, "that is the row"),
    (bigram.temperature_for, searched(of_probabilities), "softmax got probabilities"),
    (bigram.temperature_for, searched(lambda p, t: entropy(p, t, torch.log2)), "in bits"),
    (bigram.temperature_for, searched(with_nan), "row with a 0"),
    (bigram.temperature_for, searched(entropy, up=False), "one of its ends"),
    (bigram.temperature_for, rounded, "not within a hundredth"),
    (bigram.gradient_step, lambda z, t, lr: z + lr * gradient(z, t), "this step climbs"),
    (bigram.gradient_step, lambda z, t, lr: z - lr * gradient(z.softmax(0), t), "twice"),
    (bigram.gradient_step, lambda z, t, lr: z - lr * (z - torch.eye(len(z))[t]), "z − y"),
    (bigram.gradient_step, lambda z, t, lr: z - lr * z.softmax(0), "y is missing"),
    (bigram.gradient_step, lambda z, t, lr: gradient(z, t), "that is the gradient"),
    (bigram.gradient_step, lambda z, t, lr: z - gradient(z, t), "learning rate was not used"),
    (bigram.gradient_step, only_target, "only the target moved"),
    (
        bigram.gradient_step,
        lambda z, t, lr: (z - lr * gradient(z, t)).softmax(0),
        "these are probabilities",
    ),
]


class TestBigram(CheckPromises):
    module, right, wrong = bigram, RIGHT, WRONG
