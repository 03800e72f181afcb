"""What `gptlib train` can be told, and the help that explains it.

One job: `OPTIONS`, what a run is beside its two configs, and `add_arguments`. Every field of
`GPTConfig` (but `vocab_size`) and of `TrainConfig` is a flag; its sentence is the field's own. What
describes a run may stand in a TOML file too (`gptlib.cli.run_file`); what concerns one call of the
command, such as --resume, is a flag alone.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from dataclasses import Field, fields
from typing import NamedTuple

from gptlib.cli.arguments import flag_of, noted_name, path, typed_text
from gptlib.model_config import GPTConfig
from gptlib.presets import PRESETS
from gptlib.settings import GROUPS
from gptlib.train_config import OVERRIDABLE, TrainConfig

HELP = """\
Train a GPT on a corpus and keep everything in a run folder.

  a first model, in a minute or two:
    gptlib train --corpus tales --out runs/tales
  your own UTF-8 text, and a deeper model:
    gptlib train --corpus my.txt --out runs/mine --n-layer 6
  go on after an interruption; or begin or go on, whichever is due:
    gptlib train --out runs/mine --resume
    gptlib train --corpus my.txt --out runs/mine --resume
  repeat a recorded run, whose preset names its text:
    gptlib train --preset tales --out runs/t
  go on with another text from a run's best weights:
    gptlib train --corpus more.txt --init-from runs/mine --out runs/more
  a run as a file, and once more with a change:
    gptlib train --preset tales --out runs/t --write-config t.toml
    gptlib train --config t.toml --out runs/u --lr 1e-3

Stop it with Ctrl-C or SIGTERM at any time: it finishes the step, saves, and
--resume goes on from there. The exit code is 0 for a run that ended or paused
where it was told to, 130 for one that was interrupted, 2 for bad input.

A name that gptlib knows means that corpus; ./name is a file or folder of that
name here.

presets:
"""

DEFAULT_PRESET = "cpu"


class Option(NamedTuple):
    """A part of a run's description: how a word is read, and what it says in the help."""

    type: Callable
    group: str
    metavar: str
    help: str


#: A run beside its two configs: the keys at the top of its TOML file.
OPTIONS = {
    "corpus": Option(
        noted_name, "what", "NAME",
        "the text: a name from `gptlib data list`, a UTF-8 file, or a shard folder (default: the "
        "preset's, if it has one)",
    ),
    "out": Option(path, "what", "FOLDER", "the run folder, which is made if it is not there"),
    "corpus_size": Option(
        int, "what", "N",
        "characters of the corpus to use, to try something out on less (default: all; of a corpus "
        "that gptlib makes itself, a million)",
    ),
    "tokenizer": Option(
        noted_name, "what", "NAME",
        "what cuts the text into tokens: char, its characters; gpt2; bpe-N, such as bpe-2048, N "
        "byte pairs learned from it; or a folder with a saved tokenizer (default char; shards and "
        "--init-from bring their own)",
    ),
    "pad_vocab": Option(
        int, "what", "N",
        "round the vocabulary up to a multiple of N: a GPU multiplies 50,304 columns (64 or 128) "
        "faster than GPT-2's 50,257, and those that are no token are never drawn (default: the "
        "preset's, if it has one)",
    ),
    "separator": Option(
        typed_text, "what", "TEXT",
        "the text that stands between documents: windows then begin at one, in training and in "
        "validation (default: <|start|> for stories with marks that fit the context; else windows "
        "begin anywhere, as they do with an empty one)",
    ),
    "preset": Option(
        str, "what", "NAME",
        "settings to start from, all of which can be changed; `gptlib train --help` lists them "
        f"(default {DEFAULT_PRESET})",
    ),
    "init_from": Option(
        noted_name, "what", "RUN",
        "begin with the best weights of another run, in its shape and with its tokenizer; marks of "
        "stories that this does not have are added to both",
    ),
    "mirror_to": Option(
        path, "saving", "FOLDER",
        "copy every checkpoint to this folder on another disk, such as Colab's Drive, and restore "
        "an empty run folder from there",
    ),
    "threads": Option(
        int, "machine", "N",
        "CPU threads to compute with; another number rounds differently (default: the system's)",
    ),
}  # fmt: skip
METAVARS: dict[type, str] = {int: "N", float: "X", str: "NAME"}
CONFIGS = {"model": GPTConfig, "train": TrainConfig}
OF_THE_VOCABULARY = ("vocab_size", "padding_ids")

#: Flags of one call, which no description of a run has.
OF_A_CALL = (
    "config", "write_config", "resume", "override", "stop_after", "progress", "tracker", "json",
)  # fmt: skip


def settings_of(part: str) -> dict[str, Field]:
    """The fields of a part ("model" or "train") that can be set: the vocabulary is the tokenizer's,
    and its padding follows from --pad-vocab."""
    return {f.name: f for f in fields(CONFIGS[part]) if f.name not in OF_THE_VOCABULARY}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s --out FOLDER [--corpus NAME] [--preset NAME] [flags]"
    parser.description = HELP + "\n".join(
        textwrap.fill(
            f"{name:<18}{p.about}" + (f"; text: {p.corpus}" if p.corpus else ""),
            78,
            initial_indent="  ",
            subsequent_indent=" " * 20,
            break_on_hyphens=False,
        )
        for name, p in PRESETS.items()
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()}
    for part in CONFIGS:
        for field in settings_of(part).values():
            add_field(groups[field.metadata["group"]], part, field)
    for name, option in OPTIONS.items():
        groups[option.group].add_argument(
            flag_of(name), type=option.type, metavar=option.metavar, help=_escaped(option.help)
        )
    _add_call(groups)
    for name in ("shape", "training"):
        groups[name].description = (
            f"A preset's value holds unless given; the defaults are those of preset "
            f"{DEFAULT_PRESET}."
        )


def add_field(
    group: argparse._ArgumentGroup, part: str, field: Field, default: object = None
) -> None:
    """A flag for a field of one of the configs ("model" or "train"); its help names what holds
    otherwise: `default`, or what the default preset says."""
    flag, kind = flag_of(field.name), type(field.default)
    if default is None:
        default = getattr(PRESETS[DEFAULT_PRESET], part).get(field.name, field.default)
    shown = ("on" if default else "off") if kind is bool else default
    text = _escaped(f"{field.metadata['help']} (default {shown})")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=text)
    else:
        group.add_argument(flag, type=kind, metavar=METAVARS[kind], help=text)


def _add_call(groups: dict[str, argparse._ArgumentGroup]) -> None:
    what, saving = groups["what"], groups["saving"]
    what.add_argument(
        "--config", type=path, metavar="FILE",
        help="a run described in a TOML file, or by the config.json of a run folder; flags "
        "overrule it, it overrules the preset, and relative paths in it start from its own folder",
    )  # fmt: skip
    what.add_argument(
        "--write-config", type=path, metavar="FILE",
        help="write the run that is described by all these flags as a TOML file for --config (- "
        "for stdout), and train nothing",
    )  # fmt: skip
    what.add_argument(
        "--progress", choices=["auto", "lines", "none"], default="auto",
        help="auto is a line at each validation and, on a terminal, one that is renewed below "
        "it (default auto)",
    )  # fmt: skip
    what.add_argument(
        "--tracker", choices=["tensorboard", "trackio"],
        help="show the curves there; needs pip install tensorboard or trackio",
    )  # fmt: skip
    what.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    saving.add_argument(
        "--resume", action="store_true",
        help="go on with the run in --out by its own settings, or begin it if a corpus is named",
    )  # fmt: skip
    saving.add_argument(
        "--override", action="store_true", help=f"let --resume change {', '.join(OVERRIDABLE)}"
    )
    saving.add_argument(
        "--stop-after", type=int, metavar="N",
        help="pause at this step of the schedule, saved; --resume goes on (default: its end)",
    )  # fmt: skip


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
