"""Telling and showing, as far as they can be counted.

One job: `telling`, three counts that editors' advice speaks of, and what each cannot see:

- filter words, verbs that stand between a reader and what somebody perceives or thinks ("she saw
  that it rained" for "it rained"). It does not see whether the verb matters: a blind man who sees
  is no filter. "felt" is counted in "a felt hat".
- adverbs in -ly, by their letters: "quickly" and "suddenly", but not "often" or "fast". Common
  words in -ly that are no adverbs of manner (only, family, early) are left out by a list.
- dialogue, the share of words between quotation marks: speech is shown and not told, unless the
  speaker tells. Speech after a dash, or without marks, is not seen.

The first two count in narration only, since people may talk as they like. A text can pass all three
and be dull. What they serve for is a comparison: a model's texts beside the author's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gptlib.errors import DataError

FILTERS = frozenset(
    "see sees saw seen seeing hear hears heard hearing feel feels felt feeling notice notices"
    " noticed noticing watch watches watched watching observe observes observed observing know"
    " knows knew known knowing think thinks thought thinking realize realizes realized realizing"
    " realise realises realised realising wonder wonders wondered wondering decide decides decided"
    " deciding believe believes believed believing remember remembers remembered remembering seem"
    " seems seemed seeming sense senses sensed sensing understand understands understood"
    " understanding".split()
)
NO_ADVERBS = frozenset(
    "only family early july italy fly flies reply supply apply ally rely holy ugly lonely lovely"
    " friendly likely unlikely elderly silly belly jelly lily bully ugly daily jolly assembly"
    " anomaly butterfly dragonfly homely costly deadly ghostly cowardly orderly multiply imply"
    " comply ply sly wily curly hilly woolly melancholy monopoly".split()
)

_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SPOKEN = re.compile(r"“[^”\n]*(?:”|$)|\"[^\"\n]*(?:\"|$)", re.MULTILINE)


@dataclass(frozen=True)
class Telling:
    """Counts of some texts together.

    Attributes:
        words: how many in all. filters, adverbs: of 1,000 words of narration, how many are filter
            words and adverbs in -ly. dialogue: share of the words that are spoken, 0 to 1.
    """

    words: int
    filters: float
    adverbs: float
    dialogue: float


def telling(texts: Sequence[str]) -> Telling:
    """Count filter words, adverbs in -ly and dialogue in some texts.

    A quotation ends at its closing mark, or where it has none, at the end of its line, as speech
    that goes over several paragraphs is set. “ and ” and the straight " are marks; ' is an
    apostrophe too often.

    Raises:
        DataError: there is no word in them.
    """
    spoken = narrated = filters = adverbs = 0
    for text in texts:
        narration = _WORD.findall(_SPOKEN.sub(" ", text).lower())
        spoken += sum(len(_WORD.findall(part)) for part in _SPOKEN.findall(text))
        narrated += len(narration)
        filters += sum(word in FILTERS for word in narration)
        adverbs += sum(is_adverb(word) for word in narration)
    words = spoken + narrated
    if not words:
        raise DataError(f"there is no word in {len(texts)} texts; a share needs one at least")
    per = 1000 / max(1, narrated)
    return Telling(words, filters * per, adverbs * per, spoken / words)


def is_adverb(word: str) -> bool:
    """Whether a word in small letters ends as adverbs of manner do, and is none that is known to be
    something else."""
    return len(word) > 4 and word.endswith("ly") and word not in NO_ADVERBS
