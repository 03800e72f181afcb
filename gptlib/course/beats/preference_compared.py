"""The rivals side by side: what each writes, judged on titles that none has seen.

One job: `compare_rivals`, all of them with one seed, and `summarize`, over several.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

from gptlib.course.beats.preference_material import (
    Material,
    Sizes,
    Titles,
    gather_material,
    titles_of,
)
from gptlib.course.beats.preference_measures import describe, followed
from gptlib.course.beats.preference_pairs import Sampled, sample_titles
from gptlib.course.beats.preference_rivals import Picked, best_of, likeliest_of, prefer, tune
from gptlib.course.records import spread
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.verdicts import Rate
from gptlib.course.stories.writing import story_loss
from gptlib.evaluation import compare
from gptlib.model import GPT
from gptlib.tokenizers import Tokenizer

BASE = "base"
#: A rival's name and what there is to say of it.
Line = tuple[str, dict[str, Any]]


def compare_rivals(
    model: GPT,
    tokenizer: Tokenizer,
    sizes: Sizes,
    seed: int,
    folder: Path,
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """All rivals with one seed.

    Args:
        folder: for the runs, each of which is resumed where it stopped. report: a line a rival.

    Returns:
        material: about the samples. rivals: by name what `describe` says; verdicts, one a title;
        sample and failed, the first story of all and of those that do not hold together; where
        there is a model of its own, loss, nats a token of new stories of the grammar; where it was
        trained here, followed.
    """
    titles = titles_of(sizes, seed)
    material = gather_material(model, tokenizer, titles.sampled, sizes, seed)
    dice = 10 * seed + 1
    rivals = {}
    for name, line in chain(
        _untrained(model, tokenizer, titles, sizes, dice),
        _trained(model, tokenizer, titles, sizes, dice, material, folder / f"seed-{seed}"),
    ):
        rivals[name] = line
        report(f"seed {seed}, {name}: {line['holds']['share']:.3f} hold together")
    return {"material": material.told, "rivals": rivals}


def _untrained(
    model: GPT, tokenizer: Tokenizer, titles: Titles, sizes: Sizes, dice: int
) -> Iterator[Line]:
    """Those that write n stories and hand in one."""
    n = sizes.best
    judged = sample_titles(model, tokenizer, titles.judged, n, dice)
    again = [
        _in_groups(asked, n)
        for asked in sample_titles(model, tokenizer, titles.again, sizes.each * n, dice + 1)
    ]

    def line(pick: Callable[[Sequence[Sampled]], list[Picked]]) -> dict[str, Any]:
        several = [[story for story, _ in pick(groups)] for groups in again]
        return _line(pick(judged), several)

    yield BASE, {**line(lambda some: best_of(some, 1)), "loss": _loss(model, tokenizer)}
    yield f"likeliest of {n}", line(lambda some: likeliest_of(model, tokenizer, some, n))
    for k in sorted({max(2, n // 2), n}):
        yield f"best of {k}", line(lambda some, k=k: best_of(some, k))


def _in_groups(asked: Sampled, n: int) -> list[Sampled]:
    """A title's stories, n at a time."""
    starts = range(0, len(asked.stories), n)
    return [
        Sampled(asked.title, asked.stories[at : at + n], asked.holds[at : at + n]) for at in starts
    ]


def _trained(
    model: GPT,
    tokenizer: Tokenizer,
    titles: Titles,
    sizes: Sizes,
    dice: int,
    material: Material,
    folder: Path,
) -> Iterator[Line]:
    """Those that are models of their own."""

    def line(one: GPT, run: Path) -> dict[str, Any]:
        judged = sample_titles(one, tokenizer, titles.judged, 1, dice)
        again = sample_titles(one, tokenizer, titles.again, sizes.each, dice + 1)
        return _line(best_of(judged, 1), [asked.stories for asked in again]) | {
            "loss": _loss(one, tokenizer),
            "followed": followed(run, copy.deepcopy(one), material.held_out),
        }

    config = sizes.config(material.chosen.seed, 2 * sizes.pairs)
    for what, answers in (("passed", material.passed), ("chosen", material.chosen)):
        run = folder / what
        yield (
            f"tuned on {what}",
            line(tune(model, answers, material.chosen_held_out, config, run), run),
        )
    config = replace(config, batch_size=sizes.pairs)
    for beta in sizes.betas:
        run = folder / f"dpo-{beta:g}"
        one = prefer(model, material.pairs, material.held_out, beta, config, run)
        yield f"DPO, β = {beta:g}", line(one, run)


def _line(picked: Sequence[Picked], again: Sequence[Sequence[str]]) -> dict[str, Any]:
    return {
        **describe(picked, again),
        "verdicts": [holds for _, holds in picked],
        "sample": picked[0][0],
        "failed": next((story for story, holds in picked if not holds), ""),
    }


def _loss(model: GPT, tokenizer: Tokenizer) -> float:
    """Nats a token of stories that nobody trained on: what is left of what it had learned."""
    nats, tokens = story_loss(model, [tokenizer.encode(text) for text in held_out(60, seed=3)])
    return nats / tokens


def summarize(seeds: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rivals over all seeds.

    Args:
        seeds: what `compare_rivals` found with each.

    Returns:
        for each rival, in their order: name; holds, of the titles of all seeds together, with its
        interval; against_base, the paired comparison with the base on the same titles; share, and
        every number of `describe` and the loss, as mean and standard deviation over the seeds;
        followed, a list a seed.
    """
    found = []
    base = [holds for seed in seeds for holds in seed["rivals"][BASE]["verdicts"]]
    for name, first in seeds[0]["rivals"].items():
        lines = [seed["rivals"][name] for seed in seeds]
        verdicts = [holds for line in lines for holds in line["verdicts"]]
        summary: dict[str, Any] = {
            "name": name,
            "holds": Rate(sum(verdicts), len(verdicts)).to_dict(),
            "share": spread([line["holds"]["share"] for line in lines]),
            "against_base": asdict(compare(verdicts, base)),
        }
        for key, value in first.items():
            if isinstance(value, int | float):
                summary[key] = spread([line[key] for line in lines])
        if "followed" in first:
            summary["followed"] = [line["followed"] for line in lines]
        found.append(summary)
    return found
