"""Instructions for places, such as "Write a cold harbor at night with a bell.", and their answers.

One job: from a place to an instruction in one of several wordings, back from it to what it asks,
and chat pairs in three splits that never meet:

- of the 180 pairs of a kind and a mood, 18 are held out as *combinations*: one mood of each kind,
  and each mood with one or two kinds. Whoever learned what a harbor has and what is cold could
  write a cold harbor without having seen one;
- of all other wishes, whatever their wording, a tenth is held out as *instructions*. A hash of what
  is asked decides, so it is the same tenth for every seed and number of pairs;
- the rest is for training.
"""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from functools import cache
from typing import Literal

from gptlib.errors import DataError
from gptlib.grammar import Grammar
from gptlib.grammar.draws import Weights, zipf
from gptlib.places import words
from gptlib.places.marks import unasked
from gptlib.places.place import Asked, Place
from gptlib.places.reading import parse_place

Split = Literal["train", "instructions", "combinations"]
Chat = dict[str, list[dict[str, str]]]

ONE_IN = 10  # wishes is held out
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")


def ask(place: Place, rng: random.Random) -> Asked:
    """A wish that a place fulfils: its kind and mood, and perhaps some of the rest.

    The time, the weather and the sound are each asked for in half of the cases, of its things none
    in a quarter, one in half, two in a quarter, in any order.
    """
    number = min(len(place.things), rng.choice((0, 1, 1, 2)))
    things = tuple(rng.sample(place.things, number))
    time, weather, sound = (
        value if rng.random() < 0.5 else None for value in (place.time, place.weather, place.sound)
    )
    return Asked(place.kind, place.mood, time, weather, things, sound)


def instruction(asked: Asked, rng: random.Random | None = None) -> str:
    """A wish in words, from which `read_instruction` has it back.

    Args:
        asked: what is asked for; a `Place` asks for all that it has.
        rng: draws the wording. Without one the wish itself decides, always in the same way.

    Raises:
        DataError: no kind or no mood is asked for.
    """
    if asked.kind is None or asked.mood is None:
        raise DataError(f"{asked} has no kind or no mood; an instruction asks for both")
    rng = rng or random.Random(_key(asked))
    wordings = words.source()["wishes"]["wordings"]
    wording = wordings[Weights(zipf(len(wordings))).draw(rng.random)]
    things = [words.things(asked.kind)[thing] for thing in asked.things]
    if asked.sound is not None:
        things.append(words.sounds(asked.kind)[asked.sound])
    parts = {
        "what": f"{words.moods()[asked.mood]} {asked.kind}",
        "when": words.hours()[asked.time] if asked.time else "",
        "sky": words.weathers()[asked.weather] if asked.weather else "",
        "with": f"with {_listed(things)}" if things else "",
    }
    wording = OPTIONAL.sub(
        lambda m: m[1] if all(parts[s] for s in SLOT.findall(m[1])) else "", wording
    )
    return SLOT.sub(lambda m: parts[m[1]], wording)


def read_instruction(text: str) -> Asked:
    """What an instruction asks for.

    Raises:
        DataError: it has none of the wordings that `instruction` gives, or asks for what does not
            fit.
    """
    for pattern in _patterns():
        if found := pattern.fullmatch(text.strip()):
            break
    else:
        raise DataError(
            f"{text[:80]!r} is no instruction that places know; ask in one of the wordings of "
            "`instruction`, such as 'Write a cold harbor at night with a bell.'"
        )
    kind, named = found["kind"], re.split(r",? and |, ", found["with"]) if found["with"] else []
    things = {one: thing for thing, one in words.things(kind).items()}
    sounds = {one: sound for sound, one in words.sounds(kind).items()}
    if odd := [one for one in named if one not in things | sounds]:
        raise DataError(
            f"{words.a(kind)} does not have {odd[0]}; it may have {', '.join(things | sounds)}"
        )
    return Asked(
        kind,
        _name(words.moods(), found["mood"]),
        _name(words.hours(), found["when"]),
        _name(words.weathers(), found["sky"]),
        tuple(things[one] for one in named if one in things),
        next((sounds[one] for one in named if one in sounds), None),
    )


def held_out_pairs() -> frozenset[tuple[str, str]]:
    """The pairs of a kind and a mood that no training instruction asks for and no answer has."""
    kinds, moods = words.kinds(), list(words.moods())
    return frozenset((kind, moods[-n % len(moods)]) for n, kind in enumerate(kinds))


def split_of(asked: Asked) -> Split:
    """The split to which a wish belongs; the order of its things does not matter."""
    if (asked.kind, asked.mood) in held_out_pairs():
        return "combinations"
    digest = hashlib.sha256(_key(asked).encode()).digest()
    return "instructions" if digest[0] * 256 + digest[1] < 65536 // ONE_IN else "train"


def instruction_pairs(n: int, seed: int = 0, held_out: str | None = None) -> list[Chat]:
    """Instructions and the places that the grammar wrote, as chats of two messages.

    Args:
        n: how many.
        seed: which sample; the splits are the same for every seed.
        held_out: None for training, "instructions" or "combinations" for what it never sees.

    Returns:
        Chats of two `messages`: a user's instruction and an assistant's answer, which goes from
        <LOC> to </LOC>, without control tokens.

    Raises:
        DataError: `held_out` is something else, or `n` is no number of pairs.
    """
    if held_out not in (None, "instructions", "combinations"):
        raise DataError(
            f"held_out is {held_out!r}; expected None for training, 'instructions' or "
            "'combinations'"
        )
    if isinstance(n, bool) or not isinstance(n, int) or n < 0:
        raise DataError(f"n is {n!r}; expected a whole number of pairs, 0 or more")
    grammar, rng = _grammar(), random.Random(seed)
    pairs: list[Chat] = []
    while len(pairs) < n:
        text = unasked(grammar.sample(rng).text)
        asked = ask(parse_place(text), rng)
        if split_of(asked) == (held_out or "train"):
            pairs.append(_chat(instruction(asked, rng), text))
    return pairs


def _chat(wish: str, answer: str) -> Chat:
    return {
        "messages": [
            {"role": "user", "content": wish},
            {"role": "assistant", "content": answer},
        ]
    }


def _key(asked: Asked) -> str:
    return "|".join(f"{name} {value}" for name, value in sorted(asked.items()))


def _listed(things: list[str]) -> str:
    """`a bell`, `a bell and a net`, `a bell, a net, and the sound of gulls`."""
    if len(things) < 3:
        return " and ".join(things)
    return ", ".join(things[:-1]) + f", and {things[-1]}"


def _name(phrases: dict[str, str], phrase: str | None) -> str | None:
    return next((name for name, words in phrases.items() if words == phrase), None)


@cache
def _grammar() -> Grammar:
    return Grammar.load("places")


@cache
def _patterns() -> list[re.Pattern[str]]:
    """The wordings as patterns with the groups mood, kind, when, sky and with."""
    slots = {
        "what": f"(?P<mood>{_any(words.moods().values())}) (?P<kind>{_any(words.kinds())})",
        "when": f"(?P<when>{_any(words.hours().values())})",
        "sky": f"(?P<sky>{_any(words.weathers().values())})",
        "with": "with (?P<with>.+?)",
    }
    found = []
    for wording in words.source()["wishes"]["wordings"]:
        parts = re.split(r"(\[|\]|\{\w+\})", wording)
        marks = {"[": "(?:", "]": ")?"} | {f"{{{name}}}": slot for name, slot in slots.items()}
        found.append(re.compile("".join(marks.get(part) or re.escape(part) for part in parts)))
    return found


def _any(texts: Iterable[str]) -> str:
    return "|".join(map(re.escape, texts))
