"""A small GPT, trained on rows of stories for seconds or minutes.

One job: `train_rows`, a plain loop for experiments that change what stands in a row; a run that is
worth keeping goes through `gptlib.Trainer`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.optim import learning_rate, make_optimizers, set_learning_rate

#: From the number of a step to its inputs, targets and whatever else the loss needs.
Rows = Callable[[int], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Small:
    """A size that a chapter can wait for, and how it is trained.

    Attributes:
        warmup: steps; the rate then falls by a cosine to a tenth.
    """

    n_layer: int = 2
    n_head: int = 4
    n_embd: int = 64
    block_size: int = 256
    steps: int = 100
    batch_size: int = 8
    lr: float = 8e-3
    warmup: int = 10

    def model(self, vocab_size: int, seed: int = 0) -> GPT:
        """A new one."""
        torch.manual_seed(seed)
        return GPT(GPTConfig(self.block_size, vocab_size, self.n_layer, self.n_head, self.n_embd))


def train_rows(
    model: GPT,
    rows: Rows,
    small: Small,
    loss: Callable[[GPT, tuple[Tensor, ...]], Tensor] | None = None,
) -> list[float]:
    """Train a model with Muon; returns the loss of each step.

    Args:
        rows: gives the batch of a step: inputs and targets (B, T), -1 where a target does not
            count. loss: of a batch; default: the mean cross-entropy of the targets that count.

    Raises:
        ConfigError: no steps.
    """
    if small.steps < 1:
        raise ConfigError(f"steps is {small.steps}; give a whole number of 1 or more")
    optimizers = make_optimizers(model, "muon", small.lr, 0.1, (0.9, 0.99))
    losses = []
    model.train()
    for step in range(small.steps):
        rate = learning_rate(
            step, small.steps, small.lr, small.lr / 10, small.warmup, "cosine", 0.2
        )
        set_learning_rate(optimizers, rate)
        batch = rows(step)
        found = loss(model, batch) if loss else model(*batch[:2], return_logits=False)[1]
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        losses.append(found.item())
    model.eval()
    return losses


def in_turn(n: int, batch_size: int, seed: int = 0) -> Callable[[int], Sequence[int]]:
    """Which of n examples a step reads: all of them in a shuffled order, again and again."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed)).tolist()
    return lambda step: [order[(step * batch_size + k) % n] for k in range(batch_size)]
