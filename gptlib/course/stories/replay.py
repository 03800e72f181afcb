"""A story sentence by sentence: what each changes in its world.

One job: `replay`, the judge's reading of a story that it accepts, kept instead of thrown away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from gptlib.errors import DataError
from gptlib.evaluation.stories import Moment, follow, judge_story
from gptlib.grammar import Grammar
from gptlib.stories import END, START
from gptlib.stories.kinds import Storybook, storybook
from gptlib.stories.world import Triple, World

HEAD = re.compile(re.escape(START) + r"(?:<\|\w+\|>(?=<\|title\|>))?")


@dataclass(frozen=True)
class Event:
    """A sentence of a story: its place in the text, its kind, and the world before and after.

    Attributes:
        start, end: where it stands in the whole marked text. kind: its name in the grammar.
        moment: what the judge knew when it came. after: the world that it left.
    """

    sentence: str
    start: int
    end: int
    kind: str
    moment: Moment
    after: World

    @property
    def before(self) -> World:
        """The world that it found."""
        return self.moment.world

    @property
    def changes(self) -> tuple[frozenset[Triple], frozenset[Triple]]:
        """The facts that began and those that ended."""
        return self.after.facts - self.before.facts, self.before.facts - self.after.facts


@cache
def grammar() -> Grammar:
    """The grammar of the stories, built once."""
    return Grammar.load("stories")


def refusal(event: Event, sentence: str) -> str:
    """Why the world does not allow another sentence in place of an event's; "" if it does.

    It asks of this sentence alone; whether the rest of the story can then be is another question.
    """
    book, failed = storybook(), {}
    body = " " * event.start + sentence  # position 0 is that of the title
    for match in book.read(body, event.start):
        if match.end == len(body) and any(follow(book, match, event.moment, event.start, failed)):
            return ""
    return failed.get(event.start, "no sentence of a kind that stories know")


def replay(text: str) -> list[Event]:
    """Read a whole marked story as the judge does, and say what each sentence changed.

    Raises:
        DataError: the judge does not accept it.
    """
    verdict, head = judge_story(text), HEAD.match(text)
    if not verdict.ok or not head:
        raise DataError(
            f"this story does not hold together, at {verdict.sentence!r}: {verdict.reason}; give "
            "one that judge_story accepts"
        )
    shift = head.end()
    events = _read(text[shift:].removesuffix(END), storybook(), Moment(World()), 0, shift)
    assert events is not None  # the judge has found a way to read it
    return events


def _read(body: str, book: Storybook, moment: Moment, pos: int, shift: int) -> list[Event] | None:
    """The events from `pos` on, by the first way to understand them; None where there is none."""
    if pos > len(body):
        return [] if moment.genre else None
    for match in book.read(body, pos):
        for then in follow(book, match, moment, pos, {}):
            rest = _read(body, book, then, match.end + 1, shift)
            if rest is not None:
                sentence = body[pos : match.end]
                event = Event(
                    sentence, pos + shift, match.end + shift, match.kind.name, moment, then.world
                )  # fmt: skip
                return [event, *rest]
    return None
