"""What can be done with a judge: take the best, tune on what passed, on the chosen, or prefer.

One job: the rivals on the same samples. `best_of` trains nothing and asks the judge again whenever
it writes. `tune` and `prefer` make a model of their own, and go through `gptlib.Trainer`.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gptlib.batches import Batches, place_in_epoch
from gptlib.course.beats.preference_pairs import Sampled
from gptlib.course.stories.writing import padded_rows
from gptlib.evaluation import token_losses
from gptlib.finetuning.dpo import sequence_logprobs
from gptlib.finetuning.preferences import (
    PairBatches,
    PreferenceMeasure,
    Preferences,
    preference_loss,
)
from gptlib.model import GPT, evaluating
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: A story and whether it holds together.
Picked = tuple[str, bool]


class Answers(Batches):
    """Stories to imitate, each once an epoch; the prompts before them carry no loss.

    Args:
        texts: (prompt, story) in ids. batch_size: stories in a step. seed: of their order.
    """

    def __init__(
        self, texts: Sequence[tuple[Sequence[int], Sequence[int]]], batch_size: int, seed: int = 0
    ) -> None:
        self.batch_size, self.seed = batch_size, seed
        self.x, self.y = padded_rows([[*prompt, *story] for prompt, story in texts])
        for row, (prompt, _) in enumerate(texts):
            self.y[row, : len(prompt) - 1] = -1
        self.tokens_per_step = round(batch_size * self.weight((self.y,)) / len(texts))
        digest = hashlib.sha256(self.x.numpy().tobytes() + self.y.numpy().tobytes())
        self.sha256 = f"{digest.hexdigest()} in the order of seed {seed}"

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor]:
        rows = self.rows(world_size, accumulate)
        first = step * self.batch_size + (micro * world_size + rank) * rows
        at = [place_in_epoch(n, len(self.x), self.seed) for n in range(first, first + rows)]
        width = int((self.y[at] >= 0).any(dim=0).nonzero().max()) + 1
        return self.x[at, :width], self.y[at, :width]

    def loss(self, model: GPT) -> float:
        """Nats a token of all these stories, to validate with: no gradient."""
        nats = 0.0
        for x, y in zip(self.x.split(32), self.y.split(32), strict=True):
            losses = token_losses(model, x.to(model.device), y.to(model.device))
            nats += losses.double().sum().item()
        return nats / self.weight((self.y,))


def best_of(sampled: Sequence[Sampled], n: int) -> list[Picked]:
    """For each title the first of n stories that the judge accepts; where it accepts none, the
    first."""
    found = []
    for asked in sampled:
        some = asked.holds[:n]
        at = some.index(True) if True in some else 0
        found.append((asked.stories[at], some[at]))
    return found


@torch.no_grad()
def likeliest_of(
    model: GPT, tokenizer: Tokenizer, sampled: Sequence[Sampled], n: int
) -> list[Picked]:
    """For each title the one of n stories that the model itself finds likeliest, by the mean over
    its tokens: the best that can be had without a judge."""
    found, T = [], model.config.block_size
    with evaluating(model):
        for asked in sampled:
            stories = [tokenizer.encode(story)[:T] for story in asked.stories[:n]]
            ids = torch.zeros(len(stories), max(map(len, stories)), dtype=torch.int64)
            mask = torch.zeros(ids.shape, dtype=torch.bool)
            for row, story in enumerate(stories):
                ids[row, : len(story)] = torch.tensor(story)
                mask[row, 1 : len(story)] = True
            logprobs = sequence_logprobs(model, ids.to(model.device), mask.to(model.device))
            at = int((logprobs.cpu() / mask.sum(dim=1)).argmax())
            found.append((asked.stories[at], asked.holds[at]))
    return found


def tune(base: GPT, train: Answers, held_out: Answers, config: TrainConfig, folder: Path) -> GPT:
    """Plain tuning of a copy of a model on stories.

    A run in the folder is resumed; one that is finished is not trained again.

    Raises:
        CheckpointError: the folder holds another run. SystemExit: a signal stopped it.
    """
    return _fit(Trainer(copy.deepcopy(base), train, held_out.loss, config, folder))


def prefer(
    base: GPT,
    train: Preferences,
    held_out: Preferences,
    beta: float,
    config: TrainConfig,
    folder: Path,
) -> GPT:
    """DPO of a copy of a model, which is the reference; otherwise as `tune`."""
    trainer = Trainer(
        copy.deepcopy(base), PairBatches(train, config.batch_size, config.seed),
        PreferenceMeasure(held_out, beta), config, folder, loss=preference_loss(beta),
    )  # fmt: skip
    return _fit(trainer)


def _fit(trainer: Trainer) -> GPT:
    run = trainer.fit()
    if not run.finished:
        raise SystemExit("stopped by a signal; the same command goes on from there")
    return run.model.eval()
