"""One model at four ages: what an hour of stories taught it, and what three more runs did.

One job: the record `story-stages`, and the commands behind the model that ships as `stories`.

    gptlib train --preset stories --out ONE
    gptlib train --preset stories-on --init-from ONE --out TWO
    python -m gptlib.course.stories.practice train TWO --out THREE
    python -m gptlib.course.stories.taught THREE --out FOUR
    python -m gptlib.course.stories.stages --runs ONE TWO THREE FOUR
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gptlib.course.command import answer, at_least_one
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, read_record, save_record
from gptlib.course.stories.evaluated import ASKED, evaluate_stories
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.replay import grammar
from gptlib.course.stories.taught import train_all
from gptlib.course.stories.writing import story_loss
from gptlib.errors import DataError
from gptlib.evaluation.diversity import distinct_n
from gptlib.sampling import Sampling

NAMES = ("one run", "two runs", "practice", "odds")
DOCUMENTS = 400  # stories of which the loss is measured


def story_stages(runs: Sequence[str | Path], n: int = 200, before: Record | None = None) -> Record:
    """Judge the models of four runs, each of which began with the weights of the one before.

    Args:
        runs: ONE to FOUR of the commands above, or the last of them.
        n: stories for each question.
        before: where the stages of the runs that are not given are recorded.

    Raises:
        DataError: other than four runs with those of the record, or one that has no tokenizer.
    """
    stages = list(before.result["stages"]) if before else []
    configs = list(before.config["stages"]) if before else []
    missing = len(NAMES) - len(runs)
    if not 0 <= missing <= len(stages):
        raise DataError(f"{len(runs)} runs; give {len(NAMES)}: {', '.join(NAMES)}")
    del stages[missing:], configs[missing:]
    documents = held_out(DOCUMENTS, seed=3)
    tokens = 0
    floor = -sum(map(grammar().score, documents))
    for name, run in zip(NAMES[missing:], runs, strict=True):
        model, tokenizer, manifest = load_with_tokenizer(run)
        nats, tokens = story_loss(model, [tokenizer.encode(text) for text in documents])
        told = {what: evaluate_stories(model, tokenizer, n, seed=1, asked=what) for what in ASKED}
        warm = evaluate_stories(model, tokenizer, n, Sampling(256, temperature=1.0), seed=2)
        texts = [story.text for story in told["a title"].stories]
        stages.append({
            "name": name, "step": manifest["step"], "loss": nats / tokens,
            "nats_a_story_above": (nats - floor) / len(documents),
            "asked": {what: of.to_dict() for what, of in told.items()},
            "warm": warm.to_dict(), "distinct_2": distinct_n(texts, 2, most=20_000),
            "tokens_a_story": sum(len(tokenizer.encode(text)) for text in texts) / len(texts),
        })  # fmt: skip
        configs.append({"train": manifest["train"], "note": manifest.get("note")})
    result = {"stages": stages, "floor": floor / tokens}
    command = f"python -m gptlib.course.stories.stages --runs ONE TWO THREE FOUR --n {n}"
    return make_record("story-stages", {"stages": configs, "n": n}, result, command)


def remake() -> Record:
    """Five hours on one thread: the trainings, and what came of each."""
    with tempfile.TemporaryDirectory() as home:
        return story_stages(train_all(Path(home)))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.stages")
    parser.add_argument("--runs", nargs="+", required=True, help="ONE TWO THREE FOUR")
    parser.add_argument("--n", type=at_least_one, default=200, help="stories for each question")
    parser.add_argument(
        "--before", type=Path, help="a record of the first runs, of which the last follow"
    )
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-stages"))
    options = parser.parse_args(arguments)
    before = read_record(options.before) if options.before else None
    record = story_stages(options.runs, options.n, before)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
