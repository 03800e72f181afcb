"""What a run folder says of itself, for commands that tell of it without training or sampling.

One job: `read_config` and `floor_of`. What cannot be read is left out: the run may be older, or
damaged, and `gptlib info` says so.
"""

from __future__ import annotations

import json
import math
from contextlib import suppress
from pathlib import Path

from gptlib.corpora import load_corpus
from gptlib.corpora.downloads import read_registry
from gptlib.errors import GptlibError
from gptlib.tokenizers import CharTokenizer, load_tokenizer


def read_config(folder: Path) -> dict:
    """The contents of a run's `config.json`, empty where it has none that can be read."""
    with suppress(OSError, ValueError, RecursionError):
        config = json.loads((folder / "config.json").read_bytes())
        return config if isinstance(config, dict) else {}
    return {}


def part(of: dict, name: str) -> dict:
    """A part of a config or a manifest, empty where it is no object."""
    value = of.get(name)
    return value if isinstance(value, dict) else {}


def floor_of(folder: Path, about: dict | None = None) -> float | None:
    """The floor of a run's validation text in nats per token, or None where nobody knows.

    Only characters have one: a grammar's surprisal is known for each of them. A run that is older
    than its note has it worked out anew.

    Args:
        about: what the run says of itself; by default its `config.json`.
    """
    note = part(read_config(folder) if about is None else about, "note")
    with suppress(GptlibError):
        if not isinstance(load_tokenizer(folder / "tokenizer"), CharTokenizer):
            return None
        floor = note.get("val_floor")
        if floor is None:
            entry = read_registry().get(str(note.get("corpus")))
            if entry is None or entry.kind != "embedded":
                return None
            floor = load_corpus(entry.name, size=note.get("corpus_size")).val_floor
        if isinstance(floor, float) and math.isfinite(floor):
            return floor
    return None
