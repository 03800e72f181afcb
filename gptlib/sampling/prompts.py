"""What a model is asked to continue: one prompt, several of one length, several of many.

One job: from what a caller may give to rows of token ids that the model can read, and back to one
tensor of rows that ended at different places.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import torch
from torch import Tensor

from gptlib.errors import DataError
from gptlib.model import GPT
from gptlib.tokenizers.base import shorten

if TYPE_CHECKING:
    from typing_extensions import TypeIs

Prompt = Tensor | np.ndarray | Sequence[int]
Prompts = Prompt | Sequence[Prompt]


def as_prompt(model: GPT, ids: Prompts) -> Tensor:
    """Return `ids` as (B, T) int64 on the model's device; warn if the model cannot see it whole.

    Raises:
        DataError: no ids at all, something else than ids, or one outside the vocabulary.
    """
    given = ids
    try:
        ids = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        ids = torch.tensor(math.nan)  # no numbers, or rows of different lengths
    ids = ids.unsqueeze(0) if ids.dim() == 1 else ids
    no_ids = ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool
    if ids.dim() == 2 and ids.numel() == 0:
        raise DataError("the prompt is empty; give at least one token, a newline if nothing else")
    if ids.dim() != 2 or no_ids or has_truth(given):
        raise DataError(
            f"the prompt is {shorten(given)}; expected token ids, one list of whole numbers for "
            "each text: tokenizer.encode makes one of a text"
        )
    ids = ids.to(model.device, torch.int64)
    if ids.min() < 0 or ids.max() >= model.config.known_ids:
        raise DataError(
            f"prompt ids run from {ids.min()} to {ids.max()}, but the model knows 0 to "
            f"{model.config.known_ids - 1}; was it encoded by another tokenizer?"
        )
    if ids.size(1) > (block_size := model.config.block_size):
        warnings.warn(
            f"the prompt has {ids.size(1)} tokens and block_size is {block_size}: the model reads "
            f"the last {block_size} of them; shorten it, or train with a longer block_size",
            stacklevel=4,
        )
    return ids


def lengths_differ(ids: Prompts) -> TypeGuard[Sequence[Prompt]]:
    """Say whether these are several prompts of different lengths."""
    try:
        return not isinstance(ids, Tensor) and len({len(r) for r in ids if not is_number(r)}) > 1
    except TypeError:
        return False  # no prompts at all, which `as_prompt` says


def padded(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, list[int]]:
    """Rows of different lengths as one tensor, each repeating its last token, and the lengths."""
    lengths = [len(row) for row in rows]
    full = [row + [row[-1]] * (max(lengths) - len(row)) for row in rows]
    return torch.tensor(full, device=device), lengths


def has_truth(ids: object) -> bool:
    """Say whether a True or a False is among the ids: torch takes it for 1 or 0."""
    if isinstance(ids, list | tuple):
        return any(map(has_truth, ids))
    return isinstance(ids, bool | np.bool_)


def is_number(x: object) -> TypeIs[int]:
    """Say whether this is one id, not a sequence of them."""
    return isinstance(x, int) or getattr(x, "ndim", None) == 0
