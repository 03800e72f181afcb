"""The lab of the speedrun: each step's right answer passes, and what goes wrong is named."""

import math
import statistics

import pytest
import torch

from gptlib.course.speedrun import lab
from gptlib.optim import learning_rate, make_optimizers, set_learning_rate

RECIPE = {
    "model": lab.TUNED["model"]
    | dict(rotary=True, qk_norm=True, activation="relu2", tied_head=False, zero_init=True),
    "B": 8,
    "lr": 4e-3,
    "optimizer": "muon",
}


def run(track, recipe, seed):
    torch.manual_seed(seed)
    model = track.model(**recipe["model"])
    lr, B = recipe["lr"], recipe["B"]
    optimizers = make_optimizers(model, recipe.get("optimizer", "adamw"), lr, 0.1, (0.9, 0.95))
    steps = track.tokens // (B * track.T)
    for step in range(steps):
        rate = learning_rate(step, steps, lr, 0.0, max(1, steps // 10), "wsd", decay=0.6)
        set_learning_rate(optimizers, rate)
        model(*track.batch(B))[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return model


def duel(loss_of, ours, theirs, seeds):
    saved = [loss_of(theirs, seed) - loss_of(ours, seed) for seed in seeds]
    return statistics.fmean(saved), statistics.stdev(saved) / math.sqrt(len(saved))


def test_the_right_answers_pass_step_by_step():
    result = lab.race(run, duel, RECIPE)
    assert result.passed is True and "below" in result.message, result
    assert lab.race(run).passed is True and lab.race(run, duel).passed is True


def test_a_stub_is_not_written_yet():
    assert lab.race(lambda track, recipe, seed: ...).passed is None
    assert lab._check_duel(lambda loss_of, ours, theirs, seeds: ...).passed is None
    assert lab._check_recipe(run, {"model": {}, "B": 8, "lr": ...}).passed is None


def with_recipe(**change):
    return lambda track, recipe, seed: run(track, recipe | change, seed)


def unseeded(track, recipe, seed):
    torch.seed()
    model = track.model(**recipe["model"])
    optimizer = torch.optim.AdamW(model.parameters(), recipe["lr"])
    for _ in range(track.tokens // (recipe["B"] * track.T)):
        model(*track.batch(recipe["B"]))[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def too_far(track, recipe, seed):
    model = run(track, recipe, seed)
    model(*track.batch(recipe["B"]))
    return model


def half(track, recipe, seed):
    model = track.model(**recipe["model"])
    for _ in range(track.tokens // (recipe["B"] * track.T) // 2):
        model(*track.batch(recipe["B"]))
    return model


def untrained(track, recipe, seed):
    torch.manual_seed(seed)
    model = track.model(**recipe["model"])
    for _ in range(track.tokens // (recipe["B"] * track.T)):
        model(*track.batch(recipe["B"]))
    return model


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (too_far, "read too much"),
        (half, "of the text was read"),
        (unseeded, "seed torch before"),
        (untrained, "next to nothing"),
        (with_recipe(lr=2e-2), "lr comes from the recipe"),
        (with_recipe(B=8), "B comes from the recipe"),
        (with_recipe(model={"n_layer": 1, "n_head": 1, "n_embd": 8}), "not the recipe's model"),
        (with_recipe(model={"n_embd": 1024}), "no such model"),
        (lambda *case: run(*case) and None, "return the model"),
        (lambda track, recipe, seed: 3, "take track.model"),
        (lambda *case: 1 / 0, "ZeroDivisionError"),
        (3, "expected a function"),
    ],
)
def test_a_wrong_run_is_named(answer, words):
    result = lab.race(answer)
    assert result.passed is False and words in result.message, result


def test_a_run_that_ignores_its_seed_is_named():
    def constant(track, recipe, seed):
        track._seed = 0
        return run(track, recipe, 0)

    result = lab.race(constant)
    assert result.passed is False and "two seeds make one run" in result.message


def unpaired(loss_of, ours, theirs, seeds):
    a, b = ([loss_of(recipe, seed) for seed in seeds] for recipe in (ours, theirs))
    error = math.sqrt((statistics.variance(a) + statistics.variance(b)) / len(seeds))
    return statistics.fmean(b) - statistics.fmean(a), error


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda f, a, b, seeds: duel(f, b, a, seeds), "sign is turned"),
        (lambda f, a, b, seeds: duel(f, a, b, [seeds[0]] * len(seeds)), "same seed"),
        (unpaired, "not paired"),
        (lambda *c: (duel(*c)[0], duel(*c)[1] * math.sqrt(len(c[-1]))), "strays by"),
        (lambda *c: (duel(*c)[0], duel(*c)[1] * math.sqrt(1 - 1 / len(c[-1]))), "divided by n"),
    ],
)
def test_a_wrong_duel_is_named(answer, words):
    result = lab._check_duel(answer)
    assert result.passed is False and words in result.message, result


def walk(track, recipe, seed):
    """Reads without learning, so that a recipe can be judged quickly."""
    torch.manual_seed(seed)
    model = track.model(**recipe["model"])
    track.steps, track.spent_tokens = track.tokens // (recipe["B"] * track.T), track.tokens
    return model


SHAPE = lab.TUNED["model"]


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (lab.TUNED, "tuned's own model"),
        (RECIPE | {"B": 64}, "steps are few"),
        (RECIPE | {"model": SHAPE | {"qk_norm": True}}, "rows of a table"),
        (RECIPE | {"model": {"n_embd": 32, "n_head": 4, "n_layer": 2, "rotary": True,
                             "qk_norm": True}}, "a fraction of the parameters"),
        (RECIPE, "what moves the weights"),
        (RECIPE | {"model": SHAPE | {"n_embd": 256}}, "no such model"),
        (RECIPE | {"B": 0}, "B is a number"),
        ({"B": 8}, "a recipe says"),
    ],
)  # fmt: skip
def test_what_holds_a_recipe_back_is_named(recipe, words):
    result = lab._check_recipe(walk, recipe)
    assert result.passed is False and words in result.message, result


def test_a_recipe_that_diverges_is_named():
    assert "diverged" in lab._behind(math.inf, None, RECIPE, 100)
