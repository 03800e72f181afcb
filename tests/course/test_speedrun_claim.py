"""The end of the speedrun's lab: a claim is tested at two rates, and what goes wrong is named."""

import math
import statistics

import pytest
from test_speedrun_lab import run

from gptlib.course.speedrun import claim


def search(loss_at, lr):
    if not loss_at(2 * lr) < loss_at(lr):
        while loss_at(lr / 2) < loss_at(lr):
            lr /= 2
        return lr
    while loss_at(2 * lr) < loss_at(lr):
        lr *= 2
    return lr


def trial_with(rates=lambda own, plain, changed: own, seeds=claim.SEEDS, errors=2, sign=1):
    def trial(loss_of, plain, changed):
        best = [
            search(lambda lr, r=r: loss_of(r | {"lr": lr}, 0), r["lr"]) for r in (plain, changed)
        ]
        a, b = (rates(own, *best) for own in best)
        gaps = [loss_of(plain | {"lr": a}, s) - loss_of(changed | {"lr": b}, s) for s in seeds]
        saved = sign * statistics.fmean(gaps)
        error = statistics.stdev(gaps) / math.sqrt(len(gaps))
        if abs(saved) < errors * error:
            return saved, error, "nobody can say"
        return saved, error, "saves" if saved > 0 else "loses"

    return trial


def test_the_right_answers_pass():
    assert claim.judge(search).passed is True
    assert claim.judge(search, trial_with()).passed is True


def test_a_stub_is_not_written_yet():
    assert claim.judge(lambda loss_at, lr: ...).passed is None
    assert claim.judge(search, lambda loss_of, plain, changed: ...).passed is None


def only_up(loss_at, lr):
    while loss_at(2 * lr) < loss_at(lr):
        lr *= 2
    return lr


def one_step(loss_at, lr):
    return min((r for r in (lr, 2 * lr, lr / 2) if not math.isnan(loss_at(r))), key=loss_at)


def first_worse(loss_at, lr):
    found = search(loss_at, lr)
    return found * (0.5 if found < lr else 2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda loss_at, lr: loss_at(search(loss_at, lr)), "the rate was asked for"),
        (only_up, "may lie below"),
        (one_step, "not the end of"),
        (first_worse, "first rate that was worse"),
    ],
)
def test_a_wrong_search_is_named(answer, words):
    result = claim.judge(answer)
    assert result.passed is False and words in result.message, result


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (trial_with(lambda own, a, b: claim.PLAIN["lr"]), "where the searches begin"),
        (trial_with(lambda own, a, b: a), "change had to run"),
        (trial_with(lambda own, a, b: b), "plain recipe had to run"),
        (trial_with(seeds=(0, *claim.SEEDS)), "chose the rates"),
        (trial_with(sign=-1), "the sign"),
        (trial_with(errors=0), "any mean above zero"),
        (trial_with(errors=1), "one error from zero"),
    ],
)
def test_a_wrong_trial_is_named(answer, words):
    result = claim.judge(search, answer)
    assert result.passed is False and words in result.message, result


def test_a_real_change_is_judged_by_the_learners_own_run(monkeypatch):
    monkeypatch.setattr(claim, "TOKENS", 1_024)
    result = claim.judge(search, trial_with(), run, "larger-batch")
    assert result.passed is True and "larger-batch: " in result.message, result
    assert "no such change" in claim.judge(search, trial_with(), run, "magic").message


def test_a_verdict_that_its_numbers_do_not_bear_is_named(monkeypatch):
    monkeypatch.setattr(claim, "TOKENS", 1_024)

    def but(change):
        return lambda *case: change(*trial_with()(*case))

    other = {"saves": "loses", "loses": "saves", "nobody can say": "saves"}
    for change, words in (
        (lambda mean, error, verdict: (mean, error, other[verdict]), "do not say"),
        (lambda mean, error, verdict: (mean + 1, error, verdict), "other numbers"),
        (lambda mean, error, verdict: (mean, error, "wins"), "a verdict is one of"),
    ):
        result = claim._check_change(but(change), run, "qk-norm")
        assert result.passed is False and words in result.message, result


def test_no_recipe_is_run_twice_with_one_seed(monkeypatch):
    monkeypatch.setattr(claim, "TOKENS", 1_024)
    ran = []

    def counted(track, recipe, seed):
        ran.append((recipe["lr"], seed))
        return run(track, recipe, seed)

    loss_of = claim.losses(counted)
    assert loss_of(claim.PLAIN, 1) == loss_of(dict(claim.PLAIN), 1)
    assert loss_of(claim.PLAIN | {"lr": 1e-2}, 1) != loss_of(claim.PLAIN, 1)
    assert ran == [(2e-3, 1), (1e-2, 1)]
