"""How different texts are from one another, and from those that a model has read.

One job: `distinct_n` and `self_bleu` look at texts side by side and `repetition` at each alone;
`longest_shared_runs` and `copied_share` look for them in the training text. A high quality with a
low diversity is one good text told again and again; a run of words as long as a text is no writing
but remembering.

A text is a string, which is read as words and marks of punctuation, or a list of tokens of any
kind, which is read as it is.

Sources: Li et al., A diversity-promoting objective function for neural conversation models (2016),
section 5.3, for distinct-n. Zhu et al., Texygen (2018), section 2.2, for self-BLEU. Blumer et al.,
The smallest automaton recognizing the subwords of a text, Theoretical Computer Science 40 (1985),
31-55.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Hashable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from gptlib.errors import ConfigError, DataError

#: A string, or tokens.
Text = str | Sequence[Hashable]

_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")
_BORDER = re.compile(r"(?<=[.?!])\s+|(?<=[.?!][\"”])\s+|\n+")


def words(text: Text) -> Sequence[Hashable]:
    """The words and the marks of punctuation of a string; tokens as they are."""
    return _WORD.findall(text) if isinstance(text, str) else text


def sentences(text: str) -> list[str]:
    """A string cut after each `.`, `?` and `!` that a space follows, and at the end of a line."""
    return [part for part in _BORDER.split(text.strip()) if part]


def distinct_n(texts: Sequence[Text], n: int = 2, most: int | None = None) -> float:
    """How many of all runs of n words in the texts are different ones, as a share from 0 to 1.

    Derived in chapter 7, *Which sampler tells the best story?*

    The more text there is, the lower it gets, since a language has not so many pairs of words: what
    is compared has to be of one size.

    Args:
        n: words in a run, 1 or more. most: count the first so many runs only.

    Raises:
        ConfigError: n or `most` is below 1. DataError: no text has n words.
    """
    if n < 1 or (most is not None and most < 1):
        raise ConfigError(f"n is {n} and most is {most}; give whole numbers of 1 or more")
    split = [words(text) for text in texts]
    runs = (tuple(text[i : i + n]) for text in split for i in range(len(text) - n + 1))
    counted = list(islice(runs, most))
    if not counted:
        raise DataError(f"none of the {len(texts)} texts has {n} words, so there is no run of them")
    return len(set(counted)) / len(counted)


def repetition(texts: Sequence[Text], n: int = 3) -> float:
    """What share of the runs of n words in a text stood in it before, 0 to 1; the mean of texts.

    Each text is looked at by itself, so this is what a reader of one text meets: a model in a loop
    comes near 1. It grows with the length of a text, so compare texts of one length. Texts of fewer
    than n words count as 0.

    Raises:
        ConfigError: n is below 1. DataError: no texts.
    """
    if n < 1 or not texts:
        raise (ConfigError if n < 1 else DataError)(
            f"n is {n} and there are {len(texts)} texts; give 1 or more of both"
        )
    return statistics.fmean(
        1 - distinct_n([text], n) if len(words(text)) >= n else 0.0 for text in texts
    )


def self_bleu(texts: Sequence[str]) -> float:
    """The mean BLEU, from 0 to 100, of each text with all others for its references.

    Derived in chapter 7, *Which sampler tells the best story?*

    100 is one text written again and again. It is sacrebleu's sentence BLEU (up to 4 words in a
    row, its tokenizer "13a", exponential smoothing), so its time grows with the square of the
    number of texts.

    Raises:
        ConfigError: sacrebleu is not installed. DataError: fewer than two texts, or an empty one.
    """
    if len(texts) < 2 or not all(text.strip() for text in texts):
        empty = sum(not text.strip() for text in texts)
        raise DataError(
            f"there are {len(texts)} texts, {empty} of them empty; give two or more, since each is "
            "compared with the others"
        )
    score = _sacrebleu().sentence_score
    return statistics.fmean(
        score(text, [*texts[:i], *texts[i + 1 :]]).score for i, text in enumerate(texts)
    )


def _sacrebleu() -> Any:
    try:
        from sacrebleu.metrics import BLEU
    except ImportError as error:
        raise ConfigError(f"self-BLEU needs sacrebleu ({error}); pip install sacrebleu") from error
    return BLEU(effective_order=True)


class Run(NamedTuple):
    """A stretch of a text: its words, and number 0 or later of the first of them."""

    words: tuple[Hashable, ...]
    start: int

    @property
    def length(self) -> int:
        return len(self.words)


def longest_shared_run(text: Text, training: str | Iterable[Text]) -> Run:
    """The longest stretch of a text that stands word for word in the training text.

    Of several the first. Arguments, time and memory as for `longest_shared_runs`.
    """
    return longest_shared_runs([text], training)[0]


def longest_shared_runs(texts: Sequence[Text], training: str | Iterable[Text]) -> list[Run]:
    """For each text the longest stretch that stands word for word in the training text.

    It is exact: the texts become one automaton of all their stretches, and the training text goes
    through it once. Time grows with the words of both together, memory with the texts' alone. Five
    megabytes take a second or two.

    Args:
        training: documents, over whose borders no run goes; one string is one document. They are
            read once, so that a generator will do.
    """
    automaton, split = _Automaton(), [words(text) for text in texts]
    for text in split:
        automaton.add(text)
    for document in [training] if isinstance(training, str) else training:
        automaton.meet(words(document))
    automaton.settle()
    return [automaton.longest(text) for text in split]


class _Automaton:
    """A suffix automaton of several texts: every stretch of them is a path from state 0.

    A state stands for the stretches that end at the same places; `_length` is that of the longest
    one, and `_link` leads to the state of the longest that is too short for this state. `_met` is
    the longest of a state's stretches that has been met.
    """

    def __init__(self) -> None:
        self._next: list[dict[Hashable, int]] = [{}]
        self._link, self._length, self._met = [-1], [0], [0]

    def _state(self, length: int, moves: dict[Hashable, int], link: int) -> int:
        self._next.append(moves)
        self._length.append(length)
        self._link.append(link)
        self._met.append(0)
        return len(self._next) - 1

    def add(self, text: Sequence[Hashable]) -> None:
        """Take in all stretches of a text."""
        last = 0
        for word in text:
            last = self._grow(last, word)

    def _grow(self, last: int, word: Hashable) -> int:
        """Take in a word after a state; return the state that the text has come to."""
        if word in self._next[last]:
            return self._split(last, word)
        new, at = self._state(self._length[last] + 1, {}, 0), last
        while at >= 0 and word not in self._next[at]:
            self._next[at][word] = new
            at = self._link[at]
        if at >= 0:
            self._link[new] = self._split(at, word)
        return new

    def _split(self, at: int, word: Hashable) -> int:
        """The state of the longest stretch of `at` and this word, which gets one of its own."""
        old, length = self._next[at][word], self._length[at] + 1
        if self._length[old] == length:
            return old
        own = self._state(length, dict(self._next[old]), self._link[old])
        self._link[old] = own
        while at >= 0 and self._next[at].get(word) == old:
            self._next[at][word] = own
            at = self._link[at]
        return own

    def meet(self, document: Sequence[Hashable]) -> None:
        """Note which stretches a document has."""
        moves, links, lengths, met = self._next, self._link, self._length, self._met
        at = held = 0
        for word in document:
            while at and word not in moves[at]:
                at = links[at]
                held = lengths[at]
            at = moves[at].get(word, 0)
            held = held + 1 if at else 0
            if held > met[at]:
                met[at] = held

    def settle(self) -> None:
        """Once all has been met: whatever was met was met with all of its ends, which links lead
        to; and a state of which nothing was met has what its link has."""
        order = sorted(range(1, len(self._link)), key=self._length.__getitem__)
        for state in reversed(order):
            if self._met[state]:
                self._met[self._link[state]] = self._length[self._link[state]]
        for state in order:
            self._met[state] = self._met[state] or self._met[self._link[state]]

    def longest(self, text: Sequence[Hashable]) -> Run:
        """The longest stretch of a text taken in that has been met, the first of several."""
        best = Run((), 0)
        at = 0
        for end, word in enumerate(text, 1):
            at = self._next[at][word]
            if (held := self._met[at]) > best.length:
                best = Run(tuple(text[end - held : end]), end - held)
        return best


def copied_share(texts: Sequence[str], training: Iterable[str]) -> dict[str, float]:
    """What share of texts, and of their sentences, stands whole in the training text.

    Args:
        training: documents, read once.

    Returns:
        texts: share of texts that are a document. sentences: share of sentences that are one of a
        document's, where a sentence that comes twice counts twice. Spaces at the ends do not count.

    Raises:
        DataError: no texts, or no sentence in them.
    """
    told = [text.strip() for text in texts]
    parts = [part for text in told for part in sentences(text)]
    if not parts:
        raise DataError(f"there is no sentence in {len(texts)} texts; a share needs at least one")
    whole, known = dict.fromkeys(told, False), dict.fromkeys(parts, False)
    for document in training:
        if document.strip() in whole:
            whole[document.strip()] = True
        for part in sentences(document):
            if part in known:
                known[part] = True
    return {
        "texts": sum(whole[text] for text in told) / len(told),
        "sentences": sum(known[part] for part in parts) / len(parts),
    }
