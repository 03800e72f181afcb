"""Which of several endings does a model find likelier?

One job: `score_pairs`, the probability of one text after another, for many pairs at once. On it
stand `score_endings`, for the endings of one prefix, and `score_probes`, which asks so for one
dependency of a grammar at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from gptlib.chunked_loss import chunked_cross_entropy
from gptlib.errors import ConfigError, DataError
from gptlib.grammar import Probe
from gptlib.kv_cache import KVCache
from gptlib.model import GPT, evaluating
from gptlib.tokenizers import Tokenizer

Pair = tuple[Sequence[int], Sequence[int]]  # ids of a head, and of the tail that is scored
SPREAD = 8  # tokens by which heads that are read together may differ in length
LOGITS = 1 << 22  # numbers of logits at a time: 16 MB, whatever the vocabulary


def score_probes(
    model: GPT, tokenizer: Tokenizer, probes: Iterable[Probe], begin: str = ""
) -> dict[str, float]:
    """Ask which of two continuations the model finds likelier.

    Derived in the interlude on probes, *What was asked?*

    Args:
        begin: text to put before each probe's prefix, such as the separator before a document.

    Returns:
        accuracy: share of probes where the right one wins. log_ratio: mean of
        log p(right) - log p(wrong), in nats: 0 is no idea, and it moves before accuracy does.
        n: how many probes.

    Raises:
        DataError: no probes, or one that `score_endings` refuses.
    """
    pairs: list[Pair] = []
    for probe in probes:
        pairs += _pairs(model, tokenizer, begin + probe.prefix, (probe.right, probe.wrong))
    if not pairs:
        raise DataError("there are no probes to score; a share needs at least one")
    sums = score_pairs(model, pairs)
    ratios = [right - wrong for right, wrong in zip(sums[::2], sums[1::2], strict=True)]
    wins = [1.0 if r > 0 else 0.5 if r == 0 else 0.0 for r in ratios]
    return {
        "accuracy": sum(wins) / len(wins),
        "log_ratio": sum(ratios) / len(ratios),
        "n": len(ratios),
    }


def score_endings(
    model: GPT,
    tokenizer: Tokenizer,
    prefix: str,
    endings: Sequence[str],
    per: str | None = None,
) -> list[float]:
    """log p(ending | prefix) in nats for each of n endings; every token of an ending counts.

    Where prefix and ending exceed the model's context, the prefix loses its beginning, and all
    endings are read after the same rest of it.

    Args:
        per: None for the whole ending, which favors short ones; "token" or "character" to divide
            by the number of those in each ending.

    Raises:
        DataError: no endings, an empty one, or one that leaves no room for a token before it; a
            prefix without a token, after which the first one could not be scored.
        ConfigError: an unknown `per`.
    """
    if per not in (None, "token", "character"):
        raise ConfigError(f"per is {per!r}; give 'token', 'character', or None for the sum")
    pairs = _pairs(model, tokenizer, prefix, endings)
    sums = score_pairs(model, pairs)
    lengths = {"token": (len(tail) for _, tail in pairs), "character": map(len, endings)}
    return [total / n for total, n in zip(sums, lengths[per], strict=True)] if per else sums


def _pairs(model: GPT, tokenizer: Tokenizer, prefix: str, endings: Sequence[str]) -> list[Pair]:
    """A head that leaves room for the longest of the endings, and each ending after it."""
    head, tails = tokenizer.encode(prefix), [tokenizer.encode(e) for e in endings]
    longest, T = max(map(len, tails), default=0), model.config.block_size
    if not all(tails) or not tails:
        raise DataError(
            f"{len(tails)} endings, {sum(not tail for tail in tails)} of them empty; give one or "
            "more, each with at least a token to score"
        )
    if not head:
        raise DataError(
            "the prefix is empty, so nothing says how likely an ending's first token is; begin "
            "with what stands before a text, such as a newline, a separator or <|endoftext|>"
        )
    if longest > T:
        raise DataError(
            f"an ending has {longest} tokens, and block_size is {T}: with one token before it, an "
            f"ending has {T} at most; shorten it"
        )
    head = head[-(T + 1 - longest) :]
    return [(head, tail) for tail in tails]


def score_pairs(
    model: GPT,
    pairs: Sequence[Pair],
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> list[float]:
    """log p(tail | head) in nats for each pair of ids, in the order given.

    A head is read once, whatever the number of its tails; heads and tails of like lengths are read
    together, the longest first; and logits are made where a token is scored, nowhere else. None of
    it moves a score beyond rounding.

    Args:
        pairs: (head, tail), each with a token or more. Where both exceed the model's context, the
            head loses its beginning.
        batch_size: texts that are read at a time.
        progress: called with how many pairs are done, and of how many.

    Raises:
        DataError: an empty head or tail, or a tail that leaves no room for a token before it; ids
            outside the vocabulary.
        ConfigError: a batch size below 1.
    """
    if type(batch_size) is not int or batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size!r}; it must be a whole number, 1 or more")
    T, V = model.config.block_size, model.config.vocab_size
    places: dict[tuple[int, ...], list[int]] = {}  # of the pairs with a head
    for place, (head, tail) in enumerate(pairs):
        if not head or not 0 < len(tail) <= T:
            raise DataError(
                f"pair {place} has {len(head)} and {len(tail)} tokens; give a head of 1 or more, "
                f"and a tail of 1 to {T}, which is block_size"
            )
        if not all(0 <= token < V for token in tail):
            raise DataError(
                f"pair {place} has token ids from {min(tail)} to {max(tail)}, but the vocabulary "
                f"has {V}; was the text encoded by another tokenizer?"
            )
        places.setdefault(tuple(head[-(T + 1 - len(tail)) :]), []).append(place)
    scores, done = [0.0] * len(pairs), 0
    with evaluating(model), torch.no_grad():
        for heads in _alike(places, batch_size):
            # The last token of a head predicts the first one of a tail, so it is read with each.
            shared = min(map(len, heads)) - 1
            cache = _read(model, [head[:shared] for head in heads])
            rows = [
                (number, head[shared:], place)
                for number, head in enumerate(heads)
                for place in places[head]
            ]
            rows.sort(key=lambda row: len(row[1]) + len(pairs[row[2]][1]), reverse=True)
            for first in range(0, len(rows), batch_size):
                some = rows[first : first + batch_size]
                known = cache and cache.of([number for number, _, _ in some])
                sums = _sums(model, [(rest, pairs[place][1]) for _, rest, place in some], known)
                for (_, _, place), total in zip(some, sums, strict=True):
                    scores[place] = total
                done += len(some)
                if progress:
                    progress(done, len(pairs))
    return scores


def _alike(heads: Iterable[tuple[int, ...]], batch_size: int) -> Iterator[list[tuple[int, ...]]]:
    """The heads in batches of nearly one length, the longest first."""
    batch: list[tuple[int, ...]] = []
    for head in sorted(heads, key=len, reverse=True):
        if batch and (len(batch) == batch_size or len(batch[0]) - len(head) > SPREAD):
            yield batch
            batch = []
        batch.append(head)
    if batch:
        yield batch


class _Read(KVCache):
    """Keys and values of B beginnings of one length, from which any number of texts read on."""

    def __init__(self, length: int = 0, layers: Sequence[tuple[Tensor, ...]] = ()) -> None:
        self.length = length
        self.layers = list(layers)
        self.rows: Tensor | None = None  # which beginning each text has; None while it is read

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.rows is None:
            self.layers.append((k, v))
            return k, v
        keys, values = (
            torch.cat([before[self.rows], new], dim=2)
            for before, new in zip(self.layers[layer], (k, v), strict=True)
        )
        return keys, values

    def of(self, rows: list[int]) -> _Read:
        """The same, for texts that begin with these of the B beginnings."""
        branch = _Read(self.length, self.layers)
        branch.rows = torch.tensor(rows, device=self.layers[0][0].device)
        return branch


def _read(model: GPT, beginnings: list[tuple[int, ...]]) -> _Read | None:
    """Read beginnings of one length; None where that is 0."""
    if not beginnings[0]:
        return None
    cache = _Read()
    model.hidden(torch.tensor(beginnings, device=model.device), cache)
    return cache


def _sums(model: GPT, texts: list[Pair], cache: _Read | None) -> list[float]:
    """log p of the second part of each text after its first and what the cache has read."""
    width = max(len(head) + len(tail) for head, tail in texts)
    idx = torch.zeros(len(texts), width, dtype=torch.int64)
    scored = torch.zeros(len(texts), width - 1, dtype=torch.bool)
    for row, (head, tail) in enumerate(texts):
        end = len(head) + len(tail)
        idx[row, :end] = torch.tensor([*head, *tail])
        scored[row, len(head) - 1 : end - 1] = True
    idx, scored = idx.to(model.device), scored.to(model.device)
    hidden, targets = model.hidden(idx[:, :-1], cache)[scored], idx[:, 1:][scored]  # (N, C), (N,)
    chunk = max(1, LOGITS // model.config.vocab_size)
    losses = chunked_cross_entropy(model.logits, hidden[None], targets[None], chunk, "none")[0]
    sums = torch.zeros(scored.shape, dtype=losses.dtype, device=losses.device)
    sums[scored] = losses
    return (-sums.cpu().double().sum(dim=1)).tolist()
