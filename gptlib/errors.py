"""The errors that gptlib raises on purpose.

One job: give every bad input one clear error. A message says what was found, what was expected
and how to mend it, in a sentence or two. Nothing else in the package raises on the user's behalf.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class GptlibError(Exception):
    """Base of every error that a user can cause and mend: one line, whatever it quotes."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class ConfigError(GptlibError):
    """A setting, or a combination of settings, that cannot work."""


class DataError(GptlibError):
    """A corpus, a split or a file of tokens that cannot be used."""


class GrammarError(DataError):
    """A grammar that is not well formed, or a text that it cannot write."""


class TokenizerError(GptlibError):
    """Text or token ids that a tokenizer does not know."""


class CheckpointError(GptlibError):
    """A run folder or a checkpoint that is damaged, foreign, locked or does not fit."""


class DeviceError(GptlibError):
    """A device or a number type that this machine does not have."""


def nearest(name: object, known: Iterable[str]) -> str:
    """A half sentence that names the known word most like `name`, or nothing if none is."""
    close = get_close_matches(str(name), list(known), n=1)
    return f" (did you mean {close[0]}?)" if close else ""
