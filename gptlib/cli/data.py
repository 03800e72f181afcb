"""`gptlib data`: list corpora, download one, make shards, train a tokenizer, ask for texts."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator

from gptlib.cli import write
from gptlib.cli.arguments import count, name_or_path, path, typed_text
from gptlib.cli.console import tell
from gptlib.cli.texts import named_tokenizer
from gptlib.corpora import list_corpora
from gptlib.corpora.downloads import fetch, read_registry
from gptlib.errors import ConfigError
from gptlib.progress import progress
from gptlib.shards import prepare
from gptlib.shards.sources import Source, open_source
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer, CharTokenizer

PREPARE_HELP = """\
Encode a text of any size into token shards, once, and train on them again and
again.

  gptlib data prepare stories.jsonl --tokenizer gpt2 --out shards/stories
  gptlib train --corpus shards/stories --out runs/stories
  gptlib data prepare fineweb-edu --tokens 10B --tokenizer gpt2 --out shards/edu

A data set on a hub comes here file by file, and goes again when it is encoded.
Stop it at any time: the same command goes on where it was, and ends with the
same files."""


TOKENIZER_HELP = """\
Train a byte-pair tokenizer on whatever `gptlib data prepare` reads.

  gptlib data tokenizer stories.jsonl --vocab-size 8192 --out tokenizers/stories
  gptlib data prepare stories.jsonl --tokenizer tokenizers/stories --out shards"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    about = "what there is, and whether it is on this machine"
    listing = actions.add_parser("list", help=about, description=f"List corpora: {about}.")
    listing.add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    about = "download and verify a corpus; prints where it is"
    get = actions.add_parser("get", help=about, description=f"{about.capitalize()}.")
    get.add_argument("name", help="one of `gptlib data list`")
    make = actions.add_parser(
        "prepare", help="encode a corpus into shards", description=PREPARE_HELP
    )
    _add_source(make)
    make.add_argument(
        "--out", required=True, type=path, metavar="FOLDER", help="where the shards are written"
    )
    make.add_argument(
        "--tokenizer", type=name_or_path, metavar="NAME",
        help="what cuts the text into tokens: char, its characters; gpt2; or a folder with a saved "
        "tokenizer (default char; gpt2 for a hub)",
    )  # fmt: skip
    make.add_argument(
        "--val-fraction", type=float, metavar="X",
        help="share of the documents that is kept for validation (default: a tenth, 0.005 of a "
        "hub, or what the corpus itself keeps)",
    )  # fmt: skip
    make.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="decides which documents are for validation (default 0)",
    )  # fmt: skip
    make.add_argument(
        "--workers", type=int, metavar="N", help="threads that encode (default: one a core)"
    )
    make.add_argument(
        "--tokens", type=count, metavar="N",
        help="stop at the document with which there are so many: 10B, 500M, 1.5e6 (default: all)",
    )  # fmt: skip
    make.add_argument(
        "--shuffle-seed", type=_seed, metavar="N",
        help="shuffle the documents over all shards in an order that N draws; none keeps the order "
        "of the source (default: 0 for a hub, else none)",
    )  # fmt: skip
    make.add_argument("--json", action="store_true", help="print the manifest as JSON, for scripts")
    train = actions.add_parser(
        "tokenizer", help="train a byte-pair tokenizer", description=TOKENIZER_HELP
    )
    _add_source(train)
    train.add_argument(
        "--vocab-size", type=count, required=True, metavar="N",
        help="ids to end with, special tokens included; at least 257",
    )  # fmt: skip
    train.add_argument(
        "--out", required=True, type=path, metavar="FOLDER", help="where the tokenizer is saved"
    )
    train.add_argument(
        "--special", type=typed_text, nargs="+", default=[], metavar="TEXT",
        help=f"texts that are one id each, besides {END_OF_TEXT}, which is always one",
    )  # fmt: skip
    train.add_argument(
        "--characters", type=count, metavar="N",
        help="learn from the first N characters of the source (default: all of it)",
    )  # fmt: skip
    write.add_arguments(actions.add_parser("write", help="ask a server for texts to train on"))


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", type=name_or_path,
        help="a corpus, a data set on a hub such as fineweb-edu, or a text, .jsonl or .parquet "
        "file or folder",
    )  # fmt: skip
    parser.add_argument(
        "--field", default="text", metavar="NAME",
        help="where a line or row of .jsonl or .parquet has its text (default text)",
    )  # fmt: skip
    parser.add_argument(
        "--separator", type=typed_text, default=END_OF_TEXT, metavar="TEXT",
        help=f"what stands between the documents of a text file (default {END_OF_TEXT})",
    )  # fmt: skip


def _seed(text: str) -> str:
    if text == "none" or (text.isascii() and text.isdigit()):
        return text
    raise argparse.ArgumentTypeError(f"{text[:40]!r} is no whole number of 0 or more, nor none")


def run(args: argparse.Namespace) -> int:
    actions = {"list": show, "get": get, "prepare": make, "tokenizer": train_tokenizer}
    if args.action == "write":
        return write.run(args)
    actions[args.action](args)
    return 0


def get(args: argparse.Namespace) -> None:
    print(fetch(args.name))


def show(args: argparse.Namespace) -> None:
    rows = [vars(info) for info in list_corpora()]
    if args.json:
        print(json.dumps(rows, indent=1))
        return
    for row in rows:
        print(f"{row['name']:<18} {row['state']:<12} {row['about']} ({row['licence']})")


def train_tokenizer(args: argparse.Namespace) -> None:
    source = open_source(args.source, args.field, args.separator, scratch=args.out / "download")
    special = [END_OF_TEXT, *(token for token in args.special if token != END_OF_TEXT)]
    tokenizer = BPETokenizer.train(_first(source, args.characters), args.vocab_size, special)
    print(f"{tokenizer.save(args.out)}: {tokenizer.vocab_size:,} ids")
    if source.let_go:
        source.let_go(None)


def _first(source: Source, characters: int | None) -> Iterator[str]:
    """The documents of a source up to so many characters, the last one cut off there."""
    left = characters
    with progress("learning", unit="documents") as bar:
        for document in source.documents():
            yield document.text[:left]
            bar.advance()
            if left is not None:
                left -= len(document.text)
                if left <= 0:
                    return


def make(args: argparse.Namespace) -> None:
    entry = read_registry().get(args.source)
    hub = entry is not None and entry.kind == "hub"
    if hub and args.tokenizer == "char":
        raise ConfigError(
            f"--tokenizer char would read all of {args.source} once to learn its characters; give "
            "gpt2, or a folder that `gptlib data tokenizer` made"
        )
    if args.shuffle_seed is None:  # nobody said
        shuffle_seed = 0 if hub else None
    else:
        shuffle_seed = None if args.shuffle_seed == "none" else int(args.shuffle_seed)
    if args.tokenizer in (None, "char") and not hub:
        source = open_source(args.source, args.field, args.separator, args.val_fraction)
        with progress("reading the characters of the text"):
            tokenizer = CharTokenizer.train("".join(source.characters()))
    else:
        tokenizer = named_tokenizer(args.tokenizer or "gpt2")
    with progress("encoding", unit="documents") as bar:
        manifest = prepare(
            args.source, tokenizer, args.out, val_fraction=args.val_fraction, seed=args.seed,
            tokens=args.tokens, shuffle_seed=shuffle_seed, workers=args.workers,
            text_field=args.field, separator=args.separator, report=tell, progress=bar.at,
        )  # fmt: skip
    if args.json:
        print(json.dumps(manifest))
        return
    for split in ("train", "val"):
        shards = [shard for shard in manifest["shards"] if shard["split"] == split]
        tokens, documents = (sum(s[key] for s in shards) for key in ("tokens", "documents"))
        print(f"{split:<6} {tokens:,} tokens of {documents:,} documents in {len(shards)} shards")
    print(f"{manifest['vocab_size']:,} ids, kept as {manifest['dtype']}")
