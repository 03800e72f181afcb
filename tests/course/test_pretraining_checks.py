"""Every exercise of chapter 6: the right answer passes, each mistake gets its own diagnosis."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.pretraining import checks


def right_gradient(gradients, counts):
    total = torch.zeros(gradients.size(1))
    for gradient, count in zip(gradients, counts, strict=True):
        total += gradient * count
    return total / counts.sum()


def right_memory(N, tokens, kept, V):
    return 16 * N + 4 * tokens * kept + 12 * tokens * V


def right_mfu(N, L, C, T, rate, peak):
    return rate * (6 * N + 12 * L * C * T) / peak


def rate(step, steps, warmup, lr, low):
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    share = min(1, (step - warmup) / max(1, steps - 1 - warmup))
    return low + (lr - low) * (1 + math.cos(math.pi * share)) / 2


def rates(start, stop, steps, *rest):
    return [rate(step, steps, *rest) for step in range(start, stop)]


def right_diagnosis(log, floor):
    first, last = log[0], log[-1]
    lowest = min(line["val"] for line in log)
    if last["val"] < floor:
        return "leak"
    if last["val"] > 1.1 * lowest and last["loss"] < lowest:
        return "repeats"
    return "rate" if last["val"] > 0.65 * first["loss"] else "sound"


def instead(of, say):
    def fn(log, floor):
        said = right_diagnosis(log, floor)
        return say if said == of else said

    return fn


def trusting(log, floor):
    return "leak" if log[-1]["loss"] < floor else right_diagnosis(log, floor)


def spiky(log, floor):
    return "rate" if log[2]["grad_norm"] > 3 else right_diagnosis(log, floor)


RIGHT = {
    "accumulate": right_gradient,
    "memory": right_memory,
    "mfu": right_mfu,
    "resumed_rates": lambda at, steps, *rest: rates(at, steps, steps, *rest),
    "diagnose": right_diagnosis,
}

WRONG = [
    ("accumulate", lambda g, n: sum(g), "summed"),
    ("accumulate", lambda g, n: sum(g) / len(g), "a mean of means"),
    ("accumulate", lambda g, n: n @ g, "not divided by all"),
    ("accumulate", lambda g, n: n @ g / len(n), "number of micro-batches"),
    ("accumulate", lambda g, n: (1 / n) @ g, "once more"),
    ("memory", lambda N, t, k, V: right_memory(N, t, k, V) - 8 * N, "two moments are missing"),
    ("memory", lambda N, t, k, V: right_memory(N, t, k, V) - 4 * N, "one of AdamW's"),
    ("memory", lambda N, t, k, V: right_memory(N, t, k, V) - 12 * N, "only the weights"),
    ("memory", lambda N, t, k, V: 16 * N + 4 * t * k, "logits were forgotten"),
    ("memory", lambda N, t, k, V: 16 * N + 4 * t * k + 4 * t * V, "counted once"),
    ("memory", lambda N, t, k, V: 16 * N + 4 * t * k + 8 * t * V, "counted twice"),
    ("memory", lambda N, t, k, V: 16 * N + 4 * t * k + 12 * V, "logits of one token"),
    ("memory", lambda N, t, k, V: 16 * N, "what the batch leaves"),
    ("memory", lambda N, t, k, V: right_memory(N, t, k, V) / 4, "those are numbers"),
    ("memory", lambda N, t, k, V: right_memory(N, t, k, V) * 8, "in bits"),
    ("mfu", lambda N, L, C, T, r, p: (2 * N + 4 * L * C * T) * r / p, "forward only, 2"),
    ("mfu", lambda N, L, C, T, r, p: (2 * N + 12 * L * C * T) * r / p, "for the weights"),
    ("mfu", lambda N, L, C, T, r, p: 6 * N * r / p, "products are missing"),
    ("mfu", lambda N, L, C, T, r, p: (6 * N + 4 * L * C * T) * r / p, "attention goes forward"),
    ("mfu", lambda N, L, C, T, r, p: 1 / right_mfu(N, L, C, T, r, p), "upside down"),
    ("mfu", lambda N, L, C, T, r, p: 100 * right_mfu(N, L, C, T, r, p), "in percent"),
    ("mfu", lambda N, L, C, T, r, p: p * right_mfu(N, L, C, T, r, p), "in FLOPs a second"),
    ("mfu", lambda N, L, C, T, r, p: T * right_mfu(N, L, C, T, r, p), "window as a token"),
    ("resumed_rates", lambda at, n, *r: rates(0, n - at, n - at, *r), "warmed up again"),
    ("resumed_rates", lambda at, n, *r: rates(0, n - at, n, *r), "on the old schedule"),
    (
        "resumed_rates",
        lambda at, n, w, lr, low: rates(0, n - at, n - at, 0, lr, low),
        "cosine from the top",
    ),
    ("resumed_rates", lambda at, n, *r: rates(at + 1, n + 1, n, *r), "too late"),
    ("resumed_rates", lambda at, n, *r: rates(at - 1, n - 1, n, *r), "too early"),
    ("resumed_rates", lambda at, n, *r: rates(0, n, n, *r), "the whole schedule"),
    ("resumed_rates", lambda at, n, *r: [rate(at, n, *r)] * (n - at), "held"),
    ("diagnose", trusting, "heart surprises"),
    ("diagnose", spiky, "one spike"),
    ("diagnose", instead("leak", "sound"), "best number in the log"),
    ("diagnose", instead("repeats", "sound"), "reads the same text again"),
    ("diagnose", instead("repeats", "rate"), "no rate does that"),
    ("diagnose", instead("rate", "sound"), "two thirds of the way"),
]  # fmt: skip


class TestPretraining(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)
