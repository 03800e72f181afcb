"""What can be typed after `gptlib`, and the help that explains it.

One job: `build_parser`. Every field of `GPTConfig` and `TrainConfig` is a flag of `gptlib train`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from dataclasses import MISSING, fields
from pathlib import Path

import gptlib
from gptlib.cli.console import shell_line
from gptlib.errors import ConfigError
from gptlib.model import GPTConfig
from gptlib.paths import user_path
from gptlib.presets import PRESETS
from gptlib.tokenizers import END_OF_TEXT
from gptlib.train_config import OVERRIDABLE, TrainConfig

TRAIN_HELP = """\
Train a GPT on a corpus and keep everything in a run folder.

  gptlib train --corpus tales --preset cpu --out runs/tales      a first model, in a minute or two
  gptlib train --corpus my.txt --out runs/mine --n-layer 6       your own UTF-8 text
  gptlib train --out runs/mine --resume                          go on after an interruption
  gptlib train --corpus my.txt --out runs/mine --resume          begin or go on, whichever is due
  gptlib train --corpus shakespeare --preset nanogpt-cpu --out runs/s --steps 500
  gptlib train --corpus more.txt --init-from runs/mine --out runs/more     from its best weights

Stop it with Ctrl-C or SIGTERM at any time: it finishes the step, saves, and --resume goes on from
there. The exit code is 0 for a run that ended or paused where it was told to, 130 for one that was
interrupted, 2 for bad input.

A name that gptlib knows means that corpus; ./name is a file or folder of that name here."""

SAMPLE_HELP = """\
Let a trained model write. The text is shown as it comes, and ends at --max-new-tokens, at a --stop,
or where the model ends a document.

  gptlib sample tales --prompt "How " --seed 1
  gptlib sample runs/mine --prompt-file begin.txt --samples 3 --stop THE --stop "The end."

`tales` is the model that ships with gptlib; ./tales is a run folder of that name here."""

EVAL_HELP = """\
Measure a trained model on its own validation text, or on another.

`tales` is the model that ships with gptlib; ./tales is a run folder of that name here. For
--corpus, likewise, a name that gptlib knows means that corpus."""

PREPARE_HELP = """\
Encode a text of any size into token shards, once, and train on them again and again.

  gptlib data prepare stories.jsonl --tokenizer gpt2 --out shards/stories
  gptlib train --corpus shards/stories --out runs/stories

Stop it at any time: the same command goes on where it was, and ends with the same files."""


class _Parser(argparse.ArgumentParser):
    """argparse, but a mistake is answered in one line."""

    def parse_known_args(self, args=None, namespace=None):
        self._words = list(args) if args is not None else []
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        hint = f"see {self.prog} --help"
        if flag := re.fullmatch(r"argument (--\S+): expected one argument", message):
            hint = self._joined(flag[1]) or hint
        self.exit(2, f"{self.prog}: {' '.join(message.split())}; {hint}\n")

    def _joined(self, flag: str) -> str:
        """How to write a value that begins with a dash and was taken for a flag."""
        for word, value in zip(self._words, self._words[1:], strict=False):
            if flag.startswith(word) and word.startswith("--") and value.startswith("-"):
                return (
                    f"a value that begins with a dash is written {shell_line([f'{flag}={value}'])}"
                )
        return ""


def _path(text: str) -> Path:
    """A path, its `~` expanded."""
    try:
        return user_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _name_or_path(text: str) -> str:
    """A name as it stands, since ./name is another thing; a `~` is expanded."""
    return str(_path(text)) if text.startswith("~") else text


def plain_text(text: str) -> str:
    """Text as files are read: each line ends with a newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _text(text: str) -> str:
    """Text to be encoded. In a locale that is not UTF-8, Python hands on the bytes of what it could
    not read as halves of surrogate pairs; they are UTF-8 most likely."""
    try:
        text.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeError):  # the tokenizer says what is wrong
            text = os.fsencode(text).decode("utf-8")
    return plain_text(text)


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
    make.add_argument(
        "source", type=_name_or_path, help="a corpus, or a text, .jsonl or .parquet file or folder"
    )
    make.add_argument("--out", required=True, type=_path, help="the shard folder")
    _add_tokenizer(make)
    make.add_argument("--val-fraction", type=float, metavar="X", help="default: a tenth")
    make.add_argument("--seed", type=int, default=0, help="which documents are for validation")
    make.add_argument("--workers", type=int, metavar="N", help="threads; default: one a core")
    make.add_argument("--field", default="text", help="where a line or row has its text")
    make.add_argument(
        "--separator", type=_text, default=END_OF_TEXT, help="between the documents of a text"
    )
    make.add_argument("--json", action="store_true", help="print the manifest as JSON")

    train = commands.add_parser(
        "train", help="train a model", description=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    train.add_argument(
        "--corpus",
        type=_name_or_path,
        help="a name from `gptlib data list`, a UTF-8 file, or a shard folder",
    )
    train.add_argument("--corpus-size", type=int, help="characters of the corpus to use")
    train.add_argument("--out", required=True, type=_path, help="the run folder")
    train.add_argument("--preset", help="default cpu; " + "; ".join(
        f"{name}: {p.about}" for name, p in PRESETS.items()
    ))  # fmt: skip
    _add_tokenizer(train)
    train.add_argument(
        "--init-from", type=_name_or_path, metavar="RUN",
        help="begin with the best weights of another run, in its shape and with its tokenizer",
    )  # fmt: skip
    train.add_argument(
        "--resume", action="store_true",
        help="go on with the run in --out, or begin it if --corpus says with what",
    )  # fmt: skip
    train.add_argument(
        "--override", action="store_true", help=f"let --resume change {', '.join(OVERRIDABLE)}"
    )
    train.add_argument("--mirror-to", type=_path, help="another disk, such as Colab's Drive")
    train.add_argument("--stop-after", type=int, help="pause at this step of the schedule")
    train.add_argument("--threads", type=int, help="CPU threads to compute with")
    train.add_argument(
        "--progress", choices=["auto", "lines", "none"], default="auto",
        help="auto: a line at each validation, and on a terminal one that is renewed below it",
    )  # fmt: skip
    train.add_argument(
        "--tracker", choices=["tensorboard", "trackio"],
        help="show the curves there; needs pip install gptlib[tensorboard] or gptlib[trackio]",
    )  # fmt: skip
    train.add_argument("--json", action="store_true", help="print the result as JSON")
    _add_fields(train, GPTConfig, skip=("vocab_size",))
    _add_fields(train, TrainConfig, skip=())

    sample = commands.add_parser(
        "sample", help="let a trained model write", description=SAMPLE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_run(sample)
    prompt = sample.add_mutually_exclusive_group()
    prompt.add_argument("--prompt", type=_text, default="", help="how the text begins")
    prompt.add_argument(
        "--prompt-file", type=_path, metavar="FILE",
        help="a UTF-8 file that says how it begins, - for stdin; a last newline does not count",
    )  # fmt: skip
    sample.add_argument("--max-new-tokens", type=int, default=1000)
    sample.add_argument("--temperature", type=float, default=0.8, help="0 is greedy")
    sample.add_argument("--top-k", type=int, help="draw from the k likeliest tokens")
    sample.add_argument("--top-p", type=float, help="draw from the likeliest tokens that reach p")
    sample.add_argument(
        "--stop", type=_text, action="append", default=[], metavar="TEXT",
        help="end before this text, whatever its tokens; may be given again",
    )  # fmt: skip
    sample.add_argument("--seed", type=int, help="the same seed writes the same text")
    sample.add_argument(
        "--samples",
        type=int,
        default=1,
        metavar="N",
        help="write so many texts, each below a line with its seed: --seed, --seed + 1, ...",
    )

    evaluate = commands.add_parser(
        "eval", help="measure a trained model", description=EVAL_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    _add_run(evaluate)
    evaluate.add_argument("--task", default="loss", choices=["loss"])
    evaluate.add_argument("--corpus", type=_name_or_path, help="another text than the run's own")
    evaluate.add_argument("--which", default="best", help="best or latest checkpoint")
    evaluate.add_argument("--json", action="store_true", help="for scripts")
    return parser


def _add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=_name_or_path, help="a run folder, or `tales`, the model that ships with gptlib"
    )
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda, cuda:N, mps or auto")


def _add_tokenizer(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tokenizer", type=_name_or_path, help="char (default), gpt2, or a folder with a saved one"
    )
