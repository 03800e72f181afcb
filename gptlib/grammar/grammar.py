"""The embedded corpora: texts from a probabilistic grammar whose entropy is known exactly.

One job: `Grammar`. It samples documents, scores any text, and knows its own entropy:

- `sample` draws one document and keeps the log-probability of the choices that made it;
- `score` sees only a text, and sums over every way in which the grammar can write it;
- `entropy`, `mean_length` and `rate` come from the chain rule over all choices; nothing is sampled.

`entropy` is that of the choices. It is also that of the text when the text determines the choices;
then `score` equals the log-probability of the derivation, which the tests check. The rules are
files under `data/grammars/`; `grammar_rules.py` explains how to write one.
"""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import exp, log
from typing import Any

from gptlib.errors import GrammarError
from gptlib.grammar.draws import UNKNOWN
from gptlib.grammar.nodes import Choice, Reading, Run, mean_of
from gptlib.grammar.rules import Builder, read_source
from gptlib.resources import data_path

SEPARATOR = "\n\n"  # stands after every document of a corpus, and never inside one


@dataclass(frozen=True)
class Probe:
    """A question with two answers that differ in one thing said `distance` characters before."""

    kind: str
    prefix: str  # the document up to the choice
    right: str
    wrong: str
    distance: int  # characters between the last mention and the choice


@dataclass(frozen=True)
class Document:
    """One sampled text, without the separator."""

    text: str
    logprob: float  # nats, of the choices that made it
    genre: str
    probes: tuple[Probe, ...]


@dataclass(frozen=True)
class Shown:
    """An attribute of a drawn variable, where a sampled text shows it: `text[start:end]`.

    Attributes:
        table: where the variable was drawn. entry: which of its entries came.
        values: what stands here with each entry of the table.
        odds: the probability of each, given what the text had shown before; None if this variable
            had been shown already, so that nothing was left to chance.
        known: how many variables of the same draw had been shown.
    """

    start: int
    end: int
    table: str
    entry: int
    values: tuple[str, ...]
    odds: tuple[float, ...] | None
    known: int


@dataclass(frozen=True)
class Parse:
    """What the grammar makes of a text."""

    logprob: float  # nats, summed over all derivations
    genre: str  # the likeliest


class Grammar:
    """A probabilistic grammar with variables. Build it with `load`, or from a dictionary.

    Derived in chapter 1, *How low could any model go?*
    """

    separator = SEPARATOR

    def __init__(self, source: dict[str, Any], name: str = "grammar") -> None:
        """Build a grammar from the contents of a grammar file.

        Raises:
            GrammarError: a rule is missing, malformed, or reaches itself.
        """
        builder = Builder(source, name)
        self.name = name
        self.genres, weights = builder.genres()
        self.root = Choice([builder.rule(genre, {}) for genre in self.genres], weights)
        shape = self.root.shape
        if shape.blank or shape.nullable or "\n" in shape.first | shape.last:
            builder.refuse(
                "a document may be empty, hold a blank line or have a line break at an end"
            )
        self._unknown = (UNKNOWN,) * builder.slots
        self._asked, self._twins = builder.asked(), builder.twins()
        self._kinds = list(source.get("probes", {}))
        self._twin = re.compile(r"\b(?:" + "|".join(self._twins) + ")") if self._twins else None

    @classmethod
    def load(cls, name: str = "tales") -> "Grammar":
        """Load the grammar that ships as `data/grammars/NAME.toml`, or as a folder of that name."""
        return cls(shipped(name), name)

    # How much the grammar says: exact, from the rules.

    @cached_property
    def _mean(self) -> tuple[float, float]:
        return mean_of(self.root, self._unknown, {})

    @property
    def entropy(self) -> float:
        """H(document) in nats."""
        return self._mean[0]

    @property
    def mean_length(self) -> float:
        """E[characters in a document], its separator included."""
        return self._mean[1] + len(SEPARATOR)

    @property
    def rate(self) -> float:
        """Entropy per character in nats: a ratio of means, not a mean of ratios."""
        return self.entropy / self.mean_length

    @property
    def length_range(self) -> tuple[int, int]:
        """Bounds on the characters of a document: no derivation is shorter or longer."""
        return self.root.shape.shortest, self.root.shape.longest

    # Writing.

    def sample(self, rng: Any) -> Document:
        """Draw a document; `rng.random()` is the only thing asked of `rng`."""
        run, genre = self._run(rng)
        text = "".join(run.out)
        return Document(text, run.logprob, genre, tuple(self._probes(text, run)))

    def sample_shown(self, rng: Any) -> tuple[str, list[Shown]]:
        """Draw the document that `sample` would draw, and tell where it shows what was drawn.

        Only attributes of fixed text are told. The odds of a variable are exact, as long as no
        attribute of it was shown that other entries share.
        """
        run, _ = self._run(rng)
        ends = list(accumulate(map(len, run.out)))
        drawn: dict[tuple[int, int], dict[int, int]] = {}  # by draw, the entries shown so far
        found = []
        for index, node, entry, draw in run.shown:
            group = node.group
            first = draw - group.slots.index(node.slot)  # those of one group are drawn in a row
            shown = drawn.setdefault((id(group), first), {})
            odds = None
            if node.slot not in shown:
                env = tuple(shown.get(slot, UNKNOWN) for slot in range(len(self._unknown)))
                odds = tuple(group.marginal(node.slot, env))
            found.append(Shown(
                ends[index] - len(run.out[index]), ends[index], group.table.name, entry,
                tuple(value.text for value in node.values), odds, len(shown),
            ))  # fmt: skip
            shown[node.slot] = entry
        return "".join(run.out), found

    def _run(self, rng: Any) -> tuple[Run, str]:
        """One sampling, and the genre that it began with."""
        run = Run(rng, len(self._unknown))
        index = self.root.weights.draw(run.random)
        run.logprob += self.root.weights.logp[index]
        self.root.options[index].sample(run)
        return run, self.genres[index]

    def _probes(self, text: str, run: Run) -> Iterator[Probe]:
        ends = list(accumulate(map(len, run.out)))
        last: dict[int, int] = {}  # where each drawn variable was shown last
        for index, node, entry, draw in run.shown:
            end = ends[index]
            start = end - len(run.out[index])
            before = last.get(draw)
            last[draw] = end
            if before is None:
                continue
            distance = start - before
            kinds = self._asked.get((node.group.table.name, node.column), ())
            for kind, near, far in kinds:
                wrong = node.values[node.group.table.partner(entry)].text
                if near <= distance <= far and wrong != run.out[index]:
                    stop = text[end : end + 1] or "\n"
                    yield Probe(kind, text[:start], text[start:end] + stop, wrong + stop, distance)
        for match in self._twin.finditer(text) if self._twin else ():
            head, distance, right, wrong = self._twins[match.group()]
            start, end = match.start() + head, match.end()
            stop = text[end : end + 1] or "\n"
            yield Probe("spelling", text[:start], right + stop, wrong + stop, distance)

    def probes(self, kind: str, n: int, seed: int = 0) -> list[Probe]:
        """Collect `n` probes of a kind (n even), as many with an answer right as with it wrong.

        So a model that prefers one answer whatever came before has half of them.

        Raises:
            GrammarError: the grammar asks no such probes, or `n` is odd.
        """
        if kind not in self._kinds or n % 2:
            raise GrammarError(
                f"grammar {self.name} has probes of the kinds {self._kinds}, in even numbers; "
                f"{n} of kind {kind!r} were asked for"
            )
        rng, found = random.Random(seed), []
        waiting: dict[tuple[str, str], list[Probe]] = {}
        for _ in range(1000 + 100 * n):
            for probe in self.sample(rng).probes:
                if probe.kind == kind and len(found) < n:
                    right, wrong = probe.right[:-1], probe.wrong[:-1]
                    if waiting.get((wrong, right)):
                        found += [waiting[wrong, right].pop(), probe]
                    else:
                        waiting.setdefault((right, wrong), []).append(probe)
            if len(found) >= n:
                return found
        raise GrammarError(f"grammar {self.name} writes too few probes of kind {kind!r}")

    # Reading.

    def parse(self, text: str) -> Parse:
        """Read one document, without its separator.

        Raises:
            GrammarError: the grammar cannot write it; the message says from where on.
        """
        reading, whole = Reading(text), []
        choices = zip(self.genres, self.root.options, self.root.weights.logp, strict=True)
        for genre, node, logp in choices:
            states = node.match(reading, 0, self._unknown)
            whole += [(logp + d, genre) for pos, _, d in states if pos == len(text)]
        if not whole:
            self._refuse(text)
        best, genre = max(whole)
        return Parse(best + log(sum(exp(d - best) for d, _ in whole)), genre)

    def score(self, text: str) -> float:
        """Log-probability of a document in nats, summed over all derivations.

        Raises:
            GrammarError: the grammar cannot write it; the message says from where on.
        """
        return self.parse(text).logprob

    def _refuse(self, text: str) -> None:
        at = -1
        for _ in range(2):  # first how far the text is right, then what was expected there
            reading = Reading(text, trace=True, at=at)
            for pos, _, _ in self.root.match(reading, 0, self._unknown):
                reading.missed(pos, "")  # here the document could have ended
            at = reading.farthest
        wanted = [repr(w) if w else "the end of the document" for w in sorted(reading.expected)]
        shown = ", ".join(wanted[:4]) + (", …" if len(wanted) > 4 else "")
        line, column = text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)
        found = repr(text[at : at + 20]) if at < len(text) else "the end of the text"
        raise GrammarError(
            f"the grammar {self.name} cannot write this text: at character {at} (line {line}, "
            f"column {column}) stands {found}, where {shown} was expected; give it one whole "
            "document at a time, without the blank line that separates documents"
        )


def shipped(name: str) -> dict[str, Any]:
    """The source of a grammar that ships with gptlib."""
    folder = data_path("grammars") / name
    return read_source(folder if folder.is_dir() else data_path(f"grammars/{name}.toml"))


def sample_corpus(grammar: Grammar, size: int, seed: int = 0) -> list[Document]:
    """Sample documents until they and their separators fill at least `size` characters."""
    rng, documents, filled = random.Random(seed), [], 0
    while filled < size:
        documents.append(grammar.sample(rng))
        filled += len(documents[-1].text) + len(SEPARATOR)
    return documents
