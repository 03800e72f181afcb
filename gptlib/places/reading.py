"""What a text says of a place, read sentence by sentence, whoever wrote it.

One job: `read_place`, which never refuses a text, and `parse_place`, which refuses one that does
not hold together. Each sentence must be of a kind that the grammar knows
(`gptlib.stories.kinds`) and fit what was said before it: a place is of one kind and one mood, an
hour does not come twice, "the crane" is one that has been told of, and an anchor stands in no
orchard. The order of the sentences is free, and so is everything else that the grammar would not
write.

The facts of `data/grammars/places` say of a place that it `is` a kind, `feels` and in its last
sentence `ended` in a mood, is `near` a town, `has` a thing and `knows` a person.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import product

from gptlib.errors import GrammarError
from gptlib.places import words
from gptlib.places.marks import LOC, LOC_END, TOKEN
from gptlib.places.place import Place
from gptlib.stories.kinds import Match, Storybook
from gptlib.stories.world import World

#: The attribute that a fact's subject and verb give.
ATTRIBUTES = {
    ("place", "is"): "kind", ("place", "feels"): "mood", ("place", "ended"): "mood",
    ("hour", "is"): "time", ("weather", "is"): "weather", ("place", "has"): "thing",
    ("sound", "is"): "sound", ("place", "near"): "town", ("place", "knows"): "person",
}  # fmt: skip
NEEDED = ("kind", "mood", "time", "thing")
_SENTENCE = re.compile(r"[^\n]*?[.?!]\"?(?=[ \n]|\Z)|[^\n]+|\n")
_HEAD = re.compile(rf"{LOC}((?:<\|\w+\|>)*)\s*")


@dataclass(frozen=True)
class Reading:
    """What a text says, and the first of its sentences that does not fit.

    Attributes:
        said: (attribute, value) in the order of the text, such as ("mood", "cold"); also what a
            sentence that does not fit says.
        sentence, reason: that sentence and what is wrong with it; both "" if all is well. What is
            missing has a reason and no sentence.
    """

    said: tuple[tuple[str, str], ...]
    sentence: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is a place that holds together."""
        return not self.reason

    def values(self, attribute: str) -> list[str]:
        """All that it says of one attribute, each thing once."""
        return list(dict.fromkeys(value for name, value in self.said if name == attribute))


def parse_place(text: str) -> Place:
    """Read a place, marks and all, from `<LOC>` to `</LOC>`.

    Derived in chapter 8, *What is a cold harbor made of?*

    Args:
        text: the whole place; white space around it is let be.

    Raises:
        GrammarError: it does not hold together; the first sentence that does not fit is named.
    """
    reading = read_place(text)
    if not reading.ok:
        at = f"the sentence {reading.sentence!r} does not fit: " if reading.sentence else ""
        raise GrammarError(
            f"no place of the corpus of places: {at}{reading.reason}; `judge_place` judges a text "
            "without refusing it"
        )
    one = {name: next(iter(reading.values(name)), None)
           for name in ("kind", "mood", "time", "weather", "sound", "person")}  # fmt: skip
    return Place(**one, things=tuple(reading.values("thing")), town=reading.values("town")[0])


def read_place(text: str) -> Reading:
    """What a text says of a place, whether or not it holds together."""
    text = text.strip()
    head = _HEAD.match(text)
    body = text[head.end() :] if head else text
    whole = body.endswith(LOC_END)
    body = body.removesuffix(LOC_END).rstrip()
    said, faults = _read(body)
    if not head:
        faults.insert(0, (_first(text, 0), f"a place begins with {LOC}"))
    for token in TOKEN.findall(head[1]) if head else ():
        if token not in [value for name, value in said if name in ("kind", "mood")]:
            faults.append((f"<|{token}|>", "it was asked for, and the place is not so"))
    named = {name for name, _ in said}
    missing = [f"nothing is said of its {name}" for name in NEEDED if name not in named]
    if not whole:
        missing.append(f"the place is told, but {LOC_END} is missing")
    faults += [("", reason) for reason in missing]
    return Reading(tuple(said), *(faults[0] if faults else ("", "")))


def _read(body: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What a body says, and each sentence that does not fit, with the reason."""
    kind = _kind_of(body)
    world, pos = World(), 0
    said: list[tuple[str, str]] = []
    faults: list[tuple[str, str]] = []
    while pos < len(body):
        matches = sorted(_book(kind).read(body, pos), key=lambda match: -match.end)
        if matches:
            match, who, why = _understood(matches, kind, world)
            if why:
                faults.append((body[pos : match.end], why))
            else:
                world = world.after(match.kind.then, who)
        elif found := next(_elsewhere(body, pos), None):
            other, match = found
            who = next(_bindings(match, other), {})
            why = f"it is said of {words.a(other)}, and this is {words.a(kind)}"
            faults.append((body[pos : match.end], why))
        else:
            sentence = _first(body, pos)
            faults.append((sentence, "no sentence of a kind that places know"))
            pos += len(sentence) + 1
            continue
        said += _claims(match, who)
        pos = match.end + 1
    return said, faults


def _understood(
    matches: list[Match], kind: str, world: World
) -> tuple[Match, Mapping[str, str], str]:
    """The reading of a sentence that fits the world, or the likeliest one and why it does not."""
    reasons = []
    for match in matches:
        for who in _bindings(match, kind):
            count, why = world.follow(match.kind.needs, who)
            if not why:
                return match, who, ""
            reasons.append((count, match, who, why))
    if not reasons:
        return matches[0], {}, "its words are not of one thing"
    _, match, who, why = max(reasons, key=lambda reason: reason[0])
    return match, who, why


def _bindings(match: Match, kind: str) -> Iterator[Mapping[str, str]]:
    """What each parameter of a sentence can stand for; one that it does not show, for anything."""
    takes, book = match.kind.takes, _book(kind)
    can_be = [match.can_be.get(name, book.members(takes[name])) for name in takes]
    choices = [sorted(who) for who in can_be]
    for chosen in product(*choices):
        yield dict(zip(takes, chosen, strict=True))


def _claims(match: Match, who: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The attributes that a sentence gives; of a parameter that nothing can be, none."""
    for claim in match.kind.then:
        subject, verb, value = claim.of(who)
        if value not in match.kind.takes:
            yield ATTRIBUTES[subject, verb], value


def _kind_of(body: str) -> str:
    """The kind of the first sentence that opens a place; else that which knows most sentences."""
    starts = [match.start() for match in re.finditer(r"(?:\A|(?<=[ \n]))(?=\S)", body)]
    for pos in starts:
        for kind in words.kinds():
            if _opening(kind).match(body, pos):
                return kind
    known = {
        kind: sum(any(_book(kind).read(body, pos)) for pos in starts) for kind in words.kinds()
    }
    return max(known, key=lambda kind: known[kind])


def _elsewhere(body: str, pos: int) -> Iterator[tuple[str, Match]]:
    for kind in words.kinds():
        for match in _book(kind).read(body, pos):
            yield kind, match


def _first(text: str, pos: int) -> str:
    """The sentence that begins at `pos`, as far as one can tell."""
    found = _SENTENCE.match(text, pos)
    return found[0] if found else ""


@cache
def _book(kind: str) -> Storybook:
    """The sentences that a place of one kind can have."""
    whole = words.source()
    tables = {title: table for title, table in whole["tables"].items()
              if title == "town" or title.startswith(f"{kind}_")}  # fmt: skip
    sentences = {name: spec for name, spec in whole["sentences"].items()
                 if not name.endswith("_opening") or name == f"{kind}_opening"}  # fmt: skip
    classes = {name: f"{kind}_{name}" for name in whole["classes"]}
    parts = {"tables": tables, "sentences": sentences, "classes": classes}
    return Storybook(whole | parts)


@cache
def _opening(kind: str) -> re.Pattern[str]:
    return next(k.pattern for k in _book(kind).kinds if k.name == f"{kind}_opening")
