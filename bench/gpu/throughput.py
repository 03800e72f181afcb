"""GPT-2 124M at 1,024 tokens of context, made faster one change at a time.

    python bench/gpu/throughput.py --out FILE [--device cuda] [--steps 20] [--layers 12]

Each rung keeps the changes of the rungs above it: what people type first, in float32 with attention
written out; TF32; the fused kernel; bfloat16; torch.compile; fused AdamW; a vocabulary padded to a
multiple of 128; larger batches; and a head whose loss is computed in chunks. Milliseconds are the
median of `steps` steps after the warm-up. Every rung is written when it is done, so a run that is
cut off keeps what it has and the same command goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from unittest import mock

import torch
import torch.nn.functional as F

from gptlib import GPT, GPTConfig
from gptlib.course.records import this_machine
from gptlib.model import naive_attention
from gptlib.optim import decay_groups
from gptlib.runtime import Runtime

T = 1024
PUBLISHED = 450_000  # tokens/s of one H100 (data/published.toml: gpt2-fineweb)


@dataclass(frozen=True)
class Rung:
    name: str
    batch_size: int = 8
    tf32: bool = False
    fused_attention: bool = False
    bf16: bool = False
    compiled: bool = False
    fused_adamw: bool = False
    vocab_size: int = 50257
    chunked_loss: bool = False


def ladder() -> list[Rung]:
    rungs = [Rung("naive attention, float32")]
    for name, change in (
        ("TF32", {"tf32": True}),
        ("fused attention", {"fused_attention": True}),
        ("bfloat16", {"bf16": True}),
        ("torch.compile", {"compiled": True}),
        ("fused AdamW", {"fused_adamw": True}),
        ("vocabulary padded to 50,304", {"vocab_size": 50304}),
        ("batch 16", {"batch_size": 16}),
        ("batch 32", {"batch_size": 32}),
        ("batch 64", {"batch_size": 64}),
        ("loss in chunks", {"chunked_loss": True}),
        ("loss in chunks, batch 96", {"batch_size": 96}),
    ):
        rungs.append(replace(rungs[-1], name=name, **change))
    return rungs


def written_out(q, k, v, dropout_p=0.0, is_causal=False):
    return naive_attention(q, k, v, causal=is_causal)


def measure(rung: Rung, device: str, steps: int, layers: int) -> dict:
    """Time training steps of one rung; the loss is of random tokens and means nothing."""
    torch.manual_seed(0)
    cuda = device.startswith("cuda")
    torch.backends.cuda.matmul.fp32_precision = "tf32" if rung.tf32 else "ieee"
    model = GPT(GPTConfig(T, rung.vocab_size, layers, 12, 768)).to(device)
    groups = decay_groups(list(model.parameters()), 0.1)
    optimizer = torch.optim.AdamW(
        groups, lr=1e-4, betas=(0.9, 0.95), fused=rung.fused_adamw, foreach=not rung.fused_adamw
    )
    idx = torch.randint(50257, (rung.batch_size, T), device=device)
    targets = idx.roll(-1, 1)

    compiled = torch.compile if rung.compiled else lambda function: function
    if rung.chunked_loss:  # the op runs eagerly and wants both factors in one number type
        hidden, half = compiled(model.hidden), torch.bfloat16 if rung.bf16 else torch.float32
        options = torch.nn.LinearCrossEntropyOptions()

        def call(idx, targets):
            states, weight = hidden(idx).flatten(0, 1).to(half), model.lm_head.weight.to(half)
            return F.linear_cross_entropy(states, weight, targets.flatten(), options=options)
    else:
        call = compiled(lambda idx, targets: model(idx, targets, return_logits=False)[1])

    def step() -> None:
        with torch.autocast(device.split(":")[0], torch.bfloat16) if rung.bf16 else nullcontext():
            loss = call(idx, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if cuda:
            torch.cuda.synchronize()

    patch = mock.patch("torch.nn.functional.scaled_dot_product_attention", written_out)
    with nullcontext() if rung.fused_attention else patch:
        begun = time.perf_counter()
        for _ in range(3):  # the first compiles
            step()
        warm = time.perf_counter() - begun
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(steps):
            begun = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - begun)
    median = statistics.median(seconds)
    rate = rung.batch_size * T / median
    peak = Runtime.detect(device, "bfloat16" if rung.bf16 else "float32").peak_flops()
    return {
        "name": rung.name,
        "ms": median * 1e3,
        "tokens_per_s": rate,
        "mfu": rate * model.flops_per_token(T) / peak if peak else None,
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if cuda else None,
        "warm_up_s": warm,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--layers", type=int, default=12, help="fewer, to try the script")
    args = parser.parse_args()
    unfinished = args.out.with_suffix(".part")
    rows = json.loads(unfinished.read_text()) if unfinished.exists() else []
    for rung in ladder():
        if any(row["name"] == rung.name for row in rows):
            continue
        try:
            row = measure(rung, args.device, args.steps, args.layers)
        except torch.OutOfMemoryError:
            row = {"name": rung.name, "failed": "out of memory"}
        if args.device.startswith("cuda"):
            torch.compiler.reset()
            torch.cuda.empty_cache()
        rows.append(row)
        unfinished.write_text(json.dumps(rows))
        print(row, flush=True)
    best = max((row for row in rows if "ms" in row), key=lambda row: row["tokens_per_s"])
    hardware, versions = this_machine()
    result = {"rungs": rows, "best": best, "published_tokens_per_s": PUBLISHED}
    about = {"hardware": hardware, "versions": versions, "result": result}
    args.out.write_text(json.dumps(about, indent=1) + "\n")
    unfinished.unlink()


if __name__ == "__main__":
    main()
