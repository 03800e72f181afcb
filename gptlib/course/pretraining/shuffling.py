"""What unshuffled shards do to the loss: the recipe of `shuffled-shards`.

One job: one model, trained on the same documents in three orders: as their sources follow one
another, shuffled over the shards, and from unshuffled shards of which the windows are shuffled.
"""

from __future__ import annotations

import json
import re
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from gptlib.corpora.downloads import cache_folder
from gptlib.course.records import Record, make_record, spread
from gptlib.errors import DataError
from gptlib.files import read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.shards import open_shards, prepare
from gptlib.shards.deal import in_validation
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer, Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: Blocks of text in the order of the shards: what it is, the reader's file, the id its lines have.
BLOCKS = (
    ("biology", "edu/openstax_sample.jsonl", "biology"),
    ("stories for toddlers", "stories/tinystories_train.jsonl", ""),
    ("U.S. history", "edu/openstax_sample.jsonl", "us-history"),
    ("a children's novel", "stories/gutenberg/pg113_the_secret_garden.txt", ""),
    ("economics", "edu/openstax_more.jsonl", "economics"),
    ("news for learners", "edu/onestopenglish.jsonl", ""),
)
ORDERS = {  # shards, and how the trainer reads them
    "source order": (None, "in order"),
    "shuffled documents": (0, "in order"),
    "shuffled windows": (None, "shuffled"),
}
LETTERS = 220_000  # characters of each block
LONGEST = 4_000  # characters of a document; a longer one is cut at the end of a paragraph
WIDTH = 5  # steps on each side of a border whose losses are compared
MODEL = dict(block_size=256, n_layer=4, n_head=4, n_embd=128)
TRAIN = dict(
    batch_size=4, lr=2e-3, min_lr=2e-4, warmup=20, eval_every=44, save_minutes=0.0, dtype="fast",
)  # fmt: skip


def shuffled_shards() -> Record:
    """Two passes of each order, on one thread.

    The texts are the reader's own, under the names of `BLOCKS` in GPTLIB_DATA (or the folder of
    downloads): any six of different kinds will do.
    """
    torch.set_num_threads(1)
    return compare(cache_folder())


def compare(
    texts: Path, vocab_size: int = 8192, letters: int = LETTERS, **changes: object
) -> Record:
    """Train on the blocks in each order, and measure what happens at their borders.

    Args:
        texts: the folder with the files of `BLOCKS`. letters: characters of each block.
        changes: to `TRAIN`.

    Raises:
        DataError: a file is missing, or has not so much text.
    """
    names = [name for name, _, _ in BLOCKS]
    blocks = [list(documents(texts / file, kind, letters)) for _, file, kind in BLOCKS]
    every = [text for block in blocks for text in block]
    tokenizer = BPETokenizer.train(every, vocab_size, [END_OF_TEXT])
    ends = np.cumsum(block_tokens(blocks, tokenizer))
    tokens_per_step = TRAIN["batch_size"] * MODEL["block_size"]
    steps = 2 * int(ends[-1]) // tokens_per_step
    config = TrainConfig(**(TRAIN | {"steps": steps} | changes))  # type: ignore[arg-type]
    borders = [int(end) // tokens_per_step for end in (*ends, *(ends + ends[-1]))][:-1]
    log, results = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (seed, sampling) in ORDERS.items():
            out = Path(folder) / f"shards-{seed}"
            prepare(
                every, tokenizer, out, val_fraction=0.05, shard_bytes=letters, shuffle_seed=seed,
                name="blocks", revision="1",
            )  # fmt: skip
            run = Path(folder) / name.replace(" ", "-")
            lines, results[name] = train(
                out, Path(folder) / "shards-None", tokenizer, config, sampling, run
            )
            losses = [line["loss"] for line in lines if "loss" in line]
            results[name] |= {
                "rises": rises(losses, borders), "rise": statistics.fmean(rises(losses, borders)),
                "step_to_step": statistics.fmean(np.abs(np.diff(losses[len(losses) // 4 :]))),
            }  # fmt: skip
            log += [{"order": name} | line for line in lines]
            print(
                f"{name}: validation {results[name]['val']:.4f}, rise {results[name]['rise']:.3f}"
            )
    about = [
        {"name": n, "file": f, "documents": len(b)}
        for (n, f, _), b in zip(BLOCKS, blocks, strict=True)
    ]
    speeds = [results[name].pop("tokens_per_s") for name in ORDERS]
    result = {
        "orders": results, "blocks": names, "borders": borders, "steps": steps,
        "tokens": steps * tokens_per_step, "train_tokens": int(ends[-1]),
        "params": GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **MODEL)).num_params(),
        "seconds": spread([results[name].pop("seconds") for name in ORDERS]),
        "tokens_per_s": spread(speeds),
    }  # fmt: skip
    settings = {
        "texts": about, "letters": letters, "longest_document": LONGEST,
        "vocab_size": tokenizer.vocab_size, "tokenizer": "learned from the same documents",
        "val_fraction": 0.05, "model": MODEL, "train": asdict(config), "width": WIDTH,
        "orders": {name: {"shuffle_seed": s, "sampling": how} for name, (s, how) in ORDERS.items()},
    }  # fmt: skip
    return make_record("shuffled-shards", settings, result, log=log)


def documents(path: Path, kind: str, letters: int) -> Iterator[str]:
    """The first `letters` characters of a file, in documents of at most about `LONGEST`.

    Args:
        kind: how the ids of the lines to be read begin; "" takes all.
    """
    left = letters
    for text in _texts(path, kind):
        for piece in pieces(text):
            if left <= 0:
                return
            yield piece
            left -= len(piece)
    if left > 0:
        raise DataError(
            f"{path.name} has {left:,} characters fewer than the {letters:,} of a block; give a "
            "longer text under that name"
        )


def _texts(path: Path, kind: str) -> Iterator[str]:
    if not path.is_file():
        raise DataError(
            f"{path.name} is not there; this recipe reads the reader's own texts: put one in "
            f"GPTLIB_DATA as {path.parent.name}/{path.name}, or run another recipe"
        )
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8") as lines:
            for line in map(json.loads, lines):
                if str(line.get("id", "")).startswith(kind):
                    yield line["text"]
    else:
        yield path.read_text(encoding="utf-8")


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of about `LONGEST` characters, which end where a paragraph does."""
    piece = ""
    for paragraph in re.split(r"\n{2,}", text.strip()):
        if piece and len(piece) + len(paragraph) > LONGEST:
            yield piece
            piece = ""
        piece += ("\n\n" if piece else "") + paragraph
    if piece:
        yield piece


def block_tokens(blocks: Sequence[Sequence[str]], tokenizer: Tokenizer) -> list[int]:
    """Tokens of each block that are trained on, an end of text after every document."""
    counts, number = [], 0
    for block in blocks:
        count = 0
        for text in block:
            if not in_validation(number, 0.05, 0):
                count += len(tokenizer.encode_ordinary(text)) + 1
            number += 1
        counts.append(count)
    return counts


def train(
    shards: Path, common: Path, tokenizer: Tokenizer, config: TrainConfig, sampling: str, out: Path
) -> tuple[list[dict], dict]:
    """Train one model; returns the lines of its log and its measures.

    Args:
        common: the shards whose validation split measures every order: the documents are the same
            ones, and so is where windows begin.
    """
    torch.manual_seed(config.seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **MODEL))
    here = TrainConfig(**(asdict(config) | {"sampling": sampling}))
    run = Trainer(
        model, open_shards(shards, "train"), open_shards(common, "val"), here, out, tokenizer
    ).fit()
    if not run.finished:
        raise SystemExit("stopped before the end; nothing is kept")
    lines = [
        {key: round(line[key], 4) if key != "step" else line[key] for key in ("step", "loss", "val")
         if key in line}
        for line in run.log
    ]  # fmt: skip
    speed = read_jsonl(out / "speed.jsonl")[-1]
    return lines, {
        "val": run.last_val, "best_val": run.best_val, "seconds": speed["seconds"],
        "tokens_per_s": speed["tokens_per_s"],
    }  # fmt: skip


def rises(losses: Sequence[float], borders: Sequence[int], width: int = WIDTH) -> list[float]:
    """How much higher the mean training loss is just after each border than just before it.

    Args:
        losses: of each step, nats per token. borders: steps at which another block begins.
    """
    return [
        statistics.fmean(losses[border + 1 : border + 1 + width])
        - statistics.fmean(losses[max(0, border - width) : border])
        for border in borders
    ]
