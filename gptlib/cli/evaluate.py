"""`gptlib eval`: measure a trained model."""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

from gptlib.batches import document_starts
from gptlib.cli.arguments import add_run, name_or_path, path
from gptlib.cli.texts import UNREAD_SEED, Text, encoded, load_writer, noted_place, open_text
from gptlib.corpora import load_corpus
from gptlib.corpora.downloads import read_registry
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import hellaswag, measure_split, read_items
from gptlib.evaluation.hellaswag import FORMS, MEASURES
from gptlib.evaluation.loss import SplitLoss
from gptlib.files import write_atomic
from gptlib.model import GPT
from gptlib.progress import progress
from gptlib.shards.read import open_shards
from gptlib.shards.splits import split_sha256
from gptlib.tokenizers import Tokenizer

HELP = """\
Measure a trained model: its loss on its own validation text, or on another, or
its choices between four endings (HellaSwag).

`stories` and `tales` are models that ship with gptlib; ./tales is a run folder
of that name here. For --corpus, likewise, a name that gptlib knows means that
corpus."""
LARGE = 10_000_000  # characters of a grammar's text from which a sample of it is measured
SAMPLE = 1_000_000
#: The flags that only one task reads.
OF_LOSS, OF_HELLASWAG = (
    ("corpus", "stride", "whole"),
    ("items", "limit", "form", "per_item", "batch_size"),
)
ABOUT = {
    "acc": "the likeliest ending",
    "acc_norm": "the likeliest per character, lm-eval's acc_norm",
    "acc_norm_tokens": "the likeliest per token, the completion style",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    add_run(parser)
    parser.add_argument(
        "--task", default="loss", choices=["loss", "hellaswag"],
        help="what to measure: loss, of the validation text, or hellaswag (default loss)",
    )  # fmt: skip
    parser.add_argument(
        "--corpus", type=name_or_path, metavar="NAME",
        help="loss: a corpus, a UTF-8 file or a shard folder to measure on (default the run's own)",
    )  # fmt: skip
    parser.add_argument(
        "--stride", type=int, metavar="N",
        help="loss: tokens that the sliding window moves on, so that each is read after the rest "
        "of the window (default half the context; the whole context slides none)",
    )  # fmt: skip
    parser.add_argument(
        "--whole", action="store_true", default=None,
        help="loss: the run's own validation text also where a grammar wrote more than "
        f"{LARGE:,} characters for it, which takes minutes (default: of such a text {SAMPLE:,} "
        "characters that no run has read, the validation part of which is measured)",
    )  # fmt: skip
    parser.add_argument(
        "--items", type=path, metavar="FILE",
        help="hellaswag: the items, one JSON record a line (default: the official 10,042, which "
        "are downloaded once)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=int, metavar="N",
        help="hellaswag: only the first N items; in the official file they are of one kind",
    )  # fmt: skip
    parser.add_argument(
        "--form", choices=FORMS,
        help="hellaswag: how an item is put: lm-eval, with the activity before it and WikiHow's "
        "tags taken out, or plain, as it stands (default: lm-eval where the records allow it)",
    )  # fmt: skip
    parser.add_argument(
        "--per-item", type=path, metavar="OUT",
        help="hellaswag: write what the model made of each item there, one JSON record a line",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=int, metavar="N",
        help="hellaswag: texts that the model reads at a time (default 16)",
    )  # fmt: skip
    parser.add_argument(
        "--which", default="best", metavar="NAME",
        help="which checkpoint: best, of the lowest validation loss, or latest (default best)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    for name in OF_HELLASWAG if args.task == "loss" else OF_LOSS:
        if getattr(args, name) is not None:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(f"{flag} does not go with --task {args.task}; leave it out")
    model, tokenizer, manifest = load_writer(args.run, args.which, args.device)
    measure = _hellaswag if args.task == "hellaswag" else _loss
    result, lines = measure(args, model, tokenizer, manifest)
    result = {"step": manifest["step"], **result}
    print(json.dumps(result) if args.json else "\n".join(lines))
    return 0


def _hellaswag(
    args: argparse.Namespace, model: GPT, tokenizer: Tokenizer, manifest: dict
) -> tuple[dict, list[str]]:
    """The result of `--task hellaswag` for JSON, and the lines for people."""
    items = read_items(args.items, args.limit, args.form)
    batch_size = 16 if args.batch_size is None else args.batch_size
    with progress("choosing", unit="endings") as bar:
        found = hellaswag(model, tokenizer, items, batch_size=batch_size, progress=bar.at)
    if args.per_item:
        _write(args.per_item, [json.dumps(item.to_dict()) + "\n" for item in found.items])
    name = "the official validation part" if args.items is None else str(args.items)
    form = {
        "lm-eval": "with the activity before each and the tags taken out, as lm-eval does",
        "plain": "contexts and endings as they stand",
    }[found.form]
    lines = [
        f"step {manifest['step']}, {found.n:,} HellaSwag items of {name}, {form}",
        "",
        "measure            right   95% interval     the answer is",
    ]
    for measure in MEASURES:
        low, high = found.ci95[measure]
        lines.append(
            f"{measure:16} {getattr(found, measure):7.2%}   {low:.2%} to {high:.2%} "
            f"  {ABOUT[measure]}"
        )
    lines += ["", "chance is 25.00%, and an interval that holds it tells nothing better from it"]
    if found.cut:
        lines.append(
            f"{found.cut:,} items are longer than the model's context of "
            f"{model.config.block_size} tokens and lost their beginning"
        )
    return {"task": "hellaswag", "items": name, **found.to_dict()}, lines


def _write(place: Path, lines: list[str]) -> None:
    try:
        write_atomic(place, "".join(lines).encode())
    except OSError as error:
        raise DataError(
            f"cannot write {place} ({error.strerror}); choose a file in a folder that can be "
            "written"
        ) from error


def _loss(
    args: argparse.Namespace, model: GPT, tokenizer: Tokenizer, manifest: dict
) -> tuple[dict, list[str]]:
    """The result of `--task loss` for JSON, and the lines for people."""
    note, data = (manifest.get(part) for part in ("note", "data"))
    note = note if isinstance(note, dict) else {}
    name = args.corpus or noted_place(note, args.run)
    size = None if args.corpus else note.get("corpus_size")
    sampled = not args.corpus and not args.whole and _is_large(name, size)
    if sampled:
        text = Text(name, load_corpus(name, size=SAMPLE, seed=UNREAD_SEED))
    else:
        text = open_text(name, size)
    if text.corpus is None:
        ids, floor = open_shards(name, "val", tokenizer), None
    else:
        ids, floor = encoded(tokenizer, text.corpus.val), text.corpus.val_floor
    trained = data.get("val") if isinstance(data, dict) else None
    if not args.corpus and not sampled and trained not in (None, split_sha256(ids)):
        warnings.warn(
            f"the validation text of {name} is not the one that this run was validated on (the "
            "text or its size is another); the losses below are of what is here now",
            stacklevel=2,
        )
    separator = data.get("separator") if isinstance(data, dict) else None
    starts = document_starts(ids, separator) if separator else None  # as it was trained

    T = model.config.block_size
    stride = max(1, T // 2) if args.stride is None else args.stride

    def measured(stride: int, what: str) -> SplitLoss:
        with progress(what, unit="windows") as bar:
            return measure_split(
                model, ids, tokenizer, stride=stride, starts=starts, progress=bar.at
            )

    # The sliding window first: a stride that cannot be is refused before anything is measured.
    sliding = measured(stride, "measuring with a sliding window" if stride < T else "measuring")
    beside = sliding if stride == T else measured(T, "measuring")
    special = beside.tokens - beside.text_tokens
    result = {
        "loss": beside.loss,
        "loss_overlapping": sliding.loss,
        "perplexity": beside.perplexity,
        "bits_per_byte": sliding.bits_per_byte,
        "tokens": len(ids),
        "floor_per_character": floor,
        "stride": stride,
        "block_size": T,
        "perplexity_overlapping": sliding.perplexity,
        "bits_per_byte_side_by_side": beside.bits_per_byte,
        "bytes": beside.text_bytes,
        "special_tokens": special,
        "sampled": SAMPLE if sampled else None,
    }
    lines = [
        f"step {manifest['step']}, {len(ids):,} validation tokens of {name}",
        f"windows of {T} side by side: {_told(beside)}",
    ]
    if sampled:
        lines[0] += (
            f", drawn anew: {SAMPLE:,} characters that no run has read, where this one's own text "
            f"had {size:,} (--whole measures on that)"
        )
    if stride != T:
        lines.append(f"a window that slides by {stride}: {_told(sliding)}")
    if special:
        lines.append(
            f"bits per byte count neither the loss nor the text of {special:,} special tokens"
        )
    if starts is not None:
        lines.append("windows begin at documents, as in training")
    if floor is not None:
        lines.append(f"floor of this text {floor:.4f} nats per character")
    return result, lines


def _is_large(name: str, size: int | None) -> bool:
    """Whether a run's own text is one of a grammar that takes minutes to write and to measure."""
    entry = read_registry().get(name)
    return entry is not None and entry.kind == "embedded" and (size or 0) > LARGE


def _told(found: SplitLoss) -> str:
    return (
        f"loss {found.loss:.4f} nats per token, perplexity {found.perplexity:.2f}, "
        f"{found.bits_per_byte:.4f} bits per byte"
    )
