"""Settings that explain themselves: a dataclass field with the sentence that says what it does.

One job: a function for each group of settings (`shape`, `training`, `saving`, `machine`), which
makes such a field from its default and its sentence, and `explained`. The command line's help, the
comments of a run's TOML file and the reference take the sentence from there: it is written once.
"""

from __future__ import annotations

import inspect
from dataclasses import field, fields
from functools import partial
from typing import Any, TypeVar

#: The groups under which settings are listed, in this order, and the groups' headings.
GROUPS = {
    "what": "what to train on, and where it is kept",
    "shape": "the model's shape",
    "training": "training",
    "saving": "saving and going on",
    "machine": "the machine",
}
T = TypeVar("T", bound=type)


def setting(group: str, default: Any, text: str) -> Any:
    """A dataclass field with its default, its group and its sentence."""
    return field(default=default, metadata={"group": group, "help": text})


shape, training, saving, machine = (
    partial(setting, group) for group in ("shape", "training", "saving", "machine")
)


def explained(config: T) -> T:
    """Complete the docstring of a dataclass by the sentences of its fields."""
    lines = [f"    {f.name}: {f.metadata['help']}." for f in fields(config)]
    about, raises, errors = inspect.cleandoc(config.__doc__ or "").partition("Raises:")
    config.__doc__ = about + "\n".join(["Attributes:", *lines, "", raises + errors])
    return config
