"""From logits to text: choose a next token, again and again.

One job: `stream`, which yields tokens one step at a time, and `generate`, which collects them.
A KV cache makes each step cost one token instead of the whole context. When the context is full,
its last half is kept and read in again; with the cache and without, the windows are the same, and
so are the tokens.
"""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Iterator, Sequence
from numbers import Integral, Real

import torch
from torch import Tensor

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, KVCache, evaluating
from gptlib.tokenizer_base import shorten

Stop = Sequence[int | Sequence[int]]
_FRACTIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64)


def _check(max_new_tokens: int, temperature: float, top_k, top_p, seed, vocab_size: int) -> None:
    if not _whole(max_new_tokens, 0, math.inf):
        raise ConfigError(f"max_new_tokens is {max_new_tokens!r}; give a whole number, 0 or more")
    if not (isinstance(temperature, Real) and 0 <= temperature < math.inf):
        raise ConfigError(f"temperature is {temperature!r}; give 0 (greedy) or a positive number")
    if top_k is not None and not _whole(top_k, 1, vocab_size):
        raise ConfigError(
            f"top_k is {top_k!r}; give a whole number from 1 to the vocabulary's {vocab_size}, or "
            "leave it out to draw from all"
        )
    if top_p is not None and not (isinstance(top_p, Real) and 0 < top_p <= 1):
        raise ConfigError(f"top_p is {top_p!r}; give a number above 0 and at most 1")
    if seed is not None and not _whole(seed, 0, 2**63 - 1):
        raise ConfigError(f"seed is {seed!r}; give a whole number from 0 to 2**63 - 1, or None")


def _whole(value: object, least: int, most: float) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


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


def _draw(logits: Tensor, temperature: float, top_k, top_p, rng: torch.Generator) -> Tensor:
    """Choose one token a row: (B, V) float -> (B,) int64."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    # Largest first, so that a tiny temperature cannot overflow.
    logits = (logits - logits.max(dim=-1, keepdim=True).values) / temperature
    probs = filter_logits(logits, top_k, top_p).softmax(dim=-1)
    return torch.multinomial(probs.cpu(), 1, generator=rng).squeeze(-1).to(logits.device)


def _as_prompt(model: GPT, ids) -> Tensor:
    """Return `ids` as (B, T) int64 on the model's device; warn if the model cannot see it whole."""
    given = ids
    try:
        ids = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        ids = torch.tensor(math.nan)  # no numbers, or rows of different lengths
    ids = ids.unsqueeze(0) if ids.dim() == 1 else ids
    if ids.dim() == 2 and ids.numel() == 0:
        raise DataError("the prompt is empty; give at least one token, a newline if nothing else")
    if ids.dim() != 2 or ids.dtype in (torch.bool, *_FRACTIONS):
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


@torch.inference_mode()
def _steps(
    model: GPT, ids: Tensor, n: int, temperature: float, top_k, top_p, seed, use_cache: bool
) -> Iterator[Tensor]:
    """Yield n times the next token of every row, (B,) int64."""
    rng = torch.Generator()  # on the CPU: the same draws whatever the device
    if seed is None:
        rng.seed()
    else:
        rng.manual_seed(seed)
    block_size = model.config.block_size
    window = ids[:, -block_size:]
    cache = fresh = None
    for _ in range(n):
        if window.size(1) > block_size:  # full: keep the last half, read it in again
            window = window[:, -max(1, block_size // 2) :]
            cache = None
        if not use_cache:
            fresh = window
        elif cache is None:
            dtype = model.lm_head.weight.dtype
            cache = KVCache(model.config, ids.size(0), dtype, ids.device)
            fresh = window
        logits = model.logits(model.hidden(fresh, cache)[:, -1])
        token = _draw(logits, temperature, top_k, top_p, rng)
        fresh = token.unsqueeze(1)
        window = torch.cat([window, fresh], dim=1)
        yield token


def _stops(stop: Stop) -> list[list[int]]:
    try:
        stops = [list(map(operator.index, [s] if _number(s) else s)) for s in stop]
    except TypeError:
        stops = [[]]
    if any(not s for s in stops):
        raise ConfigError(
            f"stop is {shorten(stop)}; give a list of token ids, or of lists with at least one, "
            "such as [tokenizer.encode('\\n\\n')]"
        )
    return stops


def _ends_with(row: list[int], stops: list[list[int]]) -> bool:
    return any(row[-len(s) :] == s for s in stops)


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

    The tokens of a stop sequence are yielded too, and then the stream ends.
    """
    _check(max_new_tokens, temperature, top_k, top_p, seed, model.config.vocab_size)
    prompt, stops = _as_prompt(model, ids), _stops(stop)
    if prompt.size(0) != 1:
        raise ConfigError(f"stream takes one prompt, not {prompt.size(0)}; use generate")

    def tokens() -> Iterator[int]:
        new: list[int] = []
        with evaluating(model):
            for token in _steps(
                model, prompt, max_new_tokens, temperature, top_k, top_p, seed, use_cache
            ):
                new.append(int(token))
                yield new[-1]
                if _ends_with(new, stops):
                    return

    return tokens()


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
        seed: the draw is the same for the same seed; None draws a fresh one.
        use_cache: keep keys and values; changes the speed, not the tokens.

    Returns:
        (B, T + new) int64, prompts included; new < max_new_tokens only if every row stopped, and a
        row that stopped earlier repeats its last token. For prompts of different lengths, a pair:
        such a tensor padded at the right in the same way, and the list of the rows' lengths.

    Raises:
        ConfigError, DataError: an argument outside its range, an empty prompt, an unknown id.
    """
    _check(max_new_tokens, temperature, top_k, top_p, seed, model.config.vocab_size)
    settings = (max_new_tokens, temperature, top_k, top_p, stop, seed, use_cache)
    if _rows_differ(ids):  # one by one: no padding can then leak into a row
        prompts = [_as_prompt(model, row) for row in ids]
        rows = [p[0].tolist() + list(stream(model, p, *settings)) for p in prompts]
        lengths = [len(r) for r in rows]
        padded = [r + [r[-1]] * (max(lengths) - len(r)) for r in rows]
        return torch.tensor(padded, device=model.lm_head.weight.device), lengths
    out, stops = _as_prompt(model, ids), _stops(stop)
    prompt_length = out.size(1)
    done = torch.zeros(out.size(0), dtype=torch.bool)
    with evaluating(model):
        for token in _steps(model, out, max_new_tokens, temperature, top_k, top_p, seed, use_cache):
            last = torch.where(done.to(out.device), out[:, -1], token)
            out = torch.cat([out, last.unsqueeze(1)], dim=1)
            if stops:
                new = out[:, prompt_length:].tolist()
                done |= torch.tensor([_ends_with(row, stops) for row in new])
                if done.all():
                    break
    return out


def _rows_differ(ids) -> bool:
    """Say whether these are several prompts of different lengths."""
    try:
        return not isinstance(ids, Tensor) and len({len(r) for r in ids if not _number(r)}) > 1
    except TypeError:
        return False  # no prompts at all, which `_as_prompt` says


def _number(x) -> bool:
    return isinstance(x, int) or getattr(x, "ndim", None) == 0
