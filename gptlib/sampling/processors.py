"""What may be drawn, and how eagerly: functions from logits to logits, applied one after another.

One job: the three that every sampler has. Each is made by a function that takes its number and
returns a `Processor`; one of your own has the same form, and goes to `generate(processors=[...])`:

    def no_newline(logits, ids):
        return logits.index_fill(-1, torch.tensor([newline]), float("-inf"))
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real

from torch import Tensor

from gptlib.errors import ConfigError

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
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


def is_real(value: object) -> bool:
    """Is this a number, and no bool?"""
    return isinstance(value, Real) and not isinstance(value, bool)
