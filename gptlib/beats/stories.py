"""Pairs that need no novel and no server: the stories of the grammar and their outlines.

One job: `pair_of` and `story_pairs`. A story is a chapter by itself, since no two share a scene.
"""

from __future__ import annotations

import random

from gptlib.beats.outline import beats_of, parts
from gptlib.beats.pairs import Pair
from gptlib.errors import ConfigError
from gptlib.grammar import Grammar
from gptlib.stories.marks import END, START, TITLE, TITLE_END


def pair_of(story: str, chapter: str = "", name: str = "stories") -> Pair:
    """The pair of a marked story: its title and beats, and its text without marks.

    Raises:
        DataError: the story does not hold together.
    """
    title, body = parts(story)
    return Pair(tuple(beats_of(story, name)), body, chapter, title=title)


def marked(pair: Pair, prose: str | None = None) -> str:
    """The marked story of a pair, for `judge_story`; with other prose, that for its title."""
    return f"{START}{TITLE}{pair.title}{TITLE_END}\n{prose or pair.prose}{END}"


def story_pairs(n: int, seed: int = 0, name: str = "stories") -> list[Pair]:
    """Draw n stories from the grammar, no two with one text, and their pairs; a larger n begins
    with those of a smaller.

    Raises:
        ConfigError: n is below 1.
    """
    if n < 1:
        raise ConfigError(f"{n} pairs were asked for; give a whole number of 1 or more")
    grammar, rng, pairs, seen = Grammar.load(name), random.Random(seed), list[Pair](), set[str]()
    while len(pairs) < n:
        text = grammar.sample(rng).text
        pair = pair_of(text, f"story {len(pairs) + 1}", name)
        if pair.prose not in seen:
            seen.add(pair.prose)
            pairs.append(pair)
    return pairs
