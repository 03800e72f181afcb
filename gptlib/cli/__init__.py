"""The command line: `gptlib data | train | sample | eval`.

One job: `main`, which turns words into a call of the module that has the command, and the library's
errors into one line and exit code 2. What can be typed stands in `gptlib.cli.arguments`. A command
is imported when it is called, so that `gptlib sample` does not wait for what trains.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module

from gptlib.cli.arguments import build_parser
from gptlib.cli.console import INTERRUPTED, any_character, leave, plain_warnings, tell
from gptlib.errors import GptlibError

COMMANDS = {"data": "data", "train": "train", "sample": "sample", "eval": "evaluate"}
BAD_INPUT = 2
READER_GONE = 141  # what a shell says of `cat` when the reader of its pipe has gone
TOO_LARGE = re.compile("allocate|out of memory|overflow")  # how torch says that memory is short


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Returns:
        0; 2 after one line on stderr about bad input; 130 if it was interrupted, a training run
        after it was saved; 141 if nobody reads its output any more.
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
    args = build_parser().parse_args(argv)
    name = f"gptlib {args.command}"
    try:
        with plain_warnings():
            code = import_module(f"gptlib.cli.{COMMANDS[args.command]}").run(args)
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
