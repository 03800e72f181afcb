"""Dice: from the scores of the next token to the token.

One job: `processed`, which applies what the settings say to the scores, and `drawing`, which gives
each row dice of its own, so that what it draws is the same in any company, and keeps them on the
CPU, so that it is the same on any device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.errors import ConfigError, DataError
from gptlib.sampling.processors import Processor
from gptlib.sampling.reading import Reader, Seen
from gptlib.sampling.settings import Sampling


def row_seed(seed: int, row: int) -> int:
    """The seed of a row's own generator; the first row has the seed that was given."""
    digest = hashlib.sha256(f"{seed} {row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 if row else seed


def fresh_seed() -> int:
    """A seed that nobody chose; torch's own generator is left alone."""
    return torch.Generator().seed() >> 1  # of 64 bits, one more than a given seed may have


def processed(settings: Sampling) -> Callable[[Tensor, Reader], Tensor]:
    """Return the function that sends logits (B, V) of a reader's next tokens through the chain."""
    chain = settings.chain()

    def by_ids(logits: Tensor, seen: Seen) -> Tensor:
        logits = _through(chain.of_window, logits, seen.window)
        logits = _through(chain.of_text, logits, seen.text)
        return _through(chain.of_new, logits, seen.new)

    def process(logits: Tensor, reader: Reader) -> Tensor:
        if chain.reads:
            parts = reader.seen()
            rows = logits.split([len(seen.text) for seen in parts])
            logits = torch.cat([by_ids(*both) for both in zip(rows, parts, strict=True)])
        if chain.of_logits:
            no_ids = logits.new_empty((len(logits), 0), dtype=torch.int64)
            logits = _through(chain.of_logits, logits, no_ids)
        return logits

    return process


def drawing(settings: Sampling, rows: int) -> Callable[[Tensor], Tensor]:
    """Return the function that chooses a token for each of so many rows, from processed logits
    (B, V) to (B,) int64.

    Raises:
        ConfigError: there is a seed for each row, but of other rows than these.
    """
    seed = fresh_seed() if settings.seed is None else settings.seed
    if isinstance(seed, Sequence):
        seeds = list(seed)
    else:
        seeds = [row_seed(seed, row) for row in range(rows)]
    if len(seeds) != rows:
        raise ConfigError(f"seed has {len(seeds)} numbers and there are {rows} rows; give as many")
    dice = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(logits: Tensor) -> Tensor:
        if settings.greedy:
            return likeliest(logits)
        probs = logits.softmax(dim=-1).cpu()
        try:
            drawn = [
                torch.multinomial(row, 1, generator=die)
                for row, die in zip(probs.split(1), dice, strict=True)
            ]
        except RuntimeError as error:  # torch's word for what is no distribution
            raise _nothing_to_draw(error) from error
        return torch.cat(drawn).squeeze(-1).to(logits.device)

    return draw


def likeliest(logits: Tensor) -> Tensor:
    """The token of the largest of the logits (B, V) in each row, (B,) int64.

    Raises:
        DataError: it is not finite.
    """
    best, tokens = logits.max(dim=-1)  # NaN is the largest, for torch
    if not torch.isfinite(best).all():
        raise _nothing_to_draw(f"the largest logit is {best.tolist()}")
    return tokens


def _through(processors: Sequence[Processor], logits: Tensor, ids: Tensor) -> Tensor:
    expected = logits.shape
    for processor in processors:
        logits = processor(logits, ids)
        _check(processor, logits, expected)
    return logits


def _nothing_to_draw(why: object) -> DataError:
    return DataError(
        f"no token can be drawn ({why}); expected finite logits, -inf for some: were the model's "
        "weights damaged, or did a processor leave no token?"
    )


def _check(processor: Callable, logits: object, expected: torch.Size) -> None:
    """Refuse what a processor returned, if it is no logits.

    Raises:
        ConfigError: no tensor, or one of another shape.
    """
    shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
    if shape != tuple(expected):
        raise ConfigError(
            f"the processor {getattr(processor, '__name__', processor)} returned {shape}; a "
            f"processor returns logits of the shape that it was given, {tuple(expected)}"
        )
