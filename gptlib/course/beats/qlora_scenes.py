"""What the record `beats-qlora` tunes on and compares with: scenes, a novel's pairs, other hands.

One job: texts. `first_scenes` needs nothing; the others read what lies in GPTLIB_DATA.
"""

from __future__ import annotations

import json

from gptlib.beats import Pair, marked, squality_pairs, story_pairs, told
from gptlib.course.tokens.texts import cached

WORDS = 60  # of a novel's chunk, at most


def first_scenes(n: int, seed: int) -> list[Pair]:
    """The first paragraphs of n stories of the grammar, no two alike, and the beats that each
    tells."""
    found: dict[str, Pair] = {}
    for pair in story_pairs(n + n // 4 + 4, seed):
        scene = pair.prose.partition("\n")[0]
        beats = tuple(b.text for b in told(marked(pair)) if b.start < len(scene))
        if beats and scene not in found:
            found[scene] = Pair(beats, scene, pair.chapter)
    return list(found.values())[:n]


def novel_pairs(n: int) -> tuple[list[Pair], list[Pair]]:
    """n pairs to train on and n to hold out, of other stories: small chunks of SQuALITY's, with the
    sentences of a summary that tell of them.

    Raises:
        DataError: the texts are not there.
    """
    pairs = squality_pairs(most=WORDS, stories=24)
    names = list(dict.fromkeys(pair.chapter for pair in pairs))
    first = set(names[: len(names) // 2])
    sides = [p for p in pairs if p.chapter in first], [p for p in pairs if p.chapter not in first]
    return tuple(side[:: max(1, len(side) // n)][:n] for side in sides)  # type: ignore[return-value]


def other_hands(words: int, n: int = 4) -> list[str]:
    """n texts of so many words from each of two other hands: SQuALITY's authors, and the model that
    wrote TinyStories.

    Raises:
        DataError: the texts are not there.
    """
    stories = squality_pairs(stories=n)
    names = list(dict.fromkeys(pair.chapter for pair in stories))
    long = [" ".join(p.prose for p in stories if p.chapter == name) for name in names]
    with cached("stories/tinystories_valid_v2.jsonl").open(encoding="utf-8") as lines:
        tiny = [json.loads(next(lines))["text"] for _ in range(n * max(1, words // 60))]
    short = [" ".join(tiny[i::n]) for i in range(n)]
    return [" ".join(text.split()[:words]) for text in (*long, *short)]
