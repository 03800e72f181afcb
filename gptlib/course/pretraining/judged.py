"""HellaSwag by the models of chapter 6: the record `pretraining-hellaswag`.

One job: `judged`, which scores a trained run and its untrained twin on the same items, in the three
ways that such shares are published.

    python -m gptlib.course.pretraining.judged RUN [--items FILE]
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from gptlib.corpora.downloads import cache_folder
from gptlib.course.command import answer
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.pretraining.runs import SMALL_STEPS, TEXTS, train_small
from gptlib.course.records import Record, make_record, save_record
from gptlib.evaluation import compare, hellaswag
from gptlib.evaluation.hellaswag import MEASURES, Item, read_items
from gptlib.model import GPT


def judged(run: Path, items: Sequence[Item]) -> Record:
    """Score the best model of a run, and one of its shape that has learned nothing.

    Raises:
        DataError: the run has no tokenizer.
    """
    model, tokenizer, manifest = load_with_tokenizer(run)
    torch.manual_seed(0)
    asked = {"untrained": GPT(model.config).eval(), "10M": model}
    found = {name: hellaswag(of, tokenizer, items) for name, of in asked.items()}
    result = {
        "models": {name: of.to_dict() for name, of in found.items()},
        "trained_minus_untrained": {
            measure: asdict(compare(found["10M"].right(measure), found["untrained"].right(measure)))
            for measure in MEASURES
        },
    }
    config = {"model": model.config.to_dict(), "step": manifest["step"], "items": len(items)}
    return make_record("pretraining-hellaswag", config, result)


def pretraining_hellaswag() -> Record:
    """Train the ten million parameters of `pretraining-10m` anew, and ask them the official items:
    two hours on one thread."""
    with tempfile.TemporaryDirectory() as home:
        _, run = train_small(cache_folder() / TEXTS, Path(home), SMALL_STEPS)
        return judged(run, read_items())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.pretraining.judged")
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--items", type=Path, help="the items (default: the official ones)")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    options = parser.parse_args(arguments)
    record = judged(options.run, read_items(options.items))
    save_record(record, options.out / record.name)
    print(record)


if __name__ == "__main__":
    answer(main)
