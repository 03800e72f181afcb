"""Weighted draws: what every choice of a grammar comes down to.

One job: distributions over options and over tables of entries, with the probabilities that
sampling, scoring and the exact entropy share. All sums go from left to right in plain floats, so
the same seed draws the same text on every machine and Python version.

An environment says what is known of the variables in scope: a tuple with one slot per variable,
holding the index of its entry, or UNKNOWN.
"""

from bisect import bisect_right
from itertools import accumulate
from math import inf, log
from typing import Any

UNKNOWN = -1
Env = tuple[int, ...]


def put(env: Env, slot: int, entry: int) -> Env:
    """`env` with one slot changed."""
    return env[:slot] + (entry,) + env[slot + 1 :]


def zipf(n: int) -> list[float]:
    """The weights of n options listed from common to rare: 1/10, 1/11, 1/12, …

    Zipf's law in Mandelbrot's form, 1/(k + 9). A flatter list says more per character.
    """
    return [1.0 / (k + 9) for k in range(1, n + 1)]


class Weights:
    """A distribution over options: cumulative for drawing, logs for scoring.

    Plain left-to-right addition, so that every machine and Python version draws the same.
    """

    def __init__(self, weights: list[float]) -> None:
        total = list(accumulate(weights))[-1]
        self.p = [w / total for w in weights]
        self.cumulative = list(accumulate(weights[:-1]))
        self.cumulative = [c / total for c in self.cumulative]
        self.logp = [log(p) for p in self.p]
        self.entropy = -sum(p * log(p) for p in self.p)

    def draw(self, random: Any) -> int:
        """Return an index; `random()` is uniform on [0, 1)."""
        return bisect_right(self.cumulative, random())


class Table:
    """Weighted entries with attributes, the commonest first; entry 2i and 2i+1 are partners."""

    def __init__(self, name: str, columns: list[str], rows: list[list[str]]) -> None:
        self.name, self.columns, self.rows = name, columns, rows
        self.weights = Weights(zipf(len(rows)))
        self._joints: dict[int, list[tuple[tuple[int, ...], float]]] = {}
        self._marginals: dict[Any, list[float]] = {}

    def partner(self, entry: int) -> int:
        """The entry whose attributes are the wrong answers in a probe."""
        return entry ^ 1

    def joint(self, n: int) -> list[tuple[tuple[int, ...], float]]:
        """All draws of n different entries with their probabilities, worked out once."""
        if n not in self._joints:
            self._joints[n] = self._draws((UNKNOWN,) * n)
        return self._joints[n]

    def _draws(self, known: tuple[int, ...]) -> list[tuple[tuple[int, ...], float]]:
        """The draws that agree with what is known, each with its probability."""
        p = self.weights.p
        rows: list[tuple[tuple[int, ...], float, float]] = [((), 1.0, 1.0)]
        for entry in known:
            rows = [
                (drawn + (k,), prob * p[k] / left, left - p[k])
                for drawn, prob, left in rows
                for k in (range(len(p)) if entry == UNKNOWN else (entry,))
                if k not in drawn
            ]
        return [(drawn, prob) for drawn, prob, _ in rows]

    def marginal(self, at: int, known: tuple[int, ...]) -> list[float]:
        """P(entry at place `at` of a draw | the known entries, UNKNOWN elsewhere)."""
        if (at, known) not in self._marginals:
            weights = [0.0] * len(self.rows)
            for drawn, prob in self._draws(known):
                weights[drawn[at]] += prob
            total = sum(weights)
            self._marginals[at, known] = [w / total for w in weights]
        return self._marginals[at, known]


class Group:
    """Variables drawn together from one table, all different: sampling without replacement."""

    def __init__(self, table: Table, slots: list[int]) -> None:
        self.table, self.slots = table, slots

    def draw(self, random: Any) -> tuple[int, ...]:
        """Draw one entry for each slot."""
        taken: tuple[int, ...] = ()
        while len(taken) < len(self.slots):
            entry = self.table.weights.draw(random)
            if entry not in taken:  # drawing again until it is new is the same as renormalizing
                taken += (entry,)
        return taken

    def logprob(self, entries: tuple[int, ...]) -> float:
        """Log-probability of these entries in this order; -inf if two are the same."""
        p, total, left = self.table.weights.p, 0.0, 1.0
        for k, entry in enumerate(entries):
            if entry in entries[:k]:
                return -inf
            total += log(p[entry] / left)
            left -= p[entry]
        return total

    def ways(self, env: Env) -> list[tuple[Env, float]]:
        """Every way to fill the slots that the text left open, with its log-probability."""
        filled = [env]
        for slot in self.slots:
            if env[slot] == UNKNOWN:
                entries = range(len(self.table.rows))
                filled = [put(e, slot, entry) for e in filled for entry in entries]
        worth = [(e, self.logprob(tuple(e[slot] for slot in self.slots))) for e in filled]
        return [(e, logp) for e, logp in worth if logp > -inf]

    def entropy(self) -> float:
        """Entropy of the draw in nats."""
        return -sum(prob * log(prob) for _, prob in self.joint())

    def joint(self) -> list[tuple[tuple[int, ...], float]]:
        """All draws with their probabilities."""
        return self.table.joint(len(self.slots))

    def marginal(self, slot: int, env: Env) -> list[float]:
        """P(entry of `slot` | what `env` knows of this group)."""
        return self.table.marginal(self.slots.index(slot), tuple(env[s] for s in self.slots))
