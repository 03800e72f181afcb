"""Ids that a model cannot read, and the sentences that say why.

One job: refuse them before a kernel does, whose own words would help nobody.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptlib.errors import DataError


def check_targets(targets: Tensor, shape: torch.Size, vocab_size: int) -> None:
    """Refuse targets that no loss can be computed from; -1 leaves a position out.

    Raises:
        DataError: another shape than `shape`, an id outside the vocabulary, or none that counts.
    """
    if targets.shape != shape:
        raise DataError(
            f"targets have shape {tuple(targets.shape)} and idx has {tuple(shape)}; give the token "
            "that follows each position, or -1"
        )
    if not (targets != -1).any():
        raise DataError(
            f"all {targets.numel()} targets are -1, which leaves a position out of the loss, so "
            "nothing is left to learn from; give at least one token id"
        )
    if targets.min() < -1 or targets.max() >= vocab_size:
        raise DataError(
            f"targets run from {targets.min()} to {targets.max()}, but the vocabulary has "
            f"{vocab_size} and only -1 is ignored; was the text encoded by another tokenizer?"
        )


def check_device(ids: Tensor, device: torch.device, name: str) -> None:
    """Refuse ids that lie where the model cannot read them.

    Raises:
        DataError: `ids` are not on `device`.
    """
    if ids.device != device:
        raise DataError(
            f"{name} is on {ids.device} and the model on {device}; move it there: "
            f"{name}.to({str(device)!r})"
        )


def explain_lookup(error: Exception, idx: Tensor, vocab_size: int) -> None:
    """Say why the table of tokens could not be read at `idx`, where the ids are the reason.

    Raises:
        DataError: ids that are no whole numbers, or one outside the vocabulary.
    """
    if idx.dtype not in (torch.int64, torch.int32):
        raise DataError(
            f"idx has the type {idx.dtype}; token ids are whole numbers: give torch.int64"
        ) from error
    if isinstance(error, IndexError):
        raise DataError(
            f"token ids run from {idx.min()} to {idx.max()}, but the vocabulary has "
            f"{vocab_size}; was the text encoded by another tokenizer?"
        ) from error
