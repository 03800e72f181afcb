"""Timing that two programs can share: interleaved repeats, medians, and peak memory in a child.

Contenders take turns, so that a machine that slows down slows all of them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gptlib.course.records import this_machine


def arguments(about: str) -> argparse.ArgumentParser:
    """The options that most benches share; `about` is the bench's docstring."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    return parser


def interleaved(
    contenders: dict[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Median seconds of each contender by `clock`, after one warm-up call of each."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory_mb(make: Callable[..., Callable[[], None]], *args) -> float:
    """Peak resident memory, in MB, of a fresh process that runs one contender twice."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_measure, (make, args))


def _measure(make: Callable[..., Callable[[], None]], args: tuple) -> float:
    run = make(*args)
    run()
    run()
    # Linux's ru_maxrss remembers the parent's peak from before exec; VmHWM is this program's own.
    status = Path("/proc/self/status")
    if status.is_file():
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def report(name: str, rows: list[dict], out: Path, **also) -> None:
    """Print rows as a table and write them, with the machine, to `out`/`name`.json.

    Args:
        also: what else to write, under its own keys; short facts that no row holds.
    """
    columns = list(rows[0])
    widths = [max(len(c), *(len(_cell(r[c])) for r in rows)) for c in columns]
    for cells in ([*columns], *([_cell(r[c]) for c in columns] for r in rows)):
        print("  ".join(cell.rjust(w) for cell, w in zip(cells, widths, strict=True)))
    for fact, value in also.items():
        print(f"{fact}: {value}")
    hardware, versions = this_machine()
    if "transformers" in sys.modules:
        versions["transformers"] = sys.modules["transformers"].__version__
    out.mkdir(parents=True, exist_ok=True)
    about = {"hardware": hardware, "versions": versions, **also, "rows": rows}
    (out / f"{name}.json").write_text(json.dumps(about, indent=1) + "\n")


def _cell(value) -> str:
    return (
        f"{value:,.3g}"
        if isinstance(value, float) and value < 100
        else (f"{value:,.0f}" if isinstance(value, float) else str(value))
    )
