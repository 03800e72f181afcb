"""The kinds of sentences: one table that the grammar writes from and the judge reads by.

One job: `Storybook`, the section [sentences] of a grammar as patterns. In that section

    takes   names the parameters and the tables or classes that they come from,
    text    is what the grammar writes: one template or several,
    needs   are the facts that must hold before: "a with b, a has x, not b has x",
    then    are the facts that it makes true, or with `not` ends,
    ends    names the genre whose stories may close with this sentence.

A pattern knows nothing of plots. It recognizes a sentence wherever it stands, and says who or what
each parameter can be. A parameter that the sentence does not show can be anybody in the story; one
that it shows by a pronoun alone, somebody of the sentence before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, NamedTuple

import regex

from gptlib.errors import GrammarError
from gptlib.grammar.grammar import shipped
from gptlib.grammar.rules import closing, fold, parameters, split_options
from gptlib.stories.world import Claim

PRONOUNS = ("they", "their", "them")


class Shown(NamedTuple):
    """A place of a pattern where an attribute of a parameter stands."""

    group: str
    parameter: str
    column: str
    capital: bool


@dataclass
class Kind:
    """One kind of sentence."""

    name: str
    takes: dict[str, str]
    needs: tuple[Claim, ...]
    then: tuple[Claim, ...]
    ends: str
    shown: list[Shown] = field(default_factory=list, init=False)
    pattern: re.Pattern[str] = field(default=re.compile(""), init=False)

    @cached_property
    def _beginning(self) -> regex.Pattern[str]:
        return regex.compile(self.pattern.pattern)  # re has no partial matches

    def begins(self, text: str, pos: int) -> bool:
        """Whether a sentence of this kind that begins at `pos` is not over where the text ends."""
        found = self._beginning.fullmatch(text, pos, partial=True)
        return found is not None and found.partial


class Match(NamedTuple):
    """A sentence read as one kind: who each shown parameter can be, and which only by pronoun."""

    kind: Kind
    end: int
    can_be: dict[str, set[str]]
    by_pronoun: set[str]


class Storybook:
    """The kinds of sentences of a grammar, and its words."""

    def __init__(self, source: dict[str, Any]) -> None:
        """Read the tables and sentences of a grammar's source.

        Raises:
            GrammarError: a fact is not three words, or a template names what there is not.
        """
        self.genres = list(source["genres"])
        self.open: dict[str, str] = source.get("open", {})
        self._rules, self._classes = source.get("rules", {}), source.get("classes", {})
        self._words: dict[tuple[str, str], dict[str, list[str]]] = {}
        for title, table in source["tables"].items():
            columns = table["columns"].split()
            known = columns.index("sg") if "sg" in columns else 0
            rows = [[cell.strip() for cell in split_options(row)] for row in table["rows"]]
            for at, column in enumerate(columns):
                words = self._words[title, column] = {}
                for row in rows:
                    words.setdefault(row[at], []).append(row[known])
            self._words[title, ""] = {row[known]: [row[known]] for row in rows}
        self._all = {
            word for (_, column), words in self._words.items() if not column for word in words
        }
        self.kinds = [self._kind(name, spec) for name, spec in source["sentences"].items()]

    def words(self, kind: str, column: str) -> dict[str, list[str]]:
        """The texts of a column in all tables of a class, and whom each can stand for."""
        found: dict[str, list[str]] = {}
        for title in self._classes.get(kind, kind).split():
            for word, owners in self._words.get((title, column), {}).items():
                found.setdefault(word, []).extend(owners)
        if not found:
            raise GrammarError(f"no table of {kind} has a column {column}; mend the sentences")
        return found

    def members(self, kind: str) -> set[str]:
        """Everybody or everything of a table or class."""
        return set(self.words(kind, ""))

    def read(self, text: str, pos: int) -> Iterator[Match]:
        """All ways to read a sentence that begins at `pos`."""
        for kind in self.kinds:
            if found := kind.pattern.match(text, pos):
                can_be: dict[str, set[str]] = {}
                by_name = set()
                for group, parameter, column, capital in kind.shown:
                    if (word := found[group]) is None:
                        continue
                    owners = self._owners(kind.takes[parameter], column, capital)[word]
                    can_be[parameter] = can_be.get(parameter, set(owners)) & set(owners)
                    if column not in PRONOUNS:
                        by_name.add(parameter)
                yield Match(kind, found.end(), can_be, set(can_be) - by_name)

    def begins(self, text: str, pos: int) -> bool:
        """Whether a sentence of some kind that begins at `pos` is not over where the text ends."""
        return any(kind.begins(text, pos) for kind in self.kinds)

    def _owners(self, kind: str, column: str, capital: bool) -> dict[str, list[str]]:
        words = self.words(kind, column)
        return {w[:1].upper() + w[1:]: owners for w, owners in words.items()} if capital else words

    def _kind(self, name: str, spec: dict[str, Any]) -> Kind:
        needs, then = claims(name, spec.get("needs", "")), claims(name, spec.get("then", ""))
        kind = Kind(name, parameters(spec.get("takes", "")), needs, then, spec.get("ends", ""))
        literals = {word for claim in needs + then for word in claim.words[::2]}
        if mixed := (literals - kind.takes.keys()) & self._all:
            raise GrammarError(f"sentence {name} has {mixed} in a fact, which a table has too")
        kind.pattern = re.compile(self._any_of(spec["text"], kind) + r"(?=[ \n]|\Z)")
        return kind

    def _any_of(self, texts: Any, kind: Kind) -> str:
        options = [texts] if isinstance(texts, str) else texts
        bare = [re.sub(r"^\d+ ", "", fold(option)) for option in options]
        return "(?:" + "|".join(self._regex(option, kind) for option in bare) + ")"

    def _regex(self, raw: str, kind: Kind) -> str:
        parts, at = [], 0
        while at < len(raw):
            if raw[at] in "{[":
                end = closing(raw, at)
                inside = raw[at + 1 : end]
                if raw[at] == "[":
                    parts.append(self._any_of(split_options(inside), kind))
                elif "." in inside:
                    parts.append(self._attribute(inside, kind))
                else:
                    parts.append(self._any_of(self._rules[inside], kind))
                at = end + 1
            else:
                end = next((k for k in range(at, len(raw)) if raw[k] in "[{"), len(raw))
                parts.append(re.escape(raw[at:end]))
                at = end
        return "".join(parts)

    def _attribute(self, inside: str, kind: Kind) -> str:
        owner, _, column = inside.partition(".")
        capital, owner = owner[0].isupper(), owner[0].lower() + owner[1:]
        if owner not in kind.takes:
            raise GrammarError(f"sentence {kind.name} shows {owner}, which it does not take")
        shown = Shown(f"g{len(kind.shown)}", owner, column, capital)
        kind.shown.append(shown)
        words = sorted(self._owners(kind.takes[owner], column, capital), key=len, reverse=True)
        return f"(?P<{shown.group}>" + "|".join(map(re.escape, words)) + ")"


def claims(name: str, text: str) -> tuple[Claim, ...]:
    """Read `a has x, not b at _`."""
    found = []
    for clause in filter(str.strip, text.split(",")):
        words = clause.split()
        holds = words[0] != "not"
        match words if holds else words[1:]:
            case [subject, verb, thing]:
                found.append(Claim((subject, verb, thing), holds))
            case _:
                raise GrammarError(
                    f"sentence {name} has the fact {clause.strip()!r}; a fact is three words, "
                    "like 'a has x'"
                )
    return tuple(found)


@cache
def storybook(name: str = "stories") -> Storybook:
    """The sentences of a grammar that ships with gptlib, read once."""
    return Storybook(shipped(name))
