"""What a reader asks the page for, and the link that asks for it again.

One job: `Asked`, every field of the page as one value; to a link's query and back, and to the
settings of `gptlib.sampling`. A link carries what differs from the page as it opens. One that
somebody has changed asks for what can be read of it, and says what cannot.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl, urlencode

from gptlib.errors import ConfigError
from gptlib.sampling.settings import More

LINK_LENGTH = 6000  # characters of a query; above some 8,000, a browser or a server may refuse it
SEEDS = 2**53  # whole numbers that JavaScript, so the page, does not round


@dataclass(frozen=True)
class Asked:
    """A text that is asked for. What limits nothing has the value that limits nothing.

    Attributes:
        title, genre, opening: what the text begins with; a title and a genre only of stories.
        temperature and the following: as in `gptlib.Sampling`; 0 tokens or n-grams, and a
            probability of 1 (of `min_p` 0), are no limit.
        max_new_tokens: where it ends at the latest.
        seed: the same seed writes the same text; None for another one every time.
        stop: texts that end it, one a line.
    """

    title: str = ""
    genre: str = ""
    opening: str = ""
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat_ngram_size: int = 0
    max_new_tokens: int = 300
    seed: int | None = None
    stop: str = ""

    def stops(self) -> list[str]:
        """The texts that end it."""
        return [line for line in self.stop.split("\n") if line]

    def more(self) -> More:
        """The settings that `gptlib.stream` takes by name, those that limit nothing left out."""
        found: More = {
            "repetition_penalty": self.repetition_penalty,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
        }
        if self.min_p:
            found["min_p"] = self.min_p
        if self.typical_p != 1:
            found["typical_p"] = self.typical_p
        if self.no_repeat_ngram_size:
            found["no_repeat_ngram_size"] = self.no_repeat_ngram_size
        return found


NAMES = tuple(field.name for field in fields(Asked))
DEFAULTS: dict[str, Any] = {name: getattr(Asked(), name) for name in NAMES}


def asked(values: Mapping[str, Any]) -> Asked:
    """`Asked` of what the page or a script sent; a field that is empty there has its default.

    Raises:
        ConfigError: one is no text or no number, or the seed is larger than a page can show.
    """
    return Asked(**{name: _checked(name, value) for name, value in values.items()})


def _checked(name: str, value: Any) -> Any:
    default = DEFAULTS[name]
    if value is None:
        return default
    if name == "seed" and isinstance(value, str):  # a text field's
        value = _read(name, value.strip()) if value.strip() else None
        return default if value is None else _checked(name, value)
    if isinstance(default, str):
        if isinstance(value, str):
            return value.replace("\r\n", "\n").replace("\r", "\n")
        raise ConfigError(f"{name} is {str(value)[:40]!r}; expected text")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{name} is {str(value)[:40]!r}; expected a number")
    if isinstance(default, float):
        return float(value)
    if value != int(value):
        raise ConfigError(f"{name} is {value}; expected a whole number")
    if name == "seed" and not 0 <= value < SEEDS:
        raise ConfigError(f"seed is {value}; give a whole number from 0 to 2**53 - 1")
    return int(value)


def to_query(what: Asked) -> tuple[str, str]:
    """The query of a link that asks for this, and a note, empty where the link has all of it.

    A long opening is left out of it.
    """
    values = {name: getattr(what, name) for name in NAMES}
    differing = {name: value for name, value in values.items() if value != DEFAULTS[name]}
    query, note = urlencode(differing), ""
    if len(query) > LINK_LENGTH and differing.pop("opening", None) is not None:
        query = urlencode(differing)
        note = "The opening is too long for a link, which leaves it out."
    if len(query) > LINK_LENGTH:
        return "", "The title or the stops are too long for a link."
    return query, note


def from_query(query: str) -> tuple[Asked, list[str]]:
    """What a link asks for, and a sentence about each part of it that cannot be read."""
    found: dict[str, Any] = {}
    notes = []
    try:
        pairs = parse_qsl(query.removeprefix("?"), max_num_fields=100)
    except ValueError:
        return Asked(), ["The link has more than a hundred parts; it was not read."]
    for name, text in pairs:
        if name not in DEFAULTS:
            continue  # of another page or a program that counts clicks
        try:
            found[name] = _checked(name, _read(name, text))
        except ConfigError as error:
            notes.append(f"Of the link, {error}.")
    return Asked(**found), notes


def _read(name: str, text: str) -> str | float:
    if isinstance(DEFAULTS[name], str):
        return text
    try:
        return float(text) if isinstance(DEFAULTS[name], float) else int(text)
    except ValueError:
        raise ConfigError(f"{name} is {text[:40]!r}; expected a number") from None
