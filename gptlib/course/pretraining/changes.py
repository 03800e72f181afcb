"""One change at a time: which part of a newer GPT is worth it at five million parameters.

One job: `run_changes`. The base is GPT-2's shape, small, on shards of byte pairs; a change is some
fields of its settings. `screen-` runs try every change with one seed; the base and the three that
matter most are repeated with more. All read equally many tokens of the same text. A finished run is
a line of `log.jsonl` in the record's folder, so the same command, given again, goes on.

    python -m gptlib.course.pretraining.changes --shards FOLDER --out data/runs
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from gptlib.corpora.downloads import cache_folder
from gptlib.course.command import answer
from gptlib.course.pretraining.runs import END, TEXTS, read_texts
from gptlib.course.records import Record, make_record, read_record, save_record, spread
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import bits_per_byte, split_loss
from gptlib.files import append_line, mend_jsonl, read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.shards import open_shards, prepare
from gptlib.tokenizers import BPETokenizer, load_tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

NAME = "pretraining-changes"

#: What all runs share: 256 steps of 2,048 tokens.
BASE: dict[str, Any] = dict(
    n_layer=4, n_head=4, n_embd=256, block_size=256,
    steps=256, batch_size=8, lr=2e-3, min_lr=2e-4, warmup=25, eval_every=64, eval_windows=100,
    dtype="fast", save_minutes=0,
)  # fmt: skip

#: What is tried on top of `BASE`; its order is that of the runs.
TRIED: dict[str, dict[str, Any]] = {
    "base": {},
    "muon": dict(optimizer="muon"),
    "rotary": dict(rotary=True),
    "relu2-qk-norm": dict(activation="relu2", qk_norm=True),
    "lr-4e-3": dict(lr=4e-3, min_lr=4e-4),
    "lr-1e-3": dict(lr=1e-3, min_lr=1e-4),
    "untied-zero": dict(tied_head=False, zero_init=True),
    "wsd": dict(schedule="wsd", decay=0.4, min_lr=0.0),
    "muon-lr-4e-3": dict(optimizer="muon", lr=4e-3, min_lr=4e-4),
}

#: What is repeated, and the seeds that are added to the first.
REPEATED, SEEDS = ("base", "muon", "rotary", "relu2-qk-norm"), (1, 2)

_SHAPE = {f.name for f in fields(GPTConfig)}


def plan() -> list[tuple[str, int]]:
    """(change, seed) of every run, in order."""
    names, later = list(TRIED)[:6], list(TRIED)[6:]
    repeated = [(name, seed) for seed in SEEDS for name in REPEATED]
    return [(name, 0) for name in names] + repeated + [(name, 0) for name in later]


def run_one(name: str, seed: int, shards: Path, folder: Path, changes: dict) -> dict | None:
    """Train one run in `folder`, or go on with it; returns its line, None if a signal stopped it.

    Args:
        changes: the fields of `GPTConfig` and `TrainConfig` that differ from `BASE`.
    """
    tokenizer = load_tokenizer(shards / "tokenizer")
    settings = BASE | changes
    shape = {key: value for key, value in settings.items() if key in _SHAPE}
    how = {key: value for key, value in settings.items() if key not in _SHAPE}
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **shape))
    train, val = (open_shards(shards, split, tokenizer) for split in ("train", "val"))
    trainer = Trainer(model, train, val, TrainConfig(seed=seed, **how), folder, tokenizer)
    began = time.process_time()
    run = trainer.fit()
    if not run.finished:
        return None
    loss = split_loss(model, val, autocast=trainer.runtime.autocast)
    speed = read_jsonl(folder / "speed.jsonl")
    return {
        "name": f"{name}-s{seed}", "change": name, "seed": seed, "settings": changes,
        "params": model.num_params(), "val": loss,
        "bits_per_byte": bits_per_byte(loss, len(val) - 1, val.bytes),
        "curve": [[line["step"], line["val"]] for line in run.log if "val" in line],
        "cpu_seconds": time.process_time() - began, "tokens_per_s": speed[-1]["tokens_per_s"],
    }  # fmt: skip


def run_changes(shards: Path, record: Path, work: Path, only: str = "") -> bool:
    """Run what is planned and not recorded yet; True if a signal stopped a run.

    Args:
        shards: what `gptlib data prepare` wrote. record: the record's folder. work: for what is
            unfinished. only: leave out runs whose name does not contain this.

    Raises:
        DataError: a run was recorded with other settings.
    """
    record.mkdir(parents=True, exist_ok=True)
    log = record / "log.jsonl"
    done = {line["name"]: line for line in mend_jsonl(log)}
    for name, seed in plan():
        key = f"{name}-s{seed}"
        if key in done:
            if done[key]["settings"] != TRIED[name]:
                raise DataError(
                    f"{log} holds {key} with other settings ({done[key]['settings']}, now "
                    f"{TRIED[name]}); delete that line to run it again"
                )
            continue
        if only not in key:
            continue
        line = run_one(name, seed, shards, work / key, TRIED[name])
        if line is None:
            return True
        append_line(log, line)
        shutil.rmtree(work / key)
        done[key] = line
        print(
            f"{key}: val {line['val']:.4f}, {line['bits_per_byte']:.4f} bits per byte", flush=True
        )
        _write_record(record, shards)
    return False


def _write_record(folder: Path, shards: Path) -> None:
    runs = read_jsonl(folder / "log.jsonl")
    base = {run["seed"]: run["bits_per_byte"] for run in runs if run["change"] == "base"}
    changes = {}
    for name in TRIED:
        mine = {run["seed"]: run for run in runs if run["change"] == name}
        if not mine:
            continue
        rows = list(mine.values())
        pairs = [run["bits_per_byte"] - base[seed] for seed, run in mine.items() if seed in base]
        changes[name] = {
            "bits_per_byte": spread([run["bits_per_byte"] for run in rows]),
            "val": spread([run["val"] for run in rows]),
            "minus_base": spread(pairs) if pairs else None,
            "params": rows[0]["params"], "seeds": sorted(mine), "settings": TRIED[name],
            "cpu_seconds": sum(run["cpu_seconds"] for run in rows) / len(rows),
        }  # fmt: skip
    tokens = BASE["steps"] * BASE["batch_size"] * BASE["block_size"]
    train = open_shards(shards, "train")
    result = {
        "changes": changes, "tokens": tokens, "passes": tokens / len(train), "runs": runs,
        "seconds": sum(run["cpu_seconds"] for run in runs),
    }  # fmt: skip
    config = {"base": BASE, "vocab_size": train.vocab_size, "train_sha256": train.sha256}
    command = "python -m gptlib.course.pretraining.changes --shards FOLDER"
    save_record(make_record(NAME, config, result, command=command), folder)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.pretraining.changes")
    parser.add_argument("--shards", type=Path, required=True, help="what data prepare wrote")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    parser.add_argument("--work", type=Path, default=Path("runs"), help="for unfinished runs")
    parser.add_argument("--only", default="", help="only runs whose name contains this")
    options = parser.parse_args(arguments)
    if options.only and not any(options.only in f"{name}-s{seed}" for name, seed in plan()):
        raise ConfigError(
            f"no run's name contains {options.only!r}; there are {', '.join(TRIED)}, and -s0 …"
        )
    work = options.work / NAME
    if run_changes(options.shards, options.out / NAME, work, options.only):
        raise SystemExit("stopped; the same command goes on from there")


def pretraining_changes() -> Record:
    """All runs, in a temporary folder, on the reader's own texts: a recipe
    (`gptlib.course.recorded`); forty minutes on one thread."""
    texts = cache_folder() / TEXTS
    with tempfile.TemporaryDirectory() as home:
        shards = Path(home) / "shards"
        everything = END.join(text for _, text in read_texts(texts))
        tokenizer = BPETokenizer.train(everything, 8192, [END])
        prepare(texts, tokenizer, shards, val_fraction=0.02)
        if run_changes(shards, Path(home) / NAME, Path(home) / "work"):
            raise SystemExit("stopped before the end; nothing is kept")
        return read_record(Path(home) / NAME)


if __name__ == "__main__":
    answer(main)
