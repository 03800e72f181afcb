"""Old text beside the new, so that what a model knew is not forgotten.

One job: `Rehearsed`, batches of which a share is old text. A share of what? A window of old text
has hundreds of targets and an answer a few dozen, so a tenth of the rows may be half of the loss.
Here it is a share of the loss, exactly, in every step: targets of old text weigh more or less than
one, as their number asks for (rehearsal: Robins 1995).
"""

from __future__ import annotations

import hashlib

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.batches import Batches, TokenBatches
from gptlib.errors import ConfigError
from gptlib.shards.splits import split_sha256


def rehearsed_rows(batch_size: int, share: float) -> int:
    """How many rows of a batch are old text: about `share` of them, and one at least.

    Raises:
        ConfigError: the share is not between 0 and 1, or the batch has no room for both.
    """
    if not (isinstance(share, int | float) and 0 < share < 1):
        raise ConfigError(f"share is {share!r}; give more than 0 and less than 1, such as 0.1")
    rows = max(1, round(share * batch_size))
    if rows >= batch_size:
        raise ConfigError(
            f"a batch of {batch_size} has no room for {rows} rows of old text beside the new; give "
            "a larger batch_size or a smaller share"
        )
    return rows


class Rehearsed(Batches):
    """Batches of two sources, of whose loss the old one has a share.

    Derived in chapter 8, *Must the old be forgotten?*

    Args:
        new, old: batches of inputs and targets; a step has `batch_size` rows of each, the new ones
            first. share: of the loss that is old text, in (0, 1).

    A batch is inputs, targets and the weights of the targets, (rows, T) each; `weighted_loss` is
    their loss.
    """

    def __init__(self, new: Batches, old: Batches, share: float) -> None:
        rehearsed_rows(new.batch_size + old.batch_size, share)  # refuses the share
        self.new, self.old, self.share = new, old, share
        self.batch_size = new.batch_size + old.batch_size
        self.tokens_per_step = new.tokens_per_step + old.tokens_per_step
        told = f"rehearsed {share!r} {_told(new)} {_told(old)} {old.batch_size}"
        self.sha256 = hashlib.sha256(told.encode()).hexdigest()

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, targets and weights, each (rows, T) on the CPU; see `Batches.batch`."""
        rows = self.rows(world_size, accumulate)
        first = (micro * world_size + rank) * rows
        whole = _below(self.new.batch(step), self.old.batch(step))
        counts = (whole[1] >= 0).double()  # (B, T)
        new, old = counts[: self.new.batch_size].sum(), counts[self.new.batch_size :].sum()
        counts[self.new.batch_size :] *= self.share / (1 - self.share) * new / old
        parts = (*whole, counts.float())
        x, y, weights = (part[first : first + rows] for part in parts)
        needed = int((y >= 0).any(0).nonzero().max()) + 1  # no token looks at what comes later
        return x[:, :needed], y[:, :needed], weights[:, :needed]

    def weight(self, batch: tuple[Tensor, ...]) -> float:
        """The sum of the weights."""
        return float(batch[-1].double().sum())


def weighted_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """The weighted mean loss of a batch of `Rehearsed`, in nats."""
    x, y, weights = batch
    losses = model(x, y, return_logits=False, reduction="none")[1]
    return (losses * weights).sum() / weights.sum()


def _told(batches: Batches) -> str:
    """What tells these batches from others, their order left out, which follows from the seed."""
    if not isinstance(batches, TokenBatches):
        return batches.sha256
    starts = "anywhere" if batches.starts is None else split_sha256(batches.starts)
    return f"{split_sha256(batches.tokens)} {batches.block_size} {batches.sampling} {starts}"


def _below(new: tuple[Tensor, ...], old: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
    """The rows of both, those that are shorter padded: inputs with 0, targets with -1."""
    width = max(new[0].size(1), old[0].size(1))
    x, y = (
        torch.cat([F.pad(part, (0, width - part.size(1)), value=value) for part in parts])
        for value, parts in zip((0, -1), zip(new, old, strict=True), strict=True)
    )
    return x, y
