"""How weights move: parameter groups, AdamW or Muon, and the learning rate at each step.

One job: `make_optimizers` and `learning_rate`. Matrices decay, vectors (biases, norms) do not; the
learning rate is a plain function of the step, so it has no state to save.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from gptlib.errors import ConfigError
from gptlib.model import CausalSelfAttention
from gptlib.muon import Muon

SCHEDULES = ("cosine", "wsd", "constant")
OPTIMIZERS = ("adamw", "muon")
MUON_PARTS = ("packed", "qkv", "heads")


def decay_groups(params: list[nn.Parameter], weight_decay: float) -> list[dict]:
    """Split parameters: matrices get `weight_decay`, vectors none (as GPT-3: Brown et al. 2020)."""
    return [
        {"params": [p for p in params if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in params if p.dim() < 2], "weight_decay": 0.0},
    ]


def make_optimizers(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    betas: tuple[float, float],
    embed_lr: float = 1.0,
    head_lr: float = 1.0,
    muon_parts: str = "packed",
) -> list[torch.optim.Optimizer]:
    """Return the optimizers that together move every weight; step them all, in this order.

    "adamw" is AdamW for everything (Loshchilov & Hutter 2019), fused: one kernel for all weights,
    on CPU and GPU alike. "muon" gives the blocks' matrices to Muon (Jordan et al. 2024), which
    replaces a matrix's update by the nearest one that moves every direction equally far, scaled
    so that the same learning rate serves both (Liu et al. 2025, section 2.2); embeddings, the head
    and vectors stay with AdamW. Muon's products are in bfloat16 where the model's device has units
    for it, else in float32. Every group says in `lr_scale` what it multiplies the rate by; see
    `set_learning_rate`.

    Derived in chapter 3, *What does AdamW do with a slope?* Derived in the speedrun,
    *What should a network believe before it has read anything?*

    Args:
        embed_lr, head_lr: multiples of `lr` for the token and position tables, and for a head of
            its own. Speedruns give each of the three kinds of matrix its own rate (nanochat:
            Karpathy 2025; modded-nanogpt: Jordan et al. 2024).
        muon_parts: what Muon sees in `c_attn`: one matrix ("packed"), those of queries, keys and
            values ("qkv"), or theirs for every head ("heads"), each made equally long by itself.

    Raises:
        ConfigError: an unknown name.
    """
    if name not in OPTIMIZERS:
        raise ConfigError(f"optimizer is {name!r}; use one of {', '.join(OPTIMIZERS)}")
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    hidden = {n: p for n, p in named if name == "muon" and p.dim() == 2 and ".h." in n}
    scales = {1.0: [], embed_lr: [], head_lr: []}
    for n, p in named:
        if n not in hidden:
            table = n.endswith(("wte.weight", "wpe.weight"))
            scales[embed_lr if table else head_lr if "lm_head" in n else 1.0].append(p)
    groups = [
        group | {"lr_scale": scale}
        for scale, params in scales.items()
        for group in decay_groups(params, weight_decay)
        if group["params"] or scale == 1.0
    ]
    adamw = torch.optim.AdamW(groups, lr=lr, betas=betas, eps=1e-8, fused=True)
    if not hidden:
        return [adamw]
    rest = [adamw] if len(hidden) < len(named) else []  # LoRA has nothing but matrices
    if muon_parts == "packed":
        return [Muon(hidden.values(), lr, weight_decay), *rest]
    stacked = ("c_attn.weight", "c_attn.lora_B")  # rows of queries, then keys, then values
    attention = [p for n, p in hidden.items() if n.endswith(stacked)]
    others = [p for n, p in hidden.items() if not n.endswith(stacked)]
    heads = next(m.n_head for m in model.modules() if isinstance(m, CausalSelfAttention))
    parts = 3 * heads if muon_parts == "heads" else 3
    groups = [{"params": attention, "parts": parts}, {"params": others}]
    return [Muon([g for g in groups if g["params"]], lr, weight_decay), *rest]


def set_learning_rate(optimizers: list[torch.optim.Optimizer], lr: float) -> None:
    """Give every group the rate `lr` times its own `lr_scale`."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = lr * group.get("lr_scale", 1.0)


def learning_rate(
    step: int,
    steps: int,
    lr: float,
    min_lr: float,
    warmup: int,
    schedule: str,
    decay: float = 0.2,
) -> float:
    """The learning rate of `step` (0 … steps - 1).

    It climbs in a straight line over `warmup` steps, then follows the schedule: "constant";
    "cosine", half a cosine from `lr` down to `min_lr` (Loshchilov & Hutter 2017); or "wsd",
    level at first and down in a straight line over the last `decay` of the way, a fifth unless
    given (Hu et al. 2024, section 4); speedruns take more than half.

    Derived in the speedrun, *What does each change do to the text, and to the rate?*

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
        return min_lr + (lr - min_lr) * min(1.0, max(0.0, (1 - progress) / decay))
    raise ConfigError(f"schedule is {schedule!r}; use one of {', '.join(SCHEDULES)}")
