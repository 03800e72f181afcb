"""Every exercise of the speedrun: the right answer passes, each mistake gets its own diagnosis."""

import math
import statistics

import torch
from check_promises import CheckPromises

from gptlib.course.speedrun import checks, checks_matrices
from gptlib.rotary import Rotary


def right_steps(steps, B, ms, new_B, new_ms):
    return steps * B / new_B, steps * ms / new_ms


def best_rate(losses):
    return sorted((loss, rate) for rate, loss in losses.items())[0][1]


def inside(losses):
    return best_rate(losses) not in (sorted(losses)[0], sorted(losses)[-1])


def right_gain(base, change):
    value = sorted(base.values())[0] - sorted(change.values())[0]
    return value, inside(base) and inside(change)


def gain_with(value=None, ended=None):
    def fn(base, change):
        right = right_gain(base, change)
        return (
            value(base, change) if value else right[0],
            ended(base, change) if ended else right[1],
        )

    return fn


def gaps(a, b):
    return [p - q for p, q in zip(a, b, strict=True)]


def right_paired(a, b):
    d = gaps(a, b)
    return sum(d) / len(d), statistics.stdev(d) / math.sqrt(len(d))


def paired_with(error):
    return lambda a, b: (right_paired(a, b)[0], error(a, b))


def unpaired(a, b):
    return math.sqrt(sum(statistics.variance(x) / len(x) for x in (a, b)))


def sizes(a, b):
    d = [abs(gap) for gap in gaps(a, b)]
    return statistics.fmean(d), statistics.stdev(d) / math.sqrt(len(d))


def right_seeds(sd, difference):
    n = 1
    while sd / math.sqrt(n) > difference / 2:
        n += 1
    return n


def right_rotate(x, m):
    return Rotary(m + 1, len(x))(x.view(1, 1, 1, -1), start=m).flatten()


def rotate_with(angle, bend=lambda a, b, t: (a * t.cos() - b * t.sin(), a * t.sin() + b * t.cos())):
    def fn(x, m):
        half = len(x) // 2
        t = torch.as_tensor([float(angle(j, len(x), m)) for j in range(half)])
        return torch.cat(bend(x[:half], x[half:], t))

    return fn


def neighbors(x, m):
    point = torch.view_as_complex(x.view(-1, 2))
    angle = m * 10_000.0 ** (-torch.arange(0, len(x), 2) / len(x))
    return torch.view_as_real(point * torch.polar(torch.ones_like(angle), angle)).flatten()


def right_angle(j, D, m):
    return m * 10_000 ** (-2 * j / D)


def right_interaction(neither, a, b, both):
    return a + b - neither - both


POWERS = 3.4445, -4.7750, 2.0315


def right_newton_schulz(G, steps, powers=POWERS):
    U, sizes, Vt = torch.linalg.svd(G, full_matrices=False)
    sizes = sizes / sizes.norm()
    for _ in range(steps):
        sizes = sum(p * sizes ** (2 * n + 1) for n, p in enumerate(powers))
    return U @ torch.diag(sizes) @ Vt


def schulz_with(start=lambda G: G / G.norm(), each=lambda X: X, cube=lambda X, G: X @ X.T @ X):
    def fn(G, steps):
        X = start(G)
        for _ in range(steps):
            X = each(X)
            third = cube(X, G)
            fifth = third * X * X if cube is by_number else gram(X, G, cube) @ third
            X = POWERS[0] * X + POWERS[1] * third + POWERS[2] * fifth
        return X

    return fn


def by_number(X, G):
    return X**3


def old_gram(X, G):
    return (G / G.norm()) @ (G / G.norm()).T @ X


def exact(G):
    U, _, Vt = torch.linalg.svd(G, full_matrices=False)
    return U @ Vt


def gram(X, G, cube):
    X = G / G.norm() if cube is old_gram else X
    return X @ X.T


MATRICES = "rotate", "newton_schulz"

RIGHT = {
    "fair_steps": right_steps,
    "gain": right_gain,
    "paired": right_paired,
    "seeds_needed": right_seeds,
    "rotate": right_rotate,
    "newton_schulz": right_newton_schulz,
    "interaction": right_interaction,
}

WRONG = [
    ("fair_steps", lambda *case: right_steps(*case)[::-1], "swapped"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s * nB / B, s * nms / ms), "both upside down"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s * nB / B, s * ms / nms), "tokens are upside"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s * B / nB, s * nms / ms), "time is upside"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s, s), "equally many steps"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s, s * ms / nms), "kept for the tokens"),
    ("fair_steps", lambda s, B, ms, nB, nms: (s * B / nB, s * B / nB), "for equal tokens"),
    ("gain", gain_with(lambda b, c: -right_gain(b, c)[0]), "the sign"),
    ("gain", gain_with(lambda b, c: b[min(b)] - c[min(b)]), "first rate"),
    ("gain", gain_with(lambda b, c: b[best_rate(b)] - c[best_rate(b)]), "change had to run"),
    ("gain", gain_with(lambda b, c: b[best_rate(c)] - c[best_rate(c)]), "baseline had to run"),
    ("gain", gain_with(lambda b, c: max(b[r] - c[r] for r in c)), "largest gain"),
    ("gain", gain_with(lambda b, c: sum(b[r] - c[r] for r in b) / len(b)), "mean over rates"),
    ("gain", gain_with(ended=lambda b, c: inside(b)), "only the baseline's search"),
    ("gain", gain_with(ended=lambda b, c: inside(c)), "only the change's search"),
    ("gain", gain_with(ended=lambda b, c: inside(b) or inside(c)), "both have to be"),
    ("gain", gain_with(ended=lambda b, c: not right_gain(b, c)[1]), "other way round"),
    (
        "gain",
        gain_with(
            ended=lambda b, c: all(best_rate(x) not in (next(iter(x)), list(x)[-1]) for x in (b, c))
        ),
        "whatever comes first",
    ),
    ("paired", lambda a, b: right_paired(b, a), "the sign: a minus b"),
    ("paired", paired_with(unpaired), "not paired"),
    ("paired", paired_with(lambda a, b: statistics.stdev(gaps(a, b))), "one difference scatters"),
    ("paired", paired_with(lambda a, b: statistics.stdev(gaps(a, b)) / len(a)), "divided by n"),
    (
        "paired",
        paired_with(lambda a, b: statistics.pstdev(gaps(a, b)) / math.sqrt(len(a))),
        "n - 1",
    ),
    ("paired", paired_with(lambda a, b: right_paired(a, b)[1] ** 2), "root is missing"),
    ("paired", sizes, "signs were dropped"),
    ("seeds_needed", lambda sd, d: math.ceil(2 * sd / d), "square is missing"),
    ("seeds_needed", lambda sd, d: math.ceil((sd / d) ** 2), "one error from zero"),
    ("seeds_needed", lambda sd, d: math.ceil(8 * (sd / d) ** 2), "share nothing"),
    ("seeds_needed", lambda sd, d: 4 * (sd / d) ** 2, "part of a seed"),
    ("seeds_needed", lambda sd, d: int(4 * (sd / d) ** 2), "rounded down"),
    ("seeds_needed", lambda sd, d: round(4 * (sd / d) ** 2), "to the nearest"),
    ("seeds_needed", lambda sd, d: math.ceil(4 * (d / sd) ** 2), "upside down"),
    ("rotate", rotate_with(lambda j, D, m: -right_angle(j, D, m)), "other way"),
    ("rotate", neighbors, "neighbors"),
    ("rotate", rotate_with(lambda j, D, m: m * 10_000 ** (-j / D)), "too slowly"),
    ("rotate", rotate_with(lambda j, D, m: m), "one speed"),
    ("rotate", rotate_with(lambda j, D, m: right_angle(j, D, 1)), "position is missing"),
    (
        "rotate",
        rotate_with(
            right_angle, lambda a, b, t: (a * t.cos() - b * t.sin(), b * t.cos() - a * t.sin())
        ),
        "length changes",
    ),
    ("newton_schulz", schulz_with(cube=by_number), "number by number"),
    ("newton_schulz", schulz_with(start=lambda G: G), "divide by the norm first"),
    ("newton_schulz", schulz_with(start=lambda G: G / G.abs().max()), "largest number"),
    ("newton_schulz", schulz_with(each=lambda X: X / X.norm()), "start only"),
    ("newton_schulz", schulz_with(cube=old_gram), "anew in every step"),
    ("newton_schulz", lambda G, steps: right_newton_schulz(G, 1), "one step"),
    (
        "newton_schulz",
        lambda G, steps: right_newton_schulz(G, steps, POWERS[:2]),
        "fifth power",
    ),
    ("newton_schulz", lambda G, steps: exact(G), "exact"),
    ("interaction", lambda n, a, b, both: -right_interaction(n, a, b, both), "the sign"),
    ("interaction", lambda n, a, b, both: n - both, "all that the two"),
    ("interaction", lambda n, a, b, both: (n - a) + (n - b), "add up to"),
    ("interaction", lambda n, a, b, both: a - both, "b saves where a"),
    ("interaction", lambda n, a, b, both: b - both, "a saves where b"),
    ("interaction", lambda n, a, b, both: a + b - 2 * n - both, "twice over"),
]


class TestSpeedrun(CheckPromises):
    module = checks
    right = tuple(
        (getattr(checks, name), answer) for name, answer in RIGHT.items() if name not in MATRICES
    )
    wrong = tuple(
        (getattr(checks, name), answer, words)
        for name, answer, words in WRONG
        if name not in MATRICES
    )


class TestMatrices(CheckPromises):
    module = checks_matrices
    right = tuple((getattr(checks_matrices, name), RIGHT[name]) for name in MATRICES)
    wrong = tuple(
        (getattr(checks_matrices, name), answer, words)
        for name, answer, words in WRONG
        if name in MATRICES
    )
