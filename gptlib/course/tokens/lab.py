"""The lab of chapter 5: what it hands out.

One job: to cut a text and to number its bytes, so that a learner writes the rest.
"""

from collections import Counter

import regex

from gptlib.tokenizers.bpe import GPT2_PATTERN, byte_characters

#: The 256 single bytes in the order of GPT-2's ids: printable ones first, then the others.
ALPHABET = [bytes([byte]) for byte in byte_characters().values()]


def cut(text: str) -> list[bytes]:
    """Return the words of a text, in UTF-8, as GPT-2's expression cuts them."""
    return [word.encode() for word in regex.findall(GPT2_PATTERN, text)]


def words(text: str) -> Counter[tuple[bytes, ...]]:
    """Return how often each word of a text occurs; a word is a tuple of single bytes."""
    return Counter(tuple(word[i : i + 1] for i in range(len(word))) for word in cut(text))
