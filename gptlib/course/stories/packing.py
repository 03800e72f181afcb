"""Whole stories packed into windows: may one look at the one before it? The record `story-packing`.

One job: `compare_packing`, one small model trained in five ways that compute equally many positions
a step:

    one a row           each story has a row, filled up with padding that the loss leaves out
    padding counted     the same, and the loss counts the padding
    across              several whole stories a window; each sees those before it
    within              the same windows; a story sees itself only
    within, from 0      and its first token stands at position 0, wherever it is in the window

    python -m gptlib.course.stories.packing [--steps 800] [--out data/runs/story-packing]
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.learning import keeps_names
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.small import Small, in_turn, train_rows
from gptlib.course.stories.verdicts import judge_all
from gptlib.course.stories.writing import begin_with, padded_rows, story_loss, write_stories
from gptlib.errors import ConfigError, DataError
from gptlib.kv_cache import KVCache
from gptlib.model import GPT
from gptlib.stories import END, special_tokens
from gptlib.tokenizers import BPETokenizer

WAYS = ("one a row", "padding counted", "across", "within", "within, from 0")
VOCABULARY = 1024
DOCUMENTS = 6000  # to train on, for the record
QUICK = Small(n_layer=1, block_size=640, steps=30, batch_size=3)
RECORDED = Small(n_layer=3, n_embd=96, block_size=640, steps=800, batch_size=6)


@dataclass(frozen=True)
class Windows:
    """Stories in rows.

    Attributes:
        x, y: ids and targets (N, T); -1 where the loss does not look: at padding, and where a story
            ends, since no story says which one follows it.
        story: (N, T), which story of its row a position belongs to, from 0; -1 at padding.
    """

    x: Tensor
    y: Tensor
    story: Tensor

    @property
    def padding(self) -> float:
        """The share of positions where no story is."""
        return (self.story < 0).float().mean().item()

    def places(self) -> Tensor:
        """How far each position is from the beginning of its story, (N, T)."""
        at = torch.arange(self.x.size(1)).expand_as(self.story)
        begins = torch.cat([torch.ones_like(at[:, :1]), self.story.diff(dim=1)], 1) != 0
        return at - torch.where(begins, at, 0).cummax(1).values

    def mask(self) -> Tensor:
        """Which keys each query may see within its story: (N, 1, T, T), True where it may."""
        T = self.x.size(1)
        same = self.story[:, :, None] == self.story[:, None, :]  # (N, T, T)
        return (same & torch.ones(T, T, dtype=torch.bool).tril())[:, None]


def pack(stories: Sequence[Sequence[int]], T: int, pad: int = 0) -> Windows:
    """Put whole stories into windows of T positions, each into the first that has room for it.

    Raises:
        DataError: a story that is longer than a window.
    """
    windows: list[list[Sequence[int]]] = []
    free: list[int] = []
    for ids in stories:
        if len(ids) > T:
            raise DataError(f"a story has {len(ids)} tokens, and a window {T}; take longer ones")
        place = next((k for k, room in enumerate(free) if room >= len(ids)), None)
        if place is None:
            place = len(free)
            windows.append([])
            free.append(T)
        windows[place].append(ids)
        free[place] -= len(ids)
    x = torch.full((len(windows), T), pad)
    y, story = torch.full_like(x, -1), torch.full_like(x, -1)
    for row, window in enumerate(windows):
        at = 0
        for number, ids in enumerate(window):
            end = at + len(ids)
            x[row, at:end] = torch.tensor(ids)
            y[row, at : end - 1] = x[row, at + 1 : end]
            story[row, at:end] = number
            at = end
    return Windows(x, y, story)


class _Within(KVCache):
    """Nothing is kept: it tells the model who may see whom, and where each token stands."""

    def __init__(self, windows: Windows, from_zero: bool) -> None:
        self.length, self.mask = 0, windows.mask()
        self._places = windows.places() if from_zero else None

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k, v

    def places(self, places: Tensor) -> Tensor:
        return places if self._places is None else self._places


def loss_within(model: GPT, windows: Windows, from_zero: bool = False) -> Tensor:
    """The mean loss of windows in which a story sees itself only.

    Args:
        from_zero: each story counts its positions from 0.
    """
    logits = model.logits(model.hidden(windows.x, _Within(windows, from_zero)))
    return F.cross_entropy(logits.flatten(0, 1), windows.y.flatten(), ignore_index=-1)


@dataclass(frozen=True)
class Packed:
    """What one way came to.

    Attributes:
        stories: read in a step, on average. padding: share of positions where no story is.
        logged: what the training loss said in the last tenth of the steps, nats.
        loss: of held-out stories, each read alone, nats a token that a story has.
        form, names, holds: shares of its samples, as `gptlib.course.stories.learning.look`.
    """

    stories: float
    padding: float
    logged: float
    loss: float
    form: float
    names: float
    holds: float


def compare_packing(
    small: Small = QUICK, n: int = 8, ways: Sequence[str] = WAYS, documents: int = 300
) -> dict[str, Packed]:
    """Train and measure each way.

    Args:
        small: the model and its budget; a way with shorter rows reads more of them in a step.
        n: samples of each. documents: stories to train on.

    Raises:
        ConfigError: a way that there is not.
    """
    if unknown := set(ways) - set(WAYS):
        raise ConfigError(f"there is no way {unknown.pop()!r}; compare {', '.join(WAYS)}")
    stories, fresh = held_out(documents, seed=5), held_out(50, seed=6)
    tokenizer = BPETokenizer.train(stories, VOCABULARY, special_tokens())
    ids = [tokenizer.encode(text) for text in stories]
    alone = [tokenizer.encode(text) for text in fresh]
    return {way: _one_way(way, ids, alone, tokenizer, small, n) for way in ways}


def _one_way(
    way: str,
    ids: list[list[int]],
    fresh: list[list[int]],
    tokenizer: BPETokenizer,
    small: Small,
    n: int,
) -> Packed:
    end = tokenizer.encode(END)[0]
    model = small.model(tokenizer.vocab_size)
    if way in ("one a row", "padding counted"):
        x, y = padded_rows(ids, pad=end)
        windows = Windows(x, y, torch.where(y < 0, -1, 0))
        if way == "padding counted":
            windows = replace(windows, y=y.masked_fill(y < 0, end))
    else:
        windows = pack(ids, small.block_size, pad=end)
    positions = small.batch_size * small.block_size
    small = replace(small, batch_size=max(1, positions // windows.x.size(1)))
    read = in_turn(len(windows.x), small.batch_size)

    def loss(model: GPT, batch: tuple[Tensor, ...]) -> Tensor:
        return loss_within(model, Windows(*batch), from_zero=way == "within, from 0")

    losses = train_rows(
        model,
        lambda step: tuple(part[read(step)] for part in (windows.x, windows.y, windows.story)),
        small,
        loss if way.startswith("within") else None,
    )
    nats, tokens = story_loss(model, fresh)
    written = judge_all(write_stories(model, tokenizer, [begin_with()] * n, seed=1))
    return Packed(
        stories=len(ids) / len(windows.x) * small.batch_size,
        padding=windows.padding,
        logged=statistics.fmean(losses[-max(1, small.steps // 10) :]),
        loss=nats / tokens,
        form=written.rate("well_formed").share,
        names=sum(keeps_names(story.text) for story in written.stories) / n,
        holds=written.rate("holds").share,
    )


def story_packing(small: Small = RECORDED, n: int = 60) -> Record:
    """Compare the ways at a size that takes some minutes each."""
    found = compare_packing(small, n, documents=DOCUMENTS)
    result = {way: asdict(packed) for way, packed in found.items()}
    config = {**asdict(small), "vocabulary": VOCABULARY, "samples": n, "documents": DOCUMENTS}
    command = f"python -m gptlib.course.stories.packing --steps {small.steps} --n {n}"
    return make_record("story-packing", config, result, command)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.packing")
    parser.add_argument("--steps", type=at_least_one, default=RECORDED.steps)
    parser.add_argument("--n", type=at_least_one, default=60, help="samples of each way")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-packing"))
    options = parser.parse_args(arguments)
    record = story_packing(replace(RECORDED, steps=options.steps), options.n)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
