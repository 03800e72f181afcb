"""What all tokenizers share: identity, saving and reading, and the checks of what comes in.

One job: `Tokenizer`, the base of those in `gptlib.tokenizers`. A tokenizer is its content, plain
JSON values that decide every id; `sha256` is the hash of that content in canonical JSON. A saved
tokenizer states its hash, so a flipped bit in the file is noticed when it is read.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from gptlib.errors import TokenizerError
from gptlib.files import write_atomic
from gptlib.paths import user_path

FILE = "tokenizer.json"
FORMAT = "gptlib tokenizer 1"


class Tokenizer:
    """Text to ids and back. Subclasses give `content`, `vocab_size`, `encode`, ... `decode`.

    Two tokenizers are equal if their content is.
    """

    special_tokens: dict[str, int]  # text -> id

    @property
    def vocab_size(self) -> int:
        """The number of ids, V, special tokens included."""
        raise NotImplementedError

    def content(self) -> dict:
        """All that decides the ids, as plain JSON values."""
        raise NotImplementedError

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; where it spells a special token, its one id."""
        raise NotImplementedError

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, with special tokens spelled out like any other text."""
        raise NotImplementedError

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids of `encode_ordinary` as an array (N,); large texts need no list."""
        return np.array(self.encode_ordinary(text), dtype=np.uint32)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, a flat sequence of whole numbers."""
        raise NotImplementedError

    def decode_each(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text that each id adds; joined, it is what `decode` gives for all of them.

        A character whose bytes are spread over several ids comes with the last of them.
        """
        for token in ids:
            yield self.decode([token])

    @property
    def byte_lengths(self) -> list[int]:
        """UTF-8 bytes of text that each id stands for, by id; 0 for a special token.

        Of the ids of a text, special tokens left out, they add up to its bytes.
        """
        raise NotImplementedError

    @functools.cached_property
    def sha256(self) -> str:
        """Hex sha256 of the content in canonical JSON."""
        return content_hash(self.content())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tokenizer) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)

    def save(self, folder: str | Path) -> Path:
        """Write the tokenizer to `folder`/tokenizer.json and return that path.

        The file appears whole or not at all, and an older one stays until then.

        Raises:
            TokenizerError: the folder cannot be made or written.
        """
        folder = user_path(folder)
        text = json.dumps({**self.content(), "sha256": self.sha256})
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_atomic(folder / FILE, text.encode("ascii"))
        except OSError as error:
            raise TokenizerError(
                f"cannot save the tokenizer in {folder} ({error.strerror}); "
                "choose a folder that can be written"
            ) from error
        return folder / FILE

    def checked_ids(self, ids: Iterable[int]) -> np.ndarray:
        """Return `ids` (N,) as an int64 array, or say which one is no id of this tokenizer.

        Raises:
            TokenizerError: not a flat sequence of whole numbers, or one that is out of range.
        """
        try:
            array = np.asarray(ids.tolist() if hasattr(ids, "tolist") else list(ids))
        except (TypeError, ValueError, OverflowError):
            array = np.asarray(None)
        if array.shape == (0,):
            return np.empty(0, dtype=np.int64)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TokenizerError(
                f"decode was given {shorten(ids)}; it expects one flat sequence of whole numbers, "
                "such as the list that encode returns or one row of a batch"
            )
        wrong = np.flatnonzero((array < 0) | (array >= self.vocab_size))
        if wrong.size:
            raise TokenizerError(
                f"token id {array[wrong[0]]} at position {wrong[0]} is not one of this tokenizer's "
                f"{self.vocab_size:,} ids (0 to {self.vocab_size - 1:,}); the ids were made with "
                "another tokenizer, or the model's vocabulary is larger than this one"
            )
        return array.astype(np.int64)


def read_content(folder: str | Path) -> tuple[Path, dict]:
    """Read what `save` wrote to `folder`, or to `folder`/tokenizer (a run folder).

    Returns:
        the file's path and its content, which has the hash that the file states.

    Raises:
        TokenizerError: no tokenizer there, one of another program, or a damaged one.
    """
    places = [user_path(folder) / FILE, user_path(folder) / "tokenizer" / FILE]
    path = next((place for place in places if os.path.isfile(place)), None)
    if path is None:
        raise TokenizerError(
            f"{folder} has no {FILE}; give the folder that tokenizer.save wrote, or a run folder"
        )
    try:
        content = json.loads(path.read_bytes())
        stated = content.pop("sha256")
        found = content_hash(content)
    except PermissionError as error:
        raise TokenizerError(
            f"{path} may not be read: you lack the permission; let its owner grant it (chmod a+r)"
        ) from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise TokenizerError(
            f"{path} is not a tokenizer that gptlib saved, or it is cut short; "
            "save the tokenizer again, or train it again from the same text"
        ) from error
    if found != stated:
        raise TokenizerError(
            f"{path} is damaged: its sha256 is not the one that it states; "
            "copy it again from where it came, or train it again from the same text"
        )
    return path, content


def content_hash(content: dict) -> str:
    """Return the hex sha256 of `content` in canonical JSON: sorted keys, no spaces, ASCII."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def check_text(text: object, what: str) -> None:
    """Refuse what is no text, and half characters that UTF-8 cannot write; `what` names it."""
    if not isinstance(text, str):
        hint = "; decode the bytes first" if isinstance(text, bytes) else ""
        raise TokenizerError(f"{what} is of type {type(text).__name__}; expected str{hint}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TokenizerError(
            f"{what} has {text[error.start]!r} at position {error.start}, half of a surrogate pair "
            "and no character; read the file as UTF-8, without errors='surrogateescape'"
        ) from None


def check_training_text(text: object) -> None:
    """Refuse what is no text, and text with nothing in it."""
    check_text(text, "the training text")
    if not text:
        raise TokenizerError("the training text is empty; a tokenizer needs text to learn from")


def check_special(special_tokens: Iterable[str]) -> list[str]:
    """Return the special tokens as a list, or say which one could not be told from the others."""
    if isinstance(special_tokens, str):
        raise TokenizerError(
            f"special_tokens is the string {special_tokens!r}; expected a list, "
            f"such as [{special_tokens!r}]"
        )
    tokens = list(special_tokens)
    for place, token in enumerate(tokens):
        check_text(token, f"special token {place}")
        if not token:
            raise TokenizerError(f"special token {place} is empty; give it a text, such as <|end|>")
        for other in tokens[:place]:
            if other == token:
                raise TokenizerError(f"special token {token!r} is there twice; name it once")
            if other.startswith(token) or token.startswith(other):
                raise TokenizerError(
                    f"special tokens {other!r} and {token!r} begin alike, one being the start of "
                    "the other, so a text would not say which is meant; close them, as in <|end|>"
                )
    return tokens


def shorten(value: object) -> str:
    """Return the repr of `value`, at most 60 characters of it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
