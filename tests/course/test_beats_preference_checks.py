"""Chapter 9's exercise on preferences: the right answer passes, each mistake gets its diagnosis."""

import torch
from check_promises import CheckPromises

from gptlib.course.beats import preference_checks as checks
from gptlib.finetuning.dpo import dpo_loss


def right(chosen, rejected, ref_chosen, ref_rejected, beta):
    return dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta)[0]


def softplus(x):
    return torch.log1p(torch.exp(-x.abs())) + x.clamp(min=0)


def of_margin(loss):
    """A learner's function whose mistake is in what it makes of the differences and β."""
    return lambda c, r, ref_c, ref_r, beta: loss((c - r) - (ref_c - ref_r), beta)


class TestChecks(CheckPromises):
    module = checks
    right = (
        (checks.dpo, right),
        (checks.dpo, of_margin(lambda d, beta: softplus(-beta * d).mean())),
    )
    wrong = (
        (checks.dpo, lambda c, r, ref_c, ref_r, b: right(c, r, 0 * c, 0 * r, b), "plays no part"),
        (checks.dpo, lambda c, r, ref_c, ref_r, b: right(r, c, ref_r, ref_c, b), "changed places"),
        (checks.dpo, lambda c, r, ref_c, ref_r, b: right(ref_c, ref_r, c, r, b), "changed places"),
        (checks.dpo, of_margin(lambda d, b: -softplus(-b * d).mean()), "a minus is missing"),
        (checks.dpo, of_margin(lambda d, b: b * softplus(-d).mean()), "outside the sigmoid"),
        (checks.dpo, of_margin(lambda d, b: softplus(-d).mean()), "β has no effect"),
        (checks.dpo, of_margin(lambda d, b: -(1 / (1 + torch.exp(-b * d))).mean()), "hardly any"),
        (checks.dpo, of_margin(lambda d, b: softplus(-b * d.mean())), "the mean comes last"),
        (checks.dpo, of_margin(lambda d, b: softplus(-b * d).sum()), "the sum over the pairs"),
        (checks.dpo, of_margin(lambda d, b: softplus(-b * d)), "not a loss yet"),
        (checks.dpo, lambda c, r, ref_c, ref_r, b: softplus(-b * (c / ref_c - r / ref_r)).mean(),
         "quotients of logarithms"),
        (checks.dpo, of_margin(lambda d, b: -torch.sigmoid(b * d).log().mean()), "rounds to 0"),
    )  # fmt: skip
