"""Whether a story makes sense: a small simulator of its world replays it from the text.

One job: `judge_story`, and `judge_prefix` for one that is still being written. They read one
sentence after the other, whoever wrote them. Each must be of
a kind that the village knows (`gptlib.stories.kinds`), and the state of the world must allow it:
nobody gives what somebody else has, speaks to somebody who is elsewhere, tells what they cannot
know, or draws a moral from what has not happened. What the grammar would have written next plays no
part: a story that it cannot write passes if its world holds together, and a story of its own
sentences in another order is judged by what each finds done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from gptlib.stories.kinds import Kind, Match, Storybook, storybook
from gptlib.stories.marks import END, START, TITLE, genre_token
from gptlib.stories.world import Claim, World

_SENTENCE = re.compile(r"[^\n]*?[.?!]\"?(?=[ \n]|\Z)|[^\n]+|\n")
_UNKNOWN = "no sentence of a kind that stories know"


@dataclass(frozen=True)
class Verdict:
    """Of a story: whether it holds together; if not, the first wrong sentence, and why."""

    ok: bool
    sentence: str = ""
    reason: str = ""


@dataclass(frozen=True)
class Moment:
    """One way in which a story can be understood so far."""

    world: World
    named: frozenset[str] = frozenset()  # in the sentence before
    seen: frozenset[str] = frozenset()
    genre: str = ""  # once a moral has been told
    start: int = 0  # of the last sentence


def judge_story(text: str, name: str = "stories") -> Verdict:
    """Replay a story, marks and all, from `<|start|>` to `<|end|>`.

    Derived in chapter 7, *Can a program tell a story from a heap of sentences?*

    Args:
        text: the whole story; what a model wrote, or the grammar. White space around it is let be.
        name: the grammar whose sentences and words are known.

    A sentence is wrong if it is of no known kind, or if the world does not allow it when it comes.
    The sentence of the verdict is the title where that promises what never comes, and the last one
    where the story ends too early or leaves something open.
    """
    book, text = storybook(name), text.strip()
    asked, pos, refused = _head(text, book)
    if refused:
        return refused
    whole = text.endswith(END)
    body = text[pos : len(text) - len(END) if whole else len(text)]
    last, failed, _ = _replay(body, book)
    return _close(last, body, book, asked, whole) if last else _first_failure(failed, body)


def judge_prefix(text: str, name: str = "stories") -> Verdict:
    """Replay the beginning of a story, from `<|start|>` to wherever it has come.

    Args:
        text: the beginning; it may stop within a sentence. One with `<|end|>` is a whole story.
        name: the grammar whose sentences and words are known.

    Every sentence that is whole must be allowed when it comes, and what follows the last of them
    must be the beginning of a kind of sentence. That something is still open is no fault, until a
    moral has been told: then nothing can follow, and the story is judged as a whole one is.
    """
    book, text = storybook(name), text.strip()
    if text.endswith(END):
        return judge_story(text, name)
    asked, pos, refused = _head(text, book)
    if refused:
        return refused
    body = text[pos:]
    last, failed, reached = _replay(body, book)
    goes_on = {pos for pos, now in reached.items() if not all(moment.genre for moment in now)}
    if not all(moment.genre for moment in last) or any(book.begins(body, pos) for pos in goes_on):
        return Verdict(True)
    if last:
        return _close(last, body, book, asked, whole=True)
    return _first_failure(failed, body)


def _head(text: str, book: Storybook) -> tuple[str, int, Verdict | None]:
    """The genre that is asked for, where the title begins, and what is wrong before it."""
    genre = rf"<\|(?!title\|)(\w+)\|>(?={re.escape(TITLE)}|\Z)"
    head = re.match(f"{re.escape(START)}(?:{genre})?", text)
    if not head:
        return "", 0, Verdict(False, _first(text, 0), f"a story begins with {START} and a title")
    asked = head[1] or ""
    if asked and asked not in book.genres:
        return asked, 0, Verdict(False, head[0], f"{genre_token(asked)} asks for no genre")
    return asked, head.end(), None


def _replay(
    body: str, book: Storybook
) -> tuple[set[Moment], dict[int, str], dict[int, set[Moment]]]:
    """All ways to understand a body to its end; why others ended where they did; and for each place
    where a sentence may begin, the ways that lead there."""
    ways: dict[int, set[Moment]] = {0: {Moment(World())}}
    failed: dict[int, str] = {}
    reached: dict[int, set[Moment]] = {}
    last: set[Moment] = set()
    while ways:
        pos = min(ways)
        now = reached[pos] = ways.pop(pos)
        if pos > len(body):
            last |= now
            continue
        matches = list(book.read(body, pos))
        for match in matches:
            for moment in now:
                for then in follow(book, match, moment, pos, failed):
                    ways.setdefault(match.end + 1, set()).add(then)
        if not matches:
            failed.setdefault(pos, _UNKNOWN)
    return last, failed, reached


def _first_failure(failed: dict[int, str], body: str) -> Verdict:
    """The first wrong sentence, in the reading that comes furthest."""
    pos = max(failed)
    return Verdict(False, _first(body, pos), failed[pos])


def follow(
    book: Storybook, match: Match, moment: Moment, pos: int, failed: dict[int, str]
) -> Iterator[Moment]:
    """All moments to which a sentence can lead; where there is none, note in `failed` why.

    Args:
        match: the sentence at `pos`, read as one kind. moment: what was so before it.
        failed: by position, the first reason why a sentence there cannot be.
    """
    for who in castings(book, match, moment, pos, failed):
        chosen = frozenset(who.values())
        seen = moment.seen | chosen if pos else moment.seen
        yield Moment(moment.world.after(match.kind.then, who), chosen, seen, match.kind.ends, pos)


def castings(
    book: Storybook,
    match: Match,
    moment: Moment,
    pos: int,
    failed: dict[int, str],
    needs: tuple[Claim, ...] | None = None,
) -> Iterator[dict[str, str]]:
    """All who and what a sentence can be about; where there is none, note in `failed` why.

    Args:
        needs: what has to hold before, where that is not all that its kind needs. The rest is as
            for `follow`.
    """
    kind = match.kind
    if moment.genre:
        failed.setdefault(pos, "the story is over: its moral has been told")
        return
    cast = candidates(book, match, moment)
    if empty := next((p for p, who in cast.items() if not who), None):
        failed.setdefault(pos, _nobody(kind, empty, match))
        return
    reasons = [(-1, "one and the same is there twice")]
    for chosen in product(*(sorted(who) for who in cast.values())):
        if len(set(chosen)) < len(chosen):
            continue
        who = dict(zip(cast, chosen, strict=True))
        reasons.append(moment.world.follow(kind.needs if needs is None else needs, who))
        if not reasons[-1][1]:
            yield who
    failed.setdefault(pos, max(reasons, key=lambda reason: reason[0])[1])


def candidates(book: Storybook, match: Match, moment: Moment) -> dict[str, set[str]]:
    """For each parameter of a sentence, who or what it can be."""
    cast = {}
    for parameter, kind in match.kind.takes.items():
        who = match.can_be.get(parameter)
        if who is None:
            who = book.members(kind) & moment.seen
        elif parameter in match.by_pronoun:
            who = who & moment.named
        cast[parameter] = who
    return cast


def _nobody(kind: Kind, parameter: str, match: Match) -> str:
    if parameter in match.by_pronoun:
        return "its pronoun is of nobody in the sentence before"
    if parameter in match.can_be:
        return f"its words for one {kind.takes[parameter]} do not agree"
    return f"no {kind.takes[parameter]} in the story that it could be about"


def _close(last: set[Moment], body: str, book: Storybook, asked: str, whole: bool) -> Verdict:
    """Whether the story may end here; of several readings the best counts."""
    verdicts = [_ending(moment, body, book, asked) for moment in sorted(last, key=repr)]
    verdict = next((v for v in verdicts if v.ok), verdicts[0])
    if verdict.ok and not whole:
        return replace(verdict, ok=False, reason=f"the story is told, but {END} is missing")
    return Verdict(True) if verdict.ok else verdict


def _ending(moment: Moment, body: str, book: Storybook, asked: str) -> Verdict:
    sentence = body[moment.start :]
    if not moment.genre:
        return Verdict(False, sentence, "the story stops without a moral")
    for _, _, about in moment.world.find(("story", "about", "_")):
        if about not in moment.seen:
            return Verdict(False, _first(body, 0), f"the story never comes to speak of {about}")
    for fact in sorted(moment.world.facts):
        if fact[1] in book.open:
            subject, _, thing = fact
            return Verdict(False, sentence, book.open[fact[1]].format(subject, thing))
    if asked and asked != moment.genre:
        reason = f"{genre_token(asked)} was asked for, and this is the moral of a {moment.genre}"
        return Verdict(False, sentence, reason)
    return Verdict(True, sentence)


def _first(text: str, pos: int) -> str:
    """The sentence that begins at `pos`, as far as one can tell."""
    found = _SENTENCE.match(text, pos)
    return found[0] if found else ""
