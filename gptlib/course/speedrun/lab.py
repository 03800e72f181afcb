"""The lab of the speedrun: beat `tuned` on half of its text.

One job: `race`, which checks the lab's functions step by step and runs the learner's recipe on a
track that counts what is read. Nothing is judged by a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gptlib.course.checking import NOT_WRITTEN, Result, Wrong, check, failed, passed
from gptlib.course.purse import Overspent, Purse, tales
from gptlib.errors import ConfigError
from gptlib.model import GPT

Recipe = Mapping[str, Any]
Run = Callable[[Purse, Recipe, int], GPT]
LossOf = Callable[[Any, int], float]
Duel = Callable[[LossOf, Any, Any, Sequence[int]], tuple[float, float]]

#: What `tuned` is on the tales: nanoGPT's setting for a processor at the rate that suits it.
TUNED = {
    "model": {"n_layer": 4, "n_head": 4, "n_embd": 128, "bias": False},
    "B": 12,
    "lr": 4e-3,
}
TOKENS = 51_200  # that the learner's run may read: half of what tuned read for its 2.19 nats
PARAMETERS = 802_000  # tuned has 801,536
BAR = 1.70  # nats a character on the validation text


def track(seed: int = 0, tokens: int = TOKENS) -> Purse:
    """A purse for one run of so many tokens; the seed decides the order of the text."""
    return Purse(tokens=tokens, parameters=PARAMETERS, seed=seed)


def race(run: Run, duel: Duel | None = None, recipe: Recipe | None = None) -> Result:
    """Check what has been built so far: the last thing given.

    Args:
        run: (track, recipe, seed) to the trained model. A recipe has `model`, fields for
            `track.model`, `B`, `lr`, and whatever else the learner's run understands.
        duel: (loss_of, ours, theirs, seeds) to (nats that ours saves, standard error), in pairs;
            `loss_of(recipe, seed)` is the loss of one run.
        recipe: what is to beat tuned.
    """
    result = _check_run(run)
    if result and duel is not None:
        result = _check_duel(duel)
    if result and recipe is not None:
        result = _check_recipe(run, recipe)
    return result


# --- step 1: a run --------------------------------------------------------------------------------

_SMALL = {"model": {"n_layer": 1, "n_head": 2, "n_embd": 16}, "B": 8, "lr": 2e-2}


def _try(fn: Run, track: Purse, recipe: Recipe, seed: int) -> Result | GPT:
    """The model that the learner's run has trained, or what went wrong."""
    try:
        model = fn(track, dict(recipe), seed)
    except NotImplementedError:
        return NOT_WRITTEN
    except Overspent as error:
        return failed(f"read too much: {error}; the track has {track.tokens:,} characters")
    except ConfigError as error:
        return failed(f"no such model: {error}")
    except Exception as error:
        return failed(f"your function raised {type(error).__name__}: {error}")
    if track.made is None:
        return NOT_WRITTEN if model is None or model is ... else failed("take track.model(...)")
    if model is not track.made:
        return failed("return the model that the track made, when it is trained")
    if track.share < 0.9:
        return failed(f"only {track.share:.0%} of the text was read: the rest is lost to you")
    return model


def _check_run(fn: Run) -> Result:
    if not callable(fn):
        return failed("expected a function that trains")
    tokens = 80 * 8 * 64
    found: list[GPT] = []
    for recipe, seed in ((_SMALL, 0), (_SMALL, 0), (_SMALL, 1), (_SMALL | {"lr": 1e-6}, 0)):
        model = _try(fn, track(seed, tokens), recipe, seed)
        if isinstance(model, Result):
            return model
        found.append(model)
    config = found[0].config
    if (config.n_layer, config.n_embd) != (1, 16):
        return failed("that is not the recipe's model: hand its fields to track.model")
    first, again, other = (list(model.parameters()) for model in found[:3])

    def equal(a: list, b: list) -> bool:
        return all(torch.equal(p, q) for p, q in zip(a, b, strict=True))

    if not equal(first, again):
        return failed(
            "the same recipe and seed end elsewhere the second time: seed torch before the model "
            "is made"
        )
    if equal(first, other):
        return failed("two seeds make one run: is the seed in the recipe's way, or a constant?")
    losses = [track().loss(model, windows=50) for model in (found[0], found[3])]
    if losses[1] < math.log(tales()[2]) - 0.5:
        return failed("at a rate of a millionth it learns all the same: lr comes from the recipe")
    if losses[0] > 3.3:
        return failed(
            "at a good rate it learns next to nothing: does the optimizer step, are gradients "
            "forgotten, and is the rate at its height early?"
        )
    small = track(0, tokens)
    model = _try(fn, small, _SMALL | {"B": 16}, 0)
    if isinstance(model, Result):
        return model
    if small.steps != 40:
        return failed(
            "with twice the windows half the steps read the text: B comes from the recipe"
        )
    return passed("a run by recipe: the same for the same seed, and all of its text read")


# --- step 2: a duel -------------------------------------------------------------------------------


class _Losses:
    """Losses by recipe and seed: seeds differ much, pairs little."""

    def __init__(self, base: float) -> None:
        self.base = base

    def __repr__(self) -> str:
        return f"losses around {self.base}"

    def __call__(self, recipe: Any, seed: int) -> float:
        luck = ((seed * 7919) % 13) / 10
        own = ((seed * 31 + (5 if recipe == "new" else 0)) % 7) / 100
        return self.base + luck + own - (0.25 if recipe == "new" else 0.0)


def _check_duel(fn: Duel) -> Result:
    def gaps(loss_of: LossOf, ours: Any, theirs: Any, seeds: Sequence[int]) -> list[float]:
        return [loss_of(theirs, s) - loss_of(ours, s) for s in seeds]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / len(values)

    def spread(values: Sequence[float]) -> float:
        return math.sqrt(sum((x - mean(values)) ** 2 for x in values) / (len(values) - 1))

    def right(*case: Any) -> tuple[float, float]:
        found = gaps(*case)
        return mean(found), spread(found) / math.sqrt(len(found))

    def unpaired(loss_of: LossOf, ours: Any, theirs: Any, seeds: Sequence[int]) -> tuple:
        a, b = ([loss_of(r, s) for s in seeds] for r in (ours, theirs))
        error = math.sqrt((spread(a) ** 2 + spread(b) ** 2) / len(seeds))
        return mean(b) - mean(a), error

    def one_seed(loss_of: LossOf, ours: Any, theirs: Any, seeds: Sequence[int]) -> tuple:
        return right(loss_of, ours, theirs, [seeds[0]] * len(seeds))

    def biased(*case: Any) -> tuple[float, float]:
        found = gaps(*case)
        return mean(found), spread(found) * math.sqrt((len(found) - 1) / len(found) ** 2)

    return check(
        fn,
        cases=[
            (_Losses(2.0), "new", "old", [0, 1, 2, 3]),
            (_Losses(1.5), "new", "old", [4, 7, 9]),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the sign is turned round: what ours saves is theirs minus ours",
                lambda *case: (-right(*case)[0], right(*case)[1]),
            ),
            Wrong("every run had the same seed: three copies of a run are one run", one_seed),
            Wrong(
                "the seeds were not paired: subtract run by run, so that the luck both share is "
                "gone, and take the scatter of the differences",
                unpaired,
            ),
            Wrong(
                "that is how single differences scatter; their mean strays by √n less",
                lambda *case: (right(*case)[0], spread(gaps(*case))),
            ),
            Wrong("divided by n: the mean was fitted to these differences, so n − 1", biased),
        ],
        success="theirs minus ours, seed by seed, with its error",
        tolerance=1e-9,
    )


# --- step 3: a recipe -----------------------------------------------------------------------------


def _check_recipe(run: Run, recipe: Recipe) -> Result:
    if not isinstance(recipe, Mapping) or not {"model", "B", "lr"} <= set(recipe):
        return failed("a recipe says model, B and lr, and what else your run understands")
    if any(value is ... for value in recipe.values()):
        return NOT_WRITTEN
    if not isinstance(recipe["B"], int) or recipe["B"] < 1:
        return failed("B is a number of windows, 1 or more")
    lane = track()
    model = _try(run, lane, recipe, 0)
    if isinstance(model, Result):
        return model
    loss = lane.loss(model)
    if loss < BAR:
        return passed(f"below {BAR:.2f} nats on half of the text that tuned needs for 2.19")
    return failed(f"not below {BAR:.2f}: {_behind(loss, model, recipe, lane.steps)}")


def _behind(loss: float, model: GPT, recipe: Recipe, steps: int) -> str:
    """What is most likely missing in a recipe that lost."""
    if not math.isfinite(loss) or loss > math.log(tales()[2]) + 0.5:
        return "it diverged; a smaller rate, a gentler start, or gradients that are cut"
    if all(recipe["model"].get(k, v) == v for k, v in TUNED["model"].items()) and len(
        recipe["model"]
    ) <= len(TUNED["model"]):
        return (
            "that is tuned's own model; with half of the text it needs something that learns sooner"
        )
    if steps < 60:
        return f"{steps} steps are few: smaller batches make more of them from the same text"
    if not model.config.rotary:
        return "its positions are rows of a table, each of which a short run has yet to learn"
    if model.num_params() < PARAMETERS / 4:
        return "it has a fraction of the parameters that are allowed"
    return (
        "the model is not what holds it back; look at what moves the weights, in the list of "
        "changes that saved most by themselves"
    )
