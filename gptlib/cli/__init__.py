"""The command line: `gptlib`, and one of the commands in `COMMANDS` after it.

One job: `main`, which turns words into a call of the module that has the command, and the library's
errors into one line and exit code 2. A command is a module with two functions: `add_arguments` says
what can be typed, `run` does it. It is imported when it is called, so that `gptlib sample` does not
wait for what trains.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from importlib import import_module

import gptlib
from gptlib.cli.arguments import Parser
from gptlib.cli.console import INTERRUPTED, any_character, leave, plain_warnings, tell
from gptlib.errors import GptlibError

#: What can be typed: the module that has the command, and a line of help.
COMMANDS = {
    "data": ("data", "list corpora, download one, make token shards"),
    "plan": ("budget", "say what a training run will take: memory, hours, money"),
    "train": ("train", "train a model"),
    "finetune": ("finetune", "go on with a trained model on text or answers of your own"),
    "qlora": ("qlora", "tune an adapter of a larger model, which stands in four bits"),
    "sample": ("sample", "let a trained model write"),
    "serve": ("serve", "let a trained model write on a page in a browser"),
    "eval": ("evaluate", "measure a trained model"),
    "compare": ("compare", "let a reader choose between two models' texts, blind"),
    "plot": ("plot", "draw the losses of runs"),
    "info": ("info", "say what a run, a checkpoint or a folder of shards is, and if it is whole"),
    "export": ("export", "write a trained model for another program"),
    "import": ("import_weights", "make a run of weights that others trained"),
}
BAD_INPUT = 2
READER_GONE = 141  # what a shell says of `cat` when the reader of its pipe has gone
TOO_LARGE = re.compile("allocate|out of memory|overflow")  # how torch says that memory is short


def build_parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The parser of everything, or only of the commands that are among the words typed."""
    parser = Parser(prog="gptlib", description="Train, sample and measure small GPTs.")
    parser.add_argument("--version", action="version", version=f"gptlib {gptlib.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, about) in COMMANDS.items():
        command = commands.add_parser(name, help=about)
        if words is None or name in words:
            import_module(f"gptlib.cli.{module}").add_arguments(command)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 1 if `gptlib info` found damage; 2 after one line on stderr about bad input; 130 if it
        was interrupted, a training run after it was saved; 141 if nobody reads its output any more.
    """
    with any_character():
        try:
            try:
                return _run(argv)
            finally:
                _flush()
        except BrokenPipeError:
            leave(sys.stdout)
            return READER_GONE
        except OSError as error:  # what was written could not be flushed: a full disk
            leave(sys.stdout)
            return _refuse("gptlib", error)


def _run(argv: list[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words).parse_args(words)
    name = f"gptlib {args.command}"
    try:
        with plain_warnings():
            code = import_module(f"gptlib.cli.{COMMANDS[args.command][0]}").run(args)
            _flush()
            return code
    except BrokenPipeError:
        raise
    except (GptlibError, OSError) as error:
        return _refuse(name, error)
    except (RuntimeError, MemoryError) as error:
        line = " ".join(str(error).split())
        if not isinstance(error, MemoryError) and not TOO_LARGE.search(line):
            raise
        return _refuse(
            name,
            f"not enough memory ({line[:200]}); a smaller --batch-size, a larger --accumulate or "
            "a smaller model needs less",
        )
    except KeyboardInterrupt:
        return INTERRUPTED


def _refuse(name: str, reason: object) -> int:
    tell(f"{name}: {' '.join(str(reason).split())}")
    return BAD_INPUT


def _flush() -> None:
    if sys.stdout is not None:  # None where stdout was closed before the start
        sys.stdout.flush()
