"""The first steps of GPT-2's published run: does this machine keep its pace?

    python bench/gpu/pretraining.py --preset gpt2-124m --out FILE [--device cuda] [--steps 300]

Trains the preset for its first `steps` steps of half a million tokens, by its own schedule, and
writes tokens/s, the share of the peak, the most memory, and the losses; then the rate of a few
steps without torch.compile. The piece that is read at a time is what `gptlib.budget` says fits. It
saves as it goes, and the same command goes on.

The text is $GPTLIB_SHARDS: a folder of shards, or of texts (.jsonl, .parquet, .txt), which becomes
shards beside FILE; without it, the folder `edu` of $GPTLIB_DATA; without that, gptlib's own tales,
whose loss is no measure of anything. The tokenizer is GPT-2's where its files are at hand, else one
of as many ids at most that is learned from the beginning of the text.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
from dataclasses import replace
from pathlib import Path

import torch

from gptlib import GPT, GPTConfig, TrainConfig, Trainer, load_corpus
from gptlib.budget import fit
from gptlib.course.records import this_machine
from gptlib.devices import Device
from gptlib.errors import DataError
from gptlib.presets import preset
from gptlib.runs import read_jsonl
from gptlib.runtime import Runtime
from gptlib.shards import open_shards, prepare
from gptlib.shards.read import is_shard_folder
from gptlib.shards.sources import open_source
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer, Tokenizer, load_tokenizer

LEARNED_FROM = 20_000_000  # characters
TINY = dict(n_layer=1, n_head=2, n_embd=32, block_size=32)  # to try the script


def text_folder() -> Path | None:
    """Where the text is, if anywhere."""
    if place := os.environ.get("GPTLIB_SHARDS"):
        return Path(place)
    edu = Path(os.environ.get("GPTLIB_DATA", "data")) / "edu"
    return edu if edu.is_dir() else None


def tokenizer_for(source, ids: int) -> Tokenizer:
    """GPT-2's, or one that is learned from the beginning of a text."""
    if ids >= 50_257:
        try:
            return BPETokenizer.gpt2()
        except DataError:
            pass
    texts, size = [], 0
    for document in source.documents():
        texts.append(document.text)
        size += len(document.text)
        if size > LEARNED_FROM:
            break
    return BPETokenizer.train("\n".join(texts), ids, [END_OF_TEXT])


def shards_for(out: Path, ids: int) -> tuple[Path, str]:
    """The shards to train on, made if need be, and what text they are."""
    place = text_folder()
    if place is not None and is_shard_folder(place):
        return place, place.name
    folder = out.parent / f"shards-{ids}"
    given = place if place is not None else load_corpus("tales")
    source = open_source(given)
    if not is_shard_folder(folder):  # else a run that was cut off left it whole
        prepare(given, tokenizer_for(source, ids), folder, val_fraction=0.02)
    return folder, source.name


def here(device: str, dtype: str) -> Device:
    """This machine, as far as a plan needs it: how much memory it has."""
    if device.startswith("cuda"):
        size = torch.cuda.get_device_properties(device).total_memory
    else:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    kind = "cuda" if device.startswith("cuda") else "cpu"
    return Device("here", "this machine", kind, size, 1e12, 1e12, dtype, {dtype: 1.0}, {}, "itself")


def make_trainer(
    shape: GPTConfig, config: TrainConfig, shards: Path, run: Path, tokenizer: Tokenizer
) -> Trainer:
    torch.manual_seed(config.seed)
    splits = (open_shards(shards, split) for split in ("train", "val"))
    return Trainer(GPT(shape), *splits, config, run, tokenizer, report=print)


def rate_of(run: Path, after: int) -> float | None:
    """Tokens/s of the stretches that begin after a step: the first ones compile and warm up."""
    lines = [line for line in read_jsonl(run / "speed.jsonl") if line["tokens_per_s"]]
    ends = [0, *(line["step"] for line in lines)]
    kept = [line for line, begin in zip(lines, ends, strict=False) if begin >= after]
    kept = kept or lines
    # Each stretch has its own number of steps: a mean of rates would weigh a short one too much.
    steps = [b - a for a, b in itertools.pairwise(ends)][-len(kept) :]
    seconds = sum(n / line["tokens_per_s"] for n, line in zip(steps, kept, strict=True))
    return sum(steps) / seconds if kept else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="gpt2-124m")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--tiny", action="store_true", help="a toy of the shape, to try the script")
    args = parser.parse_args()
    chosen = preset(args.preset)
    ids = 300 if args.tiny else chosen.vocab_size
    shards, text = shards_for(args.out, ids)
    tokenizer = load_tokenizer(shards)
    padding = -tokenizer.vocab_size % chosen.pad_vocab
    shape = GPTConfig(
        vocab_size=tokenizer.vocab_size + padding, padding_ids=padding,
        **(chosen.model | (TINY if args.tiny else {})),
    )  # fmt: skip
    train = chosen.train | {"eval_every": max(1, args.steps // 6), "eval_windows": 640}
    if args.tiny:
        train |= {"batch_size": 8, "eval_windows": 8, "compile": False}
    runtime = Runtime.detect(args.device)
    config = TrainConfig.from_dict(train | {"device": args.device, "save_minutes": 2.0})
    config, held = fit(
        shape, replace(config, dtype=runtime.dtype), here(runtime.device, runtime.dtype)
    )
    cuda = runtime.kind == "cuda"
    run = args.out.with_suffix("")
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    done = make_trainer(shape, config, shards, run, tokenizer).fit(stop_after=args.steps)
    if done.step < args.steps:
        raise SystemExit("interrupted; the same command goes on")
    peak_bytes = torch.cuda.max_memory_allocated() if cuda else None
    rate = rate_of(run, config.eval_every)
    plain = args.out.with_name(run.name + "-plain")
    few = replace(config, compile=False, eval_every=min(5, config.eval_every), eval_windows=8)
    make_trainer(shape, few, shards, plain, tokenizer).fit(stop_after=min(args.steps, 15))
    peak = runtime.peak_flops()
    losses = [line for line in done.log if "loss" in line]
    result = {
        "preset": args.preset,
        "text": text,
        "tokenizer": repr(tokenizer),
        "params": done.model.num_params(),
        "tokens_per_step": config.batch_size * shape.block_size,
        "steps": done.step,
        "accumulate": config.accumulate,
        "dtype": config.dtype,
        "compiled": config.compile,
        "tokens_per_s": rate,
        "tokens_per_s_not_compiled": rate_of(plain, few.eval_every),
        "mfu": rate * done.model.flops_per_token(shape.block_size) / peak if peak else None,
        "peak_gb": peak_bytes and peak_bytes / 1e9,
        "peak_gb_counted": (held.total - held.terms["overhead"]) / 1e9,
        "loss": {line["step"]: line["loss"] for line in losses[:: max(1, len(losses) // 30)]},
        "last_loss": losses[-1]["loss"],
        "val": {line["step"]: line["val"] for line in done.log if "val" in line},
    }
    hardware, versions = this_machine()
    about = {"hardware": hardware, "versions": versions, "result": result}
    args.out.write_text(json.dumps(about, indent=1) + "\n")
    print(json.dumps({k: v for k, v in result.items() if k not in ("loss", "val")}, indent=1))


if __name__ == "__main__":
    main()
