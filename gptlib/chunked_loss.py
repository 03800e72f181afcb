"""The loss of many tokens without all of their logits at once.

One job: `chunked_cross_entropy`. A vocabulary of 50,257 gives each token 50,257 logits, and the
backward pass wants them again: for GPT-2's 124 million parameters they are larger than all layers'
activations together. None of them is needed after its own token's loss is known.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

#: Logits that an evaluation makes at a time where nothing else is said: a gigabyte in float32.
MOST_LOGITS = 2**28


def chunked_cross_entropy(
    score: Callable[[Tensor], Tensor],
    hidden: Tensor,
    targets: Tensor,
    chunk: int,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy in nats, `chunk` tokens at a time: loss and gradients of the plain one.

    Derived in chapter 6, *What fits on a card?*

    A chunk's logits are dropped once its loss is known and made again in the backward pass, which
    costs one more product with the head: a third more of the head's FLOPs.

    Args:
        score: hidden states (n, C) to logits (n, V).
        hidden: (B, T, C). targets: (B, T) int64; -1 leaves a position out.
        chunk: tokens whose logits exist at a time, at least 1; the last chunk may be smaller.
        reduction: "mean" over the targets that count, or "none".

    Returns:
        A scalar, or with "none" the loss of every target, (B, T), 0 where it is -1. In float32 at
        least, whatever the logits are in.
    """
    # A mean of the chunks' means would weigh a target by how few others count in its chunk.
    each = "none" if reduction == "none" else "sum"

    def loss(states: Tensor, wanted: Tensor) -> Tensor:
        with _casting_anew(states.device.type):
            logits = score(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return F.cross_entropy(logits, wanted, ignore_index=-1, reduction=each)

    pieces = zip(hidden.flatten(0, 1).split(chunk), targets.flatten().split(chunk), strict=True)
    losses = [checkpoint(loss, *piece, use_reentrant=False) for piece in pieces]
    if reduction == "none":
        return torch.cat(losses).view(targets.shape)
    return torch.stack(losses).sum() / (targets != -1).sum()


def _casting_anew(kind: str) -> AbstractContextManager:
    """Under autocast, give each chunk a copy of the head's weights of its own.

    Autocast would let all chunks share one in half precision, and the backward pass would add up
    their gradients in it: with many chunks the small ones are rounded away.
    """
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.autocast(kind, cache_enabled=False)
    return nullcontext()
