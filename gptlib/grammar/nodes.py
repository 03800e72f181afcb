"""The parts that a grammar is made of, and the three things each part can do.

One job: the nodes. Each can `sample` itself, `match` a text (all the ways to read it from a
position on), and give its `mean` (entropy in nats, length in characters), exactly.

Variables make a grammar more than a list of templates: `Scope` draws a villager once, and every
`Show` inside it shows an attribute of that villager: the name here, the pronoun sentences later.
An environment is a tuple with one slot per variable in scope: the index of the drawn entry, or
UNKNOWN. `match` binds late: a slot stays UNKNOWN until the text shows something of the entry, and
`Scope` asks what the draw was worth when it closes. `mean` likewise averages over a variable only
where something depends on it. That is why both are fast, and why neither samples anything.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import exp, log, log1p
from typing import Any

from gptlib.grammar.draws import UNKNOWN, Env, Group, Weights, put

State = tuple[int, Env, float]  # position reached, environment, log-probability in nats
Mean = tuple[float, float]  # entropy in nats, length in characters


@dataclass(frozen=True)
class Shape:
    """What holds for every text of a node, known without writing one."""

    first: frozenset[str]  # the characters that may come first
    last: frozenset[str]
    nullable: bool  # it may be empty
    blank: bool  # it may have a blank line in it
    shortest: int
    longest: int

    @staticmethod
    def of(text: str) -> "Shape":
        """The shape of one text."""
        first, last = frozenset(text[:1]), frozenset(text[-1:])
        return Shape(first, last, not text, "\n\n" in text, len(text), len(text))

    @staticmethod
    def either(shapes: Iterable["Shape"]) -> "Shape":
        """The shape of a choice."""
        shapes = list(shapes)
        return Shape(
            frozenset().union(*(shape.first for shape in shapes)),
            frozenset().union(*(shape.last for shape in shapes)),
            any(shape.nullable for shape in shapes),
            any(shape.blank for shape in shapes),
            min(shape.shortest for shape in shapes),
            max(shape.longest for shape in shapes),
        )

    def __add__(self, then: "Shape") -> "Shape":
        """The shape of this followed by `then`."""
        return Shape(
            self.first | then.first if self.nullable else self.first,
            self.last | then.last if then.nullable else then.last,
            self.nullable and then.nullable,
            self.blank or then.blank or "\n" in self.last & then.first,
            self.shortest + then.shortest,
            self.longest + then.longest,
        )


class Run:
    """One sampling of a grammar: the pieces written so far and what was drawn."""

    def __init__(self, rng: Any, slots: int) -> None:
        self.random = rng.random
        self.env = [UNKNOWN] * slots
        self.out: list[str] = []
        self.logprob = 0.0
        self.draws = [0] * slots  # which draw, counted over the run, filled each slot
        self.shown: list[tuple[int, Show, int, int]] = []  # index into out, node, entry, draw
        self._count = 0

    def fill(self, slot: int, entry: int) -> None:
        """Bind the variable of a slot to an entry."""
        self._count += 1
        self.env[slot], self.draws[slot] = entry, self._count


class Reading:
    """One reading of a text.

    With `trace` it also finds out how far the grammar can follow the text, and what it expected at
    the position `at`, once an earlier reading has said which position that is.
    """

    def __init__(self, text: str, trace: bool = False, at: int = -1) -> None:
        self.text, self.trace, self.at = text, trace, at
        self.farthest = 0
        self.expected: set[str] = set()

    def missed(self, pos: int, wanted: str) -> None:
        """Note that `wanted` was expected at `pos` and does not stand there, or only in part."""
        same = 0
        while same < len(wanted) and self.text[pos + same : pos + same + 1] == wanted[same]:
            same += 1
        self.farthest = max(self.farthest, pos + same)
        if pos + same == self.at:
            self.expected.add(wanted[same:])


def merge(states: list[State]) -> list[State]:
    """Add up the probabilities of states that agree in position and environment."""
    if len(states) < 2:
        return states
    total: dict[tuple[int, Env], float] = {}
    for pos, env, logp in states:
        key = (pos, env)
        if key in total:
            high, low = max(total[key], logp), min(total[key], logp)
            logp = high + log1p(exp(low - high))
        total[key] = logp
    return [(pos, env, logp) for (pos, env), logp in total.items()]


class Literal:
    """Fixed text."""

    def __init__(self, text: str) -> None:
        self.text, self.shape = text, Shape.of(text)

    def sample(self, run: Run) -> None:
        run.out.append(self.text)

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        if reading.text.startswith(self.text, pos):
            return [(pos + len(self.text), env, 0.0)]
        if reading.trace:
            reading.missed(pos, self.text)
        return []

    def mean(self, env: Env, memo: dict) -> Mean:
        return 0.0, float(len(self.text))


class Sequence:
    """Parts, one after the other."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts
        self.shape = sum((part.shape for part in parts), Shape.of(""))

    def sample(self, run: Run) -> None:
        for part in self.parts:
            part.sample(run)

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        states = [(pos, env, 0.0)]
        for part in self.parts:
            if len(states) == 1:
                pos, env, logp = states[0]
                states = part.match(reading, pos, env)
                if logp:
                    states = [(p, e, logp + d) for p, e, d in states]
            else:
                states = merge(
                    [
                        (p, e, logp + d)
                        for pos, env, logp in states
                        for p, e, d in part.match(reading, pos, env)
                    ]
                )
            if not states:
                break
        return states

    def mean(self, env: Env, memo: dict) -> Mean:
        means = [mean_of(part, env, memo) for part in self.parts]
        return sum(h for h, _ in means), sum(n for _, n in means)


class Choice:
    """One of several options, by weight. The next character of a text rules most of them out."""

    def __init__(self, options: list[Any], weights: list[float]) -> None:
        self.options, self.weights = options, Weights(weights)
        self.shape = Shape.either(option.shape for option in options)
        self.pairs = list(zip(options, self.weights.logp, strict=True))
        self.empty = [pair for pair in self.pairs if pair[0].shape.nullable]
        self.by_first = {
            c: [pair for pair in self.pairs if pair[0].shape.nullable or c in pair[0].shape.first]
            for c in self.shape.first
        }

    def sample(self, run: Run) -> None:
        index = self.weights.draw(run.random)
        run.logprob += self.weights.logp[index]
        self.options[index].sample(run)

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        pairs = self.by_first.get(reading.text[pos : pos + 1], self.empty)
        if reading.trace:
            reading.farthest = max(reading.farthest, pos)
            pairs = self.pairs if pos == reading.at else pairs
        found = []
        for option, logp in pairs:
            for p, e, d in option.match(reading, pos, env):
                found.append((p, e, logp + d))
        return merge(found)

    def mean(self, env: Env, memo: dict) -> Mean:
        means = [mean_of(option, env, memo) for option in self.options]
        entropy = sum(p * h for p, (h, _) in zip(self.weights.p, means, strict=True))
        length = sum(p * n for p, (_, n) in zip(self.weights.p, means, strict=True))
        return self.weights.entropy + entropy, length


class Words:
    """A choice among fixed texts only: looked up by length instead of tried one by one."""

    def __init__(self, texts: list[str], weights: list[float]) -> None:
        self.texts, self.weights = texts, Weights(weights)
        self.shape = Shape.either(map(Shape.of, texts))
        self.lengths = sorted(set(map(len, texts)))
        self.index: dict[str, float] = {}
        for text, p in zip(texts, self.weights.p, strict=True):
            self.index[text] = self.index.get(text, 0.0) + p
        self.index = {text: log(p) for text, p in self.index.items()}

    def sample(self, run: Run) -> None:
        index = self.weights.draw(run.random)
        run.logprob += self.weights.logp[index]
        run.out.append(self.texts[index])

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        text, index, found = reading.text, self.index, []
        for n in self.lengths:
            word = text[pos : pos + n]
            if word in index and len(word) == n:
                found.append((pos + n, env, index[word]))
        if reading.trace:
            reading.farthest = max(reading.farthest, pos)
            here = text[pos : pos + 1]
            for wanted in self.texts:
                if (pos == reading.at or wanted[:1] == here) and not text.startswith(wanted, pos):
                    reading.missed(pos, wanted)
        return found

    def mean(self, env: Env, memo: dict) -> Mean:
        pairs = zip(self.weights.p, self.texts, strict=True)
        return self.weights.entropy, sum(p * len(text) for p, text in pairs)


class Scope:
    """Draws variables, then writes a body in which they stay the same."""

    def __init__(self, groups: list[Group], body: Any) -> None:
        self.groups, self.body, self.shape = groups, body, body.shape
        self.slots = [slot for group in groups for slot in group.slots]

    def sample(self, run: Run) -> None:
        for group in self.groups:
            entries = group.draw(run.random)
            run.logprob += group.logprob(entries)
            for slot, entry in zip(group.slots, entries, strict=True):
                run.fill(slot, entry)
        self.body.sample(run)

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        closed = []
        for end, inner, logp in self.body.match(reading, pos, env):
            ways = [(inner, logp)]
            for group in self.groups:
                ways = [(e, lp + d) for open_, lp in ways for e, d in group.ways(open_)]
            for e, lp in ways:
                for slot in self.slots:
                    e = put(e, slot, UNKNOWN)
                closed.append((end, e, lp))
        return merge(closed)

    def mean(self, env: Env, memo: dict) -> Mean:
        entropy, length = mean_of(self.body, env, memo)
        return entropy + sum(group.entropy() for group in self.groups), length


class Show:
    """An attribute of a drawn variable. The attribute may itself be a text with choices in it."""

    def __init__(self, group: Group, slot: int, column: str, values: list[Any]) -> None:
        self.group, self.slot, self.column, self.values = group, slot, column, values
        self.plain = all(isinstance(value, Literal) for value in values)
        self.shape = Shape.either(value.shape for value in values)
        self.index: dict[str, list[int]] = {}
        if self.plain:
            for entry, value in enumerate(values):
                self.index.setdefault(value.text, []).append(entry)
        self.lengths = sorted({len(text) for text in self.index})

    def sample(self, run: Run) -> None:
        entry = run.env[self.slot]
        if self.plain:
            run.shown.append((len(run.out), self, entry, run.draws[self.slot]))
        self.values[entry].sample(run)

    def match(self, reading: Reading, pos: int, env: Env) -> list[State]:
        if env[self.slot] != UNKNOWN:
            return self.values[env[self.slot]].match(reading, pos, env)
        taken = [env[slot] for slot in self.group.slots]  # the others of a group are different
        found = []
        if self.plain and not reading.trace:
            for n in self.lengths:
                for entry in self.index.get(reading.text[pos : pos + n], ()):
                    if entry not in taken:
                        found.append((pos + n, put(env, self.slot, entry), 0.0))
            return found
        for entry, value in enumerate(self.values):
            if entry not in taken:
                found += value.match(reading, pos, put(env, self.slot, entry))
        return found

    def mean(self, env: Env, memo: dict) -> Mean:
        if env[self.slot] != UNKNOWN:
            return mean_of(self.values[env[self.slot]], env, memo)
        entropy = length = 0.0
        for entry, p in enumerate(self.group.marginal(self.slot, env)):
            if p:
                h, n = mean_of(self.values[entry], put(env, self.slot, entry), memo)
                entropy, length = entropy + p * h, length + p * n
        return entropy, length


def mean_of(node: Any, env: Env, memo: dict) -> Mean:
    """`node.mean`, computed once for each environment."""
    key = (id(node), env)
    if key not in memo:
        memo[key] = node.mean(env, memo)
    return memo[key]
