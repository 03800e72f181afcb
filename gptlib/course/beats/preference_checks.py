"""Chapter 9's exercise on preferences: the loss of DPO.

One job: compare a learner's function with the right one on small cases, and name the misconception
behind each of the usual wrong answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def dpo(fn: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]) -> Result:
    """Check `fn(chosen, rejected, ref_chosen, ref_rejected, beta)`: log-probabilities of whole
    stories, (B,) each, to the mean loss."""

    def delta(c: Tensor, r: Tensor, ref_c: Tensor, ref_r: Tensor) -> Tensor:
        return (c - ref_c) - (r - ref_r)

    def right(c: Tensor, r: Tensor, ref_c: Tensor, ref_r: Tensor, beta: float) -> Tensor:
        return -F.logsigmoid(beta * delta(c, r, ref_c, ref_r)).mean()

    def quotients(c: Tensor, r: Tensor, ref_c: Tensor, ref_r: Tensor, beta: float) -> Tensor:
        return -F.logsigmoid(beta * (c / ref_c - r / ref_r)).mean()

    def overflows(c: Tensor, r: Tensor, ref_c: Tensor, ref_r: Tensor, beta: float) -> Tensor:
        return -torch.log(torch.sigmoid(beta * delta(c, r, ref_c, ref_r))).mean()

    return check(
        fn,
        cases=[
            (torch.tensor([-61.0, -73.0]), torch.tensor([-66.0, -70.0]),
             torch.tensor([-63.0, -74.0]), torch.tensor([-65.0, -71.5]), 0.1),
            (torch.tensor([-48.0, -52.5, -90.0]), torch.tensor([-55.0, -51.0, -97.0]),
             torch.tensor([-50.0, -51.0, -80.0]), torch.tensor([-52.0, -53.0, -78.0]), 0.3),
            (torch.tensor([-400.0, -60.0]), torch.tensor([-40.0, -75.0]),
             torch.tensor([-60.0, -61.0]), torch.tensor([-62.0, -63.0]), 0.5),
        ],
        right=right,
        wrongs=[
            Wrong(
                "the reference plays no part: a story that was likely before training is not yet "
                "preferred; subtract what the reference gave each of the two",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(beta * (c - r)).mean(),
            ),
            Wrong(
                "this teaches the model to prefer the rejected story: two of the four have changed "
                "places",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(
                    -beta * delta(c, r, ref_c, ref_r)
                ).mean(),
            ),
            Wrong(
                "a loss is what falls as the model improves, and this rises: a minus is missing in "
                "front of the logarithm",
                lambda c, r, ref_c, ref_r, beta: F.logsigmoid(
                    beta * delta(c, r, ref_c, ref_r)
                ).mean(),
            ),
            Wrong(
                "β stands outside the sigmoid, where it only scales the learning rate: inside, it "
                "says how large a difference is enough",
                lambda c, r, ref_c, ref_r, beta: -beta * F.logsigmoid(
                    delta(c, r, ref_c, ref_r)
                ).mean(),
            ),
            Wrong(
                "β has no effect: it multiplies the difference before the sigmoid",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(delta(c, r, ref_c, ref_r)).mean(),
            ),
            Wrong(
                "that is the probability of being right, and no logarithm of it: a pair that is "
                "badly wrong then has hardly any gradient",
                lambda c, r, ref_c, ref_r, beta: -torch.sigmoid(
                    beta * delta(c, r, ref_c, ref_r)
                ).mean(),
            ),
            Wrong(
                "the mean was taken over differences, before the logarithm: a pair with a large "
                "margin then pays for one that is wrong; the mean comes last",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(
                    beta * delta(c, r, ref_c, ref_r).mean()
                ),
            ),
            Wrong(
                "this is the sum over the pairs: with the mean, the learning rate need not know "
                "how many pairs a batch has",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(
                    beta * delta(c, r, ref_c, ref_r)
                ).sum(),
            ),
            Wrong(
                "a loss for each pair is not a loss yet: take their mean",
                lambda c, r, ref_c, ref_r, beta: -F.logsigmoid(
                    beta * delta(c, r, ref_c, ref_r)
                ),
            ),
            Wrong(
                "these are quotients of logarithms: log(policy / reference) is the difference of "
                "the two log-probabilities",
                quotients,
            ),
            Wrong(
                "right, until a pair is very wrong: its sigmoid rounds to 0, and the logarithm of "
                "that is infinite; `F.logsigmoid` does both at once",
                overflows,
            ),
        ],
        success="ln 2 where nothing has changed, and less as the chosen story gains on the other",
    )  # fmt: skip
