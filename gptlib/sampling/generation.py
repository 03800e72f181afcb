"""From logits to text: choose a next token, again and again.

One job: `stream`, which yields tokens one step at a time, and `generate`, which collects them.
A KV cache makes each step cost one token instead of the whole context. When the context is full,
its last half is kept and read in again; with the cache and without, the windows are the same, and
so are the tokens.
"""

from __future__ import annotations

import hashlib
import math
import operator
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, KVCache, evaluating
from gptlib.tokenizers.base import shorten

Stop = Sequence[int | Sequence[int]]


def _check(max_new_tokens: int, temperature: float, top_k, top_p, seed, vocab_size: int) -> None:
    if not _whole(max_new_tokens, 0, math.inf):
        raise ConfigError(f"max_new_tokens is {max_new_tokens!r}; give a whole number, 0 or more")
    if not (_real(temperature) and 0 <= temperature < math.inf):
        raise ConfigError(f"temperature is {temperature!r}; give 0 (greedy) or a positive number")
    if top_k is not None and not _whole(top_k, 1, vocab_size):
        raise ConfigError(
            f"top_k is {top_k!r}; give a whole number from 1 to the vocabulary's {vocab_size}, or "
            "leave it out to draw from all"
        )
    if top_p is not None and not (_real(top_p) and 0 < top_p <= 1):
        raise ConfigError(f"top_p is {top_p!r}; give a number above 0 and at most 1")
    if seed is not None and not _whole(seed, 0, 2**63 - 1):
        raise ConfigError(f"seed is {seed!r}; give a whole number from 0 to 2**63 - 1, or None")


def _whole(value: object, least: int, most: float) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


def _real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def filter_logits(logits: Tensor, top_k: int | None = None, top_p: float | None = None) -> Tensor:
    """Set logits (B, V) that may not be drawn to -inf.

    `top_k` keeps the k largest (Fan et al. 2018). `top_p` keeps the smallest set of most likely
    tokens whose probabilities reach p (Holtzman et al. 2020); the likeliest always stays.
    """
    if top_k is not None:
        kth = logits.topk(top_k, dim=-1).values[:, -1:]
        logits = logits.masked_fill(logits < kth, float("-inf"))
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(dim=-1, descending=True, stable=True)
        probs = ordered.softmax(dim=-1)
        before = probs.cumsum(dim=-1) - probs  # mass of the tokens ahead of each
        drop = torch.empty_like(logits, dtype=torch.bool).scatter_(-1, order, before >= top_p)
        logits = logits.masked_fill(drop, float("-inf"))
    return logits


def _row_seed(seed: int, row: int) -> int:
    """The seed of a row's own generator; the first row has the seed that was given."""
    digest = hashlib.sha256(f"{seed} {row}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1 if row else seed


def _drawing(
    temperature: float,
    top_k: int | None,
    top_p: float | None,
    seed: int | None,
    rows: Iterable[int],
) -> Callable[[Tensor], Tensor]:
    """Return the function that chooses a token for each of `rows`: (B, V) float -> (B,) int64.

    Each row draws from a generator of its own, so that it is the same in any company; they are on
    the CPU, so that it is the same on any device.
    """
    rngs = [torch.Generator() for _ in rows]
    if seed is None:
        seed = rngs[0].seed()
    for row, rng in zip(rows, rngs, strict=True):
        rng.manual_seed(_row_seed(seed, row))

    def draw(logits: Tensor) -> Tensor:
        if temperature == 0:
            return logits.argmax(dim=-1)
        # Largest first, so that a tiny temperature cannot overflow.
        logits = (logits - logits.max(dim=-1, keepdim=True).values) / temperature
        probs = filter_logits(logits, top_k, top_p).softmax(dim=-1).cpu()
        drawn = [
            torch.multinomial(row, 1, generator=rng)
            for row, rng in zip(probs.split(1), rngs, strict=True)
        ]
        return torch.cat(drawn).squeeze(-1).to(logits.device)

    return draw


def _as_prompt(model: GPT, ids) -> Tensor:
    """Return `ids` as (B, T) int64 on the model's device; warn if the model cannot see it whole."""
    given = ids
    try:
        ids = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        ids = torch.tensor(math.nan)  # no numbers, or rows of different lengths
    ids = ids.unsqueeze(0) if ids.dim() == 1 else ids
    no_ids = ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
    if ids.dim() == 2 and ids.numel() == 0:
        raise DataError("the prompt is empty; give at least one token, a newline if nothing else")
    if ids.dim() != 2 or no_ids or _has_truth(given):
        raise DataError(
            f"the prompt is {shorten(given)}; expected token ids, one list of whole numbers for "
            "each text: tokenizer.encode makes one of a text"
        )
    ids = ids.to(model.lm_head.weight.device, torch.int64)
    if ids.min() < 0 or ids.max() >= model.config.vocab_size:
        raise DataError(
            f"prompt ids run from {ids.min()} to {ids.max()}, but the model knows 0 to "
            f"{model.config.vocab_size - 1}; was it encoded by another tokenizer?"
        )
    if ids.size(1) > (block_size := model.config.block_size):
        warnings.warn(
            f"the prompt has {ids.size(1)} tokens and block_size is {block_size}: the model reads "
            f"the last {block_size} of them; shorten it, or train with a longer block_size",
            stacklevel=3,
        )
    return ids


def _has_truth(ids: object) -> bool:
    """Say whether a True or a False is among the ids: torch takes it for 1 or 0."""
    if isinstance(ids, list | tuple):
        return any(map(_has_truth, ids))
    return isinstance(ids, bool | np.bool_)


@torch.inference_mode()
def _steps(
    model: GPT, ids: Tensor, n: int, draw: Callable[[Tensor], Tensor], use_cache: bool
) -> Iterator[Tensor]:
    """Yield n times the next token of every row, (B,) int64.

    Between two of them the model is as it was: others may use it meanwhile, and whoever drops the
    generator leaves nothing behind.
    """
    rows, block_size = ids.size(0), model.config.block_size
    modules = list(model.modules())
    window = ids.new_empty(rows, block_size + 1)
    end = min(ids.size(1), block_size)
    window[:, :end] = ids[:, ids.size(1) - end :]
    cache = (
        KVCache(model.config, rows, model.lm_head.weight.dtype, ids.device) if use_cache else None
    )
    for _ in range(n):
        if end > block_size:  # full: keep the last half, read it in again
            keep = max(1, block_size // 2)
            window[:, :keep] = window[:, end - keep : end].clone()
            end = keep
            if cache is not None:
                cache.length = 0
        with evaluating(model, modules):
            fresh = window[:, cache.length if cache is not None else 0 : end]
            token = draw(model.logits(model.hidden(fresh, cache)[:, -1]))
        window[:, end] = token
        end += 1
        yield token


class _Ending:
    """Watches the tokens of one row for a stop; the work at each is the same however many came."""

    def __init__(self, stop: Stop) -> None:
        try:
            stops = [tuple(map(operator.index, [s] if _number(s) else s)) for s in stop]
        except TypeError:
            stops = [()]
        if not all(stops) or _has_truth(stop):
            raise ConfigError(
                f"stop is {shorten(stop)}; give a list of token ids, or of lists with at least "
                "one, such as [tokenizer.encode('\\n\\n')]"
            )
        self.stops = stops
        self.tail: deque[int] = deque(maxlen=max(map(len, stops), default=0))

    def reached(self, token: int) -> bool:
        """Take in the next token; say whether the row now ends in a stop."""
        self.tail.append(token)
        tail = tuple(self.tail)
        return any(tail[-len(s) :] == s for s in self.stops)


def _tokens(model, prompt: Tensor, n: int, draw, ending: _Ending, use_cache: bool) -> Iterator[int]:
    """Yield the new tokens of one prompt (1, T)."""
    for token in _steps(model, prompt, n, draw, use_cache):
        yield int(token)
        if ending.reached(int(token)):
            return


def stream(
    model: GPT,
    ids,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | None = None,
    use_cache: bool = True,
) -> Iterator[int]:
    """Yield new token ids for one prompt as they are drawn; arguments as for `generate`.

    The tokens of a stop sequence are yielded too, and then the stream ends. It may be dropped at
    any time, and several may be read in turn.
    """
    _check(max_new_tokens, temperature, top_k, top_p, seed, model.config.vocab_size)
    prompt, ending = _as_prompt(model, ids), _Ending(stop)
    if prompt.size(0) != 1:
        raise ConfigError(f"stream takes one prompt, not {prompt.size(0)}; use generate")
    draw = _drawing(temperature, top_k, top_p, seed, [0])
    return _tokens(model, prompt, max_new_tokens, draw, ending, use_cache)


def generate(
    model: GPT,
    ids,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    stop: Stop = (),
    seed: int | None = None,
    use_cache: bool = True,
):
    """Continue prompts.

    Args:
        ids: a prompt (T,), a batch (B, T), or a list of prompts of different lengths. A prompt
            longer than `block_size` is read from its last `block_size` tokens.
        max_new_tokens: how many tokens to add at most.
        temperature: divides the logits; 0 is greedy (the likeliest token, no draw).
        top_k, top_p: see `filter_logits`.
        stop: token ids, or sequences of them; a row ends when its new tokens end in one.
        seed: the draw is the same for the same seed; None draws a fresh one. Each row draws for
            itself, from the seed and its place: equal prompts give different texts, and a row's
            does not depend on its neighbors.
        use_cache: keep keys and values; changes the speed, not the tokens.

    Returns:
        (B, T + new) int64, prompts included; new < max_new_tokens only if every row stopped, and a
        row that stopped earlier repeats its last token. For prompts of different lengths, a pair:
        such a tensor padded at the right in the same way, and the list of the rows' lengths.

    Raises:
        ConfigError, DataError: an argument outside its range, an empty prompt, an unknown id.
    """
    _check(max_new_tokens, temperature, top_k, top_p, seed, model.config.vocab_size)
    draws = (temperature, top_k, top_p)
    if _rows_differ(ids):  # one by one: no padding can then leak into a row
        prompts = [_as_prompt(model, row) for row in ids]
        seed = torch.Generator().seed() if seed is None else seed
        rows = [
            prompt[0].tolist()
            + list(
                _tokens(
                    model, prompt, max_new_tokens, _drawing(*draws, seed, [row]), _Ending(stop),
                    use_cache,
                )
            )
            for row, prompt in enumerate(prompts)
        ]  # fmt: skip
        lengths = [len(r) for r in rows]
        padded = [r + [r[-1]] * (max(lengths) - len(r)) for r in rows]
        return torch.tensor(padded, device=model.lm_head.weight.device), lengths
    prompt = _as_prompt(model, ids)
    endings = [_Ending(stop) for _ in prompt]
    draw = _drawing(*draws, seed, range(len(endings)))
    done = [False] * len(endings)
    columns = [prompt]
    for token in _steps(model, prompt, max_new_tokens, draw, use_cache):
        if any(done):
            stopped = torch.tensor(done, device=token.device)
            token = torch.where(stopped, columns[-1][:, -1], token)
        columns.append(token.unsqueeze(1))
        if endings[0].stops:
            reached = [e.reached(t) for e, t in zip(endings, token.tolist(), strict=True)]
            done = [d or r for d, r in zip(done, reached, strict=True)]
            if all(done):
                break
    return torch.cat(columns, dim=1)


def _rows_differ(ids) -> bool:
    """Say whether these are several prompts of different lengths."""
    try:
        return not isinstance(ids, Tensor) and len({len(r) for r in ids if not _number(r)}) > 1
    except TypeError:
        return False  # no prompts at all, which `_as_prompt` says


def _number(x) -> bool:
    return isinstance(x, int) or getattr(x, "ndim", None) == 0
