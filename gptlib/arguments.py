"""What can be typed after `gptlib`, and the help that explains it.

One job: `build_parser`. Every field of `GPTConfig` and `TrainConfig` is a flag of `gptlib train`.
"""

from __future__ import annotations

import argparse
from dataclasses import MISSING, fields
from pathlib import Path

import gptlib
from gptlib.model import GPTConfig
from gptlib.presets import PRESETS
from gptlib.tokenizers import END_OF_TEXT
from gptlib.train_config import TrainConfig

TRAIN_HELP = """\
Train a GPT on a corpus and keep everything in a run folder.

  gptlib train --corpus tales --preset cpu --out runs/tales      a first model, in a minute or two
  gptlib train --corpus my.txt --out runs/mine --n-layer 6       your own UTF-8 text
  gptlib train --out runs/mine --resume                          go on after an interruption
  gptlib train --corpus shakespeare --preset nanogpt-cpu --out runs/s --steps 500

Stop it with Ctrl-C at any time: it finishes the step, saves, and --resume goes on from there."""


PREPARE_HELP = """\
Encode a text of any size into token shards, once, and train on them again and again.

  gptlib data prepare stories.jsonl --tokenizer gpt2 --out shards/stories
  gptlib train --corpus shards/stories --out runs/stories

Stop it at any time: the same command goes on where it was, and ends with the same files."""


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is answered in one line."""

    def error(self, message: str):
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; see {self.prog} --help\n")


def _add_fields(parser: argparse.ArgumentParser, config: type, skip: tuple[str, ...]) -> None:
    group = parser.add_argument_group(f"{config.__name__} (the preset's value unless given)")
    for f in fields(config):
        if f.name in skip:
            continue
        flag = "--" + f.name.replace("_", "-")
        default = "" if f.default is MISSING else f"default {f.default}"
        if isinstance(f.default, bool):
            group.add_argument(flag, action=argparse.BooleanOptionalAction, help=default)
        else:
            group.add_argument(flag, type=type(f.default), metavar="X", help=default)


def build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="gptlib", description="Train, sample and measure small GPTs.")
    parser.add_argument("--version", action="version", version=f"gptlib {gptlib.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    data = commands.add_parser("data", help="list corpora, download one, make token shards")
    actions = data.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="what there is, and whether it is on this machine")
    listing.add_argument("--json", action="store_true", help="for scripts")
    get = actions.add_parser("get", help="download and verify a corpus; prints where it is")
    get.add_argument("name")
    make = actions.add_parser(
        "prepare", help="encode a corpus into shards", description=PREPARE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    make.add_argument("source", help="a corpus, or a text, .jsonl or .parquet file or folder")
    make.add_argument("--out", required=True, type=Path, help="the shard folder")
    make.add_argument("--tokenizer", help="char (default), gpt2, or a folder with a saved one")
    make.add_argument("--val-fraction", type=float, metavar="X", help="default: a tenth")
    make.add_argument("--seed", type=int, default=0, help="which documents are for validation")
    make.add_argument("--workers", type=int, metavar="N", help="threads; default: one a core")
    make.add_argument("--field", default="text", help="where a line or row has its text")
    make.add_argument("--separator", default=END_OF_TEXT, help="between the documents of a text")
    make.add_argument("--json", action="store_true", help="print the manifest as JSON")

    train = commands.add_parser(
        "train", help="train a model", description=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument(
        "--corpus", help="a name from `gptlib data list`, a UTF-8 file, or a shard folder"
    )
    train.add_argument("--corpus-size", type=int, help="characters of the corpus to use")
    train.add_argument("--out", required=True, type=Path, help="the run folder")
    train.add_argument("--preset", default="cpu", help="; ".join(
        f"{name}: {p.about}" for name, p in PRESETS.items()
    ))  # fmt: skip
    train.add_argument("--tokenizer", help="char (default), gpt2, or a folder with a saved one")
    train.add_argument("--resume", action="store_true", help="go on with the run in --out")
    train.add_argument(
        "--override", action="store_true", help="let --resume change steps, lr or min-lr"
    )
    train.add_argument("--mirror-to", type=Path, help="another disk, such as Colab's Drive")
    train.add_argument("--stop-after", type=int, help="pause at this step of the schedule")
    train.add_argument("--threads", type=int, help="CPU threads to compute with")
    train.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_fields(train, GPTConfig, skip=("vocab_size",))
    _add_fields(train, TrainConfig, skip=())

    sample = commands.add_parser("sample", help="let a trained model write")
    sample.add_argument("run", help="a run folder, or `tales`, the model that ships with gptlib")
    sample.add_argument("--prompt", default="", help="how the text begins")
    sample.add_argument("--max-new-tokens", type=int, default=1000)
    sample.add_argument("--temperature", type=float, default=0.8, help="0 is greedy")
    sample.add_argument("--top-k", type=int, help="draw from the k likeliest tokens")
    sample.add_argument("--top-p", type=float, help="draw from the likeliest tokens that reach p")
    sample.add_argument("--seed", type=int, help="the same seed writes the same text")

    evaluate = commands.add_parser("eval", help="measure a trained model")
    evaluate.add_argument("run", help="a run folder, or `tales`")
    evaluate.add_argument("--task", default="loss", choices=["loss"])
    evaluate.add_argument("--corpus", help="another text than the run's own")
    evaluate.add_argument("--which", default="best", help="best or latest checkpoint")
    evaluate.add_argument("--json", action="store_true", help="for scripts")
    return parser
