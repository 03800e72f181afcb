"""Texts that are nearly one that is there already.

One job: `NearDuplicates`, which keeps texts and finds for a new one the most alike of them. How
alike two texts are is the Jaccard index of their runs of three words, from 0 to 1. MinHash and
locality-sensitive hashing (datasketch) find those few that are worth comparing, which are then
compared exactly. So it takes hardly longer among many texts, and may miss one that is barely alike
enough: at a threshold of 0.5, one in eight of those at 0.5, one in eighty of those at 0.6.

Source: Broder, On the resemblance and containment of documents (1997); Leskovec, Rajaraman and
Ullman, Mining of Massive Datasets, chapter 3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from gptlib.errors import ConfigError

if TYPE_CHECKING:
    from datasketch import MinHash

RUN = 3  # words
PERMUTATIONS = 128  # of a MinHash; datasketch's own default

_WORD = re.compile(r"\w+")


class NearDuplicates:
    """The texts so far, by number.

    Args:
        threshold: how alike two texts are that count as one, above 0 and up to 1. Two that share
            half of their runs (0.5) differ in about every eighth word.

    Raises:
        ConfigError: another threshold.
    """

    def __init__(self, threshold: float = 0.5) -> None:
        if not 0 < threshold <= 1:
            raise ConfigError(f"--near is {threshold}; give a number above 0 and up to 1")
        from datasketch import MinHashLSH

        self._threshold = threshold
        # Since what it finds is compared, it had better find too much. Near 1 it knows no sizes.
        self._index = MinHashLSH(min(threshold, 0.9), PERMUTATIONS, weights=(0.1, 0.9))
        self._texts: dict[int, str] = {}

    def add(self, number: int, text: str) -> None:
        """Keep a text under a number that is new."""
        self._index.insert(number, _minhash(runs(text)))
        self._texts[number] = text

    def nearest(self, text: str) -> tuple[int, float] | None:
        """The number of the text most like this one, and how alike, if that is alike enough."""
        mine = runs(text)
        candidates: list[Any] = self._index.query(_minhash(mine))  # the numbers of `add`
        found = [(jaccard(mine, runs(self._texts[n])), n) for n in candidates]
        alike, number = max(found, default=(0.0, -1))
        return (number, alike) if alike >= self._threshold else None


def runs(text: str) -> set[str]:
    """The runs of three words in a text, without case and marks; of a shorter one, all of it."""
    words = _WORD.findall(text.lower())
    last = max(1, len(words) - RUN + 1)
    return {" ".join(words[i : i + RUN]) for i in range(last)}


def jaccard(a: set[str], b: set[str]) -> float:
    """The share of all that is in either which is in both."""
    return len(a & b) / len(a | b)


def _minhash(of: set[str]) -> MinHash:
    from datasketch import MinHash

    minhash = MinHash(num_perm=PERMUTATIONS)
    minhash.update_batch([run.encode() for run in sorted(of)])
    return minhash
