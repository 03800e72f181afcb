"""The runs behind the table of chapter 4's lab: what a hundred billion FLOPs buy by several plans.

One job: `scaling_lab`, which trains by the lab's own loop and purse, one seed each.
"""

from __future__ import annotations

import time

import torch

from gptlib.course.purse import Purse
from gptlib.course.records import Record, make_record
from gptlib.course.scaling.lab import FLOPS
from gptlib.model import GPT
from gptlib.optim import learning_rate

#: blocks, channels, windows a step, highest rate, and whether it falls along a cosine or stays.
PLANS = (
    (4, 128, 8, 4e-3, "cosine"),
    (1, 64, 8, 1e-2, "cosine"),
    (1, 32, 16, 4e-3, "cosine"),
    (1, 32, 16, 4e-3, "constant"),
    (1, 32, 8, 1e-2, "cosine"),
)


def train(purse: Purse, model: GPT, B: int, lr: float, schedule: str = "cosine") -> int:
    """Train by the lab's solution, or at a constant rate without warm-up; returns the steps."""
    assert purse.flops is not None
    steps = int(purse.flops / (model.flops_per_token(purse.T) * B * purse.T))
    optimizer = torch.optim.AdamW(model.parameters(), lr, (0.9, 0.95), weight_decay=0.1)
    for step in range(steps):
        if schedule == "cosine":
            rate = learning_rate(step, steps, lr, 0.0, max(1, steps // 10), "cosine")
            optimizer.param_groups[0]["lr"] = rate
        model(*purse.batch(B))[1].backward()
        optimizer.step()
        optimizer.zero_grad()
    return steps


def scaling_lab(flops: float = FLOPS) -> Record:
    """Spend the lab's budget by each of `PLANS`, seed 0 as the lab's check has it."""
    plans = []
    started = time.perf_counter()
    for layers, channels, B, lr, schedule in PLANS:
        purse = Purse(flops=flops)
        torch.manual_seed(0)
        model = purse.model(n_layer=layers, n_head=4, n_embd=channels)
        torch.manual_seed(0)
        steps = train(purse, model, B, lr, schedule)
        plans.append({
            "n_layer": layers, "n_embd": channels, "B": B, "lr": lr, "schedule": schedule,
            "params": model.num_params(), "steps": steps, "val": purse.loss(model),
        })  # fmt: skip
        print(plans[-1], flush=True)
    seconds = time.perf_counter() - started
    took = {"mean": seconds / len(plans), "sum": seconds}
    config = {"flops": flops, "n_head": 4, "block_size": 64, "seed": 0, "corpus": "tales"}
    return make_record("scaling-lab", config, {"plans": plans, "seconds": took})
