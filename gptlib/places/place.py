"""A place as a record, and what can be asked of one.

One job: `Asked` and `Place`. A wish that no place can fulfil, such as an anchor in an orchard, is
refused when it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gptlib.errors import DataError, nearest
from gptlib.places import words


@dataclass(frozen=True)
class Asked:
    """What is asked of a place; None and () ask for nothing.

    Attributes:
        kind: such as "harbor". mood: such as "cold". time: such as "night".
        weather: such as "rain". things: such as ("bell", "crane"). sound: such as "gulls".

    Raises:
        DataError: something that the grammar does not know, or that does not fit the kind.
    """

    kind: str | None = None
    mood: str | None = None
    time: str | None = None
    weather: str | None = None
    things: tuple[str, ...] = ()
    sound: str | None = None

    def __post_init__(self) -> None:
        _known("kind of place", self.kind, words.kinds())
        _known("mood", self.mood, words.moods())
        _known("time", self.time, words.hours())
        _known("weather", self.weather, words.weathers())
        where = f" in {words.a(self.kind)}" if self.kind else ""
        kinds = [self.kind] if self.kind else words.kinds()
        for thing in self.things:
            _known(f"thing{where}", thing, [t for kind in kinds for t in words.things(kind)])
        _known(f"sound{where}", self.sound, [s for kind in kinds for s in words.sounds(kind)])

    def items(self) -> list[tuple[str, str]]:
        """What is asked, as pairs: ("kind", "harbor"), …, one ("thing", …) for each thing."""
        pairs = [("kind", self.kind), ("mood", self.mood), ("time", self.time)]
        pairs += [("weather", self.weather), *(("thing", thing) for thing in self.things)]
        pairs += [("sound", self.sound)]
        return [(name, value) for name, value in pairs if value is not None]


@dataclass(frozen=True)
class Place(Asked):
    """What a place says of itself; it is also a wish for all of that.

    Attributes:
        town: near which it lies. person: who belongs there, such as "harbor master", or None.
    """

    town: str = ""
    person: str | None = None


def _known(what: str, word: str | None, known: Iterable[str]) -> None:
    if word is not None and word not in (known := list(dict.fromkeys(known))):
        raise DataError(
            f"there is no {what} called {word!r}{nearest(word, known)}; known are "
            f"{', '.join(known)}"
        )
