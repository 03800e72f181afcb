"""How a text is drawn: one value that holds every setting and has checked each.

One job: `Sampling`, which refuses what cannot work before a token is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gptlib.errors import ConfigError
from gptlib.sampling.processors import (
    Processor,
    divide_by_temperature,
    is_real,
    is_whole,
    keep_top_k,
    keep_top_p,
)
from gptlib.sampling.stops import Stop, as_sequences


@dataclass(frozen=True)
class Sampling:
    """The settings of `generate` and `stream`, which explain them and make one of their arguments.

    Raises:
        ConfigError: one is outside its range.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: Stop = ()
    seed: int | None = None
    use_cache: bool = True
    processors: Sequence[Processor] = ()

    def __post_init__(self) -> None:
        if not is_whole(self.max_new_tokens, 0):
            raise ConfigError(
                f"max_new_tokens is {self.max_new_tokens!r}; give a whole number, 0 or more"
            )
        if not (is_real(self.temperature) and 0 <= self.temperature < math.inf):
            raise ConfigError(
                f"temperature is {self.temperature!r}; give 0 (greedy) or a positive number"
            )
        if self.seed is not None and not is_whole(self.seed, 0, 2**63 - 1):
            raise ConfigError(
                f"seed is {self.seed!r}; give a whole number from 0 to 2**63 - 1, or None"
            )
        if not isinstance(self.processors, Sequence) or not all(map(callable, self.processors)):
            raise ConfigError(
                f"processors is {self.processors!r}; give a list of functions "
                "(logits, ids) -> logits"
            )
        object.__setattr__(self, "stop", as_sequences(self.stop))
        self.chain()  # refuses its own numbers

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken and no dice are thrown."""
        return self.temperature == 0

    def chain(self) -> list[Processor]:
        """What the logits go through, in order: the caller's own, temperature, top_k, top_p."""
        filters = [] if self.top_k is None else [keep_top_k(self.top_k)]
        filters += [] if self.top_p is None else [keep_top_p(self.top_p)]
        if self.greedy:  # the others leave the likeliest token where it is
            return [*self.processors]
        return [*self.processors, divide_by_temperature(self.temperature), *filters]

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuse to keep more tokens than there are.

        Raises:
            ConfigError: top_k exceeds `vocab_size`.
        """
        if self.top_k is not None and self.top_k > vocab_size:
            raise ConfigError(
                f"top_k is {self.top_k!r}; give a whole number from 1 to the vocabulary's "
                f"{vocab_size}, or leave it out to draw from all"
            )
