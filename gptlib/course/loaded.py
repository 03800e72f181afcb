"""A run's model together with what cuts its texts into tokens.

One job: `load_with_tokenizer`, for runs whose model is to write, or to be measured on a text.
"""

from __future__ import annotations

from pathlib import Path

from gptlib.errors import DataError
from gptlib.model import GPT
from gptlib.runs import load_run
from gptlib.tokenizers import Tokenizer


def load_with_tokenizer(run: str | Path, which: str = "best") -> tuple[GPT, Tokenizer, dict]:
    """Model, tokenizer and manifest of a run, as `load_run` returns them.

    Raises:
        DataError: the run has no tokenizer. CheckpointError: what `load_run` refuses.
    """
    model, tokenizer, manifest = load_run(run, which)
    if tokenizer is None:
        raise DataError(f"{run} has no tokenizer; give a run that was trained with one")
    return model, tokenizer, manifest
