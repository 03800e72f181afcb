"""A training step of gptlib against transformers' GPT-2 and against naive attention.

    python bench/train_step.py [--threads 2] [--repeats 15]

Same weights, same batch, same AdamW settings, one process, contenders taking turns. Each does what
its users do: transformers computes its own loss from labels, and both use fused AdamW. Peak memory
is of a fresh process that holds only that contender.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
from timing import interleaved, peak_memory_mb, report

from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig, naive_attention
from gptlib.optim import make_optimizers

SHAPES = {
    "0.8M": (GPTConfig(64, 65, 4, 4, 128), 12),
    "10.7M": (GPTConfig(256, 65, 6, 6, 384), 16),
}


def naive_sdpa(q, k, v, dropout_p=0.0, is_causal=False):
    return naive_attention(q, k, v, causal=is_causal)


def make_step(contender: str, shape: str, dtype: str, threads: int) -> Callable[[], float]:
    """Return a function that does one update and returns the loss before it."""
    torch.set_num_threads(threads)
    config, batch_size = SHAPES[shape]
    torch.manual_seed(0)
    model = GPT(config)
    idx = torch.randint(config.vocab_size, (batch_size, config.block_size))
    targets = idx.roll(-1, 1)
    if contender == "transformers":
        model = to_hf(model)
    model.train()
    (optimizer,) = make_optimizers(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
    half = dtype == "bfloat16"

    def step() -> float:
        naive = contender == "naive"
        patch = mock.patch("torch.nn.functional.scaled_dot_product_attention", naive_sdpa)
        with patch if naive else nullcontext():
            with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
                if contender == "transformers":
                    loss = model(idx, labels=idx).loss  # shifts the labels itself
                else:
                    loss = model(idx, targets, return_logits=False)[1]
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    rows = []
    for shape, (config, batch_size) in SHAPES.items():
        contenders = [
            (name, dtype)
            for dtype in ("float32", "bfloat16")
            for name in ("gptlib", "transformers", "naive")
        ]
        steps = {c: make_step(*_order(c, shape, args.threads)) for c in contenders}
        seconds = interleaved(steps, args.repeats)
        base = seconds["transformers", "float32"]
        for name, dtype in contenders:
            s = seconds[name, dtype]
            rows.append(
                {
                    "model": shape,
                    "dtype": dtype,
                    "contender": name,
                    "ms_per_step": s * 1000,
                    "tokens_per_s": batch_size * config.block_size / s,
                    "speed_vs_transformers_fp32": base / s,
                    "peak_mb": peak_memory_mb(
                        make_step, *_order((name, dtype), shape, args.threads)
                    ),
                }
            )
    report("train_step", rows, args.out)


def _order(contender: tuple[str, str], shape: str, threads: int) -> tuple:
    name, dtype = contender
    return name, shape, dtype, threads


if __name__ == "__main__":
    main()
