"""Every exercise of the speedrun: the right answer passes, each mistake gets its own diagnosis."""

import math
import statistics

import torch
from check_promises import CheckPromises

from gptlib.course.speedrun import checks, checks_decisions, checks_matrices
from gptlib.rotary import Rotary


def arrival(run, goal):
    return next(step for step in sorted(run["losses"]) if run["losses"][step] <= goal)


def end(run, goal):
    return sorted(run["losses"])[-1]


def bottom(run, goal):
    return sorted((loss, step) for step, loss in run["losses"].items())[0][1]


def settled(run, goal):
    steps = sorted(run["losses"])
    return next(s for s in steps if all(run["losses"][t] <= goal for t in steps if t >= s))


def sooner_with(steps=arrival, windows=1, ms=1, per_window=0):
    def fn(base, change, goal):
        fewer = steps(base, goal) / steps(change, goal)
        B, pace = base["B"] / change["B"], base["ms"] / change["ms"]
        return fewer, fewer * B**windows, fewer * pace**ms * B**per_window

    return fn


right_sooner = sooner_with()


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


def claim_with(least=3, errors=2, root=1, spread=statistics.stdev, beyond=abs):
    def fn(gaps):
        for n in range(least, len(gaps) + 1):
            seen = gaps[:n]
            if beyond(sum(seen) / n) >= errors * spread(seen) / math.sqrt(n) ** root:
                return n
        return 0

    return fn


right_claim = claim_with()


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


def right_prune(loss, changes, worth):
    there = frozenset(changes)
    while there:
        loss_now, name = min((loss(there - {name}), name) for name in there)
        if loss_now - loss(there) >= worth:
            return sorted(there)
        there -= {name}
    return []


def prune_at_once(loss, changes, worth):
    full = loss(changes)
    return sorted(n for n in changes if loss([m for m in changes if m != n]) - full >= worth)


def prune_up(loss, changes, worth):
    there = set()
    while there != set(changes):
        found, name = min((loss(there | {name}), name) for name in changes if name not in there)
        if loss(there) - found < worth:
            break
        there.add(name)
    return sorted(there)


def prune_from_full(loss, changes, worth):
    there = set(changes)
    while there:
        found, name = min((loss(there - {name}), name) for name in there)
        if found - loss(changes) >= worth:
            break
        there.remove(name)
    return sorted(there)


def prune_once(loss, changes, worth):
    found, name = min((loss(set(changes) - {name}), name) for name in changes)
    return sorted(set(changes) - {name}) if found - loss(changes) < worth else sorted(changes)


def prune_too_far(loss, changes, worth):
    there = right_prune(loss, changes, worth)
    return sorted(set(there) - {min((loss(set(there) - {n}), n) for n in there)[1]})


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


RIGHT = {
    "sooner": right_sooner,
    "gain": right_gain,
    "paired": right_paired,
    "first_claim": right_claim,
    "rotate": right_rotate,
    "newton_schulz": right_newton_schulz,
    "prune": right_prune,
}

WRONG = [
    ("sooner", lambda b, c, goal: right_sooner(c, b, goal), "all three upside"),
    ("sooner", sooner_with(windows=-1), "windows are upside"),
    ("sooner", sooner_with(ms=-1), "milliseconds are upside"),
    ("sooner", sooner_with(windows=0, ms=0), "three clocks"),
    ("sooner", sooner_with(per_window=1), "for each window"),
    ("sooner", sooner_with(end), "whole runs"),
    ("sooner", sooner_with(bottom), "where each run was lowest"),
    ("sooner", sooner_with(settled), "up again"),
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
    ("first_claim", claim_with(least=2), "after two pairs"),
    ("first_claim", claim_with(least=4), "a fourth pair"),
    ("first_claim", claim_with(root=0), "single differences"),
    ("first_claim", claim_with(errors=1), "one error"),
    ("first_claim", claim_with(spread=statistics.pstdev), "n - 1"),
    ("first_claim", claim_with(beyond=lambda mean: mean), "a harm is"),
    ("first_claim", claim_with(beyond=lambda mean: -mean), "the other sign"),
    ("first_claim", lambda gaps: claim_with(least=len(gaps))(gaps), "looks once"),
    (
        "first_claim",
        lambda gaps: claim_with(spread=lambda seen: statistics.stdev(gaps))(gaps),
        "not run yet",
    ),
    ("first_claim", lambda gaps: right_claim(gaps) - 1, "counted from zero"),
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
    ("prune", prune_at_once, "thrown out at once"),
    (
        "prune",
        lambda loss, names, worth: sorted(n for n in names if loss([]) - loss([n]) >= worth),
        "saves alone",
    ),
    ("prune", prune_up, "builds up from nothing"),
    ("prune", prune_from_full, "whole recipe"),
    ("prune", prune_once, "only one was left out"),
    ("prune", prune_too_far, "one too many"),
    (
        "prune",
        lambda loss, names, worth: sorted(set(names) - set(right_prune(loss, names, worth))),
        "that were left out",
    ),
]


def of(module, chosen):
    """The rows whose check is a function of this module."""
    return tuple((getattr(module, name), *row) for name, *row in chosen if hasattr(module, name))


class TestSpeedrun(CheckPromises):
    module = checks
    right, wrong = of(checks, RIGHT.items()), of(checks, WRONG)


class TestDecisions(CheckPromises):
    module = checks_decisions
    right, wrong = of(checks_decisions, RIGHT.items()), of(checks_decisions, WRONG)


class TestMatrices(CheckPromises):
    module = checks_matrices
    right, wrong = of(checks_matrices, RIGHT.items()), of(checks_matrices, WRONG)
