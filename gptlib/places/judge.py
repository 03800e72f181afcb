"""Whether a place is what was asked for.

One job: `judge_place`. It says of each asked attribute whether the text has it, says nothing of it,
or says something else. Whether the text holds together as a place is a question of its own, which
the verdict answers too: a model can do as it is told in a text that makes no sense, and the other
way round.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.places.place import Asked
from gptlib.places.reading import read_place

Pair = tuple[str, str]


@dataclass(frozen=True)
class PlaceVerdict:
    """Of a place: which asked attributes it has.

    Attributes:
        present, missing, contradicted: asked pairs such as ("mood", "cold"). Contradicted is what
            the text says otherwise, also if it says both; a thing is present or missing.
        sentence, reason: the first sentence that does not fit, and why; both "" if all is well.
    """

    present: tuple[Pair, ...]
    missing: tuple[Pair, ...]
    contradicted: tuple[Pair, ...]
    sentence: str = ""
    reason: str = ""

    @property
    def matches(self) -> bool:
        """Whether all that was asked is there and nothing against it."""
        return not self.missing and not self.contradicted

    @property
    def ok(self) -> bool:
        """Whether it is what was asked for, and holds together."""
        return self.matches and not self.reason


def judge_place(text: str, asked: Asked) -> PlaceVerdict:
    """Hold a text against what was asked for.

    Derived in chapter 8, *Does it do as it is told?*

    Args:
        text: whatever was written, from `<LOC>` to `</LOC>` if it is a place.
        asked: a wish, or a `Place`, which asks for all that it has.
    """
    reading = read_place(text)
    found: dict[str, list[Pair]] = {"present": [], "missing": [], "contradicted": []}
    for name, value in asked.items():
        said = reading.values(name)
        if not said or (name == "thing" and value not in said):
            found["missing"].append((name, value))
        elif name == "thing" or said == [value]:
            found["present"].append((name, value))
        else:
            found["contradicted"].append((name, value))
    parts = {name: tuple(pairs) for name, pairs in found.items()}
    return PlaceVerdict(**parts, sentence=reading.sentence, reason=reading.reason)
