"""Docstrings as the reference wants them: one line a field.

One job: `split_fields`. The library's docstrings say `q: queries. k, v: keys and values.` in one
line where fields are short; Sphinx takes a line's first name and leaves the others in its text.
"""

import inspect
import re
from typing import Any

_ITEM = "    "  # how far a field is indented


def split_fields(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Begin a new line with each parameter and each attribute of a function or class."""
    if what not in ("class", "function", "method", "exception"):
        return
    names = "|".join(map(re.escape, sorted(_names(obj), reverse=True)))
    begin = {"Args": _beginning(names), "Attributes": _beginning(r"[a-z]\w*")}
    section, split = "", []
    for line in lines:
        if line and not line.startswith(" "):
            section = line.rstrip(":")
        first, *rest = begin[section].split(line) if section in begin else [line]
        split += [first, *(_ITEM + field for field in rest)]
    lines[:] = split


def _beginning(names: str) -> re.Pattern[str]:
    """What stands before a field, or several with one text, behind the end of another."""
    return re.compile(rf"(?<=[.)]) (?=(?:{names})(?:, (?:{names}))*: )")


def _names(obj: Any) -> set[str]:
    """The names of an object's parameters."""
    try:
        return set(inspect.signature(obj).parameters)
    except (TypeError, ValueError):  # no signature, as in some built-in classes
        return set()


def connect(app: Any) -> None:
    """Register with Sphinx, before napoleon reads the docstrings."""
    app.connect("autodoc-process-docstring", split_fields, priority=2)
