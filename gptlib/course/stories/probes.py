"""Questions with two answers about a story, of which the world allows one.

One job: `story_probes`. A probe is a story up to a word, the word that stands there, and another
that the simulator refuses in its place; nobody has labeled anything. The kinds:

    name    somebody of the story, or somebody who is not in it
    owner   who has a thing, or which thing somebody has: the other one is of the story too
    gone    as `owner`, where the wrong answer was right earlier in the story: it was given away
    turn    the moral, or that of another course of the same genre
    moral   the moral, or that of another genre
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from gptlib.course.stories.replay import Event, grammar, refusal, replay
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import judge_story
from gptlib.grammar import Probe
from gptlib.stories import END
from gptlib.stories.kinds import storybook

KINDS = ("name", "owner", "gone", "turn", "moral")
_REFUSED = re.compile(r"(.+) does not have the (.+); (?:.+) has it")


def held_out(n: int, seed: int = 1) -> list[str]:
    """Stories of the grammar that `load_corpus("stories")` does not begin with: its seed is 0."""
    rng = random.Random(seed)
    return [grammar().sample(rng).text for _ in range(n)]


def collect_probes(n: int, seed: int = 1, kinds: Sequence[str] = KINDS) -> dict[str, list[Probe]]:
    """Ask `n` questions of each kind, at most one of a kind about a story.

    Raises:
        ConfigError: a kind that there is not. DataError: the stories offer too few.
    """
    if unknown := set(kinds) - set(KINDS):
        raise ConfigError(f"no probes are of the kind {unknown.pop()!r}; there are {KINDS}")
    found: dict[str, list[Probe]] = {kind: [] for kind in kinds}
    for probe in story_probes(held_out(100 + 20 * n, seed), seed):
        if len(found.get(probe.kind, range(n))) < n:
            found[probe.kind].append(probe)
        if all(len(probes) == n for probes in found.values()):
            return found
    raise DataError(
        f"the stories offer too few probes: { ({k: len(v) for k, v in found.items()}) }"
    )


def story_probes(stories: Iterable[str], seed: int = 0) -> Iterator[Probe]:
    """Yield the probes that stories offer, one of each kind or none for each story.

    Args:
        stories: whole and marked; each must hold together. seed: chooses places and wrong answers.
    """
    rng, morals = random.Random(seed), _morals()
    for text in stories:
        events = replay(text)
        yield from _swapped_words(text, events, rng)
        yield from _swapped_morals(text, events[-1], morals, rng)


def _swapped_words(text: str, events: list[Event], rng: random.Random) -> Iterator[Probe]:
    """Names and things, each exchanged at one place where the simulator then objects."""
    book = storybook()
    names, things = book.words("person", "name"), book.words("thing", "sg")
    known = re.compile(r" (" + "|".join([*names, *things]) + r")\b")
    places = [(e, m) for e in events[2:] for m in known.finditer(text, e.start, e.end)]
    rng.shuffle(places)
    wanted = {"name", "owner", "gone"}
    for event, match in places:
        same = names if match[1] in names else things
        before = text[: match.start()]
        told = sorted(same.keys() & set(re.findall(r"\w+", before)))
        if match[1] not in told:
            continue
        strangers = sorted(names.keys() - set(told)) if same is names else []
        for wrong in [*told, *rng.sample(strangers, min(1, len(strangers)))]:
            start, end = match.span(1)
            reason = refusal(event, text[event.start : start] + wrong + text[end : event.end])
            kind = _kind(reason, event, events, wrong in strangers)
            if kind in wanted and not judge_story(text[:start] + wrong + text[end:]).ok:
                wanted.remove(kind)
                distance = match.start() - before.rindex(match[1])
                yield Probe(kind, before, f" {match[1]}", f" {wrong}", distance)


def _kind(reason: str, event: Event, events: list[Event], stranger: bool) -> str:
    """What the reason why another word is refused makes of it; "" where it makes no probe."""
    if stranger and reason:
        return "name"
    refused = _REFUSED.fullmatch(reason)
    if not refused:
        return ""
    had = (refused[1], "has", refused[2])
    return "gone" if any(had in e.after.facts for e in events if e.end < event.end) else "owner"


@cache
def _morals() -> dict[tuple[str, str], list[str]]:
    """All morals, by genre and the kind of sentence that they are: one kind for each course."""
    found: dict[tuple[str, str], set[str]] = {}
    for text in held_out(150, seed=2):
        last = replay(text)[-1]
        genre = next(kind.ends for kind in storybook().kinds if kind.name == last.kind)
        found.setdefault((genre, last.kind), set()).add(last.sentence)
    return {key: sorted(sentences) for key, sentences in found.items()}


def _swapped_morals(
    text: str, last: Event, morals: dict[tuple[str, str], list[str]], rng: random.Random
) -> Iterator[Probe]:
    genre = next((genre for genre, kind in morals if kind == last.kind), "")
    sisters = [s for (g, kind), said in morals.items() if g == genre != "" for s in said
               if kind != last.kind]  # fmt: skip
    strangers = [s for (g, _), said in morals.items() if g != genre for s in said]
    for kind, wrong in (("turn", sisters), ("moral", strangers)):
        if wrong:
            other = rng.choice(wrong)
            before = text[: last.start]
            if not judge_story(before + other + END).ok:
                yield Probe(kind, before, last.sentence + END, other + END, len(before))


def nearer_is_right(probes: Sequence[Probe]) -> float:
    """Of probes about two words of the story, the share in which the right one was said last.

    It is what a model would have right that always repeats the latest.
    """
    right = [p.prefix.rfind(p.right) > p.prefix.rfind(p.wrong) for p in probes]
    return sum(right) / len(right)
