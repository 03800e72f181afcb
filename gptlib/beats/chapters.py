"""A novel, from plain text to chapters and to chunks of them that a model can write at once.

One job: `chapters_of` and `chunks_of`. A chunk ends where a paragraph ends, has at most so many
words, and no word of a chapter is lost between two chunks or stands in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from gptlib.corpora.text_file import plain_lines
from gptlib.errors import ConfigError, DataError

WORDS = 500  # of a chunk, at most

_ROMAN = r"[IVXLCDM]{1,8}"
_NUMBER = rf"(?:\d+|{_ROMAN}|(?i:the\s+)?(?i:one|two|three|four|five|six|seven|eight|nine|ten|"
_NUMBER += r"(?:first|second|third|fourth|fifth|sixth|seventh|eighth|ninth|tenth)))"
#: A line that begins a chapter: `# Title`, `Chapter 3: Title`, `III.`, `Epilogue`.
HEADING = (
    rf"#{{1,3}}\s+\S.*|(?i:chapter)\s+{_NUMBER}\b.*|{_ROMAN}\.?|\d{{1,3}}\.?"
    r"|(?i:prologue|epilogue|preface)\W*"
)
_PART = re.compile(r"(?i)\W*(?:part|book|volume)\s+\w+\b.{0,60}")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+|(?<=[.?!][\"”’'])\s+")
_WRAPPED = 50  # characters; a paragraph whose lines are all longer was broken by a program


@dataclass(frozen=True)
class Chapter:
    """A chapter: a name that no other chapter has, its paragraphs, and the line of its heading in
    the file (1 for what stands before the first)."""

    name: str
    paragraphs: tuple[str, ...]
    line: int


@dataclass(frozen=True)
class Chunk:
    """Whole paragraphs of one chapter: the chapter's name, the chunk's number in it from 1."""

    chapter: str
    number: int
    text: str


def chapters_of(text: str, heading: str = HEADING) -> list[Chapter]:
    """Cut a novel at its headings.

    Args:
        text: paragraphs with blank lines between them; without any blank line, one in each line.
        heading: a regular expression for the whole of a line that begins a chapter.

    A chapter's name is its heading, with a line `Part Two` above it, and with a number where
    another has the same. What stands before the first heading is the chapter "opening". Lines of
    50 characters and more within a paragraph are joined by spaces, as a program had broken them;
    shorter ones, such as verse, are kept.

    Raises:
        ConfigError: `heading` is no regular expression.
        DataError: no heading, or a chapter without text, named by its line.
    """
    try:
        begins = re.compile(heading)
    except re.error as error:
        raise ConfigError(f"the heading {heading!r} is no regular expression: {error}") from error
    lines = plain_lines(text).split("\n")
    found = [n for n, line in enumerate(lines) if begins.fullmatch(line.strip())]
    if not found:
        raise DataError(
            f"none of {len(lines):,} lines begins a chapter; write '# Title' above each, or give "
            "the form of this book's headings as a regular expression"
        )
    apart = any(not line.strip() for line in lines[found[0] :])
    cuts = [_from_part(lines, n) for n in found]
    chapters = []
    if before := _paragraphs(lines[: cuts[0]], apart):
        chapters.append(Chapter("opening", before, 1))
    for cut, head, end in zip(cuts, found, [*cuts[1:], len(lines)], strict=True):
        words = " ".join(line.strip(" #\t") for line in lines[cut : head + 1]).split()
        name, paragraphs = " ".join(words), _paragraphs(lines[head + 1 : end], apart)
        if not paragraphs:
            raise DataError(
                f"line {head + 1}: the chapter {name[:60]!r} has no text; if the line belongs to "
                "a table of contents, remove the table"
            )
        taken = {chapter.name for chapter in chapters}
        again = next(n for n in count(1) if _numbered(name, n) not in taken)
        chapters.append(Chapter(_numbered(name, again), paragraphs, head + 1))
    return chapters


def chunks_of(chapters: Sequence[Chapter], most: int = WORDS) -> list[Chunk]:
    """Cut each chapter into chunks of at most so many words (as `str.split` counts them).

    Raises:
        ConfigError: `most` is below 1.
    """
    return [
        Chunk(chapter.name, number, text)
        for chapter in chapters
        for number, text in enumerate(cut(chapter.paragraphs, most), 1)
    ]


def cut(paragraphs: Sequence[str], most: int = WORDS) -> list[str]:
    """Put neighboring paragraphs together, into as few chunks of at most so many words as there can
    be, and as even ones.

    A paragraph that alone has more is cut, at ends of sentences; a sentence that has more, between
    words. Each piece is then one like a paragraph.

    Raises:
        ConfigError: `most` is below 1.
    """
    if most < 1:
        raise ConfigError(
            f"a chunk of {most} words was asked for; give a whole number of 1 or more"
        )
    pieces = [piece for paragraph in paragraphs for piece in _pieces(paragraph, most)]
    return _packed(pieces, most, "\n\n")


def _pieces(paragraph: str, most: int) -> Iterator[str]:
    """A paragraph, or where it is too long its parts."""
    if len(paragraph.split()) <= most:
        yield paragraph
        return
    sentences: list[str] = []
    for sentence in _SENTENCE_END.split(paragraph):
        words = sentence.split()
        sentences += [" ".join(words[i : i + most]) for i in range(0, len(words), most)]
    yield from _packed(sentences, most, " ")


def _packed(parts: Sequence[str], most: int, between: str) -> list[str]:
    """Neighbors joined: into as few groups of at most `most` words as there can be, and among the
    ways to do that, the one with the most even groups (the least sum of their squares)."""
    words = [len(part.split()) for part in parts]
    # For the first n parts: how many groups, the sum of their squares, where the last one begins.
    best = [(0, 0, 0)]
    for end in range(1, len(parts) + 1):
        options, held = [], 0
        for start in range(end - 1, -1, -1):
            held += words[start]
            if held > most:
                break
            groups, squares, _ = best[start]
            options.append((groups + 1, squares + held**2, start))
        best.append(min(options))
    groups, end = [], len(parts)
    while end:
        start = best[end][2]
        groups.append(between.join(parts[start:end]))
        end = start
    return groups[::-1]


def _numbered(name: str, n: int) -> str:
    return name if n == 1 else f"{name} ({n})"


def _from_part(lines: Sequence[str], head: int) -> int:
    """Where the heading at line `head` begins: there, or at a `Part Two` above it."""
    above = head - 1
    while above >= 0 and not lines[above].strip():
        above -= 1
    return above if above >= 0 and _PART.fullmatch(lines[above].strip()) else head


def _paragraphs(lines: Sequence[str], apart: bool) -> tuple[str, ...]:
    """The paragraphs of some lines, which blank lines part, or if not `apart` every line end."""
    text = "\n".join(line.strip() for line in lines)
    blocks = re.split(r"\n\n+" if apart else r"\n+", text)
    return tuple(_unwrapped(block.strip()) for block in blocks if block.strip())


def _unwrapped(block: str) -> str:
    lines = block.split("\n")
    wrapped = all(len(line) >= _WRAPPED for line in lines[:-1])
    return " ".join(lines) if wrapped else block
