"""The real texts of chapter 5's recorded runs.

One job: to read them from the cache folder (GPTLIB_DATA). The chapter itself needs none of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from gptlib.errors import DataError


def cached(name: str) -> Path:
    """Return the path of a file in the cache folder.

    Raises:
        DataError: GPTLIB_DATA is not set, or the file is not there.
    """
    path = Path(os.environ.get("GPTLIB_DATA", "")) / name
    if "GPTLIB_DATA" not in os.environ or not path.is_file():
        raise DataError(
            f"this run reads {name} from the folder that GPTLIB_DATA names; put the file there"
        )
    return path


def openstax() -> tuple[str, str]:
    """Return (train, val) of the OpenStax sample: every twentieth document is kept back."""
    with cached("edu/openstax_sample.jsonl").open(encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    val = texts[::20]
    train = [text for i, text in enumerate(texts) if i % 20]
    return "\n\n".join(train), "\n\n".join(val)
