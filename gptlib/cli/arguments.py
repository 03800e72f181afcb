"""What the commands' parsers share.

One job: a parser that answers a mistake in one line, what a typed word means (a path, a name, a
text), and the arguments that several commands take. The rest of a command's flags stand beside the
command.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

from gptlib.cli.console import shell_line
from gptlib.errors import ConfigError
from gptlib.paths import kept_path, user_path


class Parser(argparse.ArgumentParser):
    """argparse, but a mistake is answered in one line, and a description keeps its lines."""

    def __init__(self, *args: Any, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **options)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._words = list(args) if args is not None else []
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
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


def flag_of(name: str) -> str:
    """The flag of a setting: `--batch-size` of `batch_size`."""
    return "--" + name.replace("_", "-")


def path(text: str) -> Path:
    """A path, its `~` expanded."""
    try:
        return user_path(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def name_or_path(text: str) -> str:
    """A name as it stands, since ./name is another thing; a `~` is expanded."""
    return str(path(text)) if text.startswith("~") else text


def noted_name(text: str) -> str:
    """The same of what a run notes: in the home folder it begins with `~`, which whoever opens it
    expands."""
    return kept_path(name_or_path(text))


def count(text: str) -> int:
    """A whole number as people write large ones: 10B, 500M, 250k, 1.5e6, 1,000,000."""
    factor = {"k": 10**3, "m": 10**6, "b": 10**9}.get(text[-1:].lower(), 1)
    digits = text.replace(",", "").replace("_", "")
    try:
        number = Decimal(digits[:-1] if factor > 1 else digits) * factor
        if number.is_finite() and 1 <= number < 2**62 and number == int(number):
            return int(number)
    except ArithmeticError:  # no number
        pass
    raise argparse.ArgumentTypeError(
        f"{text[:40]!r} is no whole number of 1 or more; write 10B, 500M, 1.5e6 or 1000000"
    )


def plain_text(text: str) -> str:
    """Text as files are read: each line ends with a newline."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def typed_text(text: str) -> str:
    """Text to be encoded. In a locale that is not UTF-8, Python hands on the bytes of what it could
    not read as halves of surrogate pairs; they are UTF-8 most likely."""
    try:
        text.encode()
    except UnicodeEncodeError:
        with contextlib.suppress(UnicodeError):  # the tokenizer says what is wrong
            text = os.fsencode(text).decode("utf-8")
    return plain_text(text)


def add_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", type=name_or_path, help="a run folder, or a model that ships: stories or tales"
    )
    parser.add_argument(
        "--device", default="cpu", metavar="NAME",
        help="where to compute: cpu, cuda, cuda:N, mps, or auto for the fastest (default cpu)",
    )  # fmt: skip
