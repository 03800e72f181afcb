"""The speedrun's races: whole commands, timed from the keystroke to the saved model.

One job: `race`. `python -m gptlib.course.speedrun.races` runs every command of `RACES` for every
seed that `data/runs/speedrun-races` does not hold yet, one after another and turn by turn, so that
a slow hour of the machine falls on all of them. Leave the machine alone meanwhile. Each command
validates twice, before the first step and after the last, so that no side pays for looking more
often.

Races are compared on one kind of processor; given on another, the command adds that one to the
record. A processor without bfloat16 units may be played by one that has them:

    ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2 \\
    python -m gptlib.course.speedrun.races

and the record says so. `GOALS` are losses in nats per token, to be reached in a share of the steps'
seconds of the race to beat: the sixth and the half on processors with such units, the fifth and the
shorter one on any.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gptlib import runtime
from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, make_record, save_record, spread, this_machine
from gptlib.course.sweep import mean_rate
from gptlib.errors import ConfigError, DataError
from gptlib.files import append_line, mend_jsonl, read_jsonl
from gptlib.presets import preset
from gptlib.runs import load_run

#: name: corpus, preset, what is changed in it. The first race of a corpus is the one to beat.
RACES = {
    "shakespeare-base": ("shakespeare", "nanogpt-cpu", {}),
    "shakespeare-tuned": ("shakespeare", "nanogpt-cpu", {"lr": 4e-3, "steps": 1250}),
    "shakespeare-sixth": ("shakespeare", "speedrun-cpu", {"steps": 170}),
    # In float32 a step takes longer and learns a little more: without bfloat16 units there are
    # fewer of them, here and in `kalevala-shorter`.
    "shakespeare-fifth": ("shakespeare", "speedrun-cpu", {"steps": 160}),
    "shakespeare-whole": ("shakespeare", "speedrun-cpu", {}),
    "kalevala-base": ("kalevala", "kalevala-gpt", {}),
    "kalevala-half": ("kalevala", "speedrun-kalevala", {}),
    "kalevala-shorter": ("kalevala", "speedrun-kalevala", {"steps": 2750}),
}


#: race: the loss to reach, and the largest share of the seconds of its corpus's first race.
GOALS = {
    "shakespeare-sixth": (1.88, 1 / 6),
    "shakespeare-fifth": (1.88, 1 / 5),
    "kalevala-half": (1.40, 1 / 2),
    "kalevala-shorter": (1.40, 1 / 2),
}


def this_kind() -> dict:
    """What decides how fast this processor is at which type, and what makes it play another one."""
    return {
        "cpu": this_machine()[0]["cpu"],
        "capability": torch.backends.cpu.get_cpu_capability(),
        "bfloat16_is_fast": runtime.bfloat16_is_fast("cpu"),
        "played_by": runtime.played_down(),
    }


def command(name: str, seed: int) -> list[str]:
    """The arguments of `gptlib` for one race, but for the folder it saves to."""
    corpus, start, changes = RACES[name]
    steps = changes.get("steps", preset(start).train["steps"])
    changes = {"seed": seed, "eval_every": steps} | changes
    flags = [text for key, v in changes.items() for text in (f"--{key.replace('_', '-')}", str(v))]
    return ["train", "--corpus", corpus, "--preset", start, *flags]


def run_race(name: str, seed: int) -> dict:
    """Run one command in a process of its own, in an empty folder; returns its line of the log.

    `wall` is the whole command's time, importing included; `training` that of the steps alone.
    Both in seconds; `val` in nats per token over the whole split.
    """
    arguments = command(name, seed)
    said = "gptlib " + " ".join(arguments)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        code = subprocess.run(
            [sys.executable, "-m", "gptlib", *arguments, "--out", folder],
            stdout=subprocess.DEVNULL,
        ).returncode  # fmt: skip
        if code:
            raise DataError(f"`{said}` ended with exit code {code}; what it said stands above")
        wall = time.perf_counter() - began
        losses = [line["val"] for line in read_jsonl(Path(folder) / "log.jsonl") if "val" in line]
        rate = mean_rate(read_jsonl(Path(folder) / "speed.jsonl"))
        model, _, about = load_run(folder, "latest")
    config = about["train"]
    tokens = config["steps"] * config["batch_size"] * model.config.block_size
    return {
        "machine": this_kind(), "name": name, "seed": seed, "command": said,
        "val": losses[-1],
        "wall": wall, "training": tokens / rate, "steps": config["steps"], "tokens": tokens,
        "params": model.num_params(),
    }  # fmt: skip


def compare(lines: list[dict]) -> dict[str, dict]:
    """What the runs of each race reached; `faster` is against the first race of its corpus."""
    races = {}
    for name in RACES:
        runs = [line for line in lines if line["name"] == name]
        if not runs:
            continue
        row = {key: spread([run[key] for run in runs]) for key in ("val", "wall", "training")}
        row |= {key: runs[0][key] for key in ("steps", "tokens", "params", "command")}
        first = next(other for other in races | {name: 0} if RACES[other][0] == RACES[name][0])
        if first != name:
            row["faster"] = {
                key: races[first][key]["mean"] / row[key]["mean"] for key in ("wall", "training")
            }
        races[name] = row
    return races


def goals(races: dict[str, dict]) -> dict[str, dict]:
    """How far each of `GOALS` was met: `val`, `share` of the time to beat, and `met`."""
    found = {}
    for name, (loss, most) in GOALS.items():
        if "faster" in races.get(name, {}):
            val, share = races[name]["val"]["mean"], 1 / races[name]["faster"]["training"]
            found[name] = {"val": val, "share": share, "met": val <= loss and share <= most}
    return found


def by_machine(lines: list[dict]) -> list[dict]:
    """`machine`, its `races` (see `compare`) and `goals`, for each kind in the order of the log."""
    kinds = []
    for line in lines:
        if line["machine"] not in kinds:
            kinds.append(line["machine"])
    rows = []
    for kind in kinds:
        races = compare([line for line in lines if line["machine"] == kind])
        rows.append({"machine": kind, "races": races, "goals": goals(races)})
    return rows


def race(
    out: Path, seeds: int = 3, only: str = "", report: Callable[[str], object] = print
) -> Record:
    """Run what `out` does not hold yet of this kind of processor, and write its record.

    Args:
        out: the record's folder. only: leave out races whose name does not contain this.

    Returns:
        The record: `machines` as `by_machine` has them, and `races`, those of the first of them.

    Raises:
        ConfigError: no race's name contains `only`. DataError: a command failed.
    """
    if not any(only in name for name in RACES):
        raise ConfigError(f"no race's name contains {only!r}; there are {', '.join(RACES)}")
    log, kind = out / "log.jsonl", this_kind()
    lines = mend_jsonl(log)
    done = {(line["name"], line["seed"]) for line in lines if line["machine"] == kind}
    for seed in range(seeds):
        for name in RACES:
            if only in name and (name, seed) not in done:
                line = run_race(name, seed)
                append_line(log, line)
                report(f"{name} seed {seed}: val {line['val']:.4f}, {line['training']:.1f} s of "
                       f"training, {line['wall']:.1f} s in all")  # fmt: skip
    lines = read_jsonl(log)
    machines = by_machine(lines)
    for name, goal in next((m["goals"] for m in machines if m["machine"] == kind), {}).items():
        report(f"{name}: val {goal['val']:.4f} in {goal['share']:.3f} of the time, "
               f"{'met' if goal['met'] else 'not met'}")  # fmt: skip
    result = {"races": machines[0]["races"] if machines else {}, "machines": machines,
              "seconds": spread([line["wall"] for line in lines])}  # fmt: skip
    config = {"races": RACES, "seeds": list(range(seeds)), "threads": torch.get_num_threads()}
    record = make_record(out.name, config, result, command="python -m gptlib.course.speedrun.races")
    save_record(record, out)
    return record


def speedrun_races() -> Record:
    """A recipe, to be run on an idle machine: seconds are what it is about."""
    with tempfile.TemporaryDirectory() as folder:
        return race(Path(folder) / "speedrun-races")


def main(arguments: list[str] | None = None) -> None:
    """Run the races from the command line."""
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.speedrun.races")
    parser.add_argument("--seeds", type=at_least_one, default=3)
    parser.add_argument("--out", type=Path, default=Path("data/runs/speedrun-races"))
    parser.add_argument("--only", default="", help="only races whose name contains this")
    options = parser.parse_args(arguments)
    race(options.out, options.seeds, options.only)


if __name__ == "__main__":
    answer(main)
