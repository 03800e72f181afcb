"""The command line: `gptlib data | train | sample | eval`.

One job: turn words into calls of the library, and the library's errors into one line and exit
code 2. What can be typed stands in `gptlib.arguments`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path

import torch
from filelock import FileLock

from gptlib import mirror
from gptlib.arguments import build_parser
from gptlib.batches import document_starts
from gptlib.corpora import list_corpora, load_corpus
from gptlib.downloads import fetch
from gptlib.errors import CheckpointError, ConfigError, GptlibError, TokenizerError
from gptlib.evaluation import bits_per_byte, split_loss
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.runs import load_run
from gptlib.sampling import stream
from gptlib.sharded_tokens import is_shard_folder, open_shards
from gptlib.shards import prepare
from gptlib.sources import open_source
from gptlib.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer
from gptlib.train_config import TrainConfig, with_changes
from gptlib.trainer import Trainer

MOST_THREADS = 1024  # more would end the process where the system has no more to give
TOO_LARGE = re.compile("allocate|out of memory|overflow")  # how torch says that memory is short


def run_data(args: argparse.Namespace) -> None:
    if args.action == "get":
        print(fetch(args.name))
        return
    if args.action == "prepare":
        run_prepare(args)
        return
    rows = [vars(info) for info in list_corpora()]
    if args.json:
        print(json.dumps(rows, indent=1))
    else:
        for row in rows:
            print(f"{row['name']:<18} {row['state']:<12} {row['about']} ({row['licence']})")


def run_prepare(args: argparse.Namespace) -> None:
    if args.tokenizer in (None, "char"):
        stream = open_source(args.source, args.field, args.separator, args.val_fraction)
        tokenizer = CharTokenizer.train("".join(stream.characters()))
    else:
        tokenizer = _tokenizer(args.tokenizer, "")
    manifest = prepare(
        args.source, tokenizer, args.out, val_fraction=args.val_fraction, seed=args.seed,
        workers=args.workers, text_field=args.field, separator=args.separator,
        report=lambda line: print(line, file=sys.stderr, flush=True),
    )  # fmt: skip
    if args.json:
        print(json.dumps(manifest))
        return
    for split in ("train", "val"):
        shards = [shard for shard in manifest["shards"] if shard["split"] == split]
        tokens, documents = (sum(s[key] for s in shards) for key in ("tokens", "documents"))
        print(f"{split:<6} {tokens:,} tokens of {documents:,} documents in {len(shards)} shards")
    print(f"{manifest['vocab_size']:,} ids, kept as {manifest['dtype']}")


def _given(args: argparse.Namespace, config: type) -> dict:
    """The fields of a config that the user set by a flag."""
    names = {f.name for f in fields(config)}
    return {k: v for k, v in vars(args).items() if k in names and v is not None}


def _saved_run(out: Path, mirror_to: Path | None) -> dict:
    """What `config.json` of an earlier run says; on a new machine it comes from the mirror.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    path = out / "config.json"
    if mirror_to:
        out.mkdir(parents=True, exist_ok=True)
        with FileLock(out / ".restoring"):  # the processes of a job arrive together
            if not os.path.isfile(path):
                mirror.pull(mirror_to, out)
    if not os.path.isfile(path):
        raise CheckpointError(f"{out} holds no run to resume; leave out --resume to begin one")
    try:
        saved = json.loads(path.read_bytes())
        if not all(isinstance(saved[part], dict) for part in ("model", "train")):
            raise ValueError("its settings are no JSON objects")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({str(error)[:100]}); expected the settings that `gptlib train` "
            "wrote: restore the file from a copy, or begin a run in another folder"
        ) from error
    return saved


def _part(about: dict, name: str) -> dict:
    """A part of a manifest that need not be there."""
    return about[name] if isinstance(about.get(name), dict) else {}


def _tokenizer(choice: str | None, text: str):
    if choice in (None, "char"):
        return CharTokenizer.train(text)
    return BPETokenizer.gpt2() if choice == "gpt2" else load_tokenizer(choice)


def run_train(args: argparse.Namespace) -> None:
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise ConfigError(f"--threads is {args.threads}; give 1 to {MOST_THREADS}")
        torch.set_num_threads(args.threads)
    if args.resume:
        saved = _saved_run(args.out, args.mirror_to)
        model_args, train_args = saved["model"], saved["train"]
        note = _part(saved, "note")
        tokenizer = load_tokenizer(args.tokenizer or args.out / "tokenizer")
    else:
        if not args.corpus:
            raise ConfigError("which text? give --corpus NAME or PATH (see `gptlib data list`)")
        chosen = preset(args.preset)
        model_args, train_args = dict(chosen.model), dict(chosen.train)
        note, tokenizer = {}, None
    if args.corpus:
        note = {"corpus": args.corpus, "corpus_size": args.corpus_size}
    if not isinstance(note.get("corpus"), str):
        raise ConfigError(f"{args.out} does not say which text it was trained on; give --corpus")
    corpus, splits = None, (note["corpus"], note["corpus"])
    if is_shard_folder(note["corpus"]):
        if note.get("corpus_size"):
            raise ConfigError("--corpus-size does not go with shards; they are used whole")
        tokenizer = tokenizer or _tokenizer(args.tokenizer or note["corpus"], "")
    else:
        corpus = load_corpus(note["corpus"], size=note.get("corpus_size"))
        tokenizer = tokenizer or _tokenizer(args.tokenizer, corpus.text)
        splits = [torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.val)]
    model_args |= _given(args, GPTConfig) | {"vocab_size": tokenizer.vocab_size}
    config = TrainConfig.from_dict(with_changes(train_args, _given(args, TrainConfig)))
    torch.manual_seed(config.seed)
    trainer = Trainer(
        GPT(GPTConfig.from_dict(model_args)),
        *splits,
        config,
        args.out,
        tokenizer,
        report=lambda line: print(line, file=sys.stderr, flush=True),
        note=note,
        mirror_to=args.mirror_to,
    )
    run = trainer.fit(args.resume, args.stop_after, args.override)
    if not trainer.leads:
        return
    floor = corpus.val_floor if corpus is not None else None
    result = {
        "step": run.step, "finished": run.finished, "best_val": run.best_val,
        "best_step": run.best_step, "last_val": run.last_val, "floor_per_character": floor,
    }  # fmt: skip
    if args.json:
        print(json.dumps(result))
        return
    print(f"best validation loss {run.best_val:.4f} nats per token, at step {run.best_step}")
    if floor is not None:
        print(f"the floor of this validation text is {floor:.4f} nats per character")
    if not run.finished:
        print(f"stopped at step {run.step}; go on with: gptlib train --out {args.out} --resume")


def run_sample(args: argparse.Namespace) -> None:
    model, tokenizer, manifest = load_run(args.run)
    hints = _part(manifest, "sampling")
    # A model trained on documents writes a whole one: it is shown where one begins.
    begin, stop = (hints.get(key) or "" for key in ("begin", "stop"))
    prompt = tokenizer.encode(begin) + tokenizer.encode(args.prompt)
    if not prompt:
        try:
            prompt = tokenizer.encode("\n")
        except TokenizerError as error:
            raise ConfigError(
                "the prompt is empty, and this model knows no newline to begin with; give --prompt "
                "at least one character that it was trained on"
            ) from error
    ids = stream(
        model, prompt, args.max_new_tokens, args.temperature, args.top_k, args.top_p,
        [tokenizer.encode(stop)] if stop else (), args.seed,
    )  # fmt: skip
    print(args.prompt, end="", flush=True)
    new: list[int] = []
    shown = ""
    for token in ids:
        new.append(token)
        text = _settled(tokenizer.decode(new), stop)
        print(text[len(shown) :], end="", flush=True)
        shown = text
    print()


def _settled(text: str, stop: str) -> str:
    """`text` without an ending that may yet change: half a character, or a stop's beginning."""
    text = text.rstrip("\N{REPLACEMENT CHARACTER}")
    for n in range(len(stop), 0, -1):
        if text.endswith(stop[:n]):
            return text[:-n]
    return text


def run_eval(args: argparse.Namespace) -> None:
    model, tokenizer, manifest = load_run(args.run, args.which)
    note = _part(manifest, "note")
    name = args.corpus or note.get("corpus")
    if not isinstance(name, str):
        raise ConfigError(f"{args.run} does not say which text to measure it on; give --corpus")
    if is_shard_folder(name):
        ids, floor = open_shards(name, "val", tokenizer), None
        n_bytes = ids.bytes
    else:
        corpus = load_corpus(name, size=None if args.corpus else note.get("corpus_size"))
        ids, floor = torch.tensor(tokenizer.encode(corpus.val)), corpus.val_floor
        n_bytes = len(corpus.val.encode())
    separator = _part(manifest, "data").get("separator")
    starts = document_starts(ids, separator) if separator else None  # as it was trained
    loss = split_loss(model, ids, starts=starts)
    stride = max(1, model.config.block_size // 2)
    overlapped = split_loss(model, ids, stride=stride, starts=starts)
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
        return
    print(f"step {manifest['step']}, {len(ids):,} validation tokens of {name}")
    print(f"loss {loss:.4f} nats per token (perplexity {result['perplexity']:.2f})")
    print(f"with overlapping windows {overlapped:.4f}, {result['bits_per_byte']:.4f} bits per byte")
    if floor is not None:
        print(f"floor of this text {floor:.4f} nats per character")


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Show a warning as one line, without the place in the code that it comes from."""

    def show(message, *args, **options) -> None:
        print(f"gptlib: warning: {' '.join(str(message).split())}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns 0, or 2 after one line on stderr about bad input."""
    args = build_parser().parse_args(argv)
    command = {"data": run_data, "train": run_train, "sample": run_sample, "eval": run_eval}
    try:
        with _plain_warnings():
            command[args.command](args)
    except (GptlibError, OSError) as error:
        line = " ".join(str(error).split())
        print(f"gptlib {args.command}: {line}", file=sys.stderr)
        return 2
    except (RuntimeError, MemoryError) as error:
        line = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not TOO_LARGE.search(line):
            raise
        print(
            f"gptlib {args.command}: not enough memory ({line[:200]}); a smaller --batch-size, a "
            "larger --accumulate or a smaller model needs less",
            file=sys.stderr,
        )
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
