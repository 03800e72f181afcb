"""Every check of chapter 1 knows the right answer, and each wrong answer by its own name."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.bigram import checks as bigram

LN2 = math.log(2)


def pair_slopes(z, first, second):
    """A learner's loop: p − y of each pair, added up in the pair's row."""
    slopes = torch.zeros_like(z)
    for i, j in zip(first.tolist(), second.tolist(), strict=True):
        slopes[i] += z[i].softmax(0)
        slopes[i, j] -= 1
    return slopes


def stepped(slopes):
    return lambda z, i, j, lr: z - lr * slopes(z, i, j) / len(i)


def with_one_hot(z, i, j, lr):
    y = torch.nn.functional.one_hot(j, len(z))
    rows = torch.nn.functional.one_hot(i, len(z)).to(z.dtype)
    return z - lr * rows.T @ ((z[i].softmax(1) - y) / len(i))


def one_each(z, i, j, lr):
    y = torch.nn.functional.one_hot(j, len(z))
    z[i] -= lr * (z[i].softmax(1) - y) / len(i)
    return z


def by_autograd(z, i, j, lr):
    z = z.clone().requires_grad_()
    torch.nn.functional.cross_entropy(z[i], j).backward()
    return z.detach() - lr * z.grad


def own_mean(z, i, j, lr):
    met = torch.bincount(i, minlength=len(z)).clamp(min=1)
    return z - lr * pair_slopes(z, i, j) / met[:, None]


def one_p_each(z, i, j):
    counts = torch.zeros_like(z).index_put((i, j), torch.ones(len(i)), accumulate=True)
    return z.softmax(1) - counts


def down_the_pairs(z, i, j):
    p = z[i].softmax(0) - torch.nn.functional.one_hot(j, len(z))
    return torch.zeros_like(z).index_add(0, i, p)


def without_y(z, i, j):
    return torch.zeros_like(z).index_add(0, i, z[i].softmax(1))


def weighted(x, n):
    return (x * n).sum() / n.sum()


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
    (bigram.gradient_step, stepped(pair_slopes)),
    (bigram.gradient_step, with_one_hot),
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
    (bigram.gradient_step, by_autograd, "switched off"),
    (bigram.gradient_step, one_each, "only one of its slopes"),
    (bigram.gradient_step, lambda z, i, j, lr: z - lr * pair_slopes(z, i, j), "sum of the losses"),
    (bigram.gradient_step, own_mean, "over its own pairs"),
    (bigram.gradient_step, stepped(one_p_each), "gave its p once"),
    (bigram.gradient_step, stepped(lambda *a: -pair_slopes(*a)), "this step climbs"),
    (bigram.gradient_step, stepped(lambda z, i, j: pair_slopes(z, j, i)), "exchanged"),
    (bigram.gradient_step, stepped(lambda z, i, j: pair_slopes(z.softmax(1), i, j)), "twice"),
    (bigram.gradient_step, stepped(down_the_pairs), "down the pairs"),
    (bigram.gradient_step, stepped(without_y), "y is missing"),
    (
        bigram.gradient_step,
        lambda z, i, j, lr: pair_slopes(z, i, j) / len(i),
        "that is the gradient",
    ),
    (
        bigram.gradient_step,
        lambda z, i, j, lr: z - pair_slopes(z, i, j) / len(i),
        "learning rate was not used",
    ),
]


class TestBigram(CheckPromises):
    module, right, wrong = bigram, RIGHT, WRONG
