"""One model at three ages: what an hour of stories taught it, what two more did, and the judge.

One job: the record `story-stages`, and the commands behind the model that ships as `stories`.

    gptlib train --preset stories --out ONE
    gptlib train --preset stories-on --init-from ONE --out TWO
    python -m gptlib.course.stories.lessons --run TWO --out THREE
    python -m gptlib.course.stories.stages --runs ONE TWO THREE
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch

from gptlib.course.command import answer, at_least_one
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.evaluated import ASKED, evaluate_stories
from gptlib.course.stories.lessons import Fault, find_faults, some_beginnings
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.replay import grammar
from gptlib.course.stories.writing import story_loss
from gptlib.errors import DataError
from gptlib.evaluation.diversity import distinct_n
from gptlib.files import read_jsonl
from gptlib.model import GPT, evaluating
from gptlib.runs import load_run
from gptlib.sampling import Sampling
from gptlib.tokenizers import Tokenizer

NAMES = ("an hour", "two more", "and the judge's lessons")
DICE = 77  # of stories whose faults no lesson was about
DOCUMENTS = 400  # stories of which the loss is measured


@torch.no_grad()
def p_wrong(model: GPT, faults: Sequence[Fault]) -> list[float]:
    """What the model gives to each word that must not come."""
    with evaluating(model):
        return [
            model(torch.tensor(before)[None])[0][0, -1].softmax(dim=-1)[wrong].item()
            for before, wrong in faults
        ]


def story_stages(runs: Sequence[str | Path], n: int = 200) -> Record:
    """Judge the models of three runs, each of which began with the one before.

    Args:
        runs: ONE, TWO and THREE of the commands above, the last with its `faults.jsonl`.
        n: stories for each question.

    Raises:
        DataError: other than three runs, or one that has no tokenizer.
    """
    if len(runs) != len(NAMES):
        raise DataError(f"{len(runs)} runs; give {len(NAMES)}: {', '.join(NAMES)}")
    documents = held_out(DOCUMENTS, seed=3)
    tokens, new = 0, []
    floor = -sum(map(grammar().score, documents))
    models = [_loaded(run) for run in runs]
    stages, config = [], []
    for name, (model, tokenizer, manifest) in zip(NAMES, models, strict=True):
        if len(stages) == 1:  # the faults of the second, which the third was not told
            new, _ = find_faults(model, tokenizer, some_beginnings(n, DICE), DICE)
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
        config.append({"train": manifest["train"], "note": manifest.get("note")})
    rounds = read_jsonl(Path(runs[-1]) / "faults.jsonl")
    told_not = [p_wrong(models[k][0], new) for k in (1, 2)]
    result = {
        "stages": stages, "floor": floor / tokens,
        "lessons": {
            "stories": sum(line["stories"] for line in rounds),
            "faults": sum(len(line["faults"]) for line in rounds),
            "failed": [line["failed"] for line in rounds],
        },
        "new_faults": {
            "n": len(new), "before": fmean(told_not[0]), "after": fmean(told_not[1]),
        },
        "examples": examples(rounds, models[-1][1]),
    }  # fmt: skip
    command = f"python -m gptlib.course.stories.stages --runs ONE TWO THREE --n {n}"
    return make_record("story-stages", {"stages": config, "n": n}, result, command)


def _loaded(run: str | Path) -> tuple[GPT, Tokenizer, dict]:
    model, tokenizer, manifest = load_run(run)
    if tokenizer is None:
        raise DataError(f"{run} has no tokenizer; give a run that was trained with one")
    return model, tokenizer, manifest


def examples(rounds: Sequence[dict], tokenizer: Tokenizer, most: int = 12) -> list[dict]:
    """The first faults, as a page can show them: the last words before, and the wrong one."""
    faults = [fault for line in rounds for fault in line["faults"]][:most]
    return [
        {"before": tokenizer.decode(list(before)), "wrong": tokenizer.decode([wrong])}
        for before, wrong in faults
    ]


def remake() -> Record:
    """Three hours on one thread: all three trainings, and what came of each."""
    with tempfile.TemporaryDirectory() as home:
        one, two, three = (str(Path(home) / name) for name in ("one", "two", "three"))
        python = [sys.executable, "-m"]
        train = [*python, "gptlib", "train", "--threads", "1", "--preset"]
        for command in (
            [*train, "stories", "--out", one],
            [*train, "stories-on", "--init-from", one, "--out", two],
            [*python, "gptlib.course.stories.lessons", "--run", two, "--out", three],
        ):
            if subprocess.run(command, check=False).returncode:
                raise DataError("a run did not come to its end; what it said stands above")
        return story_stages((one, two, three))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.stages")
    parser.add_argument("--runs", nargs="+", required=True, help="ONE TWO THREE")
    parser.add_argument("--n", type=at_least_one, default=200, help="stories for each question")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-stages"))
    options = parser.parse_args(arguments)
    record = story_stages(options.runs, options.n)
    save_record(record, options.out)
    print(record)


if __name__ == "__main__":
    answer(main)
