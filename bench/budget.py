"""Does a run take what `gptlib plan` says: the memory of a fresh process, and the time of a step?

    python bench/budget.py [--out FOLDER]

Each row of memory trains two steps in a process of its own, on one thread, and compares the most
that the system held for it with what was counted. Torch frees every tensor that it no longer needs,
but the C library keeps small ones for the next, so that a process holds more than its tensors:
`peak_mb` is with `MALLOC_MMAP_THRESHOLD_=65536`, where memory that is freed is given back, and
`peak_default_mb` without. Time is the process's own CPU time, not the wall's, against the rate that
`--device cpu` measures on one window and two blocks of the same shape.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from timing import arguments, report

from gptlib.devices import this_cpu
from gptlib.footprint import Step, flops_per_token, memory
from gptlib.model import GPT, GPTConfig
from gptlib.optim import make_optimizers

GIVEN_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}


@dataclass(frozen=True)
class Case:
    """A shape and how a step of it is made."""

    config: GPTConfig
    rows: int
    accumulate: int = 1
    optimizer: str = "adamw"
    recompute: bool = False
    loss_chunk: int = 0


TEN = GPTConfig(512, 8192, 6, 5, 320)  # the preset gpt2-10m
CASES = {
    "gpt2-10m, as it trains": Case(TEN, 8, 2),
    "gpt2-10m, recompute": Case(TEN, 8, 2, recompute=True),
    "gpt2-10m, loss in chunks": Case(TEN, 8, 2, loss_chunk=512),
    "gpt2-10m, both": Case(TEN, 8, 2, recompute=True, loss_chunk=512),
    "gpt2-10m, Muon": Case(TEN, 8, optimizer="muon"),
    "65 symbols, 10.7M": Case(GPTConfig(256, 65, 6, 6, 384), 16),
    "GPT-2's tables, 4 layers": Case(GPTConfig(256, 50304, 4, 12, 768), 2),
}
TIMED = {"gpt2-10m": Case(TEN, 4), "65 symbols, 10.7M": Case(GPTConfig(256, 65, 6, 6, 384), 8)}


def make_step(case: Case, dtype: str):
    """A function that makes one update on random tokens."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = GPT(case.config).train()
    model.recompute, model.loss_chunk = case.recompute, case.loss_chunk
    optimizers = make_optimizers(model, case.optimizer, 1e-3, 0.1, (0.9, 0.95))
    idx = torch.randint(case.config.known_ids, (case.rows, case.config.block_size))

    def step() -> None:
        for _ in range(case.accumulate):
            with torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext():
                loss = model(idx, idx, return_logits=False)[1]
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return step


CHILD = """
import sys; sys.path.insert(0, {here!r})
import budget, timing
print(timing._measure(budget.make_step, (budget.CASES[{name!r}], {dtype!r})))
"""


def peak_mb(name: str, dtype: str, environment: dict[str, str]) -> float:
    """Peak resident memory of a fresh process that makes two steps, in units of 10^6 bytes."""
    program = CHILD.format(here=os.path.dirname(__file__), name=name, dtype=dtype)
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    return float(done.stdout) * 2**20 / 1e6


def memory_row(name: str, case: Case, dtype: str) -> dict:
    step = Step(
        case.rows, case.accumulate, dtype, "cpu", case.optimizer, case.recompute, case.loss_chunk
    )
    counted = memory(case.config, step)
    held = peak_mb(name, dtype, GIVEN_BACK)
    return {
        "case": name,
        "dtype": dtype,
        "counted_mb": counted.total / 1e6,
        "peak_mb": held,
        "off": counted.total / 1e6 / held - 1,
        "peak_default_mb": peak_mb(name, dtype, {}),
        "moment": counted.moment,
    }


def time_row(name: str, case: Case, dtype: str) -> dict:
    """A step's CPU time, and what was foreseen; each the best of a few, taken in turns."""
    step = make_step(case, dtype)
    step()
    measured, rates = [], []
    for _ in range(3):
        rates.append(this_cpu(case.config, dtype, clock=time.process_time).flops[dtype])
        begun = time.process_time()
        step()
        measured.append(time.process_time() - begun)
    tokens = case.rows * case.config.block_size
    foreseen = tokens * flops_per_token(case.config) / max(rates)
    return {
        "case": name,
        "dtype": dtype,
        "foreseen_s": foreseen,
        "measured_s": min(measured),
        "off": foreseen / min(measured) - 1,
        "gflops": max(rates) / 1e9,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=["memory", "time"], help="half of it")
    args = parser.parse_args()
    kinds = ("float32", "bfloat16")
    rows, times = [], []
    torch.set_num_threads(1)
    if args.only != "time":
        rows = [memory_row(n, case, kind) for n, case in CASES.items() for kind in kinds]
    if args.only != "memory":
        times = [time_row(n, case, kind) for n, case in TIMED.items() for kind in kinds]
    for row in times:
        print(json.dumps(row))
    report("budget", rows or times, args.out, times=times)


if __name__ == "__main__":
    main()
