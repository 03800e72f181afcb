"""How much of a beat stands in a text, where no grammar can say whether it is told.

One job: `overlap`, the share of a beat's words that two neighboring sentences of the text have.
That is ROUGE-1's recall (Lin 2004) against the best place of the text, without English stop words
and with the commonest endings cut off. It sees words, so it misses what is told in others, and is
taken in by what is only spoken of: of a story of the grammar and the same story without the
sentence that tells a beat it prefers the whole one about three times in four
(`tests/test_beats_overlap.py`), where `covered` always does.

Source: Lin, ROUGE: a package for automatic evaluation of summaries (2004), section 2.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from gptlib.errors import DataError
from gptlib.evaluation.diversity import sentences

WINDOW = 2  # sentences

_WORD = re.compile(r"\w+")
_ENDINGS = ("ing", "ed", "es", "s", "e")
_SHORTEST = 3  # letters that an ending leaves


def overlap(beats: Sequence[str], prose: str) -> list[float]:
    """For each beat the share of its words that the best two sentences of the text have, 0 to 1.

    Raises:
        DataError: a beat without a word that means something.
    """
    told = sentences(prose)
    places = range(max(1, len(told) - WINDOW + 1))
    windows = [content(" ".join(told[i : i + WINDOW])) for i in places]
    shares = []
    for beat in beats:
        words = content(beat)
        if not words:
            raise DataError(f"the beat {beat[:60]!r} has no word that could be looked for")
        shares.append(max(len(words & window) for window in windows) / len(words))
    return shares


def content(text: str) -> set[str]:
    """The words of a text that are no stop words, without case and without their endings."""
    words = _WORD.findall(text.lower())
    return {_stem(word) for word in words if word not in ENGLISH_STOP_WORDS}


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _SHORTEST:
            return word[: -len(ending)]
    return word
