"""What a checkpoint of GPT-2 124M costs: how long training stands still, and how much memory.

    python bench/save_cost.py

A fresh process trains for two steps of one short window (so that activations, which would hide the
cost, are small), then saves three times. Writes data/runs/save-cost/record.json.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import torch

from gptlib import GPT, GPTConfig, TrainConfig, Trainer, checkpoint
from gptlib.course.records import make_record, save_record

INTERVAL = 60 * TrainConfig().save_minutes  # seconds


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(folder: str) -> dict:
    torch.set_num_threads(1)
    model = GPT(GPTConfig(1024, 50304, 12, 12, 768))
    ids = torch.randint(50304, (4096,))
    config = TrainConfig(steps=1000, batch_size=1, eval_every=1000, eval_windows=1, warmup=1)
    trainer = Trainer(model, ids, ids[:1026], config, Path(folder) / "run")
    seen: dict = {"saves_s": []}
    save = trainer._save

    def timed_save(passing: bool = False) -> None:
        seen["peak_before_mb"] = peak_mb()
        for _ in range(3):
            begun = time.perf_counter()
            save(passing)
            seen["saves_s"].append(time.perf_counter() - begun)
        seen["peak_after_mb"] = peak_mb()

    trainer._save = timed_save
    trainer.fit(stop_after=2)
    place = checkpoint.folder_of(Path(folder) / "run", 2)
    seen["bytes"] = sum(path.stat().st_size for path in place.iterdir())
    return seen


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seen = pool.apply(measure, (folder,))
    seconds = statistics.median(seen["saves_s"])
    result = {
        **seen,
        "median_s": seconds,
        "share_of_time": seconds / (INTERVAL + seconds),
        "memory_grew_by": seen["peak_after_mb"] / seen["peak_before_mb"] - 1,
        "bytes_per_second": seen["bytes"] / seconds,
    }
    print(f"{seen['bytes'] / 1e9:.2f} GB saved in {seconds:.1f} s (median of 3), "
          f"{result['bytes_per_second'] / 1e6:.0f} MB/s")  # fmt: skip
    print(f"{result['share_of_time']:.1%} of the time at a save every {INTERVAL / 60:.0f} minutes")
    print(f"peak memory {seen['peak_before_mb']:.0f} MB before, {seen['peak_after_mb']:.0f} after: "
          f"{result['memory_grew_by']:+.1%}")  # fmt: skip
    config = {"model": "GPT-2 124M", "interval_s": INTERVAL, "threads": 1}
    record = make_record("save-cost", config, result, command="python bench/save_cost.py")
    save_record(record, Path(__file__).parent.parent / "data" / "runs" / "save-cost")


if __name__ == "__main__":
    main()
