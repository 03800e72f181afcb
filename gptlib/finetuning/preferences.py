"""Pairs of answers, of which one is preferred, as something that a `Trainer` can be given.

One job: `Preferences`, pairs with the log-probabilities that the reference gives them, which are
computed once and kept with the data; and what makes a task of them: `PairBatches`,
`preference_loss` and `PreferenceMeasure`. The reference itself is needed no more: training holds
one model, and a resumed run computes with the very numbers that it began with.

    pairs = make_preferences([PreferencePair(prompt, chosen, rejected), ...], model)
    config = TrainConfig(steps=100, batch_size=8, lr=1e-4)
    Trainer(
        model, PairBatches(pairs, 8), PreferenceMeasure(held_out, beta=0.1), config, "runs/dpo",
        tokenizer, loss=preference_loss(beta=0.1),
    ).fit()
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gptlib.batches import Batches, place_in_epoch
from gptlib.errors import ConfigError, DataError
from gptlib.files import write_atomic
from gptlib.finetuning.dpo import dpo_loss, sequence_logprobs
from gptlib.model import GPT, evaluating
from gptlib.task import Loss

_PARTS = {"ids": (torch.int64, 3), "mask": (torch.bool, 3), "reference": (torch.float32, 2)}


class PreferencePair(NamedTuple):
    """Token ids of a prompt and of two answers to it, the better one first."""

    prompt: Sequence[int]
    chosen: Sequence[int]
    rejected: Sequence[int]


@dataclass(frozen=True, eq=False)
class Preferences:
    """N pairs in rows, and what the reference thinks of them.

    Attributes:
        ids: (N, 2, T) int64, the chosen text and the rejected one, padded at the right.
        mask: (N, 2, T), true at the tokens of the answers.
        reference: (N, 2) float32, `sequence_logprobs` by the model that training begins with.
    """

    ids: Tensor
    mask: Tensor
    reference: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, some: slice) -> Preferences:
        return Preferences(self.ids[some], self.mask[some], self.reference[some])

    @cached_property
    def lengths(self) -> Tensor:
        """Tokens of each answer, (N, 2)."""
        return self.mask.sum(dim=2)

    @cached_property
    def sha256(self) -> str:
        """Of pairs and reference: a run is not resumed with others."""
        digest = hashlib.sha256(repr(tuple(self.ids.shape)).encode())
        for name in _PARTS:
            digest.update(getattr(self, name).contiguous().numpy().tobytes())
        return digest.hexdigest()

    def rows(self, at: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
        """ids and mask (n, 2, t) and reference (n, 2) of some pairs, with no more padding than the
        longest of them needs."""
        some = torch.tensor(list(at))
        mask = self.mask[some]
        t = int(mask.any(dim=0).any(dim=0).nonzero().max()) + 1
        return self.ids[some, :, :t], mask[:, :, :t], self.reference[some]

    def save(self, path: str | Path) -> None:
        """Write all three into one safetensors file."""
        parts = {name: getattr(self, name).contiguous() for name in _PARTS}
        write_atomic(Path(path), safetensors.torch.save(parts))

    @classmethod
    def load(cls, path: str | Path) -> Preferences:
        """Read what `save` wrote.

        Raises:
            DataError: there is no such file, or it holds something else.
        """
        try:
            parts = safetensors.torch.load(Path(path).read_bytes())
        except (OSError, SafetensorError) as error:
            raise DataError(
                f"{path} cannot be read as pairs ({error}); give a file that Preferences.save wrote"
            ) from error
        found = {name: (part.dtype, part.dim()) for name, part in parts.items()}
        if found != _PARTS or len({len(part) for part in parts.values()}) != 1:
            raise DataError(
                f"{path} holds {sorted(found)}, not the ids, mask and reference of pairs; give a "
                "file that Preferences.save wrote"
            )
        return cls(**parts)


def make_preferences(
    pairs: Sequence[PreferencePair], reference: GPT, batch_size: int = 16, pad: int = 0
) -> Preferences:
    """Put pairs into rows and ask the reference about them, once.

    Args:
        reference: the model that training will begin with, as it is before the first step.
        batch_size: pairs at a time. pad: any id of the vocabulary; it is read and never counts.

    Raises:
        DataError: no pairs, a part without tokens, or a text longer than the context.
    """
    longest = reference.config.block_size + 1  # the last token is predicted and not read
    for n, pair in enumerate(pairs):
        if not all(map(len, pair)):
            raise DataError(
                f"pair {n} has {len(pair.prompt)} tokens of prompt, {len(pair.chosen)} chosen and "
                f"{len(pair.rejected)} rejected; give one or more of each"
            )
        most = len(pair.prompt) + max(len(pair.chosen), len(pair.rejected))
        if most > longest:
            raise DataError(
                f"pair {n} has a text of {most} tokens, and a context of "
                f"{reference.config.block_size} reads {longest} at most; leave it out, since a "
                "text that is cut has no end to prefer"
            )
    if not pairs:
        raise DataError("there are no pairs; give one or more, each with an answer to prefer")
    T = max(len(p.prompt) + max(len(p.chosen), len(p.rejected)) for p in pairs)
    ids = torch.full((len(pairs), 2, T), pad)
    mask = torch.zeros(ids.shape, dtype=torch.bool)
    for n, pair in enumerate(pairs):
        begin = len(pair.prompt)
        for side, answer in enumerate((pair.chosen, pair.rejected)):
            end = begin + len(answer)
            ids[n, side, :end] = torch.tensor([*pair.prompt, *answer])
            mask[n, side, begin:end] = True
    unknown = Preferences(ids, mask, torch.zeros(len(pairs), 2))
    return Preferences(ids, mask, pair_logprobs(reference, unknown, batch_size))


@torch.no_grad()
def pair_logprobs(model: GPT, pairs: Preferences, batch_size: int = 16) -> Tensor:
    """The log-probabilities of chosen and rejected answers, (N, 2) float32 on the CPU, in nats.

    Less `pairs.reference` they are what training has done to each of the two.
    """
    found = []
    with evaluating(model):
        for first in range(0, len(pairs), batch_size):
            ids, mask, _ = pairs.rows(range(first, min(first + batch_size, len(pairs))))
            found.append(_both(model, ids.to(model.device), mask.to(model.device)).float().cpu())
    return torch.cat(found)


def _both(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """Log-probabilities (n, 2) of pairs (n, 2, T), in one pass for both sides."""
    return sequence_logprobs(model, ids.flatten(0, 1), mask.flatten(0, 1)).view(-1, 2)


def _loss(policy: Tensor, reference: Tensor, beta: float) -> Tensor:
    """`dpo_loss` of log-probabilities in two columns, chosen and rejected."""
    return dpo_loss(policy[:, 0], policy[:, 1], reference[:, 0], reference[:, 1], beta)[0]


@dataclass
class PairBatches(Batches):
    """Batches of pairs, every pair once an epoch, in a new order each.

    Args:
        pairs: to learn from. batch_size: pairs in one step. seed: another seed, another order.

    Raises:
        ConfigError: a batch_size below 1, or a seed below 0.
    """

    pairs: Preferences
    batch_size: int
    seed: int = 0
    tokens_per_step: int = field(init=False, repr=False)
    sha256: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number >= {least}")
        answered = self.pairs.lengths.sum().item() / len(self.pairs)
        self.tokens_per_step = round(self.batch_size * answered)
        self.sha256 = f"{self.pairs.sha256} in the order of seed {self.seed}"

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return ids and mask, (rows, 2, t) each, and the reference's log-probabilities, (rows, 2).

        Raises:
            ConfigError: the batch does not divide evenly.
        """
        rows = self.rows(world_size, accumulate)
        first = step * self.batch_size + (micro * world_size + rank) * rows
        seen = range(first, first + rows)
        return self.pairs.rows([place_in_epoch(n, len(self.pairs), self.seed) for n in seen])

    def weight(self, batch: tuple[Tensor, ...]) -> int:
        """A pair counts as one, however long its answers are."""
        return len(batch[0])


def preference_loss(beta: float) -> Loss:
    """The loss that a `Trainer` takes: `dpo_loss` of a batch of `PairBatches`.

    A resumed run knows a loss by its name, and this one's has its β in it.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        ids, mask, reference = batch
        return _loss(_both(model, ids, mask), reference, beta)

    loss.__qualname__ = f"dpo_loss with beta {beta}"
    return loss


@dataclass(frozen=True)
class PreferenceMeasure:
    """The validation that a `Trainer` takes: `dpo_loss` of pairs that are not trained on.

    Where it rises while that of training falls, the policy learns pairs by heart. It is ln 2 before
    the first step, and says nothing of how good the texts are that the policy writes: for that,
    let it write.
    """

    pairs: Preferences
    beta: float
    batch_size: int = 16

    @property
    def sha256(self) -> str:
        """By which a resumed run knows it."""
        return f"{self.pairs.sha256} with beta {self.beta}"

    def __call__(self, model: GPT) -> float:
        policy = pair_logprobs(model, self.pairs, self.batch_size)
        return _loss(policy, self.pairs.reference, self.beta).item()
