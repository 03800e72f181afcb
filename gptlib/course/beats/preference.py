"""Prefer stories that hold together: what does it buy, and what does it cost? The record
`story-preference`.

One job: the record, of some uses of one judge on the same samples. A seed has titles, samples, an
order of training and titles to be judged on, all of its own.

    base               the model as it is, one story a title
    likeliest of n     the one of n that the model itself finds likeliest: no judge
    best of n          the first of n that the judge accepts: nothing is trained
    tuned on passed    plain tuning on all samples that passed (rejection-sampled fine-tuning)
    tuned on chosen    plain tuning on the chosen stories of the pairs
    DPO, β = …         the pairs, chosen against rejected

    python -m gptlib.course.beats.preference [--run RUN] [--out data/runs/story-preference]
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from gptlib.course.beats.preference_compared import compare_rivals, summarize
from gptlib.course.beats.preference_material import Sizes
from gptlib.course.command import answer, at_least_one
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record, spread
from gptlib.errors import ConfigError
from gptlib.evaluation import judge_story

RECORDED = Sizes()


def story_preference(
    run: str | Path = "stories",
    sizes: Sizes = RECORDED,
    folder: Path | None = None,
    report: Callable[[str], None] = print,
) -> Record:
    """Compare the rivals that begin with a run's best model.

    Args:
        folder: where the trained models go, to be resumed if this is stopped; None keeps none.

    Raises:
        DataError: the run has no tokenizer, or its samples make no pairs.
    """
    if folder is None:
        with tempfile.TemporaryDirectory() as home:
            return story_preference(run, sizes, Path(home), report)
    model, tokenizer, manifest = load_with_tokenizer(run)
    seeds = [
        compare_rivals(model, tokenizer, sizes, seed, folder, report) for seed in range(sizes.seeds)
    ]
    samples = []
    for number, seed in enumerate(seeds):
        for name, line in seed["rivals"].items():
            verdict = judge_story(line["failed"]) if line["failed"] else None
            samples.append({
                "rival": name, "seed": number, "text": line["sample"], "failed": line["failed"],
                "sentence": verdict.sentence if verdict else "",
                "reason": verdict.reason if verdict else "",
            })  # fmt: skip
    result = {
        "material": {
            key: spread([seed["material"][key] for seed in seeds]) for key in seeds[0]["material"]
        },
        "rivals": summarize(seeds),
    }
    config = {"step": manifest["step"], "model": model.config.to_dict(), **asdict(sizes)}
    command = "python -m gptlib.course.beats.preference --run RUN"
    return make_record("story-preference", config, result, command, samples)


def betas(text: str) -> tuple[float, ...]:
    """A flag's numbers above 0, with commas between them.

    Raises:
        ConfigError: something else.
    """
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(0 < beta < math.inf for beta in found):
        raise ConfigError(f"--betas is {text!r}; give numbers above 0, such as 0.03,0.1,0.3")
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.beats.preference")
    parser.add_argument("--run", default="stories", help="a finished run folder, or `stories`")
    for name, text in {
        "titles": "titles to sample", "samples": "stories of each", "steps": "updates of each run",
        "pairs": "pairs an update", "looks": "updates between two looks",
        "judged": "titles of the verdict", "best": "stories to each that the best is taken of",
        "again": "titles of the diversity", "each": "stories of each", "seeds": "repetitions",
    }.items():  # fmt: skip
        default = getattr(RECORDED, name)
        parser.add_argument(f"--{name}", type=at_least_one, default=default, help=text)
    parser.add_argument("--lr", type=float, default=RECORDED.lr, help="highest learning rate")
    parser.add_argument("--betas", default=",".join(map(str, RECORDED.betas)), help="of DPO")
    parser.add_argument("--runs", type=Path, help="keep the trained models here, to be resumed")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-preference"))
    options = vars(parser.parse_args(arguments))
    run, runs, out = (options.pop(name) for name in ("run", "runs", "out"))
    record = story_preference(run, Sizes(**options | {"betas": betas(options["betas"])}), runs)
    save_record(record, out)
    print(record)


if __name__ == "__main__":
    answer(main)
