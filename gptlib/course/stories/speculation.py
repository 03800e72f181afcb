"""What a small draft saves a teller of stories: tokens for each pass, and seconds.

One job: `speculation_gain`, which counts and times speculative decoding (`gptlib.sampling`'s
`speculate`) beside plain drawing, and `small_draft`, a model that is small enough to guess.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from gptlib.corpora import Corpus
from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import Tally, speculate, stream
from gptlib.stories import END
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: A draft of one layer, and how it is trained: under a minute on one thread.
BODY: dict[str, Any] = {"block_size": 256, "n_layer": 1, "n_head": 4, "n_embd": 64}
TRAIN: dict[str, Any] = {
    "steps": 400, "batch_size": 16, "lr": 4e-3, "optimizer": "muon", "warmup": 20,
    "eval_every": 400, "eval_windows": 16, "save_minutes": 0,
}  # fmt: skip
READ = 3_000_000


def small_draft(tokenizer: Tokenizer, corpus: Corpus, **changes: Any) -> GPT:
    """Train a draft with this tokenizer on the first `READ` characters of a corpus.

    Args:
        changes: settings of `TrainConfig`, in place of those in `TRAIN`.
    """
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **BODY))
    texts = corpus.train[:READ], corpus.val[: READ // 10]
    train, val = (np.array(tokenizer.encode(text)) for text in texts)  # marks as single ids
    with tempfile.TemporaryDirectory() as folder:
        return (
            Trainer(model, train, val, TrainConfig(**TRAIN | changes), folder, tokenizer)
            .fit()
            .model
        )


def accept_rate(
    model: GPT, draft: GPT, prompts: Sequence[Sequence[int]], guesses: int, **settings: Any
) -> Tally:
    """Count, over all prompts, what a draft guessed and what was kept; `settings` are those of
    `speculate`. `kept / guessed` is the rate, and a pass brings one token more than it keeps."""
    tally = Tally()
    for ids in prompts:
        for _ in speculate(model, draft, ids, guesses=guesses, tally=tally, **settings):
            pass
    return tally


def speculation_gain(
    model: GPT,
    draft: GPT,
    tokenizer: Tokenizer,
    prompts: Sequence[str],
    guesses: Sequence[int] = (1, 2, 4, 8),
    temperature: float = 0.8,
    seed: int = 0,
    max_new_tokens: int = 320,
) -> list[dict]:
    """What a draft saves: a row without it, and one for each number of guesses.

    Returns:
        rows with `guesses` (0: no draft), `tokens` that were written, `passes` of the model,
        `accept_rate` and `tokens_per_pass`, `seconds` and `tokens_per_s`, and `same_greedy`:
        whether the first prompt's greedy tokens are those without a draft.

    Raises:
        ConfigError: no prompts, or what `speculate` refuses.
    """
    if not prompts:
        raise ConfigError("there are no prompts; give one or more to write from")
    ids, end = [tokenizer.encode(prompt) for prompt in prompts], tokenizer.encode(END)
    options: dict[str, Any] = {"temperature": temperature, "seed": seed, "stop": [end]}
    start = time.perf_counter()
    written = sum(len(list(stream(model, x, max_new_tokens, **options))) for x in ids)
    rows = [_gain(0, Tally(passes=written), written, time.perf_counter() - start)]
    greedy = options | {"temperature": 0, "seed": None}
    expected = list(stream(model, ids[0], max_new_tokens, **greedy))
    for number in guesses:
        tally, start = Tally(), time.perf_counter()
        written = sum(
            len(list(speculate(
                model, draft, x, max_new_tokens, guesses=number, tally=tally, **options
            )))
            for x in ids
        )  # fmt: skip
        seconds = time.perf_counter() - start
        got = list(speculate(model, draft, ids[0], max_new_tokens, guesses=number, **greedy))
        rows.append(_gain(number, tally, written, seconds) | {"same_greedy": got == expected})
    return rows


def _gain(guesses: int, tally: Tally, tokens: int, seconds: float) -> dict:
    return {
        "guesses": guesses, "tokens": tokens, "passes": tally.passes,
        "accept_rate": round(tally.kept / tally.guessed, 4) if tally.guessed else None,
        "tokens_per_pass": round(tokens / max(1, tally.passes), 3),
        "seconds": round(seconds, 3), "tokens_per_s": round(tokens / max(seconds, 1e-9), 1),
    }  # fmt: skip
