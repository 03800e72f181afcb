"""The lab of chapter 4: a hundred billion FLOPs, and what is the most to be had for them.

One job: `spend`, which checks the lab's functions step by step, trains by the learner's plan with
the learner's loop, counts what it costs, and says what a plan that misses the bar wasted.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from gptlib.course.answers import number
from gptlib.course.checking import NOT_WRITTEN, Result, Wrong, check, failed, passed
from gptlib.course.purse import Overspent, Purse, tales
from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig

Steps = Callable[[float, GPT, int, int], int]
Train = Callable[[Purse, GPT, int, float], object]

FLOPS = 1e11
BAR = 1.40  # nats a character on the validation text
GOOD = 1.31  # the second goal: what the chapter's law promises for the budget
_PLAN = ("n_layer", "n_head", "n_embd", "B", "lr")


def spend(
    steps_within: Steps, train: Train | None = None, plan: Mapping[str, Any] | None = None
) -> Result:
    """Check what has been built so far: the last thing given.

    Args:
        steps_within: (flops, model, B, T) to the whole steps of B windows that they pay.
        train: (purse, model, B, lr), trains the model until the purse is spent.
        plan: n_layer, n_head and n_embd of a model, B windows a step, and lr.
    """
    result = _check_steps(steps_within)
    if result and train is not None:
        result = _check_train(train)
        if result and plan is not None:
            result = _check_plan(train, plan)
    return result


def _check_steps(fn: Steps) -> Result:
    def steps(price: Callable[[GPT, int], float], cut: Callable[[float], float]) -> Steps:
        return lambda flops, model, B, T: int(cut(flops / (price(model, T) * B * T)))

    def whole(model: GPT, T: int) -> float:
        return model.flops_per_token(T)

    models = [GPT(GPTConfig(64, 45, n_layer=L, n_head=2, n_embd=C)) for L, C in ((1, 16), (2, 24))]
    return check(
        fn,
        cases=[(2e9, models[0], 4, 64), (3e9, models[1], 8, 64), (3.3e9, models[1], 16, 32)],
        right=steps(whole, math.floor),
        wrongs=[
            Wrong("rounded up: the last step cannot be paid", steps(whole, math.ceil)),
            Wrong(
                "a window was counted as one token: it has T",
                lambda flops, model, B, T: int(flops / (model.flops_per_token(T) * B)),
            ),
            Wrong(
                "one window a step: a step reads B of them",
                lambda flops, model, B, T: int(flops / (model.flops_per_token(T) * T)),
            ),
            Wrong(
                "6N alone: attention's own products and the looked-up table make a difference at "
                "this size; flops_per_token knows both",
                steps(lambda model, T: 6 * model.num_params(), math.floor),
            ),
            Wrong(
                "that is the way forward only: the way back costs twice as much again",
                steps(lambda model, T: whole(model, T) / 3, math.floor),
            ),
            Wrong(
                "a fraction of a step cannot be made: cut it off",
                lambda flops, model, B, T: flops / (model.flops_per_token(T) * B * T),
            ),
        ],
        success="as many steps as the purse pays, and none that it does not",
        tolerance=1e-9,
    )  # fmt: skip


def _try(train: Train, purse: Purse, model: GPT, B: int, lr: float) -> Result | None:
    """Let the learner's loop run; what went wrong while it did, or None."""
    torch.manual_seed(0)
    try:
        train(purse, model, B, lr)
    except NotImplementedError:
        return NOT_WRITTEN
    except Overspent as error:
        return failed(f"overspent: {error}; ask steps_within how many there may be")
    except Exception as error:
        return failed(f"your function raised {type(error).__name__}: {error}")
    if purse.spent_tokens == 0:
        return NOT_WRITTEN if purse.steps == 0 else failed("batches were drawn and never read")
    return None


def _check_train(fn: Train) -> Result:
    if not callable(fn):
        return failed("expected a function that trains")
    purse = Purse(flops=3e9)
    torch.manual_seed(1)
    model = purse.model(n_layer=1, n_head=2, n_embd=16)
    before = [p.detach().clone() for p in model.parameters()]
    result = _try(fn, purse, model, 8, 1e-2)
    if result is not None:
        return result
    if all(torch.equal(p, b) for p, b in zip(model.parameters(), before, strict=True)):
        return failed("no weight has moved: does the optimizer have them, and does it step?")
    if purse.share < 0.9:
        return failed(f"only {purse.share:.0%} of the purse is spent: the rest buys nothing")
    if purse.spent_tokens / max(purse.steps, 1) != 8 * purse.T:
        return failed("a step was to read one batch of B windows, and pay for it once")
    loss = purse.loss(model, windows=50)
    if not math.isfinite(loss) or loss > math.log(tales()[2]) - 0.3:
        return failed(
            "the model has learned next to nothing: forget the last gradient before each step, "
            "and go down the slope at the rate that was asked for"
        )
    if loss > 2.75:
        return failed(
            "it learns much more slowly than it could: is the rate lr from soon after the start, "
            "and are gradients forgotten after each step?"
        )
    return passed("the purse is empty, and what it bought is in the weights")


def _check_plan(train: Train, plan: Mapping[str, Any]) -> Result:
    if not isinstance(plan, Mapping) or set(plan) != set(_PLAN):
        return failed(f"a plan says {', '.join(_PLAN)}, and nothing else")
    if any(value is ... for value in plan.values()):
        return NOT_WRITTEN
    lr, B = number(plan["lr"]), plan["B"]
    if not isinstance(B, int) or B < 1 or lr is None or lr <= 0:
        return failed("B is a number of windows, 1 or more, and lr is above 0")
    purse = Purse(flops=FLOPS)
    torch.manual_seed(0)
    try:
        model = purse.model(**{field: plan[field] for field in _PLAN[:3]})
    except (ConfigError, TypeError) as error:
        return failed(f"no such model: {error}")
    N, price = model.num_params(), model.flops_per_token(purse.T)
    tokens = int(FLOPS / price)
    if tokens < 20 * B * purse.T:
        return failed(
            f"the purse pays {tokens // (B * purse.T)} steps of this model on {B} windows: that is "
            "not a run; each FLOP for size is one less for text"
        )
    result = _try(train, purse, model, B, lr)
    if result is not None:
        return result
    loss = purse.loss(model)
    found = f"{loss:.2f} nats after {purse.steps:,} steps of {N:,} parameters"
    if loss < GOOD:
        return passed(f"{found}: below {GOOD:.2f} too, which is what the law promises")
    if loss < BAR:
        return passed(f"{found}: below {BAR:.2f}; the law promises {GOOD:.2f}")
    return failed(f"{found}, not below {BAR:.2f}: {_waste(loss, N, tokens, B, lr, purse.T)}")


def _waste(loss: float, N: int, tokens: int, B: int, lr: float, T: int) -> str:
    """What is most likely wrong with a plan that missed the bar."""
    if not math.isfinite(loss) or loss > math.log(tales()[2]) + 0.5:
        return "it knows less than nothing, so it diverged; a smaller rate, or a gentler start"
    if tokens < 10 * N:
        return (
            f"{N:,} parameters that read {tokens:,} characters, fewer than ten each: so large a "
            "model has no time to learn what it could hold"
        )
    if tokens > 1_000 * N:
        return f"{N:,} parameters cannot hold what {tokens:,} characters have to say"
    if tokens // (B * T) < 500:
        return (
            f"{tokens // (B * T)} steps: with B = {B} each reads more than a step needs; smaller "
            "batches make more steps of the same text"
        )
    if lr < 4e-3:
        return "a small model bears a higher rate, and a short run needs it"
    if lr > 4e-2:
        return "the rate is high enough to undo what the steps before have learned"
    return (
        "no part of the plan is far off; a rate that falls to zero at the end, a somewhat smaller "
        "model or batch, or a rate twice as high or as low may be what is missing"
    )
