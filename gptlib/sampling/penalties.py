"""What a text has said already, and how little of it may be said again.

One job: the processors that look at the ids before the next token. Each forgets nothing and
remembers nothing: all that it knows is in the `ids` (B, T) that it is called with. `generate` shows
the first two the whole text, and the other two what is new in it, without the prompt.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.sampling.processors import Processor, is_real, is_whole


def penalize_repetition(penalty: float) -> Processor:
    """Divide the positive logits of tokens that were there, and multiply the negative ones (CTRL:
    Keskar et al. 2019, section 4.1; the two cases are transformers').

    Derived in chapter 7, *May a word be said twice?*

    Above 1 they become less likely, below 1 likelier.

    Raises:
        ConfigError: no positive number.
    """
    if not (is_real(penalty) and 0 < penalty < math.inf):
        raise ConfigError(
            f"repetition_penalty is {penalty!r}; give a positive number, such as 1.2, or 1 for none"
        )

    def penalize(logits: Tensor, ids: Tensor) -> Tensor:
        seen = logits.gather(-1, ids)
        return logits.scatter(-1, ids, torch.where(seen < 0, seen * penalty, seen / penalty))

    return penalize


def no_repeated_ngrams(n: int) -> Processor:
    """Forbid each token that would end n tokens which stand in the text already (Paulus et al.
    2018, section 2.5).

    Derived in chapter 7, *May a word be said twice?*

    Raises:
        ConfigError: no whole number of 1 or more.
    """
    if not is_whole(n, 1):
        raise ConfigError(
            f"no_repeat_ngram_size is {n!r}; give a whole number of 1 or more, such as 3"
        )

    def forbid(logits: Tensor, ids: Tensor) -> Tensor:
        T = ids.size(1)
        if T < n:
            return logits
        stood = ids.unfold(1, n, 1)  # (B, T - n + 1, n): every n tokens in a row
        alike = (stood[..., :-1] == ids[:, None, T - n + 1 :]).all(dim=-1)  # begin as the text ends
        ends = torch.zeros_like(logits).scatter_add(1, stood[..., -1], alike.to(logits.dtype))
        return logits.masked_fill(ends > 0, float("-inf"))

    return forbid


def penalize_presence(amount: float) -> Processor:
    """Take `amount` from the logit of every token that is there, however often.

    Derived in chapter 7, *May a word be said twice?*

    OpenAI's definition (API documentation, "Frequency and presence penalties"), and vLLM's
    (`apply_penalties`): only tokens that were generated count, not the prompt's. A negative amount
    asks for them again.

    Raises:
        ConfigError: no finite number.
    """
    _check(amount, "presence_penalty")

    def penalize(logits: Tensor, ids: Tensor) -> Tensor:
        return logits.scatter(-1, ids, logits.gather(-1, ids) - amount)

    return penalize


def penalize_frequency(amount: float) -> Processor:
    """Take `amount` from the logit of a token for each time that it is there; otherwise as
    `penalize_presence`, with the same sources.

    Derived in chapter 7, *May a word be said twice?*

    Raises:
        ConfigError: no finite number.
    """
    _check(amount, "frequency_penalty")

    def penalize(logits: Tensor, ids: Tensor) -> Tensor:
        once = torch.ones(ids.shape, dtype=logits.dtype, device=ids.device)
        return logits - amount * torch.zeros_like(logits).scatter_add(-1, ids, once)

    return penalize


def _check(amount: float, name: str) -> None:
    if not (is_real(amount) and math.isfinite(amount)):
        raise ConfigError(f"{name} is {amount!r}; give a number, such as 0.5, or 0 for none")
