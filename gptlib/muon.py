"""Muon: an update that moves a matrix equally far in every direction.

One job: `Muon` (Jordan et al. 2024). Gradients of a matrix are dominated by a few directions; Muon
keeps an update's singular vectors and makes all its singular values nearly one, so that the rare
directions are learned as fast as the common ones. `torch.optim.Muon` does the same one matrix at a
time; here all matrices of one shape go through the same few products together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalize(G: Tensor) -> Tensor:
    """Return matrices with the singular vectors of G (N, R, C), R <= C, and values near one.

    Five Newton-Schulz steps: each applies an odd polynomial to every singular value, and its
    coefficients were chosen to lift small values fast, not to converge (they end in 0.7 to 1.2).
    In bfloat16, since no digit is needed (Jordan et al. 2024).
    """
    X = G.bfloat16()
    X = X / X.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # no value above one
    for _ in range(5):
        gram = X @ X.mT  # (N, R, R)
        gram = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        X = torch.baddbmm(X, gram, X, beta=3.4445)
    return X


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalized, for matrices only.

    Args:
        params: matrices, or groups of them. A group's `parts` says how many matrices each of its
            tensors holds, stacked by rows, as `c_attn` holds those of queries, keys and values, and
            each of them those of the heads: 1 unless given.
        lr: scaled by 0.2 * sqrt(longer side), which makes an update about as large as AdamW's, so
            that one learning rate serves both (Liu et al. 2025, section 2.2).
        weight_decay: the share of a weight, times lr, that each step takes away.
        momentum: how much of the past an update keeps; it looks one step ahead (Nesterov).
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        defaults = {"lr": lr, "weight_decay": weight_decay, "momentum": momentum, "parts": 1}
        super().__init__(params, defaults)

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("parts", 1)  # states saved by torch.optim.Muon fit too

    @torch.no_grad()
    def step(self, closure=None) -> None:
        by_shape: dict[torch.Size, list[tuple[Tensor, Tensor, float]]] = {}
        for group in self.param_groups:
            for p in (p for p in group["params"] if p.grad is not None):
                if not self.state[p]:
                    self.state[p]["momentum_buffer"] = torch.zeros_like(p.grad)
                past = self.state[p]["momentum_buffer"]
                past.lerp_(p.grad, 1 - group["momentum"])
                update = p.grad.lerp(past, group["momentum"])
                p.mul_(1 - group["lr"] * group["weight_decay"])
                for weight, move in zip(
                    p.chunk(group["parts"]), update.chunk(group["parts"]), strict=True
                ):
                    if weight.size(0) > weight.size(1):
                        weight, move = weight.T, move.T
                    rate = group["lr"] * 0.2 * math.sqrt(weight.size(1))
                    by_shape.setdefault(weight.shape, []).append((weight, move, rate))
        for same in by_shape.values():
            moves = orthogonalize(torch.stack([move for _, move, _ in same]))
            for (weight, _, rate), move in zip(same, moves, strict=True):
                weight.add_(move, alpha=-rate)
