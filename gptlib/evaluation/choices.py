"""Which of several endings does a model find likelier?

One job: `score_endings`, and `score_probes`, which asks so for one dependency of a grammar at a
time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.loss import token_losses
from gptlib.grammar import Probe
from gptlib.model import GPT, evaluating
from gptlib.tokenizers import Tokenizer


def score_probes(
    model: GPT, tokenizer: Tokenizer, probes: Iterable[Probe], begin: str = ""
) -> dict[str, float]:
    """Ask which of two continuations the model finds likelier.

    Derived in chapter 3, *What is learned last?*

    Args:
        begin: text to put before each probe's prefix, such as the separator before a document.

    Returns:
        accuracy: share of probes where the right one wins. log_ratio: mean of
        log p(right) - log p(wrong), in nats: 0 is no idea, and it moves before accuracy does.
        n: how many probes.

    Raises:
        DataError: no probes, or one that `score_endings` refuses.
    """
    ratios = []
    for probe in probes:
        right, wrong = score_endings(
            model, tokenizer, begin + probe.prefix, (probe.right, probe.wrong)
        )
        ratios.append(right - wrong)
    if not ratios:
        raise DataError("there are no probes to score; a share needs at least one")
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
    idx = torch.zeros(len(tails), len(head) + longest, dtype=torch.int64)
    targets = torch.full_like(idx, -1)
    for row, tail in enumerate(tails):
        end = len(head) + len(tail)
        idx[row, :end] = torch.tensor(head + tail)
        targets[row, len(head) : end] = idx[row, len(head) : end]
    idx, targets = (x.to(model.device) for x in (idx[:, :-1], targets[:, 1:]))
    with evaluating(model):
        sums = (-token_losses(model, idx, targets).sum(dim=1)).tolist()
    lengths = {"token": map(len, tails), "character": map(len, endings)}
    return [total / n for total, n in zip(sums, lengths[per], strict=True)] if per else sums
