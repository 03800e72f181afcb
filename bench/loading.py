"""How fast batches are read, against how fast a training step eats them.

    python bench/loading.py [--threads 2]

`TokenBatches` from memory and from a shard folder, and windows at random places of a memory map as
nanoGPT reads them, in turns with gptlib's fastest step (bfloat16 where that is fast) on the same
batch. A loader's share is its time in parts of the step's.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from plain_loop import random_windows
from timing import arguments, interleaved, report
from train_step import SIZES, Size, make_step

from gptlib import CharTokenizer, Runtime, load_corpus
from gptlib.batches import TokenBatches
from gptlib.shards import open_shards, prepare

READS = 100  # batches a turn
STEP = "training step"
SHARD_BYTES = 200_000


def loaders(size: Size, folder: Path, tokens: np.ndarray) -> dict[str, Callable]:
    """By name, functions that read the next batch of `size`."""
    file = folder / "train.bin"
    tokens.tofile(file)
    shards = open_shards(folder / "shards", "train")

    def reader(source, sampling: str) -> Callable:
        batches = TokenBatches(source, size.batch_size, size.T, sampling=sampling)
        steps = itertools.count()
        return lambda: batches.batch(next(steps))

    return {
        "memory, shuffled": reader(tokens, "shuffled"),
        "memory, random": reader(tokens, "random"),
        "shards, shuffled": reader(shards, "shuffled"),
        "memory map as nanoGPT": lambda: random_windows(file, size.batch_size, size.T),
    }


def compare(name: str, size: Size, folder: Path, tokens: np.ndarray, args) -> list[dict]:
    """Time the loaders and the step of one size; returns a row for each."""
    turns = {
        loader: lambda read=read: [read() for _ in range(READS)]
        for loader, read in loaders(size, folder, tokens).items()
    }
    turns[STEP] = make_step("gptlib", Runtime.detect("cpu", "fast").dtype, size, args.threads)
    seconds = interleaved(turns, args.repeats)
    rows = []
    for contender, s in seconds.items():
        a_batch = s if contender == STEP else s / READS
        rows.append(
            {
                "model": name,
                "batch": f"{size.batch_size} x {size.T}",
                "contender": contender,
                "us_per_batch": a_batch * 1e6,
                "tokens_per_s": size.batch_size * size.T / a_batch,
                "share_of_step": a_batch / seconds[STEP],
            }
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    corpus = load_corpus("tales")
    tokenizer = CharTokenizer.train(corpus.text)
    tokens = np.array(tokenizer.encode(corpus.train), dtype=np.uint16)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "shards"
        manifest = prepare(corpus, tokenizer, out, shard_bytes=SHARD_BYTES)
        for name in ("0.8M", "10.7M"):
            rows += compare(name, SIZES[name], Path(folder), tokens, args)
    shards = sum(shard["split"] == "train" for shard in manifest["shards"])
    report("loading", rows, args.out, tokens=len(tokens), shards=shards)


if __name__ == "__main__":
    main()
