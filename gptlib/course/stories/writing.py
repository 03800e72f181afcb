"""Stories that a model writes, and the loss of those that somebody else wrote.

One job: `write_stories`, any number of beginnings in batches, each to its `<|end|>`; and
`story_loss`, each story read alone, from its own beginning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptlib.errors import DataError
from gptlib.evaluation import token_losses
from gptlib.model import GPT, evaluating
from gptlib.sampling import Sampling, generate
from gptlib.stories import END, START
from gptlib.stories.marks import genre_token
from gptlib.tokenizers import Tokenizer

BATCH = 50  # stories at a time


def begin_with(title: str = "", genre: str = "") -> str:
    """The beginning that asks for a title, a genre, both, or nothing but a story."""
    asked = genre_token(genre) if genre else ""
    return START + asked + (f"<|title|>{title}</|title|>" if title else "")


def write_stories(
    model: GPT,
    tokenizer: Tokenizer,
    beginnings: Sequence[str],
    sampling: Sampling | None = None,
    seed: int = 0,
) -> list[str]:
    """Let a model finish each beginning; what follows the first `<|end|>` is not written.

    Args:
        beginnings: texts that begin with `<|start|>`; see `begin_with`.
        sampling: how to draw; its `stop` and `seed` are set here, and of `max_new_tokens` no more
            than the context has room for. Default: temperature 0.8.
        seed: the same seed, the same stories; each has dice of its own.

    Raises:
        DataError: no beginnings, or one that fills the context.
    """
    heads = [tokenizer.encode(text) for text in beginnings]
    longest, T = max(map(len, heads), default=0), model.config.block_size
    if not 0 < longest < T:
        raise DataError(
            f"{len(heads)} beginnings, the longest of {longest} tokens, in a context of {T}; give "
            "one or more, each with room for a story behind it"
        )
    settings = dict(vars(sampling or Sampling(T, temperature=0.8)))
    settings["stop"] = [tokenizer.encode(END)]
    stories: list[str] = []
    for first in range(0, len(heads), BATCH):
        some = heads[first : first + BATCH]
        settings["seed"] = [seed * 1_000_003 + first + n for n in range(len(some))]
        room = min(settings["max_new_tokens"], T - max(map(len, some)))
        written = generate(model, some, **settings | {"max_new_tokens": room})
        rows, lengths = written if isinstance(written, tuple) else (written, [None] * len(some))
        texts = [tokenizer.decode(row[:n].tolist()) for row, n in zip(rows, lengths, strict=True)]
        stories += [text.partition(END)[0] + END if END in text else text for text in texts]
    return stories


def padded_rows(stories: Sequence[Sequence[int]], pad: int = 0) -> tuple[Tensor, Tensor]:
    """Inputs and targets (N, longest - 1) of stories, a row each; padding's targets are -1."""
    width = max(map(len, stories)) - 1
    x = torch.full((len(stories), width), pad)
    y = torch.full((len(stories), width), -1)
    for row, ids in enumerate(stories):
        x[row, : len(ids) - 1] = torch.tensor(ids[:-1])
        y[row, : len(ids) - 1] = torch.tensor(ids[1:])
    return x, y


@torch.no_grad()
def story_loss(model: GPT, stories: Sequence[Sequence[int]]) -> tuple[float, int]:
    """Nats and tokens of stories (ids), each read alone; its first token is given, not predicted.

    The quotient is the loss in nats a token. Nats over the stories' characters compare models that
    cut the same text into different tokens.

    Raises:
        DataError: no stories, or one longer than the context.
    """
    longest, T = max(map(len, stories), default=0), model.config.block_size
    if not 1 < longest <= T + 1:
        raise DataError(
            f"{len(stories)} stories, the longest of {longest} tokens; give one or more of 2 to "
            f"{T + 1}, which a context of {T} can read"
        )
    nats, by_length = 0.0, sorted(stories, key=len)
    with evaluating(model):
        for first in range(0, len(stories), BATCH):
            x, y = padded_rows(by_length[first : first + BATCH])
            losses = token_losses(model, x.to(model.device), y.to(model.device))
            nats += losses.double().sum().item()
    return nats, sum(len(ids) - 1 for ids in stories)
