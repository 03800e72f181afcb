"""How the course's commands end: with a result, or with one line that says why there is none.

One job: `answer`, which every module of the course that can be started ends with, and the kinds of
flags that several of them take.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from gptlib.errors import GptlibError


def answer(main: Callable[[], None]) -> NoReturn:
    """Call `main` and end the process: 0, 2 after a user's mistake, 130 after Ctrl-C, 141
    where what it prints has lost its reader."""
    name = Path(sys.argv[0]).stem
    try:
        main()
    except BrokenPipeError:  # nobody reads any more: end as `cat` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except (GptlibError, OSError) as error:
        print(f"{name}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{name}: stopped by Ctrl-C", file=sys.stderr)
        sys.exit(130)
    sys.exit(0)


def at_least_one(text: str) -> int:
    """A flag's number of seeds, steps or processes.

    Raises:
        argparse.ArgumentTypeError: no whole number, or one below 1.
    """
    if not text.strip().isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)
