"""Texts as blocks that a model can be fine-tuned on, each begun by the marks of its fields.

One job: `block` and `write_blocks`. A block is `<LOC>`, a line of control tokens, the text, and
`</LOC>`:

    <LOC>
    <|theme=harbor|><|tone=cold|>
    The quay ends where the ice begins.
    </LOC>

A model that has read such blocks is asked for a cold harbor by the first two lines. A tokenizer
can make one id of each control token; GPT-2's spells them, which serves as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gptlib.files import write_atomic
from gptlib.stories.marks import genre_token
from gptlib.writing.questions import OWN_NAMES

BEGIN, END = "<LOC>", "</LOC>"


def control_tokens(record: Mapping[str, object]) -> list[str]:
    """The marks of a record's own fields, in their order, as far as they are words."""
    own = [(k, v) for k, v in record.items() if k not in OWN_NAMES and isinstance(v, str)]
    return [genre_token(f"{name}={value}") for name, value in own]


def block(record: Mapping[str, object]) -> str | None:
    """A record as a block; None where its text has one of the block's two marks inside.

    Where a model wrote the marks around its text by itself, they are not doubled.
    """
    text = str(record["text"]).strip().removeprefix(BEGIN).removesuffix(END).strip()
    if BEGIN in text or END in text or not text:
        return None
    marks = "".join(control_tokens(record))
    return "\n".join([BEGIN, *([marks] if marks else []), text, END]) + "\n"


def write_blocks(path: Path, records: Sequence[Mapping[str, object]]) -> int:
    """Write the records as one file of blocks, in the order of their numbers, which replaces what
    was there; return how many could not be one."""
    ordered = sorted(records, key=lambda record: int(str(record["number"])))
    blocks = [block(record) for record in ordered]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, "\n".join(text for text in blocks if text).encode())
    return blocks.count(None)
