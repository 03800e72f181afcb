"""From logits to text: choose a next token, again and again.

One job: the loop, `_steps`, and the two that read it: `stream` hands tokens on as they come,
`generate` collects them. What the model reads at each step is `gptlib.sampling.reading`'s matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Unpack, overload

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.sampling.beams import search
from gptlib.sampling.drawing import drawing, processed
from gptlib.sampling.processors import Processor
from gptlib.sampling.prompts import Prompt, Prompts, padded
from gptlib.sampling.ragged import RaggedReader, reader_of
from gptlib.sampling.reading import Reader
from gptlib.sampling.settings import More, Sampling, Seed
from gptlib.sampling.stops import Ending, Stop


@torch.inference_mode()
def _steps(reader: Reader, settings: Sampling) -> Iterator[Tensor]:
    """Yield, `max_new_tokens` times, the next token of every row, (B,) int64.

    Between two of them the model is as it was: others may use it meanwhile, and whoever drops the
    generator leaves nothing behind.
    """
    process = processed(settings)
    samples = settings.num_samples
    draw = drawing(settings, samples * len(reader))
    for step in range(settings.max_new_tokens):
        with reader.at_work():
            logits = reader.read()
            if step == 0 and samples > 1:  # the prompt was read once for all of its texts
                reader.select(_each(reader, samples))
                logits = logits.repeat_interleave(samples, dim=0)
            token = draw(process(logits, reader))
        reader.append(token)
        yield token


def _each(reader: Reader, times: int) -> Tensor:
    """The rows of a reader, each so many times: 0, 0, 1, 1, …"""
    return torch.arange(len(reader), device=reader.model.device).repeat_interleave(times)


def _tokens(reader: Reader, settings: Sampling) -> Iterator[int]:
    """Yield the new tokens of one prompt."""
    ending = Ending(settings.stop, settings.tokenizer)
    for token in _steps(reader, settings):
        yield int(token)
        if ending.reached(int(token)):
            return


def stream(
    model: GPT,
    ids: Prompt,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: Seed = None,
    use_cache: bool = True,
    processors: Sequence[Processor] = (),
    **more: Unpack[More],
) -> Iterator[int]:
    """Yield new token ids for one prompt as they are drawn; arguments as for `generate`.

    The tokens of a stop sequence are yielded too, and then the stream ends. It may be dropped at
    any time, and several may be read in turn.
    """
    settings = Sampling(
        max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache, processors, **more
    )
    settings.check_vocabulary(model.config.known_ids)
    reader = reader_of(model, ids, use_cache)
    if len(reader) != 1:
        raise ConfigError(f"stream takes one prompt, not {len(reader)}; use generate")
    if settings.num_samples * settings.num_beams != 1:
        raise ConfigError(
            f"num_samples is {settings.num_samples} and num_beams {settings.num_beams}; stream "
            "writes one text and takes nothing back, so use generate"
        )
    return _tokens(reader, settings)


@overload
def generate(
    model: GPT,
    ids: Prompt,
    max_new_tokens: int,
    temperature: float = ...,
    top_k: int | None = ...,
    top_p: float | None = ...,
    stop: Stop = ...,
    seed: Seed = ...,
    use_cache: bool = ...,
    processors: Sequence[Processor] = ...,
    **more: Unpack[More],
) -> Tensor: ...


@overload
def generate(
    model: GPT,
    ids: Prompts,
    max_new_tokens: int,
    temperature: float = ...,
    top_k: int | None = ...,
    top_p: float | None = ...,
    stop: Stop = ...,
    seed: Seed = ...,
    use_cache: bool = ...,
    processors: Sequence[Processor] = ...,
    **more: Unpack[More],
) -> Tensor | tuple[Tensor, list[int]]: ...


def generate(
    model: GPT,
    ids: Prompts,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: Seed = None,
    use_cache: bool = True,
    processors: Sequence[Processor] = (),
    **more: Unpack[More],
) -> Tensor | tuple[Tensor, list[int]]:
    """Continue prompts.

    Derived in chapter 1, *What does it write?*

    Args:
        ids: a prompt (T,), a batch (B, T), or a list of prompts of different lengths. A prompt
            longer than `block_size` is read from its last `block_size` tokens.
        max_new_tokens: how many tokens to add at most.
        temperature: divides the logits; 0 is greedy (the likeliest token, no draw).
        top_k, top_p: draw from the k likeliest tokens, or from the fewest that reach p together.
        stop: token ids, or sequences of them; a row ends when its new tokens end in one. With
            `tokenizer` also strings: a row ends with the token that completes one.
        seed: the draw is the same for the same seed; None draws a fresh one. Each row draws for
            itself, from the seed and its place: equal prompts give different texts, and a row's
            does not depend on its neighbors. A list has a seed for each row, which then gives
            what its prompt gives alone with that seed.
        use_cache: keep keys and values; changes the speed, not the tokens.
        processors: functions (logits, ids) -> logits, applied in turn before all others; see
            `gptlib.sampling.processors`. `ids` is what the model read, `block_size` at most.
        more: further settings, by name; see `gptlib.sampling.settings.More`.

    Returns:
        (B, T + new) int64, prompts included; new < max_new_tokens only if every row stopped, and a
        row that stopped earlier repeats its last token. For prompts of different lengths, a pair:
        such a tensor padded at the right in the same way, and the list of the rows' lengths. With
        `num_samples` the texts of a prompt follow one another, and the rows are B * num_samples.
        With `num_beams` they are the best that were found, see `gptlib.sampling.beam_search`.

    Raises:
        ConfigError, DataError: an argument outside its range, an empty prompt, an unknown id.
    """
    settings = Sampling(
        max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache, processors, **more
    )
    settings.check_vocabulary(model.config.known_ids)
    reader = reader_of(model, ids, use_cache)
    if settings.num_beams > 1:
        found = [text.ids for texts in search(reader, settings) for text in texts]
    else:
        found = _write(reader, settings)
    rows, lengths = padded(found, model.device)
    return (rows, lengths) if isinstance(reader, RaggedReader) else rows


def _write(reader: Reader, settings: Sampling) -> list[list[int]]:
    """Let every row go on until it stops; return its ids, prompt included."""
    begun = [n for n in reader.lengths() for _ in range(settings.num_samples)]
    endings = [Ending(settings.stop, settings.tokenizer) for _ in begun]
    ends: list[int | None] = [None] * len(begun)
    new = 0
    for new, token in enumerate(_steps(reader, settings), 1):
        if settings.stop:
            for row, drawn in enumerate(token.tolist()):
                if ends[row] is None and endings[row].reached(drawn):
                    ends[row] = begun[row] + new
            if None not in ends:
                break
    if new == 0:
        reader.select(_each(reader, settings.num_samples))
    return [reader.row(row)[:end] for row, end in enumerate(ends)]
