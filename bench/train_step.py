"""A training step of gptlib against transformers' GPT-2, nanoGPT's step, and naive attention.

    python bench/train_step.py [--nanogpt FOLDER] [--threads 2]

Same batch, one process, contenders taking turns. Each does what its users do: transformers computes
its own loss from labels, and like gptlib it gets fused AdamW; "plain" is gptlib's model trained as
nanoGPT trains on a CPU (float32, AdamW not fused), and with `--nanogpt` it is nanoGPT's own model
and optimizer (see `plain_loop.py`). Peak memory is of a fresh process that holds only that
contender. GPT-2 124M gets one window of 256 tokens, since a full one takes two cores ten seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch
from plain_loop import load_nanogpt, plain_step
from timing import arguments, interleaved, peak_memory_mb, report

from gptlib.hub import to_hf
from gptlib.model import GPT, GPTConfig, naive_attention
from gptlib.optim import make_optimizers


@dataclass(frozen=True)
class Size:
    """A model and its batch (B, T), how often it is timed, and whether naive attention joins."""

    config: GPTConfig
    batch_size: int
    T: int
    rounds: int
    naive: bool = True

    def contenders(self) -> list[tuple[str, str]]:
        names = ("gptlib", "transformers") + ("naive",) * self.naive
        halves = [(name, dtype) for dtype in ("float32", "bfloat16") for name in names]
        return [*halves, ("plain", "float32")]


SIZES = {
    "0.8M": Size(GPTConfig(64, 65, 4, 4, 128), 12, 64, rounds=30),
    "10.7M": Size(GPTConfig(256, 65, 6, 6, 384), 16, 256, rounds=7),
    "124M": Size(GPTConfig(), 1, 256, rounds=5, naive=False),
}


def naive_sdpa(q, k, v, dropout_p=0.0, is_causal=False):
    return naive_attention(q, k, v, causal=is_causal)


def make_step(
    contender: str, dtype: str, size: Size, threads: int, nanogpt: Path | None = None
) -> Callable[[], float]:
    """Return a function that does one update and returns the loss before it."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    idx = torch.randint(size.config.vocab_size, (size.batch_size, size.T))
    targets = idx.roll(-1, 1)
    if contender == "plain":
        model = load_nanogpt(nanogpt, size.config) if nanogpt else GPT(size.config)
        return plain_step(model, lambda: (idx, targets))
    model = GPT(size.config)
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


def compare(name: str, size: Size, threads: int, nanogpt: Path | None) -> list[dict]:
    """Time one size's contenders; returns a row for each."""
    made = {c: (*c, size, threads, nanogpt) for c in size.contenders()}
    seconds = interleaved({c: make_step(*args) for c, args in made.items()}, size.rounds)
    return [
        {
            "model": name,
            "batch": f"{size.batch_size} x {size.T}",
            "dtype": contender[1],
            "contender": contender[0],
            "ms_per_step": s * 1000,
            "tokens_per_s": size.batch_size * size.T / s,
            "speed_vs_transformers_fp32": seconds["transformers", "float32"] / s,
            "speed_vs_plain": seconds["plain", "float32"] / s,
            "peak_mb": peak_memory_mb(make_step, *made[contender]),
        }
        for contender, s in seconds.items()
    ]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--nanogpt", type=Path, help="a folder with nanoGPT's model.py")
    args = parser.parse_args()
    rows = []
    for name, size in SIZES.items():
        rows += compare(name, size, args.threads, args.nanogpt)
    plain = "nanoGPT's model and optimizer" if args.nanogpt else "gptlib's model, AdamW not fused"
    rounds = {name: size.rounds for name, size in SIZES.items()}
    report("train_step", rows, args.out, plain=plain, rounds=rounds)


if __name__ == "__main__":
    main()
