"""Places of the reader's own, each between `<LOC>` and `</LOC>`.

One job: from a text of such blocks to documents (`read_locations`, which `load_corpus` uses for a
text file with `<LOC>`), from the rooms of LIGHT to documents (`read_rooms`), and from documents to
a file (`write_locations`). A document is

    <LOC><|tavern|>
    The Broken Mug
    A low room with a fire at one end …
    </LOC>

with control tokens or without. White space around the marks does not count; blank lines within a
text stay.

Source of the rooms: Urbanek et al., Learning to speak and act in a fantasy text adventure game,
EMNLP 2019 (LIGHT, CC BY 4.0): a JSON list of objects with `category`, `name` and `description`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from gptlib.corpora.text_file import plain_lines, read_text
from gptlib.corpora.titled import MARK, blocks, refuse, share_out, tenths
from gptlib.errors import DataError
from gptlib.files import write_atomic
from gptlib.grammar.grammar import SEPARATOR
from gptlib.places.marks import LOC, LOC_END, TOKEN
from gptlib.stories.marks import genre_token

HEAD = re.compile(rf"{LOC}((?:<\|\w+\|>)*)")
ROOM = ("category", "name", "description")
TAKEN = {"endoftext"}  # no theme: its token means something else


def is_located(text: str) -> bool:
    """Whether a text is places: a line of it begins with `<LOC>`."""
    return LOC in text and bool(re.search(rf"^\s*{LOC}", text, re.MULTILINE))


def mark_location(text: str, *themes: str) -> str:
    """A place with its marks, as it stands in a corpus."""
    return f"{LOC}{''.join(map(genre_token, themes))}\n{text}\n{LOC_END}"


def read_locations(path: Path) -> list[str]:
    """The places of a text file, marked, in its order.

    Raises:
        DataError: the file cannot be read, or has no places in it; a malformed block, named by
            line and what is missing or wrong.
    """
    documents, wrong = [], []
    for where, content, fault in blocks(read_text(path), path.name, LOC, LOC_END):
        content = content.strip()
        found = re.match(rf"(?:\s*{TOKEN.pattern})*", content)
        themes = found[0] if found else ""
        text = content[len(themes) :].strip()
        if fault := fault or _fault(text, f"between {LOC} and {LOC_END}"):
            wrong.append(f"{where}: {fault}")
        else:
            documents.append(mark_location(text, *TOKEN.findall(themes)))
    if wrong:
        refuse("places", wrong, len(documents) + len(wrong))
    if not documents:
        raise DataError(f"{path.name} has no places in it; give a text with {LOC}…{LOC_END} blocks")
    return documents


def read_rooms(path: Path, themes: bool = False) -> list[str]:
    """The rooms of LIGHT as places: the name in a line of its own, then the description.

    Args:
        themes: begin each with a control token for its category, "Inside Church"
            `<|inside_church|>`.

    Raises:
        DataError: the file cannot be read, is not a JSON list, or has no rooms; a malformed room,
            named by its number and what is missing or wrong.
    """
    try:
        rooms = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path.name} is not JSON ({str(error)[:80]}); give a list of rooms"
        ) from error
    if not isinstance(rooms, list) or not rooms:
        raise DataError(
            f"{path.name} is JSON, but not a list of rooms; expected [{{"
            + ", ".join(f'"{key}": "…"' for key in ROOM) + "}, …]"
        )  # fmt: skip
    documents, wrong = [], []
    for number, room in enumerate(rooms, 1):
        found = _room(room)
        if isinstance(found, str):
            wrong.append(f"{path.name}, room {number}: {found}")
            continue
        category, name, description = found
        theme = "_".join(re.findall(r"\w+", category.lower()))
        text = f"{name}\n{description}"
        if fault := _fault(text, "in it"):
            wrong.append(f"{path.name}, room {number}: {fault}")
        elif themes and (not theme or theme in TAKEN):
            wrong.append(f"{path.name}, room {number}: the category {category!r} is no theme")
        else:
            documents.append(mark_location(text, *[theme] * themes))
    if wrong:
        refuse("rooms", wrong, len(rooms))
    return documents


def write_locations(path: Path, documents: list[str]) -> None:
    """Write places into a text file, which `load_corpus` and `read_locations` read."""
    write_atomic(path, "".join(document + SEPARATOR for document in documents).encode())


def deal(documents: list[str], size: int | None = None) -> tuple[list[str], list[str]]:
    """The places to train on and to validate on: every tenth validates.

    Args:
        size: characters to use of all: of each part the first places, up to its share of them.

    Raises:
        DataError: one part is empty.
    """
    train, val = tenths(documents)
    return share_out(train, val, size, "the places")


def tokens_of(documents: list[str]) -> list[str]:
    """The control tokens that occur, sorted."""
    heads = (HEAD.match(document) for document in documents)
    return sorted({genre_token(t) for head in heads if head for t in TOKEN.findall(head[1])})


def _room(room: object) -> tuple[str, str, str] | str:
    """Category, name and description of a room, or what is wrong with it."""
    if not isinstance(room, dict):
        return f"{type(room).__name__}, not an object with {', '.join(ROOM)}"
    texts = []
    for key in ROOM:
        text = room.get(key)
        if not isinstance(text, str) or not text.strip():
            return f"no {key}" if text is None or isinstance(text, str) else f"{key} is no string"
        texts.append(plain_lines(text).strip())
    category, name, description = texts
    return category, " ".join(name.split()), description


def _fault(text: str, where: str) -> str:
    """What is wrong with the text of a place, or ""."""
    if not text:
        return f"no text {where}"
    if found := MARK.search(text) or re.search(f"{LOC}|{LOC_END}", text):
        return f"the mark {found[0]} inside the text"
    return ""
