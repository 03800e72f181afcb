"""Checks of chapter 1's exercises: probabilities, bits, perplexity, temperature, one step.

One job: tell a learner whether a function is right and, where it is not, which of the usual
misunderstandings produces exactly the numbers that it returned.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.answers import same
from gptlib.course.checking import Result, Wrong, check

_COUNTS = (
    (torch.tensor([[1, 3], [2, 6]]),),
    (torch.tensor([[0, 2, 1], [4, 0, 1], [2, 2, 2]]),),
)


def normalize_counts(fn: Callable[[Tensor], Tensor]) -> Result:
    """Check fn(counts (V, V) int64) -> probabilities (V, V), each row summing to 1."""

    def right(n: Tensor) -> Tensor:
        return n / n.sum(1, keepdim=True)

    def cut_off(got: Tensor, n: Tensor) -> bool:
        """Whole numbers came back, and fractions would have, had the counts been floats."""
        return not got.is_floating_point() and same(fn(n.float()), right(n))

    return check(
        fn,
        cases=_COUNTS,
        right=right,
        wrongs=[
            Wrong(
                "your columns sum to 1, not your rows: that answers which character came before, "
                "and a model has to say which comes after; sum over dim=1",
                lambda n: n / n.sum(0, keepdim=True),
            ),
            Wrong(
                "column j was divided by the total of row j: without keepdim=True the totals "
                "lie down as a row, and broadcasting spreads them over the columns",
                lambda n: n / n.sum(1),
            ),
            Wrong(
                "the whole table sums to 1: that is how likely a pair is among all pairs; divide "
                "each row by its own total",
                lambda n: n / n.sum(),
            ),
            Wrong(
                "softmax turns logits into probabilities, and these are counts: it makes 3 against "
                "1 a ratio of e² instead of 3; divide by the total",
                lambda n: n.float().softmax(1),
            ),
            Wrong(
                "each row was divided by its largest count, so its largest entry is 1; divide by "
                "the total of the row",
                lambda n: n / n.max(1, keepdim=True).values,
            ),
            Wrong(
                "the fractions were put into a table of whole numbers, which cuts them off: "
                "zeros_like(counts) holds integers because counts does; make it with "
                "torch.zeros(counts.shape)",
                when=cut_off,
            ),
            Wrong(
                "// drops everything after the decimal point, so each probability became 0 or 1; "
                "use /",
                lambda n: n // n.sum(1, keepdim=True),
            ),
        ],
        success="each row sums to 1, and row by row the ratios of the counts survived",
    )


_PROBABILITIES = (
    (torch.tensor([0.5, 0.25]),),
    (torch.tensor([1.0, 0.5, 0.125, 0.125, 0.25]),),
)


def bits(fn: Callable[[Tensor], float]) -> Result:
    """Check fn(probabilities (T,) of what came) -> mean surprisal in bits per character."""
    return check(
        fn,
        cases=_PROBABILITIES,
        right=lambda p: float(-p.log2().mean()),
        wrongs=[
            Wrong(
                "these are nats: torch.log has base e; one bit is ln 2 nats, so divide by ln 2",
                lambda p: float(-p.log().mean()),
            ),
            Wrong(
                "the conversion went the wrong way: a nat is more than a bit, so the number of "
                "bits is larger than the number of nats; divide by ln 2",
                lambda p: float(-p.log().mean() * math.log(2)),
            ),
            Wrong(
                "that logarithm has base 10; a bit is a choice between two, so the base is 2",
                lambda p: float(-p.log10().mean()),
            ),
            Wrong(
                "the sign is missing: the log of a probability is never positive, and a surprise "
                "is never negative",
                lambda p: float(p.log2().mean()),
            ),
            Wrong(
                "that is the surprise of the whole text; divide by the number of characters",
                lambda p: float(-p.log2().sum()),
            ),
            Wrong(
                "that is the log of the mean probability: take the logarithms first and the mean "
                "last, or one hopeless character hides behind its neighbors",
                lambda p: float(-p.mean().log2()),
            ),
            Wrong(
                "each term was weighted by its probability: that weight stands for how often a "
                "character comes, and here the text itself says it; take the plain mean",
                lambda p: float(-(p * p.log2()).sum()),
            ),
        ],
        success="the mean surprise, in yes-or-no questions per character",
    )


_LOSSES = (
    (torch.tensor([0.2, 1.4]), torch.tensor([6, 2])),
    (torch.tensor([0.5, 1.0, 3.0]), torch.tensor([4, 3, 1])),
)


def _per_character(losses: Tensor, sizes: Tensor) -> Tensor:
    """Return the mean loss per character over texts of different length, in nats."""
    return (losses * sizes).sum() / sizes.sum()


def perplexity(fn: Callable[[Tensor, Tensor], float]) -> Result:
    """Check fn(losses (N,) in nats per character, sizes (N,) in characters) -> perplexity."""
    return check(
        fn,
        cases=_LOSSES,
        right=lambda x, n: float(_per_character(x, n).exp()),
        wrongs=[
            Wrong(
                "that is the mean of the perplexities: exp is convex, so the worst text counts "
                "too much; average the losses first, weighted by length, and take exp last",
                lambda x, n: float(x.exp().mean()),
            ),
            Wrong(
                "the lengths are right, but exp came before the mean: average the losses, then "
                "take exp once",
                lambda x, n: float(_per_character(x.exp(), n)),
            ),
            Wrong(
                "exp came last, as it should, but a short text weighs as much as a long one: "
                "weight each loss by its number of characters",
                lambda x, n: float(x.mean().exp()),
            ),
            Wrong(
                "that is the mean loss; the perplexity is its exp",
                lambda x, n: float(_per_character(x, n)),
            ),
            Wrong(
                "2 to the power of nats mixes two units: use exp for nats and 2** for bits",
                lambda x, n: float(2 ** _per_character(x, n)),
            ),
            Wrong(
                "the sum of all surprises went into exp: that is the odds against the whole text; "
                "divide by the number of characters first",
                lambda x, n: float((x * n).sum().exp()),
            ),
            Wrong(
                "that is below 1: the sign is turned round; a perplexity is exp(loss), and a "
                "loss is already a negative logarithm",
                lambda x, n: float((-_per_character(x, n)).exp()),
            ),
        ],
        success="one exp, of one mean, over all characters",
    )


_TEMPERED = (
    (torch.tensor([0.5, 0.3, 0.2]), 0.5),
    (torch.tensor([0.7, 0.2, 0.1, 0.0]), 2.0),
)


def temper(fn: Callable[[Tensor, float], Tensor]) -> Result:
    """Check fn(probabilities (V,), temperature) -> probabilities (V,) at that temperature."""
    return check(
        fn,
        cases=_TEMPERED,
        right=lambda p, t: p ** (1 / t) / (p ** (1 / t)).sum(),
        wrongs=[
            Wrong(
                "nothing changed: dividing all probabilities by one number and normalizing gives "
                "the same probabilities; the logarithms are what the temperature divides",
                lambda p, t: (p / t) / (p / t).sum(),
            ),
            Wrong(
                "this does not sum to 1 any more: divide by the sum after the power",
                lambda p, t: p ** (1 / t),
            ),
            Wrong(
                "hot and cold are exchanged: a temperature below 1 has to sharpen; the power is "
                "1 / temperature",
                lambda p, t: p**t / (p**t).sum(),
            ),
            Wrong(
                "softmax got probabilities, and it wants their logarithms: take the log, divide "
                "by the temperature, then softmax",
                lambda p, t: (p / t).softmax(0),
            ),
        ],
        success="below 1 sharper, above 1 flatter, and a zero stays a zero",
    )


_STEPS = (
    (torch.tensor([0.0, 1.0, -1.0]), 2, 0.5),
    (torch.tensor([2.0, -0.5, 0.3, 0.0]), 0, 2.0),
)


def _gradient(z: Tensor, target: int) -> Tensor:
    """Return p − y for one row of logits (V,)."""
    p = z.softmax(0)
    p[target] -= 1
    return p


def _only_target(z: Tensor, target: int, lr: float) -> Tensor:
    """Make the mistake of moving the logit of the target alone."""
    new = z.clone()
    new[target] -= lr * _gradient(z, target)[target]
    return new


def gradient_step(fn: Callable[[Tensor, int, float], Tensor]) -> Result:
    """Check fn(logits (V,), target, lr) -> logits (V,) after one step down the loss."""
    return check(
        fn,
        cases=_STEPS,
        right=lambda z, t, lr: z - lr * _gradient(z, t),
        wrongs=[
            Wrong(
                "this step climbs: the gradient points to where the loss grows, so subtract it",
                lambda z, t, lr: z + lr * _gradient(z, t),
            ),
            Wrong(
                "softmax was applied twice: probabilities went through it again, which flattens "
                "them; p is the softmax of the logits, once",
                lambda z, t, lr: z - lr * _gradient(z.softmax(0), t),
            ),
            Wrong(
                "that is z − y: the logits themselves stand where their softmax p belongs",
                lambda z, t, lr: z - lr * (z - torch.eye(len(z))[t]),
            ),
            Wrong(
                "y is missing: without the 1 at the character that came, every logit goes down, "
                "the right one too",
                lambda z, t, lr: z - lr * z.softmax(0),
            ),
            Wrong(
                "that is the gradient p − y; return the logits after the step",
                lambda z, t, lr: _gradient(z, t),
            ),
            Wrong(
                "the learning rate was not used: multiply the gradient by lr",
                lambda z, t, lr: z - _gradient(z, t),
            ),
            Wrong(
                "only the target moved: its competitors have to give way, each in proportion to "
                "its own probability",
                _only_target,
            ),
            Wrong(
                "these are probabilities: return the logits, the softmax comes when they are used",
                lambda z, t, lr: (z - lr * _gradient(z, t)).softmax(0),
            ),
        ],
        success="the character that came went up, each other one down by its own probability",
    )
