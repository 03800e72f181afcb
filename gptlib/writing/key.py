"""The key to a server, which is sent there and shown nowhere.

One job: `find_key`, and a `Key` that can be held, printed and logged without being told. Whatever
a server says goes through `Key.hide` before anybody reads it, since servers repeat keys: in an
error's text, in a header, on a page that a proxy made of the request.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable

from gptlib.errors import ConfigError

DEFAULT = "OPENAI_API_KEY"
NONE = "none"  # in the name's place, for a server that needs no key
SHORTEST = 8  # characters; what is shorter would be found in innocent words
HIDDEN = "[key]"


class Key:
    """A key, of which only `reveal` tells anything.

    Args:
        text: the key, or None for a server that needs none.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str | None) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Key(hidden)" if self._text else "Key(none)"

    def __bool__(self) -> bool:
        return self._text is not None

    def reveal(self) -> str:
        """The key itself, for the client; a word that opens nothing where there is no key."""
        return self._text or NONE

    def is_sound(self) -> bool:
        """Can it stand in a header, and be told from innocent words?"""
        plain = self.reveal().isascii() and self.reveal().isprintable()
        return plain and len(self.reveal()) >= SHORTEST and not set(self.reveal()) & set(' "\\')

    def is_in(self, text: str) -> bool:
        """Is the key somewhere in this text?"""
        return self._text is not None and self._text in text

    def hide(self, text: str) -> str:
        """The text, without the key."""
        return text.replace(self._text, HIDDEN) if self._text else text

    def check(self, named: Iterable[tuple[str, str]]) -> None:
        """Refuse texts that will be stored or shown, each with its name, if the key is in one.

        Raises:
            ConfigError: it is.
        """
        for name, text in named:
            if self.is_in(text):
                raise ConfigError(f"{name} has the key in it, which would be stored; take it out")


def find_key(name: str) -> Key:
    """The key in the environment variable of this name, or else in the Colab secret of this name.

    A Colab secret is told to the notebook's own process and to no command after a `!`; for such a
    one a cell passes it on: `os.environ[NAME] = userdata.get(NAME)`.

    Raises:
        ConfigError: there is none, or what is there cannot be a key.
    """
    if name == NONE:
        return Key(None)
    # No local variable holds the key, since some tracebacks show them, and no message has the
    # name: it is the key itself, if that was typed in the name's place.
    key = Key((os.environ.get(name) or _colab_secret(name) or "").strip() or None)
    if not key:
        raise ConfigError(
            "there is no key: --key names an environment variable or a Colab secret "
            f"({DEFAULT} unless it is given), and there is none of that name; set it, or give "
            f"--key {NONE} for a server that needs none"
        )
    if not key.is_sound():
        raise ConfigError(
            f"what the variable holds that --key names cannot be a key: expected {SHORTEST} "
            "characters or more, ASCII, without blanks and quotes; look what it was set to"
        )
    return key


def _colab_secret(name: str) -> str | None:
    try:
        userdata = importlib.import_module("google.colab.userdata")
    except ImportError:
        return None  # not in Colab
    try:
        return userdata.get(name)
    except Exception:  # its own errors: no such secret, no leave to read it, no notebook to ask
        return None
