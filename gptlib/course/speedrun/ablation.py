"""The speedrun's ablation: every change alone, and every change left out, with the same seeds.

One job: `ablate`: it turns a preset and `PARTS` into a sweep, runs it, and compares what came of
it. `python -m gptlib.course.speedrun.ablation` trains what `data/runs/speedrun-cpu` does not hold
yet; given again after any interruption, it goes on. All runs read equally many tokens, and the
seeds are paired: seed 1 draws the same weights and the same text for all variants that share their
shape.

A change is added to `tuned`, the preset with a learning rate of its own, and not to the preset:
at a rate that suits nobody, a change may only seem to help because it likes that rate better.
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import torch

from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, read_record, save_record, spread
from gptlib.course.sweep import Point, Sweep, run_sweep
from gptlib.errors import ConfigError
from gptlib.presets import Preset, preset

#: What leads from `tuned`, which is `nanogpt-cpu` at `LR`, to `speedrun-cpu`: one change a name.
PARTS = {
    "no-replacement": dict(sampling="shuffled"),
    "larger-batch": dict(batch_size=24),
    "ends": dict(min_lr=0.0, warmup=10, beta2=0.95),
    "wsd": dict(schedule="wsd", decay=0.6),
    "rotary": dict(rotary=True),
    "qk-norm": dict(qk_norm=True),
    "relu2": dict(activation="relu2"),
    "untied-head": dict(tied_head=False),
    "zero-init": dict(zero_init=True),
    "softcap": dict(softcap=15.0),
    "muon": dict(optimizer="muon", muon_parts="heads"),
    "bfloat16": dict(dtype="bfloat16"),
}

#: What is measured in the same way and not taken: on top of `tuned`, and on top of all the others.
OTHERS = {"rmsnorm": dict(norm="rmsnorm"), "compile": dict(compile=True)}

#: The learning rate of `tuned` and of `all`, and the multiples of it that are tried for both.
LR, TRIED = 4e-3, (0.5, 2.0)

#: Characters at the end of the training text that the `test-` variants neither train on nor see
#: before they are done. Nothing was ever chosen by them.
TEST_CHARACTERS = 50_000

BASE, TUNED, ALL = "base", "tuned", "all"


def variants(
    parts: dict[str, dict] = PARTS,
    others: dict[str, dict] = OTHERS,
    lr: float = LR,
    tried: tuple[float, ...] = TRIED,
) -> dict[str, dict]:
    """What each variant changes in the preset.

    `base` nothing, `tuned` the learning rate, `plus-X` that and one part; `all` everything,
    `without-X` all but one; both at other rates; and the three once more for the test slice.
    """
    tuned = {"lr": lr}
    everything = tuned | {key: value for part in parts.values() for key, value in part.items()}
    found = {BASE: {}, TUNED: tuned, ALL: everything}
    for name, settings in list(found.items()):
        found[f"test-{name}"] = settings | {"test_characters": TEST_CHARACTERS}
    for rate in (factor * lr for factor in tried):
        found[f"{BASE}-lr-{rate:g}"] = {"lr": rate}
        found[f"{ALL}-lr-{rate:g}"] = everything | {"lr": rate}
    for name, part in (parts | others).items():
        found[f"plus-{name}"] = tuned | part
    for name in parts:
        rest = [part for other, part in parts.items() if other != name]
        found[f"without-{name}"] = tuned | {k: v for part in rest for k, v in part.items()}
    return found | {f"{ALL}-plus-{name}": everything | part for name, part in others.items()}


def plan(
    base: Preset,
    parts: dict[str, dict] = PARTS,
    others: dict[str, dict] = OTHERS,
    corpus: str = "shakespeare",
    seeds: int = 3,
    steps: int | None = None,
    evals: int = 4,
    name: str = "speedrun-cpu",
    lr: float = LR,
) -> Sweep:
    """The sweep of all variants: one seed of all of them, then the next.

    Args:
        base: where every variant starts from. parts, others: see `PARTS` and `OTHERS`.
        steps: of the base, None for the preset's; every variant reads as many tokens.
        lr: of `tuned` and `all`.

    Raises:
        ConfigError: two parts set the same field, so that leaving one out would not undo it.
    """
    for a, b in itertools.combinations(parts, 2):
        if both := set(parts[a]) & set(parts[b]):
            raise ConfigError(f"{a!r} and {b!r} both set {', '.join(both)}; a field has one part")
    train = {key: value for key, value in base.train.items() if key not in ("steps", "eval_every")}
    steps = steps or base.train["steps"]
    tokens = steps * train["batch_size"] * base.model["block_size"]
    shared = base.model | train | {"tokens": tokens, "evals": evals}
    points = [
        Point(f"{variant}-s{seed}", seed, shared | changes)
        for seed in range(seeds)
        for variant, changes in variants(parts, others, lr).items()
    ]
    about = {"corpus": corpus, "seeds": list(range(seeds)), "settings": shared}
    return Sweep(name, about, tuple(points))


def compare(record: Record) -> dict[str, dict]:
    """What every variant reached, and what it changed against `base` and `all`, seed by seed.

    Returns:
        name: `val` (nats per token, the whole split), `steps`, `tokens`,
        `params`, and `val_minus_base`, `val_minus_tuned` and `val_minus_all`: mean, sd and values
        over the seeds that both have; `test` where it was measured.
    """
    runs: dict[str, dict[int, dict]] = {}
    for run in record.result["runs"]:
        runs.setdefault(run["name"].rpartition("-s")[0], {})[run["seed"]] = run
    found = {}
    for variant, by_seed in runs.items():
        row = {"val": spread([run["val"] for run in by_seed.values()])}
        row |= {key: next(iter(by_seed.values()))[key] for key in ("steps", "tokens", "params")}
        if "test" in next(iter(by_seed.values())):
            row["test"] = spread([run["test"] for run in by_seed.values()])
        for other in (BASE, TUNED, ALL):
            pairs = sorted(set(by_seed) & set(runs.get(other, {})))
            if pairs and variant != other:
                gaps = [by_seed[seed]["val"] - runs[other][seed]["val"] for seed in pairs]
                row[f"val_minus_{other}"] = spread(gaps)
        found[variant] = row
    return found


def ablate(
    out: Path,
    work: Path,
    start: str = "nanogpt-cpu",
    corpus: str = "shakespeare",
    seeds: int = 3,
    steps: int | None = None,
    only: str = "",
    jobs: int = 1,
    lr: float = LR,
) -> tuple[Record | None, bool]:
    """Run what `out` does not hold yet, and put the comparison into its record.

    Derived in the speedrun, *Which of them did it?*

    Args:
        out: the record's folder. work: for unfinished runs. only: leave out variants whose name
            does not contain this. jobs: runs at a time. The rest is as in `plan`, `start` being
            the preset.

    Returns:
        The record, None if no run has ended yet, and whether a signal stopped a run.
    """
    sweep = plan(preset(start), corpus=corpus, seeds=seeds, steps=steps, name=out.name, lr=lr)
    stopped = run_sweep(sweep, out, work, only, jobs)
    if stopped and not (out / "record.json").is_file():
        return None, True
    record = read_record(out)
    command = (
        f"python -m gptlib.course.speedrun.ablation --preset {start} --corpus {Path(corpus).name} "
        f"--seeds {seeds} --lr {lr:g}" + (f" --steps {steps}" if steps else "")
    )
    result = record.result | {"variants": compare(record)}
    if (out / "timing.json").is_file():
        result["timing"] = json.loads((out / "timing.json").read_text())["variants"]
    about = record.config | {"threads": torch.get_num_threads(), "jobs": jobs}
    record = replace(record, command=command, config=about, result=result)
    save_record(record, out)
    return record, stopped


def speedrun_cpu() -> Record:
    """The recorded ablation, in a temporary folder: a recipe (`gptlib.course.recipes`)."""
    with tempfile.TemporaryDirectory() as folder:
        record, stopped = ablate(Path(folder) / "speedrun-cpu", Path(folder) / "work", steps=1000)
    if stopped or record is None:
        raise SystemExit("stopped before the end; nothing is kept")
    return record


def main(arguments: list[str] | None = None) -> None:
    """Run the ablation from the command line."""
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.speedrun.ablation")
    parser.add_argument("--preset", default="nanogpt-cpu", help="where every variant starts")
    parser.add_argument("--corpus", default="shakespeare")
    parser.add_argument("--seeds", type=at_least_one, default=3)
    parser.add_argument(
        "--steps", type=at_least_one, help="of the preset; all variants read its tokens"
    )
    parser.add_argument("--lr", type=float, default=LR, help="of all variants but the base")
    parser.add_argument("--out", type=Path, default=Path("data/runs/speedrun-cpu"))
    parser.add_argument("--work", type=Path, default=Path("runs"), help="for unfinished runs")
    parser.add_argument("--only", default="", help="only variants whose name contains this")
    parser.add_argument("--jobs", type=at_least_one, default=1, help="runs at a time")
    options = parser.parse_args(arguments)
    _, stopped = ablate(
        options.out, options.work / f"sweep-{options.out.name}", options.preset, options.corpus,
        options.seeds, options.steps, options.only, options.jobs, options.lr,
    )  # fmt: skip
    if stopped:
        raise SystemExit("stopped; the same command goes on from there")


if __name__ == "__main__":
    answer(main)
