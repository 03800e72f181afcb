"""What may be drawn, and how eagerly: functions from logits to logits, applied one after another.

One job: those that look at the logits alone; `gptlib.sampling.penalties` has those that look at the
text. Each is made by a function that takes its number and returns a `Processor`; one of your own
has the same form, and goes to `generate(processors=[...])`:

    def no_newline(logits, ids):
        return logits.index_fill(-1, torch.tensor([newline]), float("-inf"))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.tokenizers.base import shorten

#: (logits (B, V) of the next token, ids (B, T) int64 that were read) -> logits (B, V); -inf is
#: never drawn. Neither argument is to be changed in place.
Processor = Callable[[Tensor, Tensor], Tensor]


def divide_by_temperature(temperature: float) -> Processor:
    """Divide the logits: below 1 the likely becomes likelier, above 1 all come closer together.

    Derived in chapter 1, *What does it write?*

    Raises:
        ConfigError: no positive number.
    """
    if not (is_real(temperature) and 0 < temperature < math.inf):
        raise ConfigError(f"temperature is {temperature!r}; give a positive number, such as 0.8")

    def divide(logits: Tensor, ids: Tensor) -> Tensor:
        # Largest first, so that a tiny temperature cannot overflow; softmax sees differences only.
        return (logits - logits.max(dim=-1, keepdim=True).values) / temperature

    return divide


def keep_top_k(k: int) -> Processor:
    """Keep the k largest logits, and what equals the last of them (Fan et al. 2018).

    Derived in chapter 7, *Where should the tail be cut?*

    Raises:
        ConfigError: no whole number of 1 or more.
    """
    if not is_whole(k, 1):
        raise ConfigError(
            f"top_k is {k!r}; give a whole number from 1 to the vocabulary's size, or leave it out "
            "to draw from all"
        )

    def keep(logits: Tensor, ids: Tensor) -> Tensor:
        kth = logits.topk(min(k, logits.size(-1)), dim=-1).values[:, -1:]
        return logits.masked_fill(logits < kth, float("-inf"))

    return keep


def keep_top_p(p: float) -> Processor:
    """Keep the smallest set of most likely tokens whose probabilities reach p, the likeliest always
    (nucleus sampling: Holtzman et al. 2020, section 3.1).

    Derived in chapter 7, *Where should the tail be cut?*

    Raises:
        ConfigError: p is not in (0, 1].
    """
    if not (is_real(p) and 0 < p <= 1):
        raise ConfigError(f"top_p is {p!r}; give a number above 0 and at most 1")

    def keep(logits: Tensor, ids: Tensor) -> Tensor:
        if p == 1:  # all of them, whatever rounding makes of their sum
            return logits
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(dim=-1)
        before = probs.cumsum(dim=-1) - probs  # mass of the tokens ahead of each
        late = before >= p
        return logits.masked_fill(late.scatter(-1, order, late), float("-inf"))  # rank to token

    return keep


def keep_min_p(p: float) -> Processor:
    """Keep the tokens that are at least p times as likely as the likeliest (min-p sampling: Nguyen
    et al. 2024, section 3): many where the model is unsure, few where it is not.

    Derived in chapter 7, *Where should the tail be cut?*

    Raises:
        ConfigError: p is not in (0, 1].
    """
    if not (is_real(p) and 0 < p <= 1):
        raise ConfigError(f"min_p is {p!r}; give a number above 0 and at most 1, such as 0.05")

    def keep(logits: Tensor, ids: Tensor) -> Tensor:
        probs = logits.softmax(dim=-1)
        return logits.masked_fill(probs < p * probs.max(dim=-1, keepdim=True).values, float("-inf"))

    return keep


def keep_typical(p: float) -> Processor:
    """Keep the tokens whose surprise, -log of their probability, is nearest to the expected one,
    the entropy, as many as reach probability p together (locally typical sampling: Meister et al.
    2023, section 4). The likeliest token may be among those that go.

    Derived in chapter 7, *Where should the tail be cut?*

    Raises:
        ConfigError: p is not in (0, 1].
    """
    if not (is_real(p) and 0 < p <= 1):
        raise ConfigError(f"typical_p is {p!r}; give a number above 0 and at most 1, such as 0.95")

    def keep(logits: Tensor, ids: Tensor) -> Tensor:
        if p == 1:  # all of them, whatever rounding makes of their sum
            return logits
        log_probs = logits.log_softmax(dim=-1)
        # Of what may not be drawn, 0 times infinity: nothing.
        entropy = -(log_probs * log_probs.exp()).nansum(dim=-1, keepdim=True)
        distance, order = (-log_probs - entropy).abs().sort(dim=-1)
        mass = logits.gather(-1, order).softmax(dim=-1).cumsum(dim=-1)
        last = (mass < p).sum(dim=-1, keepdim=True).clamp(max=logits.size(-1) - 1)
        far = distance > distance.gather(-1, last)  # what is as near as the last stays
        return logits.masked_fill(far.scatter(-1, order, far), float("-inf"))  # rank to token

    return keep


def allow_only(allowed: Sequence[int]) -> Processor:
    """Keep the tokens with these ids, whatever their logits: a choice between given answers.

    Raises:
        ConfigError: no ids, or something else.
    """
    if (
        not isinstance(allowed, Sequence | set | frozenset | range)
        or not allowed
        or not all(is_whole(i, 0) for i in allowed)
    ):
        raise ConfigError(
            f"allowed_ids is {shorten(allowed)}; give a list of token ids, at least one, such as "
            "tokenizer.encode('yes no')"
        )
    kept = torch.tensor(sorted(set(map(int, allowed))))

    def keep(logits: Tensor, ids: Tensor) -> Tensor:
        index = kept.to(logits.device)
        return torch.full_like(logits, float("-inf")).index_copy(-1, index, logits[:, index])

    return keep


def filter_logits(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Set logits (B, V) that may not be drawn to -inf: `keep_top_k`, then `keep_top_p`."""
    no_ids = logits.new_empty(logits.size(0), 0).long()
    if top_k is not None:
        logits = keep_top_k(top_k)(logits, no_ids)
    if top_p is not None:
        logits = keep_top_p(top_p)(logits, no_ids)
    return logits


def is_whole(value: object, least: int, most: float = math.inf) -> bool:
    """Is this a whole number, and no bool, from `least` to `most`?"""
    return (
        isinstance(value, Integral) and not isinstance(value, bool) and least <= int(value) <= most
    )


def is_real(value: object) -> bool:
    """Is this a number, and no bool?"""
    return isinstance(value, Real) and not isinstance(value, bool)
