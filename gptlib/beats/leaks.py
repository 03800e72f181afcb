"""What stands on both sides of a split, word for word.

One job: `find_leaks`, and beside it `known_names`. A test that asks for text which was trained on
measures memory. Two pairs leak if they share a run of words, 13 or more as Brown et al. looked for
them; whatever is shared is named. It is exact and it is about words: a paraphrase, a translation
or a scene told twice in other words passes. Case, punctuation and line breaks do not count.

Chunks of one chapter share no run of words, and still tell of each other: the same people, in the
same place, an hour later. `known_names` shows that as far as capital letters do.

Source: Brown et al., Language models are few-shot learners (2020), appendix C.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from gptlib.beats.pairs import Pair
from gptlib.errors import ConfigError, DataError

RUN = 13  # words; shorter ones are shared by people who never met

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_WITHIN = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]+")  # after a word, so that it begins no sentence
_SMALL = re.compile(r"\b[a-z]+")


@dataclass(frozen=True)
class Leak:
    """The longest run of words that two pairs share.

    Attributes:
        train, test: the pairs. words: the run, as the test has it. length: how many words it has.
        part: "prose" or "beats", where the test has it.
    """

    train: Pair
    test: Pair
    words: str
    length: int
    part: str

    def __str__(self) -> str:
        shown = self.words if len(self.words) <= 70 else self.words[:69] + "…"
        return (
            f"{self.test.where} shares {self.length} words of its {self.part} with "
            f"{self.train.where}: “{shown}”"
        )


def find_leaks(train: Sequence[Pair], test: Sequence[Pair], run: int = RUN) -> list[Leak]:
    """All pairs of a test that share words with pairs trained on.

    Args:
        run: how many words in a row are a leak. Sentences of a grammar are shared by design: for
            its stories ask for runs longer than a sentence.

    Returns:
        One leak for each two pairs and each part that share `run` words or more, longest first.

    Time grows with the words of both sides, memory with those of `train`.

    Raises:
        ConfigError: `run` is below 1.
    """
    if run < 1:
        raise ConfigError(f"a run of {run} words was asked for; give a whole number of 1 or more")
    index: dict[tuple[str, ...], list[tuple[int, str, int]]] = defaultdict(list)
    sides = {side: [_read(pair) for pair in pairs] for side, pairs in
             (("train", train), ("test", test))}  # fmt: skip
    for number, parts in enumerate(sides["train"]):
        for part, (words, _, _) in parts.items():
            for at in range(len(words) - run + 1):
                index[words[at : at + run]].append((number, part, at))
    longest: dict[tuple[int, int, str], Leak] = {}
    for number, parts in enumerate(sides["test"]):
        for part, (words, spans, text) in parts.items():
            for at in range(len(words) - run + 1):
                for other, where, there in index.get(words[at : at + run], ()):
                    theirs = sides["train"][other][where][0]
                    if at and there and words[at - 1] == theirs[there - 1]:
                        continue  # a run that began before
                    length = _shared(words, at, theirs, there)
                    key = other, number, part
                    if key not in longest or length > longest[key].length:
                        shared = text[spans[at][0] : spans[at + length - 1][1]]
                        shared = " ".join(shared.split())
                        longest[key] = Leak(train[other], test[number], shared, length, part)
    return sorted(longest.values(), key=lambda leak: -leak.length)


def known_names(train: Sequence[Pair], test: Sequence[Pair]) -> float:
    """What share of the names in the test's prose stands in the prose trained on, 0 to 1.

    A name is a word that has a capital letter within a sentence, and nowhere in the test's prose a
    small one. That is a rule for English; German would have names everywhere.

    Raises:
        DataError: the test's prose has no names.
    """
    names = _names(test)
    if not names:
        raise DataError(f"the prose of {len(test)} pairs has no names in it, so no share is known")
    known = {word for pair in train for word in _WORD.findall(pair.prose)}
    return len(names & known) / len(names)


def _names(pairs: Sequence[Pair]) -> set[str]:
    within = {name for pair in pairs for name in _WITHIN.findall(pair.prose)}
    return within - {word.capitalize() for pair in pairs for word in _SMALL.findall(pair.prose)}


#: The words of a text without case, where each stands in it, and the text.
_Words = tuple[tuple[str, ...], list[tuple[int, int]], str]


def _read(pair: Pair) -> dict[str, _Words]:
    parts = {"prose": pair.prose, "beats": "\n".join(pair.beats)}
    found = {part: list(_WORD.finditer(text)) for part, text in parts.items()}
    return {
        part: (
            tuple(word[0].casefold().replace("’", "'") for word in words),
            [word.span() for word in words],
            parts[part],
        )
        for part, words in found.items()
    }


def _shared(a: Sequence[str], i: int, b: Sequence[str], j: int) -> int:
    """How many words agree from place i of one and j of the other on."""
    length = 0
    while i + length < len(a) and j + length < len(b) and a[i + length] == b[j + length]:
        length += 1
    return length
