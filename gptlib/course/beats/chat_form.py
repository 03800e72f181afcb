"""Llama 3.1's chat form, and a small stand-in for its tokenizer.

One job: the marks and `encode`. As the tokenizer of transformers does, `encode` puts the mark that
begins every text in front of whatever it is given, unless it is told not to.
"""

from __future__ import annotations

import re

BEGIN = "<|begin_of_text|>"
HEAD, HEAD_END = "<|start_header_id|>", "<|end_header_id|>"
TURN_END = "<|eot_id|>"
MARKS = (BEGIN, HEAD, HEAD_END, TURN_END)

_PIECE = re.compile("|".join(re.escape(mark) for mark in MARKS) + r"|\n\n|\s?\S", re.DOTALL)


def encode(text: str, special: bool = True) -> list[str]:
    """The pieces of a text: marks, blank lines, and everything else sign by sign.

    Args:
        special: put `BEGIN` before them, as tokenizers do where nobody says otherwise.
    """
    return [BEGIN] * special + _PIECE.findall(text)


def written(role: str, content: str) -> str:
    """One message in this form."""
    return f"{HEAD}{role}{HEAD_END}\n\n{content}{TURN_END}"
