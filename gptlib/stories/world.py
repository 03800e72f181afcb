"""The state of a story's world, and what a sentence may do to it.

One job: `World`, a set of facts of three words each, such as (Ada, has, bell) or (Otto, at, mill).
A sentence is an operator in the sense of STRIPS: it has facts that it needs and facts that it
makes true or ends. Two verbs know more than that. Nobody is `at` two places and no thing is had by
two: the new fact ends the old one. And `with` is not stored: two are with each other when they are
at one place. `_` stands for anybody or anything.

Source: Fikes and Nilsson, STRIPS: a new approach to the application of theorem proving to problem
solving, Artificial Intelligence 2 (1971), 189-208.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

ANY = "_"
Triple = tuple[str, str, str]


class Claim(NamedTuple):
    """A fact over parameters, or with `holds` False its opposite."""

    words: Triple
    holds: bool

    def of(self, who: Mapping[str, str]) -> Triple:
        """The fact with what stands for the parameters put in."""
        subject, verb, thing = self.words
        return who.get(subject, subject), verb, who.get(thing, thing)


@dataclass(frozen=True)
class World:
    """What is true at one moment of a story."""

    facts: frozenset[Triple] = frozenset()

    def find(self, fact: Triple) -> list[Triple]:
        """The facts that agree with one in which `_` may stand."""
        return [f for f in self.facts if all(w in (ANY, v) for w, v in zip(fact, f, strict=True))]

    def holds(self, fact: Triple) -> bool:
        """Whether it is true now."""
        subject, verb, thing = fact
        if verb == "with":
            here, there = self.place(subject), self.place(thing)
            return here is not None and here == there
        return fact in self.facts or (ANY in fact and bool(self.find(fact)))

    def place(self, who: str) -> str | None:
        """Where somebody is."""
        return next((f[2] for f in self.facts if f[:2] == (who, "at")), None)

    def holder(self, thing: str) -> str | None:
        """Who has a thing."""
        return next((f[0] for f in self.facts if f[1:] == ("has", thing)), None)

    def after(self, claims: tuple[Claim, ...], who: Mapping[str, str]) -> World:
        """The world once these claims have been made true."""
        facts = set(self.facts)
        for claim in claims:
            fact = subject, verb, thing = claim.of(who)
            if not claim.holds:
                facts -= set(self.find(fact))
                continue
            if verb == "at":
                facts = {f for f in facts if f[:2] != (subject, "at")}
            if verb == "has":
                facts = {f for f in facts if f[1:] != ("has", thing)}
            facts.add(fact)
        return World(frozenset(facts))

    def follow(self, claims: tuple[Claim, ...], who: Mapping[str, str]) -> tuple[int, str]:
        """How many claims hold before one does not, and why not, in words; "" if all hold."""
        for count, claim in enumerate(claims):
            fact = claim.of(who)
            if self.holds(fact) != claim.holds:
                return count, self._why(fact, claim.holds)
        return len(claims), ""

    def _why(self, fact: Triple, wanted: bool) -> str:
        subject, verb, thing = fact
        if not wanted:
            (subject, verb, thing) = self.find(fact)[0]
            return f"it was already so that {subject} {verb} {thing}"
        if verb == "has":
            holder = self.holder(thing)
            return f"{subject} does not have the {thing}; " + (
                f"{holder} has it" if holder else "nobody has it"
            )
        if verb == "with":
            places = [f"{who} is {self.place(who) or 'nowhere yet'}" for who in (subject, thing)]
            return f"{subject} and {thing} are not in one place: {', '.join(places)}"
        if verb == "at" and (place := self.place(subject)):
            return f"{subject} is at {place}, not at {thing}"
        return f"nothing before it says that {subject} {verb} {thing}".replace(ANY, "any")
