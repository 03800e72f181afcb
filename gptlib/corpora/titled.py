"""Stories of the reader's own, in the marked form that the corpus of stories has.

One job: `read_stories`, from files to stories, and `mark_story`, from a story to its marked text:

    <|start|><|title|>The Snow Man</|title|>
    "It is so delightfully cold," said the Snow Man …<|end|>

A story comes from one of three forms.

- A line of a `.jsonl` file: an object with `text`, and perhaps `title`, `genre` and `split`.
- A `.txt` file in a folder: its title is the file's name, `_` for a space, because every file has
  one. Where the first line says the same, apart from signs and capitals, that line is the title, as
  it is spelled there, and no part of the text.
- A text that is marked already; spaces and line breaks around its marks do not count.

All stories of a corpus have titles, or none has: `<|start|>text<|end|>`. A genre becomes a control
token, "Fairy tale" `<|fairy_tale|>`; a story without one has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar

from gptlib.corpora.text_file import check_permission, plain_lines, read_text
from gptlib.errors import DataError
from gptlib.grammar.grammar import SEPARATOR
from gptlib.stories.marks import END, START, TITLE, TITLE_END, genre_token

SPLITS = {
    "train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test",
}  # fmt: skip
EVERY = 10  # every tenth story validates, where the records do not say which
MARK = re.compile(r"</?\|\w+\|>")
GENRE = re.compile(r"<\|(\w+)\|>")
#: No genres: their tokens mean something else, in a story or in a conversation.
TAKEN = {"start", "title", "end", "endoftext", "chat", "system", "user", "assistant"}
MOST_SHOWN = 3  # malformed stories that are named; the others are counted
T = TypeVar("T")


class Story(NamedTuple):
    """A story: what it tells, its title and genre if it has them, the split that its record names
    ("train", "val" or "test"), and where it stands."""

    text: str
    title: str | None
    genre: str | None
    split: str | None
    where: str


class _Wrong(Exception):
    """What is wrong with one story."""


def mark_story(text: str, title: str | None = None, genre: str | None = None) -> str:
    """A story with its marks, as it stands in a corpus."""
    asked = genre_token(genre) if genre else ""
    titled = "" if title is None else f"{TITLE}{title}{TITLE_END}\n"
    return f"{START}{asked}{titled}{text}{END}"


def is_marked(text: str) -> bool:
    """Whether a text is stories with their marks: a line of it begins with `<|start|>`."""
    return START in text and bool(re.search(rf"^\s*{re.escape(START)}", text, re.MULTILINE))


def read_stories(path: Path) -> list[Story]:
    """The stories of a `.jsonl` file, of a marked text, or of the `.txt` files in a folder, in the
    order of their names.

    Raises:
        DataError: a file that cannot be read, or a malformed story, named by file, line and what is
            missing or wrong; no stories at all.
    """
    stories, wrong = [], []
    for where, found in _all(path):
        if isinstance(found, Story):
            stories.append(found)
        else:
            wrong.append(f"{where}: {found}")
    if any(story.title is not None for story in stories):
        wrong += [f"{s.where}: no title, and other stories have one" for s in stories
                  if s.title is None]  # fmt: skip
    if any(story.split for story in stories):
        wrong += [f"{s.where}: no split, and other stories have one" for s in stories
                  if not s.split]  # fmt: skip
    if wrong:
        refuse("stories", wrong, len(stories) + len(wrong))
    if not stories:
        raise DataError(f"{path.name} has no stories in it; give a file with at least two")
    return stories


def refuse(what: str, wrong: list[str], total: int) -> NoReturn:
    """Raise the error that names the first malformed ones of so many, and counts the others."""
    rest = len(wrong) - MOST_SHOWN
    more = f"; and {rest:,} more of {total:,}" if rest > 0 else ""
    raise DataError(f"malformed {what}: {'; '.join(wrong[:MOST_SHOWN])}{more}; mend the data")


def deal(stories: list[Story], size: int | None = None) -> tuple[list[str], list[str]]:
    """The marked stories to train on and to validate on.

    Where the records name a split, it holds, and those of "test" are in neither; else every tenth
    story validates, or the last one of fewer than ten.

    Args:
        size: characters to use of all: of each part the first stories, up to its share of them.

    Raises:
        DataError: one part is empty.
    """
    if stories[0].split:
        parts = [[s for s in stories if s.split == split] for split in ("train", "val")]
    else:
        parts = tenths(stories)
    train, val = ([mark_story(s.text, s.title, s.genre) for s in part] for part in parts)
    return share_out(train, val, size, "the stories")


def tenths(items: Sequence[T]) -> list[list[T]]:
    """All but every tenth, and every tenth; of fewer than ten, all but the last, and the last."""
    last = EVERY - 1 if len(items) >= EVERY else len(items) - 1
    return [[x for n, x in enumerate(items) if (n % EVERY == last) is val] for val in (False, True)]


def share_out(
    train: list[str], val: list[str], size: int | None, what: str
) -> tuple[list[str], list[str]]:
    """Of documents to train and to validate on the first, about `size` characters of all.

    Raises:
        DataError: one part is empty.
    """
    if size is not None:
        share = Fraction(size, max(1, characters(train + val)))
        train, val = (_first(part, share) for part in (train, val))
    if not (train and val):
        of, noun = "size" if size is not None else what, what.removeprefix("the ")
        raise DataError(
            f"{of} leaves {len(train)} {noun} to train on and {len(val)} to validate on; it takes "
            "at least one of each"
        )
    return train, val


def characters(documents: list[str]) -> int:
    """Characters of documents and their separators."""
    return sum(len(document) + len(SEPARATOR) for document in documents)


def _first(documents: list[str], share: Fraction) -> list[str]:
    """The first documents, one at least, that have no more than a share of the characters."""
    room, kept = share * characters(documents), []
    for document in documents:
        room -= len(document) + len(SEPARATOR)
        if kept and room < 0:
            break
        kept.append(document)
    return kept


def genres_of(stories: list[Story]) -> list[str]:
    """The genres that occur, sorted."""
    return sorted({story.genre for story in stories if story.genre})


# --- the three forms ------------------------------------------------------------------------------


def _all(path: Path) -> Iterator[tuple[str, Story | str]]:
    """Each story with where it stands, or what is wrong with it."""
    if path.is_dir():
        check_permission(path)
        for file in text_files(path):
            text = read_text(file)
            if is_marked(text):
                yield from _marked(text, file.name)
            else:
                yield from _checked(file.name, *_named(text, file.stem))
    elif path.suffix.lower() == ".txt":
        yield from _marked(read_text(path), path.name)
    else:
        yield from _lines(read_text(path), path.name)


def text_files(folder: Path) -> list[Path]:
    """The .txt files in a folder, in the order of their names."""
    return sorted(
        f for f in folder.iterdir() if f.suffix.lower() == ".txt" and not f.name.startswith(".")
    )


def _named(text: str, name: str) -> tuple[str, str]:
    """Text and title of a file."""
    title = " ".join(name.replace("_", " ").split())
    first, _, rest = text.strip().partition("\n")
    same = _letters(first) == _letters(title) != ""
    return (rest, first.strip()) if same else (text, title)


def _letters(text: str) -> str:
    return "".join(filter(str.isalnum, text.casefold()))


def _lines(lines: str, name: str) -> Iterator[tuple[str, Story | str]]:
    for number, line in enumerate(lines.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield where, f"not JSON ({str(error)[:80]})"
            continue
        if not isinstance(item, dict):
            yield where, f'{type(item).__name__}, not an object such as {{"title": …, "text": …}}'
            continue
        kinds = {key: item.get(key) for key in ("text", "title", "genre", "split")}
        odd = [key for key, value in kinds.items() if not isinstance(value, str | None)]
        text = kinds.pop("text")
        if odd:
            yield where, f"{odd[0]} is of type {type(item[odd[0]]).__name__}, not a string"
        elif text is None:
            yield where, f"no text (found keys {', '.join(map(str, item))[:80]})"
        else:
            yield from _checked(where, text, **kinds)


def _marked(text: str, name: str) -> Iterator[tuple[str, Story | str]]:
    for where, content, wrong in blocks(text, name, START, END):
        if wrong:
            yield where, wrong
            continue
        try:
            parts = _parts(content)
        except _Wrong as error:
            yield where, str(error)
        else:
            yield from _checked(where, *parts)


def blocks(text: str, name: str, start: str, end: str) -> Iterator[tuple[str, str, str]]:
    """What stands between each two marks, as (where, content, ""), or (where, "", what is wrong).

    Args:
        text: of a file called `name`. start, end: the mark that begins a block, and its end.
    """
    before, *rest = re.split(f"({re.escape(start)})", text)
    line = 1 + before.count("\n")
    if before.strip():
        at = 1 + before[: len(before) - len(before.lstrip())].count("\n")
        yield f"{name}, line {at}", "", f"text before the first {start}"
    for block in rest[1::2]:
        where = f"{name}, line {line}"
        content, closed, after = block.partition(end)
        if not closed:
            yield where, "", f"no {end} before the next {start} or the end of the file"
        elif after.strip():
            at = line + block.count("\n") - after.lstrip().count("\n")
            yield f"{name}, line {at}", "", f"text after {end}, and no {start} before it"
        else:
            yield where, content, ""
        line += block.count("\n")


def _parts(content: str) -> tuple[str, str | None, str | None]:
    """Text, title and genre of what stands between `<|start|>` and `<|end|>`."""
    content, genre, title = content.strip(), None, None
    if (found := GENRE.match(content)) and found[0] != TITLE:
        genre, content = found[1], content[found.end() :].lstrip()
    if content.startswith(TITLE):
        title, closed, content = content.removeprefix(TITLE).partition(TITLE_END)
        if not closed:
            raise _Wrong(f"{TITLE} is not closed by {TITLE_END}")
        if not title.strip():
            raise _Wrong(f"no title between {TITLE} and {TITLE_END}")
    return content, title, genre


def _checked(
    where: str, text: str, title: str | None = None, genre: str | None = None,
    split: str | None = None,
) -> Iterator[tuple[str, Story | str]]:  # fmt: skip
    """The story, or what is wrong with it."""
    text, title = plain_lines(text).strip(), (title or "").strip() or None
    asked = "_".join(re.findall(r"\w+", (genre or "").lower())) or None
    if not text:
        yield where, "no text"
    elif found := MARK.search(text):
        yield where, f"the mark {found[0]} inside the text"
    elif found := MARK.search(title or ""):
        yield where, f"the mark {found[0]} inside the title"
    elif title and len(title.splitlines()) > 1:
        yield where, "a line break inside the title"
    elif asked in TAKEN:
        yield where, f"the genre {genre!r}, whose token {genre_token(asked)} means something else"
    elif split and split.lower() not in SPLITS:
        yield where, f"the split {split[:40]!r}, which is none of {', '.join(SPLITS)}"
    else:
        yield where, Story(text, title, asked, SPLITS[split.lower()] if split else None, where)
