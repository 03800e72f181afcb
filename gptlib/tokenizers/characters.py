"""One token for each character.

One job: `CharTokenizer`. It knows the characters of the text that it was trained on and refuses
others by name.
"""

from collections.abc import Iterable

import numpy as np

from gptlib.errors import TokenizerError
from gptlib.tokenizers.base import FORMAT, Tokenizer, check_text, check_training_text, shorten


class CharTokenizer(Tokenizer):
    """One token for each character; ids in the order of the characters' code points.

    Derived in chapter 1, *What can you know from one letter?*

    Args:
        characters: the characters that it knows, each one once, in any order.

    Raises:
        TokenizerError: no characters, or one of them twice.
    """

    def __init__(self, characters: str) -> None:
        check_text(characters, "the characters of a CharTokenizer")
        if not characters or len(set(characters)) != len(characters):
            raise TokenizerError(
                f"a CharTokenizer needs each of its characters once, found {shorten(characters)}; "
                "CharTokenizer.train(text) collects them from a text"
            )
        self.characters = "".join(sorted(characters))
        self.special_tokens = {}
        self._codes = _codes(self.characters)  # id -> code point
        self._table = np.full(int(self._codes[-1]) + 2, -1, dtype=np.int32)  # code point -> id
        self._table[self._codes] = np.arange(len(self._codes))

    @classmethod
    def train(cls, text: str) -> "CharTokenizer":
        """Return the tokenizer of all characters in `text`.

        Raises:
            TokenizerError: the text is empty or no text.
        """
        check_training_text(text)
        return cls("".join(set(text)))

    @property
    def vocab_size(self) -> int:
        """The number of ids, V."""
        return len(self.characters)

    @property
    def byte_lengths(self) -> list[int]:
        """UTF-8 bytes of each character, 1 to 4."""
        return [len(character.encode()) for character in self.characters]

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`, one for each character.

        Raises:
            TokenizerError: a character that the tokenizer does not know, with its position.
        """
        return self.encode_array(text).tolist()

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids of `text` as an array (N,); raises what `encode` raises."""
        check_text(text, "the text to encode")
        codes = np.minimum(_codes(text), len(self._table) - 1)  # the table's last entry is -1
        ids = self._table[codes]
        unknown = np.flatnonzero(ids < 0)
        if unknown.size:
            raise TokenizerError(
                f"the text has the character {text[unknown[0]]!r} at position {unknown[0]}, which "
                f"is not in this tokenizer's {self.vocab_size} characters; train on text that has "
                "it, or use BPETokenizer"
            )
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """The same as `encode`, since there are no special tokens."""
        return self.encode(text)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, a flat sequence of whole numbers.

        Raises:
            TokenizerError: an id that the tokenizer does not have, with its position.
        """
        return self._codes[self.checked_ids(ids)].tobytes().decode("utf-32-le")

    def content(self) -> dict:
        """All that decides the ids, as plain JSON values."""
        return {"format": FORMAT, "kind": "char", "characters": self.characters}

    def __repr__(self) -> str:
        return f"CharTokenizer({self.vocab_size} characters)"


def _codes(text: str) -> np.ndarray:
    """Code points (N,) of a text, as uint32, without a loop over its characters."""
    return np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
