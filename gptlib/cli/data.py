"""`gptlib data`: list corpora, download one, make token shards."""

from __future__ import annotations

import argparse
import json

from gptlib.cli.console import tell
from gptlib.cli.texts import named_tokenizer
from gptlib.corpora import list_corpora
from gptlib.corpora.downloads import fetch
from gptlib.progress import progress
from gptlib.shards import prepare
from gptlib.shards.sources import open_source
from gptlib.tokenizers import CharTokenizer


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
