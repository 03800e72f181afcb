"""`gptlib eval`: measure a trained model."""

from __future__ import annotations

import argparse
import json
import math
import warnings

from gptlib.batches import document_starts
from gptlib.cli.arguments import add_run, name_or_path
from gptlib.cli.texts import encoded, load_writer, noted_place, open_text
from gptlib.evaluation import bits_per_byte, split_loss
from gptlib.progress import progress
from gptlib.shards.read import open_shards
from gptlib.shards.splits import split_sha256

HELP = """\
Measure a trained model on its own validation text, or on another.

`tales` is the model that ships with gptlib; ./tales is a run folder of that
name here. For --corpus, likewise, a name that gptlib knows means that corpus."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    add_run(parser)
    parser.add_argument(
        "--task", default="loss", choices=["loss"],
        help="what to measure (default loss: of the whole validation text)",
    )  # fmt: skip
    parser.add_argument(
        "--corpus", type=name_or_path, metavar="NAME",
        help="a corpus, a UTF-8 file or a shard folder to measure on (default: the run's own)",
    )  # fmt: skip
    parser.add_argument(
        "--which", default="best", metavar="NAME",
        help="which checkpoint: best, of the lowest validation loss, or latest (default best)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    model, tokenizer, manifest = load_writer(args.run, args.which, args.device)
    note, data = (manifest.get(part) for part in ("note", "data"))
    note = note if isinstance(note, dict) else {}
    name = args.corpus or noted_place(note, args.run)
    text = open_text(name, None if args.corpus else note.get("corpus_size"))
    if text.corpus is None:
        ids, floor = open_shards(name, "val", tokenizer), None
        n_bytes = ids.bytes
    else:
        ids, floor = encoded(tokenizer, text.corpus.val), text.corpus.val_floor
        n_bytes = len(text.corpus.val.encode())
    trained = data.get("val") if isinstance(data, dict) else None
    if not args.corpus and trained not in (None, split_sha256(ids)):
        warnings.warn(
            f"the validation text of {name} is not the one that this run was validated on (the "
            "text or its size is another); the losses below are of what is here now",
            stacklevel=2,
        )
    separator = data.get("separator") if isinstance(data, dict) else None
    starts = document_starts(ids, separator) if separator else None  # as it was trained
    with progress("measuring", unit="windows") as bar:
        loss = split_loss(model, ids, starts=starts, progress=bar.at)
    stride = max(1, model.config.block_size // 2)
    with progress("measuring with overlapping windows", unit="windows") as bar:
        overlapped = split_loss(model, ids, stride=stride, starts=starts, progress=bar.at)
    result = {
        "step": manifest["step"],
        "loss": loss,
        "loss_overlapping": overlapped,
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_byte": bits_per_byte(overlapped, len(ids), n_bytes),
        "tokens": len(ids),
        "floor_per_character": floor,
    }
    if args.json:
        print(json.dumps(result))
        return 0
    print(f"step {manifest['step']}, {len(ids):,} validation tokens of {name}")
    print(f"loss {loss:.4f} nats per token (perplexity {result['perplexity']:.2f})")
    print(f"with overlapping windows {overlapped:.4f}, {result['bits_per_byte']:.4f} bits per byte")
    if floor is not None:
        print(f"floor of this text {floor:.4f} nats per character")
    return 0
