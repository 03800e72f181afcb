"""The reference of the command line: what `--help` says, as a page of the book.

One job: `command_help`, a fill (`book.fills`) that turns the parser of a command into Markdown, so
that the page cannot say anything else than the command does.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from gptlib.cli import build_parser


def command_help(_: Path, name: str) -> str:
    """A command's description and tables of its flags; `data-prepare` is `gptlib data prepare`."""
    parser = build_parser()
    for word in name.split("-"):
        (commands,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
        parser = commands.choices[word]
    parts = [f"```text\n{parser.description}\n```"] if parser.description else []
    plain, tables = [], []
    for group in parser._action_groups:
        rows = [_row(action) for action in group._group_actions if action.dest != "help"]
        title = group.title or ""
        if title in ("positional arguments", "options"):
            plain += rows
        elif rows:
            title = f"**{title[:1].upper()}{title[1:]}.** {group.description or ''}"
            tables += [title.strip(), _table(rows)]
    return "\n\n".join([*parts, *([_table(plain)] if plain else []), *tables])


def _table(rows: list[str]) -> str:
    return "\n".join(["| typed | what it does |", "|---|---|", *rows])


def _row(action: argparse.Action) -> str:
    """A line of the table: how it is typed, and what it does."""
    value = action.metavar or ("" if action.nargs == 0 else action.dest)
    value = " ".join(value) if isinstance(value, tuple) else value  # a flag with several values
    if action.choices and not action.metavar:
        value = "{" + ",".join(map(str, action.choices)) + "}"
    if not action.option_strings:
        typed = f"`{value}`"
    else:
        plain = isinstance(action, argparse.BooleanOptionalAction) or not value
        typed = ", ".join(f"`{flag if plain else f'{flag} {value}'}`" for flag in
                          action.option_strings)  # fmt: skip
    return f"| {_cell(typed)} | {_cell(_prose(action.help or ''))} |"


def _prose(text: str) -> str:
    """Help as Markdown: flags are code, since two dashes would become one long one."""
    parts = text.replace("%%", "%").split("`")
    parts[::2] = [re.sub(r"(?<![\w-])--[a-z][a-z-]+", r"`\g<0>`", part) for part in parts[::2]]
    return "`".join(parts).replace("<|", "&lt;|")


def _cell(text: str) -> str:
    return text.replace("|", r"\|")
