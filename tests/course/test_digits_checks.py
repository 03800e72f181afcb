"""Every check of chapter 0 knows the right answer, and each wrong answer by its own name."""

import numpy as np
from check_promises import CheckPromises

from gptlib.course.digits import checks as digits


def one_hot(y, V):
    return np.eye(V)[y]


def safe_exp(z):
    return np.exp(z - z.max(axis=1, keepdims=True))


def step_by_step(x, y, p):
    w = np.zeros((x.shape[1], p.shape[1]))
    for picture, digit, guess in zip(x, y, p, strict=True):
        for j in range(len(guess)):
            w[:, j] += picture * (guess[j] - (j == digit)) / len(y)
    return w


def nudge(w, loss, eps, up=1, down=1, restore=True, by=None):
    slopes = []
    for n in range(len(w)):
        high = w if not restore else w.copy()
        high[n] += up * eps
        top = loss(high)
        high[n] -= (up + down) * eps
        slopes.append((top - loss(high)) / (by or 2 * eps))
    return np.array(slopes)


def grouped(sure, right, edges):
    group = np.digitize(sure, edges)
    for n in range(len(edges) + 1):
        members = group == n
        if members.any():
            yield members.mean(), right[members].mean() - sure[members].mean()


def with_empty_groups(sure, right, edges):
    group = np.digitize(sure, edges)
    total = 0.0
    for n in range(len(edges) + 1):
        k = group == n
        total += k.mean() * abs(right[k].sum() / k.sum() - sure[k].sum() / k.sum())
    return total


RIGHT = [
    (digits.softmax, lambda z: safe_exp(z) / safe_exp(z).sum(axis=1, keepdims=True)),
    (digits.softmax, lambda z: np.exp(z.T - z.max(1)).T / np.exp(z.T - z.max(1)).sum(0)[:, None]),
    (digits.weight_slopes, lambda x, y, p: x.T @ (p - one_hot(y, p.shape[1])) / len(y)),
    (digits.weight_slopes, step_by_step),
    (digits.nudges, nudge),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ ((dz @ w2.T) * (1 - h * h))),
    (digits.calibration, lambda s, r, e: sum(n * abs(gap) for n, gap in grouped(s, r, e))),
]


def slopes(x, y, p):
    return x.T @ (p - one_hot(y, p.shape[1])) / len(y)


def error(p, y):
    return p - one_hot(y, p.shape[1])


WRONG = [
    (digits.softmax, lambda z: np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), "exp(1000)"),
    (digits.softmax, lambda z: safe_exp(z.T).T / safe_exp(z.T).T.sum(0), "columns sum to 1"),
    (digits.softmax, lambda z: np.exp(z - z.max()) / np.exp(z - z.max()).sum(), "whole table"),
    (digits.softmax, lambda z: safe_exp(z) / safe_exp(z).sum(), "divided by one total"),
    (digits.softmax, lambda z: np.exp(z) / np.exp(z).sum(), "two things"),
    (digits.softmax, lambda z: safe_exp(z) / safe_exp(z).sum(1), "keepdims"),
    (digits.softmax, lambda z: z / z.sum(axis=1, keepdims=True), "no exp"),
    (digits.softmax, lambda z: 1 / (1 + np.exp(-z)), "squashed by itself"),
    (
        digits.softmax,
        lambda z: np.log(safe_exp(z) / safe_exp(z).sum(axis=1, keepdims=True)),
        "logarithms of the probabilities",
    ),
    (digits.weight_slopes, lambda x, y, p: slopes(x, y, p) * len(y), "summed loss"),
    (digits.weight_slopes, lambda x, y, p: -slopes(x, y, p), "sign is turned round"),
    (digits.weight_slopes, lambda x, y, p: x.T @ p / len(y), "target is missing"),
    (digits.weight_slopes, lambda x, y, p: slopes(x, y, p).T, "lying on its side"),
    (digits.weight_slopes, lambda x, y, p: x.T @ (p - y[:, None]) / len(y), "seven times"),
    (digits.weight_slopes, lambda x, y, p: x.T @ error(p, y) / p.shape[1], "number of digits"),
    (digits.weight_slopes, lambda x, y, p: x.T @ error(p, y) / x.shape[1], "number of pixels"),
    (
        digits.weight_slopes,
        lambda x, y, p: x.T @ np.where(one_hot(y, p.shape[1]) > 0, error(p, y), 0) / len(y),
        "nine rivals",
    ),
    (
        digits.weight_slopes,
        lambda x, y, p: x.T @ (error(p, y) * p * (1 - p)) / len(y),
        "p(1 − p) slipped in",
    ),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, down=0, by=e), "half the bend"),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, up=0, by=e), "and downward"),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, by=e), "twice the slope"),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, down=0), "yet divided by 2 eps"),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, by=1), "not yet the change per unit"),
    (digits.nudges, lambda w, f, e: -nudge(w, f, e), "up minus down"),
    (digits.nudges, lambda w, f, e: nudge(w, f, e, restore=False), "put each weight"),
    (
        digits.nudges,
        lambda w, f, e: np.ones(len(w)) * (f(w + e) - f(w - e)) / (2 * e),
        "nudged at once",
    ),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T), "walked past"),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T / np.cosh(h) ** 2),
        "applied twice",
    ),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h)), "square is missing"),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T * h * (1 - h)),
        "logistic function",
    ),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2 * (1 - h**2)),
        "not turned round",
    ),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h**2)) / len(x),
        "twice: dz",
    ),
    (digits.hidden_slopes, lambda x, h, dz, w2: h.T @ dz, "slope for w2"),
    (
        digits.calibration,
        lambda s, r, e: np.mean([abs(gap) for _, gap in grouped(s, r, e)]),
        "as much as a group of a thousand",
    ),
    (
        digits.calibration,
        lambda s, r, e: sum(n * gap for n, gap in grouped(s, r, e)),
        "opposite sign",
    ),
    (digits.calibration, lambda s, r, e: abs(r.mean() - s.mean()), "came last"),
    (
        digits.calibration,
        lambda s, r, e: sum(n * gap**2 for n, gap in grouped(s, r, e)),
        "gaps were squared",
    ),
    (
        digits.calibration,
        lambda s, r, e: sum(abs(gap) for _, gap in grouped(s, r, e)),
        "without their weights",
    ),
    (digits.calibration, lambda s, r, e: abs(r - s).mean(), "its own confidence"),
    (digits.calibration, with_empty_groups, "empty group has no mean"),
]


class TestDigits(CheckPromises):
    module, right, wrong = digits, RIGHT, WRONG
