"""How weights move: parameter groups, AdamW, and the learning rate at each step.

One job: `make_optimizer` and `learning_rate`. Matrices decay, vectors (biases, norms) do not; the
learning rate is a plain function of the step, so it has no state to save.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from gptlib.errors import ConfigError

SCHEDULES = ("cosine", "wsd", "constant")


def decay_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Split parameters: matrices get `weight_decay`, vectors none (as GPT-3: Brown et al. 2020)."""
    params = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def make_optimizer(
    model: nn.Module, lr: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019), fused: one kernel for all weights, on CPU and GPU alike."""
    return torch.optim.AdamW(
        decay_groups(model, weight_decay), lr=lr, betas=betas, eps=1e-8, fused=True
    )


def learning_rate(
    step: int, steps: int, lr: float, min_lr: float, warmup: int, schedule: str
) -> float:
    """The learning rate of `step` (0 … steps - 1).

    It climbs in a straight line over `warmup` steps, then follows the schedule: "constant";
    "cosine", half a cosine from `lr` down to `min_lr` (Loshchilov & Hutter 2017); or "wsd",
    level at first and down in a straight line over the last fifth (Hu et al. 2024, section 4).

    Raises:
        ConfigError: an unknown schedule.
    """
    if step < warmup:
        return lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - 1 - warmup)  # 0 after warm-up, 1 at the last step
    if schedule == "constant":
        return lr
    if schedule == "cosine":
        return min_lr + (lr - min_lr) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    if schedule == "wsd":
        return min_lr + (lr - min_lr) * min(1.0, max(0.0, (1 - progress) / 0.2))
    raise ConfigError(f"schedule is {schedule!r}; use one of {', '.join(SCHEDULES)}")
