"""What became of a story that a model wrote: is it one, could the grammar have written it, does it
hold together, was it copied?

One job: `judged`, one story's `Judged`, and `Verdicts`, many of them with their rates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from gptlib.course.stories.replay import HEAD, grammar
from gptlib.errors import DataError, GrammarError
from gptlib.evaluation import judge_story, wilson
from gptlib.grammar import Grammar
from gptlib.stories import END, START, TITLE, TITLE_END, special_tokens

MEASURES = ("well_formed", "parses", "holds")
MORAL = "Moral: "
#: For each text, how many words its longest run has that stands in the training text.
SharedRuns = Callable[[Sequence[str]], Sequence[int]]


@dataclass(frozen=True)
class Judged:
    """A story and what is to be said of it.

    Attributes:
        text: with its marks. missing: what keeps it from having the form of a story, or "".
        parses: whether the grammar could have written it, mark by mark and word by word.
        holds: whether the simulator accepts it. If not, `sentence` is the first wrong one, and
            `reason` says why.
        shared: the longest run of words that it has in common with the training text; None where
            nobody looked.
    """

    text: str
    missing: str
    parses: bool
    holds: bool
    sentence: str = ""
    reason: str = ""
    shared: int | None = None

    @property
    def well_formed(self) -> bool:
        """Whether it has its marks, a title, a text and a moral, each where it belongs."""
        return not self.missing


@dataclass(frozen=True)
class Rate:
    """So many of so many, and the 95% interval of the share (Wilson)."""

    right: int
    n: int

    @property
    def share(self) -> float:
        return self.right / self.n

    @property
    def ci95(self) -> tuple[float, float]:
        return wilson(self.right, self.n)

    def to_dict(self) -> dict:
        """For a record."""
        return {**asdict(self), "share": self.share, "ci95": list(self.ci95)}


@dataclass(frozen=True)
class Verdicts:
    """Many stories, judged."""

    stories: tuple[Judged, ...]

    def __len__(self) -> int:
        return len(self.stories)

    def rate(self, measure: str) -> Rate:
        """How many are "well_formed", "parses" or "holds"."""
        return Rate(sum(getattr(story, measure) for story in self.stories), len(self))

    @property
    def failed(self) -> list[Judged]:
        """Those that do not hold together, in the order in which they were written."""
        return [story for story in self.stories if not story.holds]

    @property
    def longest_shared(self) -> int | None:
        """Of the runs of words shared with the training text, the longest."""
        runs = [story.shared for story in self.stories if story.shared is not None]
        return max(runs, default=None)

    def reasons(self) -> list[tuple[str, int]]:
        """Why stories do not hold together, without names, the most frequent first."""
        bare = [re.sub(r"\b[A-Z][a-z]+\b|(?<=the )\w+", "…", s.reason) for s in self.failed]
        return Counter(bare).most_common()

    def to_dict(self) -> dict:
        """Rates, reasons and runs, for a record; the stories themselves are its samples."""
        rates = {measure: self.rate(measure).to_dict() for measure in MEASURES}
        runs = sorted(story.shared for story in self.stories if story.shared is not None)
        shared = {"longest": runs[-1], "median": runs[len(runs) // 2]} if runs else None
        return {"n": len(self), **rates, "reasons": self.reasons(), "shared_words": shared}


def judged(text: str, shared: int | None = None) -> Judged:
    """Judge one story.

    Args:
        text: a whole marked story, as far as a model wrote it.
        shared: the longest run of words that it has in common with the training text, if known.
    """
    verdict = judge_story(text)
    return Judged(
        text, missing_part(text), parses(text), verdict.ok, verdict.sentence, verdict.reason,
        shared,
    )  # fmt: skip


def judge_all(texts: Sequence[str], shared: SharedRuns | None = None) -> Verdicts:
    """Judge many stories.

    Args:
        shared: looks all of them up in the training text, whose words go by once.

    Raises:
        DataError: there are none.
    """
    if not texts:
        raise DataError("there are no stories to judge; a share needs at least one")
    runs = shared(texts) if shared else [None] * len(texts)
    return Verdicts(tuple(judged(text, run) for text, run in zip(texts, runs, strict=True)))


def missing_part(text: str) -> str:
    """What a text lacks to have the form of a story, the first such thing; "" if nothing.

    The form is `<|start|>`, perhaps a genre, `<|title|>` a title `</|title|>`, a line break, lines
    of text of which the last one begins with "Moral: ", `<|end|>`; and no mark anywhere else.
    """
    head = HEAD.match(text)
    if not head:
        return "it does not begin with <|start|>"
    if (genre := head[0].removeprefix(START)) and genre not in special_tokens():
        return f"{genre} asks for no genre"
    rest = text[head.end() :]
    if not rest.startswith(TITLE):
        return "no <|title|> follows the beginning"
    title, closed, body = rest[len(TITLE) :].partition(TITLE_END)
    if not closed:
        return "the title is not closed"
    if not title.strip() or "\n" in title or _has_mark(title):
        return "the title is no line of words"
    if not body.endswith(END):
        return "it does not end with <|end|>"
    body = body.removesuffix(END)
    if _has_mark(body):
        return "a mark stands in the text"
    lines = body.split("\n")
    if lines[0] or len(lines) < 3 or not all(map(str.strip, lines[1:])):
        return "the text does not stand in lines of its own"
    if not lines[-1].startswith(MORAL) or not lines[-1].removeprefix(MORAL).strip():
        return "the last line is no moral"
    return ""


def _has_mark(text: str) -> bool:
    return any(mark in text for mark in special_tokens())


def parses(text: str, by: Grammar | None = None) -> bool:
    """Whether a grammar, that of the stories if no other is given, could have written a text."""
    try:
        (by or grammar()).score(text)
    except GrammarError:
        return False
    return True
