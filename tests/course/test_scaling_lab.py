"""The lab of chapter 4: each step's right answer passes, and what goes wrong is named."""

import math

import pytest
import torch

from gptlib.course.purse import Overspent, Purse
from gptlib.course.scaling import lab, runs
from gptlib.errors import ConfigError
from gptlib.optim import learning_rate

PLAN = dict(n_layer=1, n_head=4, n_embd=32, B=8, lr=1e-2)


def steps_within(flops, model, B, T):
    return int(flops / (model.flops_per_token(T) * B * T))


def train(purse, model, B, lr, more=0, step_it=True, forget=True, least=1.0):
    steps = int(steps_within(purse.flops, model, B, purse.T) * least) + more
    optimizer = torch.optim.AdamW(model.parameters(), lr, (0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        rate = learning_rate(step, steps, lr, 0.0, warmup=max(1, steps // 10), schedule="cosine")
        optimizer.param_groups[0]["lr"] = rate
        model(*purse.batch(B))[1].backward()
        if step_it:
            optimizer.step()
        if forget:
            optimizer.zero_grad()


def test_the_right_answers_pass_step_by_step():
    result = lab.spend(steps_within, train, PLAN)
    assert result.passed is True and "below" in result.message, result
    assert lab.spend(steps_within).passed is True and lab.spend(steps_within, train).passed is True


def test_a_stub_is_not_written_yet():
    assert lab.spend(lambda flops, model, B, T: ...).passed is None
    assert lab.spend(steps_within, lambda purse, model, B, lr: ...).passed is None
    assert lab._check_plan(train, PLAN | {"lr": ...}).passed is None


def per_token(model, T):
    return model.flops_per_token(T)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda F, m, B, T: math.ceil(F / (per_token(m, T) * B * T)), "rounded up"),
        (lambda F, m, B, T: int(F / (per_token(m, T) * B)), "it has T"),
        (lambda F, m, B, T: int(F / (per_token(m, T) * T)), "reads B of them"),
        (lambda F, m, B, T: int(F / (6 * m.num_params() * B * T)), "6N alone"),
        (lambda F, m, B, T: int(3 * F / (per_token(m, T) * B * T)), "forward only"),
        (lambda F, m, B, T: F / (per_token(m, T) * B * T), "fraction of a step"),
    ],
)
def test_wrong_steps_are_named(answer, words):
    result = lab.spend(answer)
    assert result.passed is False and words in result.message, result


def twice(purse, model, B, lr):
    """Trains on every batch twice, which costs twice."""
    optimizer = torch.optim.AdamW(model.parameters(), lr)
    for _ in range(steps_within(purse.flops, model, B, purse.T) // 2):
        batch = purse.batch(B)
        for _ in range(2):
            optimizer.zero_grad()
            model(*batch)[1].backward()
            optimizer.step()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda *case: train(*case, more=1), "overspent"),
        (lambda *case: train(*case, least=0.5), "of the purse is spent"),
        (lambda *case: train(*case, step_it=False), "no weight has moved"),
        (lambda purse, model, B, lr: train(purse, model, B, lr / 1000), "next to nothing"),
        (lambda purse, model, B, lr: train(purse, model, B, lr / 10), "more slowly"),
        (lambda purse, model, B, lr: purse.batch(B), "never read"),
        (twice, "pay for it once"),
        (lambda *case: 1 / 0, "ZeroDivisionError"),
        (3, "expected a function"),
    ],
)
def test_a_wrong_loop_is_named(answer, words):
    result = lab.spend(steps_within, answer)
    assert result.passed is False and words in result.message, result


def walk(purse, model, B, lr):
    """Spends the whole purse without learning, so that a plan can be judged quickly."""
    steps = steps_within(purse.flops, model, B, purse.T)
    purse.spent_flops, purse.spent_tokens = purse.flops, steps * B * purse.T


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_layer": 2, "n_embd": 64}, "no time to learn"),
        ({"n_layer": 1, "n_embd": 4, "n_head": 1}, "cannot hold"),
        ({"B": 64}, "steps: with B = 64"),
        ({"lr": 1e-3}, "bears a higher rate"),
        ({"lr": 0.1}, "undo what"),
        ({}, "no part of the plan is far off"),
        ({"n_embd": 512, "n_layer": 8}, "not a run"),
        ({"n_embd": 30}, "no such model"),
        ({"B": 0}, "B is a number of windows"),
        ({"steps": 3}, "and nothing else"),
    ],
)
def test_what_a_plan_wastes_is_named(change, words):
    result = lab._check_plan(walk, PLAN | change)
    assert result.passed is False and words in result.message, result


@pytest.mark.parametrize(
    ("loss", "passes", "words"),
    [
        (1.20, True, "1.20 nats after 0 steps"),
        (1.33, True, "the law promises 1.31"),
        (1.41, False, "1.41 nats after"),
    ],
)
def test_the_verdict_says_the_loss(monkeypatch, loss, passes, words):
    monkeypatch.setattr(Purse, "loss", lambda *_: loss)
    result = lab._check_plan(walk, PLAN)
    assert result.passed is passes and words in result.message, result


def test_the_recorded_plans_spend_a_purse():
    record = runs.scaling_lab(flops=2e7)
    plans = record.result["plans"]
    assert len(plans) == len(runs.PLANS) and record.name == "scaling-lab"
    assert all(plan["val"] < 4.5 for plan in plans)


def test_a_plan_that_diverges_is_named():
    assert "diverged" in lab._waste(math.nan, 1000, 100_000, 8, 0.01, 64)


def test_the_purse_counts_whatever_the_loop_does():
    purse = Purse(tokens=1000, parameters=5000)
    with pytest.raises(ConfigError, match="are allowed"):
        purse.model(n_layer=2, n_head=2, n_embd=32)
    model = purse.model(n_layer=1, n_head=2, n_embd=8)
    x, y = purse.batch(8)
    model(x, y)
    assert purse.spent_tokens == 512 and purse.share == 0.512
    assert purse.spent_flops == 512 * model.flops_per_token(64)
    with torch.no_grad():
        model(x, y)
    purse.loss(model, windows=2)
    assert purse.spent_tokens == 512
    with pytest.raises(Overspent, match="488 are left"):
        model(x, y)
