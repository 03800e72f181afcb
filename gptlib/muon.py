"""Muon: an update that moves a matrix equally far in every direction.

One job: `Muon` (Jordan et al. 2024). Gradients of a matrix are dominated by a few directions; Muon
keeps an update's singular vectors and makes all its singular values nearly one, so that the rare
directions are learned as fast as the common ones. `torch.optim.Muon` does the same one matrix at a
time; here all matrices of one shape go through the same few products together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import overload

import torch
from torch import Tensor

from gptlib import runtime
from gptlib.errors import ConfigError

# A step turns every singular value x into a x + b x^3 + c x^5 (Jordan et al. 2024).
STEPS, A, B, C = 5, 3.4445, -4.7750, 2.0315
DTYPES = {name: runtime.DTYPES[name] for name in ("bfloat16", "float32")}


def orthogonalize(G: Tensor, dtype: str | None = None) -> Tensor:
    """Return matrices with the singular vectors of G (N, R, C), R <= C, and values near one.

    Five Newton-Schulz steps: each applies an odd polynomial to every singular value, and its
    coefficients were chosen to lift small values fast, not to converge (they end in 0.7 to 1.2).
    No digit is needed (Jordan et al. 2024), so it is done in the number type whose products are
    fast on G's device, bfloat16 or float32, unless `dtype` names one; the result is of that type.

    Derived in the speedrun, *What does Muon do to a gradient?*
    """
    X = G.to(DTYPES[dtype or fast_dtype(G)])
    X = X / X.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # no value above one
    if X.dtype == torch.float32 and X.size(2) > 2 * X.size(1):
        return _lift_wide(X)
    for _ in range(STEPS):
        gram = X @ X.mT  # (N, R, R)
        gram = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
        X = torch.baddbmm(X, gram, X, beta=A)
    return X


def _lift_wide(X: Tensor) -> Tensor:
    """The same steps for matrices that are much wider than high, in fewer operations.

    Each step multiplies X by a polynomial Q of X X^T, and all that follow need only the small
    matrix: it becomes Q X X^T Q. So the wide one is met twice and not ten times. The squares that
    this keeps would be lost in bfloat16.
    """
    gram = X @ X.mT  # (N, R, R)
    factor = Q = _polynomial(gram)
    for _ in range(STEPS - 1):
        gram = Q @ gram @ Q
        Q = _polynomial(gram)
        factor = Q @ factor
    return factor @ X


def _polynomial(gram: Tensor) -> Tensor:
    """Q of one step: A + B gram + C gram^2."""
    Q = torch.baddbmm(gram, gram, gram, beta=B, alpha=C)
    Q.diagonal(dim1=1, dim2=2).add_(A)
    return Q


def fast_dtype(tensor: Tensor) -> str:
    """The type that matrices on this tensor's device are orthogonalized in, unless told."""
    return "bfloat16" if runtime.bfloat16_is_fast(tensor.device) else "float32"


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
        dtype: "bfloat16" or "float32", what `orthogonalize` computes in; None chooses by the
            device. It is part of the state: a run that goes on elsewhere keeps the type that it
            began with, and so every bit. States without it come from before, and are bfloat16's.

    Raises:
        ConfigError: another dtype.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict],
        lr: float,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        dtype: str | None = None,
    ) -> None:
        if dtype not in (None, *DTYPES):
            raise ConfigError(f"dtype is {dtype!r}; use {' or '.join(DTYPES)}, or None")
        defaults = {
            "lr": lr, "weight_decay": weight_decay, "momentum": momentum, "parts": 1,
            "dtype": dtype,
        }  # fmt: skip
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict) -> None:
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["dtype"] = group["dtype"] or fast_dtype(group["params"][0])

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        for group in self.param_groups:  # states saved by torch.optim.Muon fit too
            group.setdefault("parts", 1)
            group.setdefault("dtype", "bfloat16")

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a saved state, in the number type that it was saved with, and warn where this
        processor is slow at it."""
        super().load_state_dict(state_dict)
        kept = [group["params"][0] for group in self.param_groups if group["dtype"] == "bfloat16"]
        if any(p.device.type == "cpu" and fast_dtype(p) != "bfloat16" for p in kept):
            runtime.warn_emulated("Muon goes on in it, as saved, so that the run stays exact")

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update every matrix; `closure` computes the loss and its gradients anew before that."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        alike: dict[tuple[torch.Size, str], list[tuple[Tensor, Tensor, float]]] = {}
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
                    kind = weight.shape, group["dtype"]
                    alike.setdefault(kind, []).append((weight, move, rate))
        for (_, dtype), same in alike.items():
            moves = orthogonalize(torch.stack([move for _, move, _ in same]), dtype)
            for (weight, _, rate), move in zip(same, moves, strict=True):
                weight.add_(move, alpha=-rate)
        return loss
