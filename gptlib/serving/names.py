"""A token as a person can read it.

One job: `token_name`, in which a blank can be seen and two tokens never have the same name.
"""

from __future__ import annotations

from gptlib.tokenizers import Tokenizer

SEEN = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥", "\r": "␍"})


def token_name(tokenizer: Tokenizer, token: int) -> str:
    """What a token spells; with its id where that is half of a character or cannot be seen."""
    text = tokenizer.decode([token])
    if token in tokenizer.special_tokens.values():
        return text
    shown = text.translate(SEEN)
    unclear = "\N{REPLACEMENT CHARACTER}" in text or not shown.isprintable() or not text
    if unclear or any(sign in text for sign in SEEN.values()):
        return f"token {token}"
    return shown
