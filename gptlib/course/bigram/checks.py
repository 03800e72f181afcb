"""Checks of chapter 1's exercises: what came before, units, perplexity, temperature, a step.

One job: tell a learner whether a function is right and, where it is not, which of the usual
misunderstandings produces exactly the numbers that it returned.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check

_TABLES = (
    (torch.tensor([[0.25, 0.75], [5 / 7, 2 / 7]]), torch.tensor([4, 7])),
    (
        torch.tensor([[0, 2 / 3, 1 / 3], [0.8, 0, 0.2], [1 / 3, 1 / 3, 1 / 3]]),
        torch.tensor([3, 10, 6]),
    ),
)


def _turned(p: Tensor, totals: Tensor) -> Tensor:
    """Return the counts (V, V) behind a table, a row for the character that came second."""
    return (p * totals[:, None]).T


def came_before(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check fn(p (V, V) of the next, totals (V,) of rows) -> (V, V): row j, what came before j."""

    def right(p: Tensor, totals: Tensor) -> Tensor:
        counts = _turned(p, totals)
        return counts / counts.sum(1, keepdim=True)

    return check(
        fn,
        cases=_TABLES,
        right=right,
        wrongs=[
            Wrong(
                "each row of the table had the same say, however often its character came: "
                "multiply row i by its total first, with the totals upright, totals[:, None]; "
                "lying down they multiply columns, and the last division takes them out again",
                lambda p, totals: (p / p.sum(0)).T,
            ),
            Wrong(
                "these are the right numbers, but they stand in columns: row j is to hold what "
                "came before j, so turn the table with .T",
                lambda p, totals: right(p, totals).T,
            ),
            Wrong(
                "that is the table of what comes after: multiplied by its totals and divided by "
                "them again; turn it in between",
                lambda p, totals: p,
            ),
            Wrong(
                "the table was turned and its columns sum to 1: of a row that was turned divide "
                "by the row's own total, over dim=1",
                lambda p, totals: p.T,
            ),
            Wrong(
                "column i was divided by the total of row i: without keepdim=True the sums lie "
                "down as a row, and broadcasting spreads them over the columns",
                lambda p, totals: _turned(p, totals) / _turned(p, totals).sum(1),
            ),
            Wrong(
                "the whole table sums to 1: that is how likely a pair is among all pairs; divide "
                "each row by its own sum",
                lambda p, totals: _turned(p, totals) / totals.sum(),
            ),
            Wrong(
                "those are the counts, turned over as they should be; divide each row by its sum",
                _turned,
            ),
            Wrong(
                "softmax turns logits into probabilities, and these are counts: it makes 3 against "
                "1 a ratio of e² instead of 3; divide by the sum",
                lambda p, totals: _turned(p, totals).softmax(1),
            ),
        ],
        success="each row sums to 1, and a frequent character has the say that it earned",
    )


_REPORTS = (
    (1.3, "nats", 1),
    (0.9, "bits", 1),
    (1.9, "perplexity", 1),
    (4.1, "nats", 4),
    (7.3, "bits", 5),
    (130.0, "perplexity", 6),
)


def _nats(value: float, unit: str, characters: int) -> float:
    """Return a reported loss in nats per character."""
    nats = {"nats": value, "bits": value * math.log(2), "perplexity": math.log(value)}[unit]
    return nats / characters


def _other(unit: str, answer: Callable[[float, int], float]) -> Callable[..., float]:
    """Make a mistake with one unit and none with the others."""
    return lambda value, was, n: answer(value, n) if was == unit else _nats(value, was, n)


def nats(fn: Callable[[float, str, int], float]) -> Result:
    """Check fn(value, "nats" | "bits" | "perplexity", characters a word) -> nats a character."""
    return check(
        fn,
        cases=_REPORTS,
        right=_nats,
        wrongs=[
            Wrong(
                "the bits went the wrong way: a bit is the smaller coin, so the same loss is "
                "fewer nats than bits; multiply by ln 2",
                _other("bits", lambda value, n: value / math.log(2) / n),
            ),
            Wrong(
                "bits came back as they were: one bit is ln 2 of a nat",
                _other("bits", lambda value, n: value / n),
            ),
            Wrong(
                "exp leads from nats to the perplexity; the way back is its logarithm",
                _other("perplexity", lambda value, n: math.exp(value) / n),
            ),
            Wrong(
                "log2 of a perplexity is bits; nats are its natural logarithm, math.log",
                _other("perplexity", lambda value, n: math.log2(value) / n),
            ),
            Wrong(
                "a perplexity is no sum that letters could share: choices multiply from letter to "
                "letter, and only their logarithms add; take the log first, then divide",
                _other("perplexity", lambda value, n: math.log(value / n)),
            ),
            Wrong(
                "a perplexity came back without its logarithm",
                _other("perplexity", lambda value, n: value / n),
            ),
            Wrong(
                "right for one character at a time; a word's price is paid for all of its "
                "characters, so divide by their number",
                lambda value, unit, n: _nats(value, unit, 1),
            ),
            Wrong(
                "a word costs more than one of its characters: divide by their number",
                lambda value, unit, n: _nats(value, unit, 1) * n,
            ),
        ],
        success="one unit for all of them, and the envy is gone",
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


_WANTED = (
    (torch.tensor([0.6, 0.3, 0.1]), 0.5),
    (torch.tensor([0.55, 0.25, 0.15, 0.05]), 1.3),
    (torch.tensor([0.7, 0.2, 0.1, 0.0]), 1.0),
)


def _entropy(p: Tensor, temperature: float) -> float:
    """Return the mean surprisal, in nats, of what is drawn from a row at a temperature."""
    tempered = (p.double().log() / temperature).softmax(0)
    return -torch.xlogy(tempered, tempered).sum().item()


def _halved(entropy_of: Callable[[float], float], wanted: float) -> float:
    """Return the temperature of an entropy that grows with it, by halving an interval."""
    low, high = 0.01, 100.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if entropy_of(middle) < wanted else (low, middle)
    return low


def _wanted(p: Tensor, entropy: float) -> float:
    return _halved(lambda temperature: _entropy(p, temperature), entropy)


def _at_an_end(got: float, p: Tensor, entropy: float) -> bool:
    """So cold that one letter is certain, or so hot that all are alike."""
    reached = _entropy(p, float(got))
    return min(reached, math.log(int((p > 0).sum())) - reached) < 0.02


def temperature_for(fn: Callable[[Tensor, float], float]) -> Result:
    """Check fn(p (V,), entropy in nats) -> the temperature that gives the row this entropy."""
    return check(
        fn,
        cases=_WANTED,
        right=_wanted,
        tolerance=0.01,
        wrongs=[
            Wrong(
                "hot and cold are exchanged: a temperature divides the logarithms, so one below 1 "
                "sharpens",
                lambda p, h: 1 / _wanted(p, h),
            ),
            Wrong(
                "that is the row; return the temperature at which it has the entropy",
                when=lambda got, p, h: got.shape == p.shape,
            ),
            Wrong(
                "softmax got probabilities divided by the temperature, and it wants their "
                "logarithms divided by it",
                lambda p, h: _halved(
                    lambda t: -torch.xlogy(q := (p / t).softmax(0), q).sum().item(), h
                ),
            ),
            Wrong(
                "the entropy was taken in bits, with log2, and is wanted in nats",
                lambda p, h: _wanted(p, h * math.log(2)),
            ),
            Wrong(
                "only the row with a 0 in it goes wrong: 0 · ln 0 is nan to a machine, and no "
                "surprise to anyone; torch.xlogy(q, q) makes it 0",
                when=lambda got, p, h: (p == 0).any(),
            ),
            Wrong(
                "the search ran to one of its ends: the entropy grows with the temperature, so "
                "where the middle has too little of it, go on above the middle",
                when=_at_an_end,
            ),
            Wrong(
                "near, and not within a hundredth of the temperature: make the interval smaller",
                when=lambda got, p, h: abs(float(got) / _wanted(p, h) - 1) < 0.15,
            ),
        ],
        success="warm enough, and not a hundredth warmer",
    )


_STEPS = (
    (
        torch.tensor([[0.3, 1.0, -1.0], [0.5, 0.0, 0.25], [1.5, 2.0, 0.0]]),
        torch.tensor([0, 2, 0, 0]),
        torch.tensor([2, 1, 2, 1]),
        0.4,
    ),
    (
        torch.tensor([[2.0, -0.5], [0.3, 0.0]]),
        torch.tensor([1, 0, 1, 1, 0]),
        torch.tensor([0, 0, 1, 1, 1]),
        2.0,
    ),
)


def _slopes(z: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Return p − y for each pair, (B, V)."""
    return z[first].softmax(1) - torch.eye(len(z))[second]


def _gathered(z: Tensor, first: Tensor, slopes: Tensor) -> Tensor:
    """Add up the slopes (B, V) that meet in a row of the table, (V, V)."""
    return torch.zeros_like(z).index_add(0, first, slopes)


def _sum(z: Tensor, first: Tensor, second: Tensor) -> Tensor:
    return _gathered(z, first, _slopes(z, first, second))


def _one_each(z: Tensor, first: Tensor, second: Tensor, lr: float) -> Tensor:
    """Make the mistake of an assignment: of slopes that meet in a row the last one stays."""
    new = z.clone()
    new[first] -= lr * _slopes(z, first, second) / len(first)
    return new


def _by_autograd(z: Tensor, first: Tensor, second: Tensor, lr: float) -> Tensor:
    torch.nn.functional.cross_entropy(z[first], second).backward()
    return z


def gradient_step(fn: Callable[[Tensor, Tensor, Tensor, float], Tensor]) -> Result:
    """Check fn(logits (V, V), first (B,), second (B,), lr) -> logits after a step on B pairs."""

    def step(slope: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda z, i, j, lr: z - lr * slope(z, i, j) / len(i)

    return check(
        torch.no_grad()(fn) if callable(fn) else fn,
        cases=_STEPS,
        right=step(_sum),
        wrongs=[
            Wrong(
                "autograd is switched off in this check: write p − y and add it up yourself",
                torch.no_grad()(_by_autograd),
            ),
            Wrong(
                "where a character came first more than once, only one of its slopes arrived: an "
                "assignment to picked rows does not add; let a matrix product do it, or index_add",
                _one_each,
            ),
            Wrong(
                "that is a step on the sum of the losses: the loss is their mean, so divide by the "
                "number of pairs",
                lambda z, i, j, lr: z - lr * _sum(z, i, j),
            ),
            Wrong(
                "each row was averaged over its own pairs: the mean goes over all pairs, and a "
                "row that is met more often moves farther",
                lambda z, i, j, lr: (
                    z - lr * _sum(z, i, j) / i.bincount(minlength=len(z)).clamp(min=1)[:, None]
                ),
            ),
            Wrong(
                "each row gave its p once, also a row that did not come: a row's p counts once for "
                "each pair that began there",
                step(lambda z, i, j: z.softmax(1) - _gathered(z, i, torch.eye(len(z))[j])),
            ),
            Wrong(
                "this step climbs: the gradient points to where the loss grows, so subtract it",
                step(lambda z, i, j: -_sum(z, i, j)),
            ),
            Wrong(
                "rows and columns are exchanged: the row of a pair is its first character",
                step(lambda z, i, j: _sum(z, j, i)),
            ),
            Wrong(
                "softmax was applied twice: probabilities went through it again, which flattens "
                "them; p is the softmax of the logits, once",
                step(lambda z, i, j: _sum(z.softmax(1), i, j)),
            ),
            Wrong(
                "softmax went down the pairs: along a row the characters compete, so softmax(1)",
                step(lambda z, i, j: _gathered(z, i, z[i].softmax(0) - torch.eye(len(z))[j])),
            ),
            Wrong(
                "y is missing: without the 1 at the character that came, every logit goes down, "
                "the right one too",
                step(lambda z, i, j: _gathered(z, i, z[i].softmax(1))),
            ),
            Wrong(
                "that is the gradient; return the logits after the step",
                lambda z, i, j, lr: _sum(z, i, j) / len(i),
            ),
            Wrong(
                "the learning rate was not used: multiply the gradient by lr",
                lambda z, i, j, lr: z - _sum(z, i, j) / len(i),
            ),
        ],
        success="a row moves as often as it was met, and a row that was not met stays",
    )
