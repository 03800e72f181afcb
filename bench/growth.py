"""How a training step's time and memory grow with T, the batch and the parameters.

    python bench/growth.py [--threads 2] [--repeats 5]

Each axis doubles one thing and holds the rest; float32. Beside the milliseconds stand the FLOPs of
the step by `GPT.flops_per_token` and the rate they were done at. An exponent is the slope of a
straight line through the logarithms: where time's is below that of the FLOPs, larger steps use the
machine better. Memory is what the step's process holds at its peak beyond one that trains a
thousand weights; differences below a megabyte are noise and count as one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from timing import arguments, interleaved, peak_memory_mb, report
from train_step import Size, make_step

from gptlib.model import GPT, GPTConfig

SMALLEST = Size(GPTConfig(8, 65, 1, 1, 8), batch_size=1, T=8, rounds=0)
BASE = Size(GPTConfig(1024, 65, 4, 4, 128), batch_size=4, T=64, rounds=0)


def with_shape(n_layer: int, n_embd: int) -> Size:
    heads = n_embd // 32
    config = replace(BASE.config, n_layer=n_layer, n_embd=n_embd, n_head=heads)
    return replace(BASE, config=config, batch_size=8)


AXES: dict[str, list[Size]] = {
    "T": [replace(BASE, T=T) for T in (64, 128, 256, 512, 1024)],
    "batch": [replace(BASE, batch_size=B) for B in (1, 2, 4, 8, 16, 32, 64)],
    "parameters": [
        with_shape(*shape) for shape in ((2, 64), (4, 128), (6, 192), (6, 384), (8, 512), (12, 768))
    ],
}


def memory_mb(size: Size) -> float:
    return peak_memory_mb(make_step, "gptlib", "float32", size, torch.get_num_threads())


def exponent(x: list[float], y: list[float]) -> float:
    """The b of y = a x^b that fits best in the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def measure(axis: str, sizes: list[Size], repeats: int) -> list[dict]:
    """Time the points of one axis in turns; returns a row for each."""
    threads = torch.get_num_threads()
    steps = {size: make_step("gptlib", "float32", size, threads) for size in sizes}
    seconds, floor = interleaved(steps, repeats), memory_mb(SMALLEST)
    rows = []
    for size, s in seconds.items():
        model = GPT(size.config)
        flops = model.flops_per_token(size.T) * size.batch_size * size.T
        rows.append(
            {
                "axis": axis,
                "batch": size.batch_size,
                "T": size.T,
                "parameters": model.num_params(),
                "ms_per_step": s * 1000,
                "gflop_per_step": flops / 1e9,
                "gflops": flops / s / 1e9,
                "step_mb": max(1.0, memory_mb(size) - floor),
            }
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows, exponents = [], {}
    for axis, sizes in AXES.items():
        points = measure(axis, sizes, args.repeats)
        x = [point[axis] for point in points]
        exponents[axis] = {
            key: round(exponent(x, [point[key] for point in points]), 3)
            for key in ("ms_per_step", "gflop_per_step", "step_mb")
        }
        rows += points
    report("growth", rows, args.out, exponents=exponents)


if __name__ == "__main__":
    main()
