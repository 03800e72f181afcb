"""Every check of chapter 1 knows the right answer, and each wrong answer by its own name."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.bigram import checks as bigram


def gradient(z, target):
    return z.softmax(0) - torch.eye(len(z))[target]


def weighted(x, n):
    return (x * n).sum() / n.sum()


def only_target(z, target, lr):
    move = torch.zeros_like(z)
    move[target] = lr * (1 - z.softmax(0)[target])
    return z + move


def filled(n):
    p = torch.zeros_like(n)
    for i, row in enumerate(n):
        p[i] = row / row.sum()
    return p


RIGHT = [
    (bigram.normalize_counts, lambda n: n / n.sum(1, keepdim=True)),
    (bigram.normalize_counts, lambda n: torch.stack([row / row.sum() for row in n])),
    (bigram.bits, lambda p: -p.log2().mean()),
    (bigram.bits, lambda p: sum(-math.log2(x) for x in p.tolist()) / len(p)),
    (bigram.perplexity, lambda x, n: math.exp(weighted(x, n))),
    (bigram.perplexity, lambda x, n: 2 ** (weighted(x, n) / math.log(2))),
    (bigram.temper, lambda p, t: (p.log() / t).softmax(0)),
    (bigram.gradient_step, lambda z, t, lr: z - lr * gradient(z, t)),
]

WRONG = [
    (bigram.normalize_counts, lambda n: n / n.sum(0), "columns sum to 1"),
    (bigram.normalize_counts, lambda n: n / n.sum(1), "without keepdim"),
    (bigram.normalize_counts, lambda n: n / n.sum(), "whole table"),
    (bigram.normalize_counts, lambda n: torch.softmax(n.float(), dim=1), "softmax turns"),
    (bigram.normalize_counts, lambda n: n / n.amax(1, keepdim=True), "largest count"),
    (bigram.normalize_counts, lambda n: n // n.sum(1, keepdim=True), "// drops"),
    (bigram.normalize_counts, filled, "zeros_like(counts)"),
    (bigram.bits, lambda p: -torch.log(p).mean(), "these are nats"),
    (bigram.bits, lambda p: -torch.log(p).mean() * math.log(2), "wrong way"),
    (bigram.bits, lambda p: -torch.log10(p).mean(), "base 10"),
    (bigram.bits, lambda p: torch.log2(p).mean(), "sign is missing"),
    (bigram.bits, lambda p: -torch.log2(p).sum(), "whole text"),
    (bigram.bits, lambda p: -math.log2(p.mean()), "log of the mean"),
    (bigram.bits, lambda p: -(p * p.log2()).sum(), "weighted by its probability"),
    (bigram.perplexity, lambda x, n: x.exp().mean(), "mean of the perplexities"),
    (bigram.perplexity, lambda x, n: weighted(x.exp(), n), "exp came before the mean"),
    (bigram.perplexity, lambda x, n: math.exp(x.mean()), "a short text weighs"),
    (bigram.perplexity, lambda x, n: weighted(x, n), "that is the mean loss"),
    (bigram.perplexity, lambda x, n: 2 ** weighted(x, n), "mixes two units"),
    (bigram.perplexity, lambda x, n: (x * n).sum().exp(), "sum of all surprises"),
    (bigram.perplexity, lambda x, n: math.exp(-weighted(x, n)), "below 1"),
    (bigram.temper, lambda p, t: p / t / (p / t).sum(), "nothing changed"),
    (bigram.temper, lambda p, t: p ** (1 / t), "does not sum to 1"),
    (bigram.temper, lambda p, t: p**t / (p**t).sum(), "hot and cold"),
    (bigram.temper, lambda p, t: torch.softmax(p / t, dim=0), "softmax got probabilities"),
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
