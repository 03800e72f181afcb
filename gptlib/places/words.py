"""What there is to ask of a place: kinds, moods, hours, weathers, things and sounds by name.

One job: look them up in the grammar, which is their only list. Each comes with the words in which
an instruction asks for it: `moods()["cold"]` is "a cold", `hours()["night"]` is "at night".
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gptlib.grammar.grammar import shipped
from gptlib.grammar.rules import split_options


@cache
def source() -> dict[str, Any]:
    """The grammar's files, read once."""
    return shipped("places")


def kinds() -> list[str]:
    """The kinds of places, in the grammar's order."""
    return list(source()["genres"])


def a(kind: str) -> str:
    """A kind with its article: "an orchard"."""
    return column(f"{kind}_site", "n", "one")[kind]


def moods() -> dict[str, str]:
    """Each mood with its article."""
    return column("mood", "n", "one")


def hours() -> dict[str, str]:
    """Each time of day: "at night"."""
    return source()["hours"]


def weathers() -> dict[str, str]:
    """Each weather: "in the rain"."""
    return source()["weathers"]


def things(kind: str) -> dict[str, str]:
    """What fits a kind of place: "a bell"."""
    return column(f"{kind}_thing", "sg", "one")


def sounds(kind: str) -> dict[str, str]:
    """What is heard in a kind of place: "the sound of gulls"."""
    return {n: f"the sound of {one}" for n, one in column(f"{kind}_sound", "n", "one").items()}


@cache
def column(table: str, key: str, value: str) -> dict[str, str]:
    """Two columns of a table of the grammar, as a dictionary in the order of its rows."""
    columns = source()["tables"][table]["columns"].split()
    rows = [
        [cell.strip() for cell in split_options(row)] for row in source()["tables"][table]["rows"]
    ]
    return {row[columns.index(key)]: row[columns.index(value)] for row in rows}
