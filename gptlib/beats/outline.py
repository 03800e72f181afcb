"""The outline of a story of the grammar: beats that are recovered from its text, and found in it.

One job: `beats_of`, from a story to its beats, and `covered`, from beats and a text to which of
them it tells. Both read the text as the judge of stories does, sentence by sentence with a world in
mind; a sentence whose kind has a beat (`data/beats/stories.toml`) tells it about whoever the
sentence can be about. So a beat is told by all ways in which the grammar can put it, and by no
other: the right kind of sentence about the wrong goat tells nothing.

`covered` also reads what the judge refuses, such as a text of a model. A sentence of no kind that
stories know is passed over. One that the world does not allow is taken at its word, as far as its
words leave no doubt about whom it means. Of all readings the one with the fewest such sentences
counts, so that a story of the grammar is read exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gptlib.errors import DataError
from gptlib.evaluation.stories import Moment, candidates, castings, judge_story
from gptlib.grammar.rules import read_source
from gptlib.resources import data_path
from gptlib.stories.kinds import Match, Storybook, storybook
from gptlib.stories.marks import END, START, TITLE, TITLE_END
from gptlib.stories.world import Claim, World

#: What a beat can be, in the order in which a story tells them.
PARTS = ("wants", "trait", "obstacle", "tries", "turn", "end")

_HEAD = re.compile(rf"\s*(?:{re.escape(START)})?(?:<\|(?!title\|)\w+\|>)?(?={re.escape(TITLE)})?")
_TITLED = re.compile(rf"{re.escape(TITLE)}([^<]*){re.escape(TITLE_END)}\n?")
_SENTENCE = re.compile(r"[^\n]*?[.?!][\"”]?(?=\s|\Z)|[^\n]+|\n")
_BLANK = re.compile(r"\s*")
_NAMED = re.compile(r"\{(\w+)(?:\.(\w+))?\}")


@dataclass(frozen=True)
class Beat:
    """A beat: its sentence, which of `PARTS` it is, and where in the body what tells it begins."""

    text: str
    part: str
    start: int


@dataclass(frozen=True)
class _Way:
    """One way to read a text up to a place: what is so, what was told, and what had to be bent."""

    moment: Moment
    told: tuple[Beat, ...] = ()
    bent: int = 0


def beats_of(story: str, name: str = "stories") -> list[str]:
    """The beats of a story, in the order in which it tells them.

    Args:
        story: whole and marked, as the grammar writes it and `judge_story` accepts it.
        name: the grammar.

    Returns:
        Five to a dozen short sentences: who wants what, a trait, what is in the way, what is tried,
        what turns it, how it ends. Equal stories give equal beats.

    Raises:
        DataError: the story does not hold together; the message says where.
    """
    verdict = judge_story(story, name)
    if not verdict.ok:
        raise DataError(
            f"this story does not hold together, at {verdict.sentence!r}: {verdict.reason}; give "
            "one that judge_story accepts"
        )
    return [beat.text for beat in told(story, name)]


def covered(beats: Sequence[str], prose: str, name: str = "stories") -> list[bool]:
    """Which of these beats a text tells, one answer for each.

    Args:
        beats: sentences of `beats_of`. prose: any text, with its marks or without them.
        name: the grammar.

    It is exact for stories of the grammar and for their beats. A beat in other words, or prose
    freer than the grammar's, is beyond it; there `gptlib.beats.overlap` counts words.
    """
    found = {beat.text for beat in told(prose, name)}
    return [beat in found for beat in beats]


def told(prose: str, name: str = "stories") -> list[Beat]:
    """All beats that a text tells, in its order; places count from the beginning of its body."""
    book = storybook(name)
    title, body = parts(prose)
    # Where the title is not told, what a story is about cannot be asked.
    text = (f"{TITLE}{title}{TITLE_END}" if title else "") + "\n" + body
    shift = len(text) - len(body)
    ways: dict[int, set[_Way]] = {0 if title else shift: {_Way(Moment(World()))}}
    last = set[_Way]()
    while ways:
        pos = min(ways)
        now = ways.pop(pos)
        if pos >= len(text):
            last |= now
            continue
        least = min(way.bent for way in now)
        now = {way for way in now if way.bent == least}
        for end, way in _after(book, text, pos, now, name, bool(title)):
            ways.setdefault(_BLANK.match(text, end).end(), set()).add(way)  # type: ignore[union-attr]
    best = min(last, key=lambda way: (way.bent, -len(way.told), [b.text for b in way.told]))
    return [Beat(beat.text, beat.part, beat.start - shift) for beat in best.told]


def parts(prose: str) -> tuple[str, str]:
    """Title and body of a text, without marks; the title is "" where the text names none."""
    head = _HEAD.match(prose)
    rest = prose[head.end() if head else 0 :]
    title = _TITLED.match(rest)
    body = rest[title.end() :] if title else rest
    return (title[1].strip() if title else ""), body.strip().removesuffix(END).strip()


def _after(
    book: Storybook, text: str, pos: int, now: set[_Way], name: str, titled: bool
) -> Iterator[tuple[int, _Way]]:
    """Where the sentence at `pos` ends, and all ways to have read it."""
    matches = list(book.read(text, pos))
    allowed = False
    for match in matches:
        needs = match.kind.needs
        if not titled:
            needs = tuple(claim for claim in needs if claim.words[1] != "about")
        for way in now:
            for who in castings(book, match, way.moment, pos, {}, needs):
                allowed = True
                yield match.end, _step(way, match, who, pos, name, bent=0)
    if allowed:
        return
    sentence = _SENTENCE.match(text, pos)
    assert sentence is not None  # it takes any text that is not empty
    for way in now:
        doubtless = [(match, _sure(book, match, way.moment)) for match in matches]
        if not doubtless:
            yield sentence.end(), _Way(way.moment, way.told, way.bent + 1)
            continue
        match, who = max(doubtless, key=lambda found: len(found[1]))
        yield match.end, _step(way, match, who, pos, name, bent=1)


def _sure(book: Storybook, match: Match, moment: Moment) -> dict[str, str]:
    """Those parameters of a sentence that can be one and nobody else, whatever the world says."""
    return {
        parameter: next(iter(who))
        for parameter, who in candidates(book, match, moment).items()
        if len(who) == 1
    }


def _step(way: _Way, match: Match, who: dict[str, str], pos: int, name: str, bent: int) -> _Way:
    """The way after a sentence about these."""
    kind, beat = match.kind, _beat(match, who, pos, name)
    sure = tuple(claim for claim in kind.then if _of_these(claim, kind.takes, who))
    moment = way.moment
    moment = Moment(
        moment.world.after(sure, who), frozenset(who.values()),
        moment.seen | frozenset(who.values()) if pos else moment.seen, "", pos,
    )  # fmt: skip
    return _Way(moment, (*way.told, *([beat] if beat else [])), way.bent + bent)


def _of_these(claim: Claim, takes: dict[str, str], who: dict[str, str]) -> bool:
    """Whether a claim is about none but those who are known."""
    return all(word in who or word not in takes for word in claim.words)


def _beat(match: Match, who: dict[str, str], pos: int, name: str) -> Beat | None:
    """What a sentence about these tells, if its kind has a beat and they are known."""
    part, template = _templates(name).get(match.kind.name, ("", ""))
    needed = {found[0].lower() for found in _NAMED.findall(template)}
    if not template or not needed <= who.keys():
        return None

    def put(found: re.Match[str]) -> str:
        parameter, column = found[1].lower(), found[2] or ""
        word = _column(name, match.kind.takes[parameter], column)[who[parameter]]
        return word[:1].upper() + word[1:] if found[1][0].isupper() else word

    return Beat(_NAMED.sub(put, template), part, pos)


@cache
def _column(name: str, kind: str, column: str) -> dict[str, str]:
    """For everybody or everything of a class, the text of a column."""
    words = storybook(name).words(kind, column)
    return {owner: word for word, owners in words.items() for owner in owners}


@cache
def _templates(name: str) -> dict[str, tuple[str, str]]:
    """By kind of sentence, which part its beat is and how it is put."""
    source: dict[str, Any] = read_source(data_path(f"beats/{name}.toml"))
    return {kind: (part, text) for part in PARTS for kind, text in source[part].items()}
