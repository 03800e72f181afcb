"""From logits to text: choose a next token, again and again.

One job: the loop, `_steps`, and the two that read it: `stream` hands tokens on as they come,
`generate` collects them. A KV cache makes each step cost one token instead of the whole context.
When the context is full, its last half is kept and read in again; with the cache and without, the
windows are the same, and so are the tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import overload

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.kv_cache import KVCache
from gptlib.model import GPT, evaluating
from gptlib.sampling.drawing import drawing, fresh_seed
from gptlib.sampling.processors import Processor
from gptlib.sampling.prompts import Prompt, Prompts, as_prompt, lengths_differ, padded
from gptlib.sampling.settings import Sampling
from gptlib.sampling.stops import Ending, Stop


@torch.inference_mode()
def _steps(
    model: GPT, ids: Tensor, settings: Sampling, draw: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[Tensor]:
    """Yield, `max_new_tokens` times, the next token of every row, (B,) int64.

    Between two of them the model is as it was: others may use it meanwhile, and whoever drops the
    generator leaves nothing behind.
    """
    rows, block_size = ids.size(0), model.config.block_size
    modules = list(model.modules())
    # One place more than the model reads: the last token drawn waits there for the window to slide.
    window = ids.new_empty(rows, block_size + 1)
    end = min(ids.size(1), block_size)
    window[:, :end] = ids[:, ids.size(1) - end :]
    cache = KVCache(model.config, rows, model.dtype, ids.device) if settings.use_cache else None
    for _ in range(settings.max_new_tokens):
        if end > block_size:
            # Half, not all but one: in a new window every token has a new position, so the cache is
            # worthless, and filling it must not happen at each step.
            keep = max(1, block_size // 2)
            window[:, :keep] = window[:, end - keep : end].clone()  # the two may overlap
            end = keep
            if cache is not None:
                cache.length = 0
        with evaluating(model, modules):
            # The first time the whole prompt is read, then only what the cache has not seen.
            fresh = window[:, cache.length if cache is not None else 0 : end]
            hidden = model.hidden(fresh, cache)[:, -1]  # the other positions' guesses are known
            logits = model.logits(hidden)[:, : model.config.known_ids]  # of no token: never drawn
            token = draw(logits, window[:, :end])
        window[:, end] = token
        end += 1
        yield token


def _tokens(model: GPT, prompt: Tensor, settings: Sampling, row: int = 0) -> Iterator[int]:
    """Yield the new tokens of one prompt (1, T), which is number `row` of those that were given."""
    ending = Ending(settings.stop)
    for token in _steps(model, prompt, settings, drawing(settings, [row])):
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
    seed: int | None = None,
    use_cache: bool = True,
    processors: Sequence[Processor] = (),
) -> Iterator[int]:
    """Yield new token ids for one prompt as they are drawn; arguments as for `generate`.

    The tokens of a stop sequence are yielded too, and then the stream ends. It may be dropped at
    any time, and several may be read in turn.
    """
    settings = Sampling(
        max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache, processors
    )
    settings.check_vocabulary(model.config.known_ids)
    prompt = as_prompt(model, ids)
    if prompt.size(0) != 1:
        raise ConfigError(f"stream takes one prompt, not {prompt.size(0)}; use generate")
    return _tokens(model, prompt, settings)


@overload
def generate(
    model: GPT,
    ids: Prompt,
    max_new_tokens: int,
    temperature: float = ...,
    top_k: int | None = ...,
    top_p: float | None = ...,
    stop: Stop = ...,
    seed: int | None = ...,
    use_cache: bool = ...,
    processors: Sequence[Processor] = ...,
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
    seed: int | None = ...,
    use_cache: bool = ...,
    processors: Sequence[Processor] = ...,
) -> Tensor | tuple[Tensor, list[int]]: ...


def generate(
    model: GPT,
    ids: Prompts,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | None = None,
    use_cache: bool = True,
    processors: Sequence[Processor] = (),
) -> Tensor | tuple[Tensor, list[int]]:
    """Continue prompts.

    Derived in chapter 1, *What does it write?*

    Args:
        ids: a prompt (T,), a batch (B, T), or a list of prompts of different lengths. A prompt
            longer than `block_size` is read from its last `block_size` tokens.
        max_new_tokens: how many tokens to add at most.
        temperature: divides the logits; 0 is greedy (the likeliest token, no draw).
        top_k, top_p: draw from the k likeliest tokens, or from the fewest that reach p together.
        stop: token ids, or sequences of them; a row ends when its new tokens end in one.
        seed: the draw is the same for the same seed; None draws a fresh one. Each row draws for
            itself, from the seed and its place: equal prompts give different texts, and a row's
            does not depend on its neighbors.
        use_cache: keep keys and values; changes the speed, not the tokens.
        processors: functions (logits, ids) -> logits, applied in turn before all others; see
            `gptlib.sampling.processors`. `ids` is what the model read, `block_size` at most.

    Returns:
        (B, T + new) int64, prompts included; new < max_new_tokens only if every row stopped, and a
        row that stopped earlier repeats its last token. For prompts of different lengths, a pair:
        such a tensor padded at the right in the same way, and the list of the rows' lengths.

    Raises:
        ConfigError, DataError: an argument outside its range, an empty prompt, an unknown id.
    """
    settings = Sampling(
        max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache, processors
    )
    settings.check_vocabulary(model.config.known_ids)
    if lengths_differ(ids):  # one by one: no padding can then leak into a row
        prompts = [as_prompt(model, row) for row in ids]
        settings = replace(settings, seed=fresh_seed()) if seed is None else settings
        new = (_tokens(model, prompt, settings, row) for row, prompt in enumerate(prompts))
        texts = [[*p[0].tolist(), *tokens] for p, tokens in zip(prompts, new, strict=True)]
        return padded(texts, model.device)
    return _collect(model, as_prompt(model, ids), settings)


def _collect(model: GPT, prompt: Tensor, settings: Sampling) -> Tensor:
    """Prompts (B, T) and what follows them, until every row has stopped: (B, T + new)."""
    endings = [Ending(settings.stop) for _ in prompt]
    done = [False] * len(endings)
    columns = [prompt]
    for token in _steps(model, prompt, settings, drawing(settings, range(len(endings)))):
        if any(done):
            stopped = torch.tensor(done, device=token.device)
            token = torch.where(stopped, columns[-1][:, -1], token)
        columns.append(token.unsqueeze(1))
        if settings.stop:
            reached = [e.reached(t) for e, t in zip(endings, token.tolist(), strict=True)]
            done = [d or r for d, r in zip(done, reached, strict=True)]
            if all(done):
                break
    return torch.cat(columns, dim=1)
