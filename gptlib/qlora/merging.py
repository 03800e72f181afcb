"""An adapter made part of its model: three ways, and what each one changes.

One job: `merge_adapter` and `differences`. The adapter was trained beside Q(W), the base in four
bits, so the model that was trained computes with D(Q(W)) + BA, D turning codes back into numbers.

- "4bit" keeps it small: Q(D(Q(W)) + BA). What was added is rounded once more: where it is less than
  half the distance of two levels no code moves, and where one moves it may move too far.
- "base" goes back to the model as published: W + BA. Nothing is rounded, but BA had learned to live
  with the errors of Q, and, in part, to make up for them.
- "dequantized" merges where it was trained: D(Q(W)) + BA, rounded only to the number type. It is as
  large as the base, and the same model as was trained, up to the order of sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.qlora.base import load_adapter, load_base
from gptlib.qlora.libraries import quiet

if TYPE_CHECKING:
    from transformers import PreTrainedModel

WAYS = ("4bit", "base", "dequantized")


def merge_adapter(
    base: str | Path, adapter: str | Path, way: str, device: str = "auto", dtype: str = "auto"
) -> PreTrainedModel:
    """Load a base and make an adapter part of it.

    Args:
        base, device, dtype: as `load_base` takes them. adapter: its folder. way: one of `WAYS`.

    Returns:
        A model without adapters, in evaluation mode; `save_pretrained` writes it.

    Raises:
        ConfigError: an unknown way. CheckpointError: no such base or adapter.
    """
    if way not in WAYS:
        raise ConfigError(f"an adapter cannot be merged {way!r}; use one of {', '.join(WAYS)}")
    model, _ = load_base(base, four_bit=way != "base", device=device, dtype=dtype)
    with quiet():
        if way == "dequantized":
            model = model.dequantize()
            model.is_loaded_in_4bit = False
        merged = load_adapter(model, adapter).merge_and_unload(safe_merge=True)
    return merged.eval()


@dataclass(frozen=True)
class Difference:
    """How far one model's answers are from another's, over all positions.

    Attributes:
        largest, mean: of the difference of two logits, whose mean at a position is taken off: a
            softmax does not see it. kl: nats per token of the first's distribution from the
            second's. same: the share of positions at which both would write the same token.
    """

    largest: float
    mean: float
    kl: float
    same: float


@torch.no_grad()
def logits_of(model: torch.nn.Module, ids: Tensor) -> Tensor:
    """The logits (B, T, V) float32 on the CPU of ids (B, T)."""
    device = next(model.parameters()).device
    return model(input_ids=ids.to(device)).logits.float().cpu()


def differences(trained: Tensor, merged: Tensor) -> Difference:
    """Compare logits (B, T, V) of the model that was trained with those of a merged one."""
    off = (trained - trained.mean(-1, keepdim=True)) - (merged - merged.mean(-1, keepdim=True))
    before, after = (F.log_softmax(logits, dim=-1) for logits in (trained, merged))
    kl = (before.exp() * (before - after)).sum(-1)
    same = (trained.argmax(-1) == merged.argmax(-1)).float()
    return Difference(
        float(off.abs().max()), float(off.abs().mean()), float(kl.mean()), float(same.mean())
    )
