"""`gptlib data`: list corpora, download one, make token shards."""

from __future__ import annotations

import argparse
import json

from gptlib.cli.arguments import name_or_path, path, typed_text
from gptlib.cli.console import tell
from gptlib.cli.texts import named_tokenizer
from gptlib.corpora import list_corpora
from gptlib.corpora.downloads import fetch
from gptlib.progress import progress
from gptlib.shards import prepare
from gptlib.shards.sources import open_source
from gptlib.tokenizers import END_OF_TEXT, CharTokenizer

PREPARE_HELP = """\
Encode a text of any size into token shards, once, and train on them again and
again.

  gptlib data prepare stories.jsonl --tokenizer gpt2 --out shards/stories
  gptlib train --corpus shards/stories --out runs/stories

Stop it at any time: the same command goes on where it was, and ends with the
same files."""


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
    make.add_argument(
        "source", type=name_or_path, help="a corpus, or a text, .jsonl or .parquet file or folder"
    )
    make.add_argument(
        "--out", required=True, type=path, metavar="FOLDER", help="where the shards are written"
    )
    make.add_argument(
        "--tokenizer", type=name_or_path, metavar="NAME",
        help="what cuts the text into tokens: char, its characters; gpt2; or a folder with a saved "
        "tokenizer (default char)",
    )  # fmt: skip
    make.add_argument(
        "--val-fraction", type=float, metavar="X",
        help="share of the documents that is kept for validation (default: a tenth, or what the "
        "corpus itself keeps)",
    )  # fmt: skip
    make.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="decides which documents are for validation (default 0)",
    )  # fmt: skip
    make.add_argument(
        "--workers", type=int, metavar="N", help="threads that encode (default: one a core)"
    )
    make.add_argument(
        "--field", default="text", metavar="NAME",
        help="where a line or row of .jsonl or .parquet has its text (default text)",
    )  # fmt: skip
    make.add_argument(
        "--separator", type=typed_text, default=END_OF_TEXT, metavar="TEXT",
        help=f"what stands between the documents of a text file (default {END_OF_TEXT})",
    )  # fmt: skip
    make.add_argument("--json", action="store_true", help="print the manifest as JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    {"list": show, "get": get, "prepare": make}[args.action](args)
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


def make(args: argparse.Namespace) -> None:
    if args.tokenizer in (None, "char"):
        source = open_source(args.source, args.field, args.separator, args.val_fraction)
        with progress("reading the characters of the text"):
            tokenizer = CharTokenizer.train("".join(source.characters()))
    else:
        tokenizer = named_tokenizer(args.tokenizer)
    with progress("encoding", unit="documents") as bar:
        manifest = prepare(
            args.source, tokenizer, args.out, val_fraction=args.val_fraction, seed=args.seed,
            workers=args.workers, text_field=args.field, separator=args.separator, report=tell,
            progress=bar.at,
        )  # fmt: skip
    if args.json:
        print(json.dumps(manifest))
        return
    for split in ("train", "val"):
        shards = [shard for shard in manifest["shards"] if shard["split"] == split]
        tokens, documents = (sum(s[key] for s in shards) for key in ("tokens", "documents"))
        print(f"{split:<6} {tokens:,} tokens of {documents:,} documents in {len(shards)} shards")
    print(f"{manifest['vocab_size']:,} ids, kept as {manifest['dtype']}")
