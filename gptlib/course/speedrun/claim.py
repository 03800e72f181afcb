"""The end of the speedrun's lab: a claim about one change, put to the test.

One job: `judge`, which checks a search of the rate and a trial of two searches on losses that are
made up, where the truth is known, and then judges what the trial says of a real change. What it
knows of the real one it finds with the learner's own run. Nothing is judged by a clock.
"""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gptlib.course.checking import Result, Wrong, attempt, check, failed, passed
from gptlib.course.purse import Purse
from gptlib.course.speedrun.lab import Run

LossAt = Callable[[float], float]
LossOf = Callable[[Mapping[str, Any], int], float]
Search = Callable[[LossAt, float], float]
Trial = Callable[[LossOf, Mapping[str, Any], Mapping[str, Any]], tuple[float, float, str]]

#: The recipe that a change is made to; its rate is where a search begins.
PLAIN = {
    "model": {"n_layer": 2, "n_head": 4, "n_embd": 32, "bias": False, "rotary": True},
    "B": 8,
    "lr": 2e-3,
}
#: Changes about which somebody claims something.
CHANGES: dict[str, dict[str, Any]] = {
    "larger-batch": PLAIN | {"B": 16},
    "untied-head": PLAIN | {"model": PLAIN["model"] | {"tied_head": False}},
    "qk-norm": PLAIN | {"model": PLAIN["model"] | {"qk_norm": True}},
}
TOKENS = 38_400  # characters that each run may read
SEARCH_SEED, SEEDS = 0, (1, 2, 3, 4)  # of the searches, and of the pairs
VERDICTS = "saves", "loses", "nobody can say"


def losses(run: Run) -> LossOf:
    """The function `loss_of(recipe, seed)` of a run: no recipe is run twice with one seed."""

    @functools.cache
    def known(told: str, seed: int) -> float:
        recipe = recipes[told]
        track = Purse(tokens=TOKENS, seed=seed)
        return track.loss(run(track, recipe, seed), windows=100)

    recipes: dict[str, Mapping[str, Any]] = {}

    def loss_of(recipe: Mapping[str, Any], seed: int) -> float:
        told = repr(sorted(recipe.items()))
        recipes[told] = recipe
        return known(told, seed)

    return loss_of


def judge(
    search: Search, trial: Trial | None = None, run: Run | None = None, change: str = ""
) -> Result:
    """Check what has been built so far: the last thing given.

    Args:
        search: (loss_at, lr) to the rate at which neither its double nor its half does better.
        trial: (loss_of, plain, changed), two recipes, to (nats that the change saves, standard
            error, verdict).
        run: the run of the lab's first step. change: one of `CHANGES`.
    """
    result = _check_search(search)
    if result and trial is not None:
        result = _check_trial(trial)
        if result and run is not None:
            result = _check_change(trial, run, change)
    return result


class _Valley:
    """A loss at each rate, lowest at one of them; beyond `limit` a run diverges."""

    def __init__(self, best: float, limit: float = math.inf) -> None:
        self.best, self.limit = best, limit

    def __repr__(self) -> str:
        return "losses by rate"

    def __call__(self, lr: float) -> float:
        return math.nan if lr > self.limit else 2 + 0.04 * math.log2(lr / self.best) ** 2


def _search(loss_at: LossAt, lr: float) -> float:
    for factor in (2.0, 0.5):
        began = lr
        while loss_at(factor * lr) < loss_at(lr):
            lr *= factor
        if lr != began:
            break
    return lr


def _check_search(fn: Search) -> Result:
    def upward(loss_at: LossAt, lr: float) -> float:
        while loss_at(2 * lr) < loss_at(lr):
            lr *= 2
        return lr

    def best_of_three(loss_at: LossAt, lr: float) -> float:
        return min(
            (lr, 2 * lr, lr / 2), key=lambda rate: (math.isnan(loss_at(rate)), loss_at(rate))
        )

    def too_far(loss_at: LossAt, lr: float) -> float:
        found = _search(loss_at, lr)
        return found / 2 if found < lr else 2 * found

    return check(
        fn,
        cases=[
            (_Valley(8e-3), 1e-3),
            (_Valley(2.5e-4), 2e-3),
            (_Valley(4e-3, limit=5e-3), 1e-3),
            (_Valley(1.1e-3), 1e-3),
        ],
        right=_search,
        wrongs=[
            Wrong("that is the loss there; the rate was asked for",
                  lambda f, lr: f(_search(f, lr))),
            Wrong("the best rate may lie below the first too: if doubling fails, halve", upward),
            Wrong("one step is not the end of a search: go on while it helps", best_of_three),
            Wrong("that is the first rate that was worse: return the one before it", too_far),
        ],
        success="neither the double nor the half does better: this search has ended",
        tolerance=1e-9,
    )  # fmt: skip


class _World:
    """Losses by recipe and seed whose truth is known; the seed of the search is a lucky one."""

    def __init__(self, plain: float, changed: float, saves: float, gift: float) -> None:
        self.best, self.saves, self.gift = {False: plain, True: changed}, saves, gift

    def __repr__(self) -> str:
        return "losses by recipe and seed"

    def __deepcopy__(self, memo: object) -> _World:
        return self

    def __call__(self, recipe: Mapping[str, Any], seed: int) -> float:
        changed = recipe["B"] != PLAIN["B"]
        off = math.log2(recipe["lr"] / self.best[changed])
        luck = (seed * 7919 % 13) / 50 + (seed + 1) * (37 if changed else 31) % 7 / 500
        if changed:
            luck -= self.saves + (self.gift if seed == SEARCH_SEED else 0)
        return 2.3 + 0.06 * off**2 + luck


def _said(mean: float, error: float, errors: float = 2) -> str:
    if abs(mean) < errors * error:
        return "nobody can say"
    return "saves" if mean > 0 else "loses"


def _judged(
    loss_of: LossOf,
    plain: Mapping[str, Any],
    changed: Mapping[str, Any],
    rates: Callable[[float, float, float], tuple[float, float]] = lambda a, b, start: (a, b),
    seeds: Sequence[int] = SEEDS,
    errors: float = 2,
    sign: int = 1,
) -> tuple[float, float, str]:
    a, b = (
        _search(lambda lr, r=recipe: loss_of({**r, "lr": lr}, SEARCH_SEED), recipe["lr"])
        for recipe in (plain, changed)
    )
    a, b = rates(a, b, plain["lr"])
    gaps = [
        sign * (loss_of({**plain, "lr": a}, s) - loss_of({**changed, "lr": b}, s)) for s in seeds
    ]
    mean, error = statistics.fmean(gaps), statistics.stdev(gaps) / math.sqrt(len(gaps))
    return mean, error, _said(mean, error, errors)


def _check_trial(fn: Trial) -> Result:
    def but(**change: Any) -> Trial:
        return lambda loss_of, plain, changed: _judged(loss_of, plain, changed, **change)

    changed = CHANGES["larger-batch"]
    return check(
        fn,
        cases=[
            (_World(8e-3, 2e-3, 0.005, 0.0), PLAIN, changed),
            (_World(4e-3, 4e-3, 0.002, 0.0), PLAIN, changed),
            (_World(1e-3, 8e-3, 0.15, 0.0), PLAIN, changed),
            (_World(4e-3, 4e-3, -0.03, 0.4), PLAIN, changed),
        ],
        right=_judged,
        wrongs=[
            Wrong(
                "both ran at the rate where the searches begin: search first, each for itself",
                but(rates=lambda a, b, start: (start, start)),
            ),
            Wrong(
                "the change had to run at the plain recipe's best rate: search for its own",
                but(rates=lambda a, b, start: (a, a)),
            ),
            Wrong(
                "the plain recipe had to run at the change's best rate: let it keep its own",
                but(rates=lambda a, b, start: (b, b)),
            ),
            Wrong(
                "the seed that chose the rates took part in the pairs: it has been looked at; "
                "take SEEDS",
                but(seeds=(SEARCH_SEED, *SEEDS)),
            ),
            Wrong("the sign: what the change saves is plain minus changed", but(sign=-1)),
            Wrong(
                "one error from zero is what luck brings one time in three: ask for two",
                but(errors=1),
            ),
            Wrong("any mean above zero was called a gain: ask for two errors", but(errors=0)),
        ],
        success="each side at its own rate, on seeds that chose nothing, and an error beside it",
        tolerance=1e-6,
    )


def _check_change(trial: Trial, run: Run, change: str) -> Result:
    if change not in CHANGES:
        return failed(f"no such change: {change!r}; take one of {', '.join(CHANGES)}")
    loss_of = losses(run)
    got = attempt(trial, loss_of, PLAIN, CHANGES[change])
    if isinstance(got, Result):
        return got
    mean, error, verdict = _judged(loss_of, PLAIN, CHANGES[change])
    if not (isinstance(got, tuple | list) and len(got) == 3 and got[2] in VERDICTS):
        return failed(f"a verdict is one of {', '.join(VERDICTS)}")
    if abs(float(got[0]) - mean) > 1e-3 or abs(float(got[1]) - error) > 1e-3:
        return failed("a second trial, with your run, comes to other numbers")
    if got[2] != verdict:
        return failed(f"your own numbers do not say that it {got[2]}")
    return passed(
        f"{change}: {verdict}, each side at its own rate, on four seeds that chose nothing"
    )
