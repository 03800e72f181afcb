"""Chapter 6's exercises: accumulation, memory, utilization, a resumed schedule, a faulty log.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check
from gptlib.optim import learning_rate


def accumulate(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check `fn(gradients, counts)`: gradients (M, P) of M micro-batches' mean losses, whose
    targets are counts (M,), to the gradient (P,) of the mean over all targets."""

    def right(gradients: Tensor, counts: Tensor) -> Tensor:
        return (gradients * counts[:, None]).sum(0) / counts.sum()

    equal = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.5]]), torch.tensor([4.0, 4.0])
    ragged = torch.tensor([[1.0, -2.0, 0.5], [4.0, 1.0, -1.5], [0.5, 2.0, 3.0]])
    return check(
        fn,
        cases=[equal, (ragged, torch.tensor([8.0, 1.0, 3.0]))],
        right=right,
        wrongs=[
            Wrong(
                "summed: with M equal micro-batches that is M times the gradient, and so is a "
                "learning rate that nobody chose",
                lambda gradients, counts: gradients.sum(0),
            ),
            Wrong(
                "a mean of means: right while all micro-batches have equally many targets; here "
                "one of a single target speaks as loudly as one of eight",
                lambda gradients, counts: gradients.mean(0),
            ),
            Wrong(
                "weighted by the targets and not divided by all of them: that is the gradient of "
                "the sum of the losses",
                lambda gradients, counts: (gradients * counts[:, None]).sum(0),
            ),
            Wrong(
                "weighted by the targets and divided by the number of micro-batches: divide by "
                "what the weights add up to",
                lambda gradients, counts: (gradients * counts[:, None]).mean(0),
            ),
            Wrong(
                "the means were divided by their targets once more: a mean is divided already, "
                "so multiply",
                lambda gradients, counts: (gradients / counts[:, None]).sum(0),
            ),
        ],
        success="M micro-batches, and the gradient of one large batch, ragged or not",
        tolerance=1e-5,
    )


def memory(fn: Callable[[int, int, int, int], float]) -> Result:
    """Check `fn(N, tokens, kept, V)`: bytes of a step in float32 with AdamW.

    N parameters; `tokens` in a micro-batch, each of which leaves `kept` numbers in the blocks and
    holds V numbers three times at the loss: log-probabilities, and two steps of their gradient.
    """

    def right(N: int, tokens: int, kept: int, V: int) -> float:
        return 4 * (4 * N + tokens * (kept + 3 * V))

    def with_copies(copies: int) -> Callable[..., float]:
        return lambda N, tokens, kept, V: 4 * (copies * N + tokens * (kept + 3 * V))

    return check(
        fn,
        cases=[(124_439_808, 8_192, 150_000, 50_257), (10_000, 64, 900, 45)],
        right=right,
        wrongs=[
            Wrong(
                "AdamW's two moments are missing: each is as large as all weights together",
                with_copies(2),
            ),
            Wrong(
                "one of AdamW's moments is missing: the mean of the gradient, and of its square",
                with_copies(3),
            ),
            Wrong(
                "only the weights count there: their gradients and two moments are as large again",
                with_copies(1),
            ),
            Wrong(
                "the logits were forgotten: V numbers for every token, three times",
                lambda N, tokens, kept, V: 4 * (4 * N + tokens * kept),
            ),
            Wrong(
                "the logits were counted once: their gradient has the same shape, in two steps",
                lambda N, tokens, kept, V: 4 * (4 * N + tokens * (kept + V)),
            ),
            Wrong(
                "the logits were counted twice: their gradient is made in two steps, which meet",
                lambda N, tokens, kept, V: 4 * (4 * N + tokens * (kept + 2 * V)),
            ),
            Wrong(
                "the logits of one token: each token of the micro-batch has its own",
                lambda N, tokens, kept, V: 4 * (4 * N + tokens * kept + 3 * V),
            ),
            Wrong(
                "what the batch leaves behind is missing: that is what the parameters take",
                lambda N, tokens, kept, V: 16 * N,
            ),
            Wrong(
                "those are numbers, and a number of float32 has four bytes",
                lambda N, tokens, kept, V: right(N, tokens, kept, V) / 4,
            ),
            Wrong(
                "in bits: a byte has eight of them, and a float32 four bytes",
                lambda N, tokens, kept, V: right(N, tokens, kept, V) * 8,
            ),
        ],
        success="16 bytes a parameter; for every token what it leaves, and its logits three times",
        tolerance=1e-9,
    )


def mfu(fn: Callable[[int, int, int, int, float, float], float]) -> Result:
    """Check `fn(N, L, C, T, rate, peak)`: model FLOPs utilization, a share.

    N weights that multiply, L layers, C channels, context T; `rate` tokens a second, `peak` FLOPs
    a second.
    """

    def flops(N: int, L: int, C: int, T: int) -> int:
        return 6 * N + 12 * L * C * T

    def right(N: int, L: int, C: int, T: int, rate: float, peak: float) -> float:
        return flops(N, L, C, T) * rate / peak

    return check(
        fn,
        cases=[
            (123_600_000, 12, 768, 1024, 450_000.0, 989e12),
            (10_000_000, 6, 320, 512, 2_400.0, 5e11),
        ],
        right=right,
        wrongs=[
            Wrong(
                "forward only, 2 for each weight: training goes back as well, which costs twice "
                "the way there",
                lambda N, L, C, T, rate, peak: flops(N, L, C, T) / 3 * rate / peak,
            ),
            Wrong(
                "forward only for the weights: attention has its way back, and they do not",
                lambda N, L, C, T, rate, peak: (2 * N + 12 * L * C * T) * rate / peak,
            ),
            Wrong(
                "attention's two products are missing: 12 L C T a token",
                lambda N, L, C, T, rate, peak: 6 * N * rate / peak,
            ),
            Wrong(
                "attention goes forward only, 4 L C T: the way back costs twice as much again",
                lambda N, L, C, T, rate, peak: (6 * N + 4 * L * C * T) * rate / peak,
            ),
            Wrong(
                "upside down: what was done, divided by what could have been",
                lambda N, L, C, T, rate, peak: peak / (flops(N, L, C, T) * rate),
            ),
            Wrong(
                "in percent: leave it a share",
                lambda N, L, C, T, rate, peak: 100 * right(N, L, C, T, rate, peak),
            ),
            Wrong(
                "that is the rate in FLOPs a second: divide by what the machine could do",
                lambda N, L, C, T, rate, peak: flops(N, L, C, T) * rate,
            ),
            Wrong(
                "that counts a window as a token: rate is in tokens, each of which is one",
                lambda N, L, C, T, rate, peak: flops(N, L, C, T) * rate * T / peak,
            ),
        ],
        success="what the model needed, over what the machine could have done in that time",
        tolerance=1e-9,
    )


def resumed_rates(fn: Callable[[int, int, int, float, float], Sequence[float]]) -> Result:
    """Check `fn(at, steps, warmup, lr, min_lr)`: a list of the learning rates of the updates that
    a cosine run still makes after it was resumed with `at` of its `steps` behind it."""

    def cosine(step: int, steps: int, warmup: int, lr: float, min_lr: float) -> float:
        return learning_rate(step, steps, lr, min_lr, warmup, "cosine")

    def rates(start: int, stop: int, steps: int, *rest: float) -> list[float]:
        return [cosine(step, steps, int(rest[0]), *rest[1:]) for step in range(start, stop)]

    def right(at: int, steps: int, *rest: float) -> list[float]:
        return rates(at, steps, steps, *rest)

    return check(
        fn,
        cases=[(12, 20, 4, 1e-3, 1e-4), (2, 9, 3, 6e-4, 0.0)],
        right=right,
        wrongs=[
            Wrong(
                "it warmed up again and began a cosine of its own for the steps that are left: the "
                "step belongs to the run, not to the process",
                lambda at, steps, *rest: rates(0, steps - at, steps - at, *rest),
            ),
            Wrong(
                "it began again with the rate of the first step, on the old schedule",
                lambda at, steps, *rest: rates(0, steps - at, steps, *rest),
            ),
            Wrong(
                "a cosine from the top for the steps that are left: the warm-up was left out, the "
                "descent begun anew",
                lambda at, steps, warmup, lr, low: rates(0, steps - at, steps - at, 0, lr, low),
            ),
            Wrong(
                "one step too late: with `at` updates made, the next is number `at` from 0",
                lambda at, steps, *rest: rates(at + 1, steps + 1, steps, *rest),
            ),
            Wrong(
                "one step too early: that update is already in the weights",
                lambda at, steps, *rest: rates(at - 1, steps - 1, steps, *rest),
            ),
            Wrong(
                "that is the whole schedule: the first `at` updates are made",
                lambda at, steps, *rest: rates(0, steps, steps, *rest),
            ),
            Wrong(
                "the rate at which it stopped, held: a schedule goes on",
                lambda at, steps, *rest: [cosine(at, steps, *rest)] * (steps - at),  # type: ignore
            ),
        ],
        success="the rate is a function of the step, so a resumed run has no choice",
        tolerance=1e-9,
    )


_SOUND = [(1, 3.8, 3.8, 1.5), (100, 2.1, 2.1, 0.6), (200, 1.5, 1.52, 0.5), (300, 1.2, 1.22, 0.5),
          (400, 1.05, 1.06, 0.4)]  # fmt: skip
_LEAK = [(1, 3.8, 3.8, 1.6), (100, 0.9, 0.88, 0.8), (200, 0.2, 0.19, 0.2), (300, 0.06, 0.06, 0.1),
         (400, 0.04, 0.04, 0.05)]  # fmt: skip
_RATE = [(1, 3.8, 3.4, 2.6), (100, 3.0, 3.1, 0.1), (200, 2.9, 2.9, 0.2), (300, 2.8, 2.8, 0.3),
         (400, 2.8, 2.8, 0.3)]  # fmt: skip
_REPEATS = [(1, 3.8, 3.8, 1.5), (100, 1.9, 2.2, 0.7), (200, 1.1, 2.3, 0.8), (300, 0.6, 2.7, 0.9),
            (400, 0.4, 3.1, 0.9)]  # fmt: skip
_SPIKE = [(1, 3.8, 3.8, 1.5), (100, 2.1, 2.1, 0.6), (200, 2.6, 1.55, 4.0), (300, 1.2, 1.22, 0.5),
          (400, 1.05, 1.06, 0.4)]  # fmt: skip


def _lines(rows: Sequence[tuple]) -> list[dict]:
    return [dict(zip(("step", "loss", "val", "grad_norm"), row, strict=True)) for row in rows]


def _diagnosis(log: Sequence[dict], floor: float) -> str:
    """What a log says: "leak", "repeats", "rate" or "sound". The reference of exercise 6.5."""
    vals = [line["val"] for line in log]
    if vals[-1] < floor:
        return "leak"
    if vals[-1] > min(vals) + 0.2 and log[-1]["loss"] < min(vals):
        return "repeats"
    if not vals[-1] < 0.6 * log[0]["loss"]:
        return "rate"
    return "sound"


def diagnose(fn: Callable[[list[dict], float], str]) -> Result:
    """Check `fn(log, floor)`: "leak", "repeats", "rate" or "sound" for the lines of a log, each
    with `step`, `loss`, `val` and `grad_norm`, where no honest validation comes below `floor`."""
    floor = 0.51

    def by_training_loss(log: list[dict], floor: float) -> str:
        return "leak" if log[-1]["loss"] < floor else _diagnosis(log, floor)

    def by_any_spike(log: list[dict], floor: float) -> str:
        spikes = max(line["grad_norm"] for line in log[1:]) > 2
        said = _diagnosis(log, floor)
        return "rate" if spikes and said == "sound" else said

    def never_leaks(log: list[dict], floor: float) -> str:
        said = _diagnosis(log, floor)
        return "sound" if said == "leak" else said

    def blind_to_heart(log: list[dict], floor: float) -> str:
        said = _diagnosis(log, floor)
        return "sound" if said == "repeats" else said

    def heart_is_rate(log: list[dict], floor: float) -> str:
        said = _diagnosis(log, floor)
        return "rate" if said == "repeats" else said

    def blind_to_rate(log: list[dict], floor: float) -> str:
        said = _diagnosis(log, floor)
        return "sound" if said == "rate" else said

    return check(
        fn,
        cases=[(_lines(rows), floor) for rows in (_SOUND, _LEAK, _RATE, _REPEATS, _SPIKE)],
        right=_diagnosis,
        wrongs=[
            Wrong(
                "a training loss below the floor is no leak: text that is known by heart surprises "
                "nobody; ask the validation loss",
                by_training_loss,
            ),
            Wrong(
                "one spike is no verdict: that run came back in the next line; look at where a log "
                "ends",
                by_any_spike,
            ),
            Wrong(
                "a validation loss below the floor was called sound: the best number in the log is "
                "the fault",
                never_leaks,
            ),
            Wrong(
                "validation rises while training falls, and you call it sound: the model reads the "
                "same text again",
                blind_to_heart,
            ),
            Wrong(
                "validation rises while training falls below it: no rate does that, text that "
                "comes again does",
                heart_is_rate,
            ),
            Wrong(
                "a run that ends two thirds of the way up is not sound: one step threw it to where "
                "there is hardly a slope, which only too high a rate does",
                blind_to_rate,
            ),
        ],
        success="too good, by heart, too fast, and a spike that meant nothing",
    )
