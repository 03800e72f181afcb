"""The marks of a place, each of which a tokenizer can make one id.

One job: their names. A place is `<LOC>`, perhaps the token of its kind, perhaps that of its mood, a
line break, its text, a line break, `</LOC>`. Each of the two tokens stands in about half of the
corpus. So one model learns to be asked for a kind (begin with `<LOC><|harbor|>`), for a mood
(`<LOC><|cold|>`), for both (`<LOC><|harbor|><|cold|>`), and to choose them itself (`<LOC>` and a
line break).
"""

from __future__ import annotations

import re

from gptlib.places.words import kinds, moods
from gptlib.stories.marks import genre_token

LOC, LOC_END = "<LOC>", "</LOC>"
TOKEN = re.compile(r"<\|(\w+)\|>")


def special_tokens() -> list[str]:
    """All marks of the corpus of places: the two around each, one for each kind and each mood."""
    return [LOC, LOC_END, *map(genre_token, [*kinds(), *moods()])]


def unasked(text: str) -> str:
    """A place without the tokens that asked for its kind and mood."""
    return TOKEN.sub("", text)
