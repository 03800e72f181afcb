"""Batches of conversations, and the loss of their answers.

One job: `AnswerBatches`, padded or packed, and `AnswerLoss`, the validation. A batch follows from
the step, so a resumed run reads on exactly where it stopped. Conversations are of all lengths.
Padded, each has a row, as long as the longest of them; packed, a row holds as many as fit, and
attention stays within each (`GPT.document_start`, the id of `<|chat|>`). The loss of the same
conversations is the same either way, because it is a mean over the tokens that are learned, and
neither padding nor a neighbor is one of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gptlib.batches import Batches, place_in_epoch
from gptlib.chat import IGNORED
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.loss import token_losses
from gptlib.finetuning.examples import Example, learned
from gptlib.model import GPT
from gptlib.packing import best_fit


class AnswerBatches(Batches):
    """Batches of conversations for a `Trainer`: inputs and targets, -1 where nothing is learned.

    Derived in chapter 8, *How is a mean taken over ragged rows?*

    Args:
        examples: to learn. batch_size: rows in a step, over all processes and micro-batches.
        block_size: the longest row, in tokens. packed: several conversations in a row; else one.
        seed: another seed, another order of the rows, which is a new one in every epoch.

    Attributes:
        rows_an_epoch: after so many, every conversation was seen once.
        padded: the share of an epoch's room that is empty where every row has the longest's length.

    Raises:
        DataError: no examples, or one that is longer than a row. ConfigError: a size below 1.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        batch_size: int,
        block_size: int,
        packed: bool = True,
        seed: int = 0,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("block_size", block_size)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number >= 1")
        lengths = [len(example.ids) for example in examples]
        if not lengths or max(lengths) > block_size:
            found = f"one has {max(lengths):,} tokens" if lengths else "there are none"
            raise DataError(f"conversations for rows of {block_size:,} tokens: {found}")
        self.examples, self.batch_size, self.seed = list(examples), batch_size, seed
        self._rows = best_fit(lengths, block_size) if packed else [[n] for n in range(len(lengths))]
        self.rows_an_epoch = len(self._rows)
        width = block_size if packed else max(lengths)
        self.padded = 1 - sum(lengths) / (self.rows_an_epoch * width)
        # What is read on average, without padding.
        self.tokens_per_step = max(1, round(batch_size * sum(lengths) / self.rows_an_epoch))
        told = hashlib.sha256(f"answers {'packed' if packed else 'padded'} {block_size} ".encode())
        self.sha256 = _told(told, self.examples)

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, each (rows, longest) int64 on the CPU; see `Batches.batch`."""
        rows = self.rows(world_size, accumulate)
        first = step * self.batch_size + (micro * world_size + rank) * rows
        numbers = [place_in_epoch(n, self.rows_an_epoch, self.seed)
                   for n in range(first, first + rows)]  # fmt: skip
        return padded([[self.examples[n] for n in self._rows[row]] for row in numbers])


def padded(rows: Sequence[Sequence[Example]]) -> tuple[Tensor, Tensor]:
    """Rows of conversations, one behind another: ids and targets, (rows, longest) int64.

    What is padded has the id 0 and no target; it stands at the end, where no token looks.
    """
    width = max(sum(len(example.ids) for example in row) for row in rows)
    x = torch.zeros(len(rows), width, dtype=torch.int64)
    y = torch.full_like(x, IGNORED)
    for number, row in enumerate(rows):
        at = 0
        for example in row:
            end = at + len(example.ids)
            x[number, at:end] = torch.from_numpy(example.ids)
            y[number, at:end] = torch.from_numpy(example.targets)
            at = end
    return x, y


class AnswerLoss:
    """The mean loss of all learned tokens of some conversations, in nats: a `Trainer`'s `val`.

    Args:
        examples: to measure on. batch_size: conversations that are read at a time.

    Raises:
        DataError: there are none.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int = 32) -> None:
        if not examples:
            raise DataError("there are no conversations to measure a loss on; give at least one")
        # Those of about one length together: less padding, and the same sum.
        self.examples = sorted(examples, key=lambda example: len(example.ids))
        self.batch_size = batch_size
        self.sha256 = _told(hashlib.sha256(b"answers "), self.examples)

    def __call__(self, model: GPT) -> float:
        total = 0.0
        for first in range(0, len(self.examples), self.batch_size):
            rows = [[example] for example in self.examples[first : first + self.batch_size]]
            x, y = (part.to(model.device) for part in padded(rows))
            total += token_losses(model, x, y).double().sum().item()
        return total / learned(self.examples)


def _told(told: hashlib._Hash, examples: Sequence[Example]) -> str:
    """The hex sha256 of what is begun with and the ids and targets of conversations."""
    for example in examples:
        for part in (example.ids, example.targets):
            told.update(np.append(part, len(part)).astype("<i8").tobytes())
    return told.hexdigest()
