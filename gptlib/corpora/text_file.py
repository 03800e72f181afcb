"""A file of text as one string, whatever system it comes from.

One job: `read_text`, `plain_lines`, and why a path cannot be read.
"""

from __future__ import annotations

import os
from pathlib import Path

from gptlib.errors import DataError


def plain_lines(text: str) -> str:
    """`text` with every line ended by "\\n", whatever system it comes from."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_text(path: Path) -> str:
    """The text of a UTF-8 file, without a byte-order mark, lines ended by "\\n".

    Raises:
        DataError: it cannot be read, or is not UTF-8.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); check its permissions"
        ) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        guess = "UTF-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "Latin-1, or no text at all"
        raise DataError(
            f"{path} is not UTF-8: byte 0x{raw[error.start]:02x} at offset {error.start:,} "
            f"(it may be {guess}); save it as UTF-8"
        ) from error
    return plain_lines(text)


def check_permission(path: Path) -> None:
    """Say so where the reason why nothing is found at a path is that it may not be looked at.

    Raises:
        DataError: no permission to read the folder at `path`, or to pass one on the way.
    """
    refused = None
    try:
        if os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK):
            refused = path
        os.stat(path)
    except PermissionError:
        refused = path
    except (OSError, ValueError):
        pass  # nothing there, or no name that could be: for other reasons
    if refused:
        raise DataError(
            f"{refused} cannot be read (Permission denied); check its permissions and those of the "
            "folders that it is in"
        )
