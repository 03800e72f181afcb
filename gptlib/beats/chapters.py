"""A novel, from plain text to chapters and to chunks of them that a model can write at once.

One job: `chapters_of` and `chunks_of`. A chunk ends where a paragraph ends, has at most so many
words, and no word of a chapter is lost between two chunks or stands in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
    """A chapter: its number from 1, its heading as it stands, its paragraphs, and the line of its
    heading in the file (1 for what stands before the first)."""

    number: int
    title: str
    paragraphs: tuple[str, ...]
    line: int

    @property
    def name(self) -> str:
        """A name that no other chapter of the novel has."""
        return f"{self.number} {self.title}".strip()


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

    A line `Part Two` before a heading belongs to its title. What stands before the first heading is
    a chapter without a title. Lines of 50 characters and more within a paragraph are joined by
    spaces, as a program had broken them; shorter ones, such as verse, are kept.

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
        chapters.append(Chapter(1, "", before, 1))
    for cut, head, end in zip(cuts, found, [*cuts[1:], len(lines)], strict=True):
        words = " ".join(line.strip(" #\t") for line in lines[cut : head + 1]).split()
        title, paragraphs = " ".join(words), _paragraphs(lines[head + 1 : end], apart)
        if not paragraphs:
            raise DataError(
                f"line {head + 1}: the chapter {title[:60]!r} has no text; if the line belongs to "
                "a table of contents, remove the table"
            )
        chapters.append(Chapter(len(chapters) + 1, title, paragraphs, head + 1))
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
    """Put paragraphs together as long as they have no more than so many words.

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
    """Neighbors joined from the first to the last, as many as have no more than `most` words."""
    packed: list[list[str]] = []
    held = 0
    for part in parts:
        words = len(part.split())
        if not packed or held + words > most:
            packed.append([])
            held = 0
        packed[-1].append(part)
        held += words
    return [between.join(group) for group in packed]


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
