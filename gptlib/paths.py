"""What a path that a person typed means.

One job: `user_path` and `kept_path`. A leading `~` is the home folder, in every path and in every
way of giving it: a shell expands `--out ~/x` itself, and hands on `--out=~/x` as it stands. What a
run notes of a place in it begins with `~` again, so a run that is handed on names nobody.
"""

from __future__ import annotations

import os
from pathlib import Path

from gptlib.errors import ConfigError


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return `path` with a leading `~` or `~name` expanded, where there is such a home.

    Raises:
        ConfigError: `~` on a machine that knows no home folder for this user, or no path at all.
    """
    text = os.fspath(path)
    if not text:
        raise ConfigError("a path is empty; write ./ for the folder that you are in")
    expanded = os.path.expanduser(text)
    if expanded == text and Path(text).parts[:1] == ("~",):
        raise ConfigError(
            f"{text!r} begins with ~, but this machine knows no home folder for you; write the "
            "path in full, or set HOME"
        )
    return Path(expanded)


def kept_path(path: str | os.PathLike[str]) -> str:
    """Return `path` as it is kept: one in the home folder begins with `~`, others are as typed."""
    text = os.fspath(path)
    home = Path(os.path.expanduser("~"))
    place = Path(os.path.expanduser(text))
    if not home.is_absolute() or home == Path(home.anchor) or not place.is_relative_to(home):
        return text
    return os.path.join("~", *place.relative_to(home).parts)
