"""How a text is drawn: one value that holds every setting and has checked each.

One job: `Sampling`, which refuses what cannot work before a token is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypedDict

from gptlib.errors import ConfigError
from gptlib.sampling.penalties import (
    no_repeated_ngrams,
    penalize_frequency,
    penalize_presence,
    penalize_repetition,
)
from gptlib.sampling.processors import (
    Processor,
    allow_only,
    divide_by_temperature,
    is_real,
    is_whole,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
)
from gptlib.sampling.stops import Stop, as_stops
from gptlib.tokenizers.base import Tokenizer

#: One number, of which each row makes one of its own; a list with one for each row; None for any.
Seed = int | Sequence[int] | None


class More(TypedDict, total=False):
    """The settings of `generate` and `stream` that are given by name only.

    Attributes:
        min_p: draw from the tokens that are at least so many times as likely as the likeliest.
        typical_p: draw from the tokens whose surprise is nearest to the expected one, as many as
            reach p together.
        repetition_penalty: above 1, makes every token of the text so far less likely.
        presence_penalty: is taken from the logits of the tokens that were generated.
        frequency_penalty: likewise, once for each time that they were.
        no_repeat_ngram_size: n, so that no n tokens stand in the text twice.
        allowed_ids: draw from these ids only.
        num_samples: texts for each prompt, which is read once.
        tokenizer: what spells the texts, if `stop` names strings.
        num_beams: above 1, search for likely texts with so many beams instead of drawing.
        length_penalty: a sum of log-probabilities is divided by the length to this power; above
            0 it favors long texts.
        num_beam_groups: groups of beams that keep away from one another's tokens.
        diversity_penalty: what a beam's score loses for each beam of the groups before it that
            chose the same token.
    """

    min_p: float | None
    typical_p: float | None
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    no_repeat_ngram_size: int | None
    allowed_ids: Sequence[int] | None
    num_samples: int
    tokenizer: Tokenizer | None
    num_beams: int
    length_penalty: float
    num_beam_groups: int
    diversity_penalty: float


class Chain(NamedTuple):
    """What logits go through, from left to right, by what each is shown beside them: what the model
    read (at most `block_size` tokens), the whole text, the text without its prompt, or nothing."""

    of_window: list[Processor]  #: the caller's own
    of_text: list[Processor]  #: of repetitions
    of_new: list[Processor]  #: of presence and frequency
    of_logits: list[Processor]  #: what is allowed, temperature and limits

    @property
    def reads(self) -> bool:
        """Whether any of them looks at ids."""
        return bool(self.of_window or self.of_text or self.of_new)


@dataclass(frozen=True)
class Sampling:
    """The settings of `generate` and `stream`, which explain them and make one of their arguments.

    One that was made goes to them as `generate(model, ids, **vars(settings))`.

    Raises:
        ConfigError: one is outside its range.
    """

    max_new_tokens: int
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    stop: Stop = ()
    seed: Seed = None
    use_cache: bool = True
    processors: Sequence[Processor] = ()
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int | None = None
    allowed_ids: Sequence[int] | None = None
    num_samples: int = 1
    tokenizer: Tokenizer | None = None
    num_beams: int = 1
    length_penalty: float = 1.0
    num_beam_groups: int = 1
    diversity_penalty: float = 0.0

    def __post_init__(self) -> None:
        if not is_whole(self.max_new_tokens, 0):
            raise ConfigError(
                f"max_new_tokens is {self.max_new_tokens!r}; give a whole number, 0 or more"
            )
        if not (is_real(self.temperature) and 0 <= self.temperature < math.inf):
            raise ConfigError(
                f"temperature is {self.temperature!r}; give 0 (greedy) or a positive number"
            )
        seeds = self.seed if isinstance(self.seed, list | tuple | range) else [self.seed]
        if not all(seed is None or is_whole(seed, 0, 2**63 - 1) for seed in seeds):
            raise ConfigError(
                f"seed is {self.seed!r}; give a whole number from 0 to 2**63 - 1, or None"
            )
        if not isinstance(self.processors, Sequence) or not all(map(callable, self.processors)):
            raise ConfigError(
                f"processors is {self.processors!r}; give a list of functions "
                "(logits, ids) -> logits"
            )
        if not is_whole(self.num_samples, 1):
            raise ConfigError(f"num_samples is {self.num_samples!r}; give a whole number from 1")
        object.__setattr__(self, "stop", as_stops(self.stop, self.tokenizer))
        self.limits()  # they refuse their own numbers, also those that greedy choice leaves out
        self.chain()
        self._check_beams()

    def _check_beams(self) -> None:
        beams, groups = self.num_beams, self.num_beam_groups
        if not is_whole(beams, 1):
            raise ConfigError(f"num_beams is {beams!r}; give a whole number, 1 for no beams")
        if not is_whole(groups, 1) or beams % groups:
            raise ConfigError(
                f"num_beam_groups is {groups!r} and num_beams {beams}; give a divisor of it"
            )
        if not (is_real(self.length_penalty) and math.isfinite(self.length_penalty)):
            raise ConfigError(
                f"length_penalty is {self.length_penalty!r}; give a number, such as 1"
            )
        if not (is_real(self.diversity_penalty) and 0 <= self.diversity_penalty < math.inf):
            raise ConfigError(
                f"diversity_penalty is {self.diversity_penalty!r}; give 0 or a positive number"
            )
        if beams == 1 and self.length_penalty != 1:
            raise ConfigError("length_penalty is a matter of beam search; give num_beams too")
        if groups == 1 and self.diversity_penalty:
            raise ConfigError("diversity_penalty keeps groups apart; give num_beam_groups too")
        if beams == 1:
            return
        if self.temperature not in (0, 1) or self.limits():
            raise ConfigError(
                f"num_beams is {beams}, and beams are not drawn; leave out temperature, top_k, "
                "top_p, min_p and typical_p"
            )
        if self.num_samples > beams:
            raise ConfigError(
                f"num_samples is {self.num_samples} and num_beams {beams}; a search finds no more "
                "texts than it has beams"
            )
        if any(isinstance(stop, str) for stop in self.stop):
            raise ConfigError(
                "beams end at token ids; encode the strings in stop, such as "
                "[tokenizer.encode('\n\n')]"
            )

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken and no dice are thrown."""
        return self.temperature == 0

    def chain(self) -> Chain:
        """What the logits go through: the caller's own processors, penalties, what is allowed, and
        where dice are thrown, temperature and the limits, in transformers' order."""
        text = (
            [] if self.repetition_penalty == 1 else [penalize_repetition(self.repetition_penalty)]
        )
        if self.no_repeat_ngram_size is not None:
            text.append(no_repeated_ngrams(self.no_repeat_ngram_size))
        new = [] if self.presence_penalty == 0 else [penalize_presence(self.presence_penalty)]
        if self.frequency_penalty != 0:
            new.append(penalize_frequency(self.frequency_penalty))
        rest = [] if self.allowed_ids is None else [allow_only(self.allowed_ids)]
        if not self.greedy and self.num_beams == 1:
            rest += [divide_by_temperature(self.temperature), *self.limits()]
        return Chain([*self.processors], text, new, rest)

    def limits(self) -> list[Processor]:
        """What keeps the unlikely from being drawn."""
        filters = [] if self.top_k is None else [keep_top_k(self.top_k)]
        filters += [] if self.top_p is None else [keep_top_p(self.top_p)]
        filters += [] if self.min_p is None else [keep_min_p(self.min_p)]
        return filters + ([] if self.typical_p is None else [keep_typical(self.typical_p)])

    def check_vocabulary(self, vocab_size: int) -> None:
        """Refuse to keep more tokens than there are, or others.

        Raises:
            ConfigError: top_k exceeds `vocab_size`, or an allowed id is none of the model's.
        """
        if self.top_k is not None and self.top_k > vocab_size:
            raise ConfigError(
                f"top_k is {self.top_k!r}; give a whole number from 1 to the vocabulary's "
                f"{vocab_size}, or leave it out to draw from all"
            )
        if self.allowed_ids is not None and max(self.allowed_ids) >= vocab_size:
            raise ConfigError(
                f"allowed_ids has {max(self.allowed_ids)}, but the model knows 0 to "
                f"{vocab_size - 1}; was it encoded by another tokenizer?"
            )
