"""What a training step of each of the speedrun's variants costs, on an idle machine.

One job: `time_steps`. `python -m gptlib.course.speedrun.step_times` writes `timing.json` beside the
ablation's record, which takes it in when `ablation` writes it next. The losses of the
ablation may be made by a busy machine; these seconds may not. Variants take turns, so that a slow
minute falls on all of them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from gptlib.callbacks import Callback
from gptlib.course.command import answer, at_least_one
from gptlib.course.records import spread, this_machine
from gptlib.course.speedrun.ablation import plan
from gptlib.course.sweep import Point, Sweep, load_texts, model_and_config
from gptlib.files import write_atomic
from gptlib.presets import preset
from gptlib.trainer import Trainer


class Stopwatch(Callback):
    """Keeps the seconds of each step; a validation is no part of one."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def validated(self, line: dict) -> None:
        self._since = time.perf_counter()

    def stepped(self, line: dict) -> None:
        now = time.perf_counter()
        self.times.append(now - self._since)
        self._since = now


def time_point(about: dict, point: Point, steps: int) -> list[float]:
    """Seconds of each of the first `steps` steps of a run."""
    _, tokenizer, train, val, _ = load_texts(about)
    model, config = model_and_config(point, tokenizer.vocab_size)
    config = replace(config, steps=steps, warmup=1, eval_every=steps, eval_windows=1)
    with tempfile.TemporaryDirectory() as folder:
        watch = Stopwatch()
        trainer = Trainer(model, train, val, config, folder, tokenizer, callbacks=[watch])
        if not trainer.fit().finished:
            raise KeyboardInterrupt  # the trainer has taken it for a wish to save
    return watch.times


def time_steps(sweep: Sweep, steps: int = 20, rounds: int = 3) -> dict[str, dict]:
    """Time every variant of a sweep, `rounds` times in turn.

    Returns:
        name: `ms_per_step`, the median over the later half of the steps (mean, sd and values over
        the rounds), `first_ms`, the first step of all, which compiles where that is asked for, and
        `seconds` of the whole run at that pace.
    """
    points = [point for point in sweep.points if point.name.endswith("-s0")]
    points = [point for point in points if "test_characters" not in point.settings]
    found: dict[str, list[list[float]]] = {point.name: [] for point in points}
    for _ in range(rounds):
        for point in points:
            found[point.name].append(time_point(sweep.about, point, steps))
    rows = {}
    for point in points:
        times, settings = found[point.name], point.settings
        pace = spread([1000 * statistics.median(each[steps // 2 :]) for each in times])
        updates = settings["tokens"] / (settings["batch_size"] * settings["block_size"])
        rows[point.name.removesuffix("-s0")] = {
            "ms_per_step": pace,
            "first_ms": 1000 * times[0][0],
            "seconds": pace["mean"] / 1000 * updates,
        }
    return rows


def main(arguments: list[str] | None = None) -> None:
    """Time the steps from the command line."""
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.speedrun.step_times")
    parser.add_argument("--preset", default="nanogpt-cpu", help="where every variant starts")
    parser.add_argument("--corpus", default="shakespeare")
    parser.add_argument("--out", type=Path, default=Path("data/runs/speedrun-cpu"))
    parser.add_argument("--steps", type=at_least_one, default=20)
    parser.add_argument("--rounds", type=at_least_one, default=3)
    options = parser.parse_args(arguments)
    sweep = plan(preset(options.preset), corpus=options.corpus, seeds=1)
    rows = time_steps(sweep, options.steps, options.rounds)
    hardware, _ = this_machine()
    about = {"hardware": hardware, "threads": torch.get_num_threads(), "variants": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    write_atomic(options.out / "timing.json", json.dumps(about, indent=1).encode() + b"\n")


if __name__ == "__main__":
    answer(main)
