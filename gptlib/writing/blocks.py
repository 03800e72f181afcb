"""Texts as places that a model can be fine-tuned on, each begun by the values of its fields.

One job: `block` and `write_blocks`. A block is what `load_corpus` reads as a place:

    <LOC><|harbor|><|cold|>
    The quay ends where the ice begins.
    </LOC>

A model that has read such blocks is asked for a cold harbor by the first line.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from gptlib.corpora.locations import mark_location, write_locations
from gptlib.places.marks import LOC, LOC_END
from gptlib.writing.questions import OWN_NAMES


def control_tokens(record: Mapping[str, object]) -> list[str]:
    """What a record's own fields say, in their order, as far as it is words."""
    own = [v for k, v in record.items() if k not in OWN_NAMES and isinstance(v, str)]
    words = ["_".join(re.findall(r"\w+", value.lower())) for value in own]
    return [word for word in words if word]


def block(record: Mapping[str, object]) -> str | None:
    """A record as a block; None where its text has one of the block's two marks inside.

    Where a model wrote the marks around its text by itself, they are not doubled.
    """
    text = str(record["text"]).strip().removeprefix(LOC).removesuffix(LOC_END).strip()
    if LOC in text or LOC_END in text or not text:
        return None
    return mark_location(text, *control_tokens(record))


def write_blocks(path: Path, records: Sequence[Mapping[str, object]]) -> int:
    """Write the records as one file of blocks, in the order of their numbers, which replaces what
    was there; return how many could not be one."""
    ordered = sorted(records, key=lambda record: int(str(record["number"])))
    blocks = [block(record) for record in ordered]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_locations(path, [text for text in blocks if text])
    return blocks.count(None)
