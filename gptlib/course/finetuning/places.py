"""A thousand places, read by a model that had read other things: `places-rates`, `places-methods`.

One job: both records, made by `gptlib finetune`. The text is a file of `<LOC>` blocks
(GPTLIB_DATA); the base is the run of five million parameters that chapter 7's fairy tales began
with.

    python -m gptlib.course.finetuning.places rates BASE --home FOLDER
    python -m gptlib.course.finetuning.places methods BASE --home FOLDER --shards SHARDS
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from gptlib.corpora import load_corpus
from gptlib.course.command import answer
from gptlib.course.finetuning.tuned import Tuned, tune
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.collected import by_epoch, train_start
from gptlib.course.tokens.texts import cached
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.diversity import longest_shared_runs
from gptlib.files import read_jsonl
from gptlib.finetuning import add_lora, tune_last
from gptlib.optim import make_optimizers
from gptlib.places.marks import LOC, LOC_END
from gptlib.sampling import generate

TEXT = "locations/finetune_data.txt"
RATES = (1e-4, 2e-4, 5e-4, 1e-3, 4e-3, 7e-3)  # as published
PASS = 100  # steps of eight windows of 512 in one pass over the text
PASSES = 7
#: As published, but for the batch, which has eight windows instead of 64, since our text is read in
#: a hundred steps as it is. A constant rate makes the end of each pass the end of a run.
HOW = "--batch-size 8 --schedule constant --warmup 10 --weight-decay 0.1 --dtype fast".split()
LORA = "--method lora --targets all-linear --weight-decay 0".split()
OTHER_PASSES = 2  # of every other way
SCRATCH_PASSES = 3
RANKS = (4, 16)
REHEARSAL = 0.1
SAMPLES = 20
SHOWN = ("the base", "full", "LoRA, rank 16")


def places_rates(base: Path, home: Path, text: Path, pass_steps: int = PASS) -> Record:
    """One pass at each rate, and seven at the best of them.

    Args:
        base: the run to begin with. home: where the runs go; those that are there are kept.
        text: a file of `<LOC>` blocks. pass_steps: steps of one pass over it.
    """
    first = {rate: _full(base, home, text, rate, 1, pass_steps) for rate in RATES}
    best = min(first, key=lambda rate: first[rate].vals[pass_steps])
    long = _full(base, home, text, best, PASSES, pass_steps)
    curve = _by_pass(long.log, pass_steps)
    result = {
        "base": {"val": long.vals[0]},
        "rates": [{"lr": rate, "val": of.vals[pass_steps]} for rate, of in first.items()],
        "epochs": {"lr": best, "curve": curve,
                   "best_epoch": min(curve, key=lambda point: point["val"])["epoch"]},
    }  # fmt: skip
    return make_record("places-rates", {"train": long.config, **_of(base, text)}, result)


def places_methods(
    base: Path, home: Path, text: Path, shards: Path, pass_steps: int = PASS
) -> Record:
    """All weights, all with some old text, LoRA, the last block, and fresh weights.

    Args:
        shards: what the base was trained on. The others are those of `places_rates`, whose best
            rate is that of all weights.
    """
    rates = places_rates(base, home, text, pass_steps).result
    lr = rates["epochs"]["lr"]
    runs = {"full": _full(base, home, text, lr, PASSES, pass_steps)}
    tuned = lambda name, *flags: tune(base, text, home / name, *HOW, *flags)  # noqa: E731
    long = ["--steps", str(OTHER_PASSES * pass_steps), "--eval-every", str(pass_steps)]
    old = ["--rehearse", str(shards), "--share", str(REHEARSAL)]
    runs["full, 10% old text"] = tuned("rehearsed", *long, "--lr", str(lr), *old)
    for rank in RANKS:
        runs[f"LoRA, rank {rank}"] = tuned(f"lora-{rank}", *long, *LORA, "--rank", str(rank))
    runs["last block"] = tuned("last", *long, "--method", "last", "--weight-decay", "0")
    methods = [
        {
            "name": name, "trained": of.trained, "new": of.best,
            "best_epoch": of.best_step // pass_steps, "old": bits(of.old), "memory": of.memory,
            "megabytes": of.megabytes, "lr": of.config["lr"], "seconds": step_seconds(base, name),
        }
        for name, of in runs.items()
    ]  # fmt: skip
    methods.append(_from_scratch(base, home, text, pass_steps))
    samples, copied = _written(base, text, runs)
    result = {
        "methods": methods,
        "base": {"new": rates["base"]["val"], "old": bits(runs["full"].old_before)},
        "copied": copied,
    }
    return make_record("places-methods", _of(base, text), result, samples=samples)


def step_seconds(base: Path, way: str, steps: int = 4) -> float:
    """Seconds of processor time that a step of eight windows takes in float32, whatever else the
    machine is doing; `way` is a name of `places_methods`."""
    model = load_with_tokenizer(base)[0].train()
    if way.startswith("LoRA"):
        rank = int(way.split()[-1])
        add_lora(model, rank, 2.0 * rank, "all-linear")
    elif way == "last block":
        tune_last(model, 1)
    (optimizer,) = make_optimizers(model, "adamw", 1e-3, 0.0, (0.9, 0.95))
    generator = torch.Generator().manual_seed(0)
    shape = (8, model.config.block_size + 1)
    ids = torch.randint(model.config.known_ids, shape, generator=generator)
    begun = 0.0
    for step in range(steps + 1):
        begun = time.process_time() if step == 1 else begun  # the first one sets things up
        loss = model(ids[:, :-1], ids[:, 1:], return_logits=False)[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return (time.process_time() - begun) / steps


def _by_pass(log: Sequence[dict], steps: int) -> list[dict]:
    """A log as one line a pass, the validation of the base left out."""
    return [point | {"epoch": int(point["epoch"])} for point in by_epoch(log, steps)[1:]]


def bits(old: dict[str, float] | None) -> float | None:
    """Bits per byte of the old text, if anyone measured it."""
    return old["bits_per_byte"] if old else None


def _full(base: Path, home: Path, text: Path, lr: float, passes: int, steps: int) -> Tuned:
    """All weights at a rate, for so many passes."""
    flags = ["--lr", str(lr), "--steps", str(passes * steps), "--eval-every", str(steps)]
    return tune(base, text, home / f"full-{lr:g}-{passes}", *HOW, *flags)


def _from_scratch(base: Path, home: Path, text: Path, pass_steps: int) -> dict:
    """Fresh weights of the base's shape, at the rate that the base was trained with."""
    model, _, manifest = load_with_tokenizer(base)
    c, folder = model.config, home / "scratch"
    shape = ["--n-layer", c.n_layer, "--n-head", c.n_head, "--n-embd", c.n_embd,
             "--block-size", c.block_size]  # fmt: skip
    how = ["--steps", SCRATCH_PASSES * pass_steps, "--eval-every", pass_steps,
           "--lr", manifest["train"]["lr"]]  # fmt: skip
    command = [sys.executable, "-m", "gptlib", "train", "--corpus", text, "--tokenizer",
               base / "tokenizer", *shape, *HOW, *how, "--threads", 1, "--progress", "none",
               "--out", folder, "--resume"]  # fmt: skip
    if subprocess.run([str(word) for word in command], check=False).returncode:
        raise DataError("the run from fresh weights did not come to its end; see above")
    curve = _by_pass(read_jsonl(folder / "log.jsonl"), pass_steps)
    best = min(curve, key=lambda point: point["val"])
    return {
        "name": "from scratch", "trained": model.num_params(), "new": best["val"],
        "best_epoch": best["epoch"], "old": None, "memory": None, "megabytes": None,
        "seconds": None, "lr": manifest["train"]["lr"],
    }  # fmt: skip


def _written(base: Path, data: Path, runs: dict[str, Tuned]) -> tuple[list[dict], dict]:
    """Places by the base and by two of the runs, as published: temperature 0.9, top-k 50, 300
    tokens; and the longest run that those of `full` share with the training part."""
    samples, copied = [], {}
    for whose in SHOWN:
        model, tokenizer, _ = load_with_tokenizer(runs[whose].folder if whose in runs else base)
        ids, end = tokenizer.encode(f"{LOC}\n"), tokenizer.special_tokens.get(LOC_END)
        found = generate(model, [ids] * SAMPLES, 300, temperature=0.9, top_k=50, seed=0,
                         stop=[] if end is None else [end])  # fmt: skip
        rows = found[0] if isinstance(found, tuple) else found
        texts = [tokenizer.decode(row[len(ids) :]) for row in rows.tolist()]
        texts = ["".join(text.partition(LOC_END)[:2]) for text in texts]
        samples += [{"whose": whose, "prompt": LOC, "text": written} for written in texts[:3]]
        if whose == "full":
            training = load_corpus(data).train_documents
            longest = max(run.length for run in longest_shared_runs(texts, training))
            copied = {"longest_run": longest, "of": len(texts),
                      "ended": sum(LOC_END in written for written in texts)}  # fmt: skip
    return samples, copied


def _of(base: Path, text: Path) -> dict:
    """What a record says of the base and of the text."""
    model, tokenizer, manifest = load_with_tokenizer(base)
    corpus = load_corpus(text)
    tokens = sum(len(tokenizer.encode(document)) for document in corpus.train_documents)
    return {
        "base": {"model": model.config.to_dict(), "params": model.num_params(),
                 "step": manifest["step"]},
        "text": {"train": len(corpus.train_documents), "val": len(corpus.val_documents),
                 "tokens": tokens},
    }  # fmt: skip


def rates() -> Record:
    """The record `places-rates` from nothing, an hour and a half on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        base, _ = train_start(Path(folder))
        return places_rates(base, Path(folder), cached(TEXT))


def methods() -> Record:
    """The record `places-methods` from nothing, two hours on one thread."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        base, _ = train_start(home)
        return places_methods(base, home, cached(TEXT), home / "shards")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.finetuning.places")
    parser.add_argument("what", choices=("rates", "methods"))
    parser.add_argument("base", type=Path, help="a finished run of `gptlib train`")
    parser.add_argument("--home", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--shards", type=Path, help="methods: what the base was trained on")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    a = parser.parse_args(arguments)
    a.home.mkdir(parents=True, exist_ok=True)
    if a.what == "rates":
        record = places_rates(a.base, a.home, cached(TEXT))
    elif a.shards is None:
        raise ConfigError("methods rehearses what the base was trained on; give --shards FOLDER")
    else:
        record = places_methods(a.base, a.home, cached(TEXT), a.shards)
    save_record(record, a.out / record.name)
    print(record)


if __name__ == "__main__":
    answer(main)
