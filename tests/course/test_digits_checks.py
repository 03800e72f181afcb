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


def suspects(eps=1e-5, up=1, down=1, restore=True, off=None, most=1e-6):
    """A learner's gradient check: central differences, or what may become of them."""

    def found(w, loss, claimed):
        slopes = []
        for n in range(len(w)):
            high = w if not restore else w.copy()
            high[n] += up * eps
            top = loss(high)
            high[n] -= (up + down) * eps
            slopes.append((top - loss(high)) / ((up + down) * eps))
        slopes = np.array(slopes)
        share = abs(claimed / slopes - 1) if off is None else off(claimed, slopes)
        return [n for n in range(len(w)) if share[n] > most]

    return found


def honest(w, loss, claimed):
    wrong = suspects()(w, loss, claimed)
    return [n for n in range(len(w)) if n not in wrong]


def in_an_array(w, loss, claimed):
    return np.isin(np.arange(len(w)), suspects(eps=1e-4)(w, loss, claimed))


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
    (digits.nudges, suspects()),
    (digits.nudges, suspects(eps=1e-6)),
    (digits.nudges, in_an_array),
    (digits.nudges, lambda *case: set(suspects()(*case))),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ ((dz @ w2.T) * (h - h * h))),
    (digits.hidden_slopes, lambda x, h, dz, w2: ((w2 @ dz.T) * (h * (1 - h)).T @ x).T),
    (digits.calibration, lambda s, r, e: sum(n * abs(gap) for n, gap in grouped(s, r, e))),
]


def slopes(x, y, p):
    return x.T @ (p - one_hot(y, p.shape[1])) / len(y)


def logistic(a):
    return 1 / (1 + np.exp(-a))


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
    (digits.nudges, lambda w, f, claimed: claimed, "slopes, or shares"),
    (digits.nudges, honest, "that are right"),
    (digits.nudges, suspects(eps=1e-11), "without any bend"),
    (digits.nudges, suspects(down=0), "half the bend"),
    (digits.nudges, suspects(eps=1e-6, up=0), "half the bend"),
    (digits.nudges, suspects(restore=False), "put back"),
    (digits.nudges, suspects(eps=1e-2), "where the bend itself changes"),
    (digits.nudges, suspects(off=lambda a, b: abs(a - b)), "fixed distance"),
    (digits.nudges, suspects(off=lambda a, b: a / b - 1), "on one side of the truth"),
    (digits.nudges, suspects(off=lambda a, b: 1 - a / b), "on one side of the truth"),
    (digits.nudges, suspects(most=2e-5), "lies got away"),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T), "walked past"),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h**2)), "slope of tanh"),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T * logistic(h) * (1 - logistic(h))),
        "applied twice",
    ),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T * (1 - h)), "is this share of h"),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T * h), "e to the power"),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2.T * h * h), "one factor more"),
    (digits.hidden_slopes, lambda x, h, dz, w2: -x.T @ (dz @ w2.T * h * (1 - h)), "sign is turned"),
    (digits.hidden_slopes, lambda x, h, dz, w2: x.T @ (dz @ w2 * (h - h**2)), "not turned round"),
    (
        digits.hidden_slopes,
        lambda x, h, dz, w2: x.T @ (dz @ w2.T * (h - h**2)) / len(x),
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
