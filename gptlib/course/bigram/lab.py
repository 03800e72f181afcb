"""The lab of chapter 1: a table of triples that calls nothing impossible, from one shelf of tales.

One job: `trigram`, which checks the lab's functions step by step: what was counted, whether every
row is a distribution made from the counted text alone, and what it costs on tales that it never
read. Beside it stands what the lab hands out.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gptlib.corpora import load_corpus
from gptlib.course.answers import describe, number
from gptlib.course.checking import Result, Wrong, attempt, check, failed, passed
from gptlib.tokenizers import CharTokenizer

Counted = Callable[[Tensor, int], Tensor]
BackedOff = Callable[[Tensor, int, float], Tensor]
Chosen = Callable[[Tensor, int], float]

SHELF = 5_000  # characters of the tales that may be counted
BAR = 1.80  # nats a character on the validation text
_FOX = "the fox sat. the hen sat. the fox ran.\n"


@functools.cache
def texts() -> tuple[Tensor, Tensor, int]:
    """The ids of the shelf and of the validation text, and how many symbols there are."""
    tales = load_corpus("tales")
    tokenizer = CharTokenizer.train(tales.text)
    shelf = torch.tensor(tokenizer.encode(tales.train[:SHELF]))
    return shelf, torch.tensor(tokenizer.encode(tales.val)), tokenizer.vocab_size


def price(table: Tensor, ids: Tensor) -> float:
    """Nats that a table (V, V, V) pays for each character of ids (T,) but the first two."""
    return -table[ids[:-2], ids[1:-1], ids[2:]].log().mean().item()


def trigram(
    count_triples: Counted, backed_off: BackedOff | None = None, chosen: Chosen | None = None
) -> Result:
    """Check what has been built so far: the last function given.

    Args:
        count_triples: (ids (T,), V) to counts (V, V, V) of three neighbors, the first letter first.
        backed_off: (ids, V, weight) to probabilities (V, V, V) of the third letter, none of them 0;
            the weight is what is given to shorter memories.
        chosen: (ids, V) to a weight, from these ids alone.
    """
    result = _check_counts(count_triples)
    if result and backed_off is not None:
        result = _check_table(backed_off)
        if result and chosen is not None:
            result = _check_choice(backed_off, chosen)
    return result


# --- step 1: triples ------------------------------------------------------------------------------


def _triples(ids: Tensor, V: int) -> Tensor:
    numbers = (ids[:-2] * V + ids[1:-1]) * V + ids[2:]
    return torch.bincount(numbers, minlength=V**3).view(V, V, V)


def _check_counts(fn: Counted) -> Result:
    fox, V = _fox()
    return check(
        fn,
        cases=[(torch.tensor([0, 1, 2, 1, 2, 2, 1, 0]), 3), (fox, V)],
        right=_triples,
        wrongs=[
            Wrong(
                "the last letter comes first: row i, then j, then k, as they stand in the text",
                lambda ids, V: _triples(ids, V).permute(2, 1, 0),
            ),
            Wrong(
                "the first two letters have changed places: row i is the earlier one",
                lambda ids, V: _triples(ids, V).transpose(0, 1),
            ),
            Wrong(
                "cut into threes: the windows overlap, and each letter but two begins a triple",
                lambda ids, V: sum(
                    _triples(ids[n : n + 3], V) for n in range(0, len(ids) - 2, 3)
                ),
            ),
            Wrong(
                "it goes round: the last letters of the text are not followed by the first ones",
                lambda ids, V: _triples(torch.cat([ids, ids[:2]]), V),
            ),
            Wrong(
                "seen or not seen: with repeated indices += adds once; number the triples and "
                "count the numbers, or walk the text",
                lambda ids, V: _triples(ids, V).clamp(max=1),
            ),
            Wrong(
                "those are pairs; a triple has three letters, and its table three axes",
                when=lambda got, ids, V: got.shape == (V, V),
            ),
        ],
        success="every three neighbors counted, T - 2 of them",
    )  # fmt: skip


def _fox() -> tuple[Tensor, int]:
    symbols = sorted(set(_FOX))
    return torch.tensor([symbols.index(letter) for letter in _FOX]), len(symbols)


# --- step 2: a distribution -----------------------------------------------------------------------


def _check_table(fn: BackedOff) -> Result:
    shelf, _, letters = texts()
    fox, symbols = _fox()
    for ids, V in ((fox, symbols), (fox, symbols + 2), (shelf, letters)):  # 2 that never come
        for weight in (1.0, 3.0):
            result = _judge_table(fn, ids, V, weight)
            if result is not None:
                return result
    return passed("every row sums to 1, nothing is impossible, and the text alone decides")


def _judge_table(fn: BackedOff, ids: Tensor, V: int, weight: float) -> Result | None:
    """What is wrong with the table of one text, or None."""
    got = attempt(fn, ids, V, weight)
    if isinstance(got, Result):
        return got
    if not isinstance(got, Tensor) or got.shape != (V, V, V):
        return failed(f"expected a tensor of shape {(V, V, V)}, found {describe(got)}")
    p, counts = got.detach().double(), _triples(ids, V).double()
    for judge in (_zero(p), _unnormalized(p, counts)):
        if judge is not None:
            return judge
    new_names = torch.randperm(V, generator=torch.Generator().manual_seed(1))
    renamed = attempt(fn, new_names[ids], V, weight)
    if isinstance(renamed, Result):
        return renamed
    back = renamed.double()[new_names][:, new_names][:, :, new_names]
    if not torch.allclose(back, p, atol=1e-6):
        return failed(
            "with the letters of the text renamed, the table is not the renamed table: it knows "
            "more than its ids say; does it read train or val from the notebook?"
        )
    return _forgetful(p, counts, ids)


def _zero(p: Tensor) -> Result | None:
    if not torch.isfinite(p).all():
        return failed(
            "there are rows of nan: a pair that the text never has was divided by its total, 0; "
            "what does the shorter memory say there?"
        )
    if (p < 0).any():
        return failed("there are negative numbers, which cannot be probabilities")
    if (p == 0).any():
        return failed(
            f"{int((p == 0).sum()):,} triples have probability 0: one of them in a text, and the "
            "loss is infinite; even a single letter that never came needs some"
        )
    return None


def _unnormalized(p: Tensor, counts: Tensor) -> Result | None:
    one = torch.ones(())

    def ones(sums: Tensor) -> bool:
        return torch.allclose(sums, one.to(sums), atol=1e-4)

    if ones(p.sum(-1)):
        return None
    totals = counts.sum(-1, keepdim=True)
    seen, known = counts > 0, totals[..., 0] > 0
    if ones(p.sum(0)) or ones(p.sum(1)):
        return failed("it sums to 1 over an earlier letter; the third one is predicted: axis 2")
    if ones(p.sum()) or ones(p.sum((0, 2))) or ones(p.sum((1, 2))):
        return failed(
            "it sums to 1 over more than one axis: each of the V² pairs shares out a 1 of its own"
        )
    if torch.allclose(p[seen], (counts / totals)[seen], atol=1e-6):
        return failed(
            "triples that were seen keep all of their row, and the unseen get something on top: "
            "what the shorter memory is given has to be taken from the others first"
        )
    if ones(p.sum(-1)[known]):
        return failed(
            "rows of pairs that the text has sum to 1, the others do not: nothing was counted "
            "there, so the shorter memory gets all of the row"
        )
    sums = p.sum(-1)
    return failed(
        f"the rows sum to between {sums.min():.2f} and {sums.max():.2f}, not to 1: a share that "
        "is added has to be given up elsewhere in the same row"
    )


def _forgetful(p: Tensor, counts: Tensor, ids: Tensor) -> Result | None:
    if torch.allclose(p, p[:1].expand_as(p), atol=1e-9):
        return failed("the first letter changes nothing: that is a table of pairs, repeated")
    if price(p, ids) > price(p.transpose(0, 1), ids):
        return failed(
            "the text gets cheaper with its first two letters exchanged: row i is the earlier one"
        )
    rows = (counts > 0).any(-1)
    unseen = (counts == 0)[rows]
    theirs = p[rows]
    high = theirs.masked_fill(~unseen, -math.inf).amax(-1)
    low = theirs.masked_fill(~unseen, math.inf).amin(-1)
    if torch.allclose(high, low, rtol=1e-3, atol=0):
        return failed(
            "a distribution, but all letters that never followed a pair are equally likely: that "
            "is one imaginary sighting for each; ask the pair's second letter what it expects"
        )
    return None


# --- step 3: a weight -----------------------------------------------------------------------------


def _check_choice(backed_off: BackedOff, fn: Chosen) -> Result:
    shelf, val, V = texts()
    got = attempt(fn, shelf, V)
    if isinstance(got, Result):
        return got
    weight = number(got)
    if weight is None or not math.isfinite(weight):
        return failed(f"expected one weight, found {describe(got)}")
    new_names = torch.randperm(V, generator=torch.Generator().manual_seed(2))
    renamed = number(attempt(fn, new_names[shelf], V))
    if renamed is None or not math.isclose(weight, renamed, rel_tol=1e-6):
        return failed(
            "with the letters of the shelf renamed, another weight is chosen: the choice looks at "
            "more than the ids that it is given; does it ask val?"
        )

    def cost(weight: float) -> float:
        table: Any = attempt(backed_off, shelf, V, weight)
        return price(table.double(), val) if isinstance(table, Tensor) else math.inf

    if cost(weight) < BAR:
        return passed(f"below {BAR:.2f} nats on tales that it never read, from {SHELF:,} letters")
    for factor in (2, 4, 10, 30, 100, 300, 1000, 3000):
        if cost(weight * factor) < BAR:
            return failed(
                f"not below {BAR:.2f}: this table would be with more weight on the shorter "
                "memories; chosen on the text that was counted, the smallest weight always wins"
            )
        if cost(weight / factor) < BAR:
            return failed(
                f"not below {BAR:.2f}: this table would be with less weight on the shorter "
                "memories; is the held-out part long enough, and the counted one nearly all?"
            )
    return failed(
        f"not below {BAR:.2f}, and no weight would do it: does the table go from three letters to "
        "two and from two to one, each with what the longer memory gives up?"
    )
