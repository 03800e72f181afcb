"""What the preference experiment is made of: its sizes, its titles, its pairs.

One job: `gather_material`, everything that all rivals of one seed are given.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gptlib.course.beats.preference_pairs import (
    Sampled,
    encode_pairs,
    pairs_of,
    sample_titles,
    story_titles,
)
from gptlib.course.beats.preference_rivals import Answers
from gptlib.errors import DataError
from gptlib.finetuning.preferences import PreferencePair, Preferences, make_preferences
from gptlib.model import GPT
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig

HELD_OUT = 5  # every fifth title is not trained on


@dataclass(frozen=True)
class Sizes:
    """How much is sampled, trained and judged; the defaults are those of the record.

    Attributes:
        titles, samples: stories are sampled to so many titles, so many to each.
        steps, pairs: of training, and pairs a step; plain tuning reads twice as many stories.
        lr: the highest rate, the same for all that are trained. looks: steps between two looks.
        judged: titles of the verdict. best: stories to each, of which `best of n` takes one.
        again, each: titles that get several stories from everyone, and how many.
        betas: of DPO. seeds: everything is done so many times.
    """

    titles: int = 100
    samples: int = 8
    steps: int = 80
    pairs: int = 8
    lr: float = 2e-5
    looks: int = 20
    judged: int = 150
    best: int = 4
    again: int = 12
    each: int = 6
    betas: tuple[float, ...] = (0.03, 0.1, 0.3)
    seeds: int = 3

    def config(self, seed: int, rows: int) -> TrainConfig:
        """Of a training that keeps what it was at every look."""
        return TrainConfig(
            steps=self.steps, batch_size=rows, lr=self.lr, min_lr=self.lr / 10,
            warmup=min(10, self.steps // 4), weight_decay=0.0, eval_every=self.looks, seed=seed,
            save_every=self.looks, save_minutes=0.0, keep_last=self.steps,
        )  # fmt: skip


@dataclass(frozen=True)
class Titles:
    """Titles of one seed: to sample, to be judged on, and to be written to again and again."""

    sampled: list[str]
    judged: list[str]
    again: list[str]


def titles_of(sizes: Sizes, seed: int) -> Titles:
    """Titles of which none is in two of the three lists."""
    first, second = sizes.titles, sizes.titles + sizes.judged
    every = story_titles(second + sizes.again, seed=100 + seed)
    return Titles(every[:first], every[first:second], every[second:])


@dataclass(frozen=True)
class Material:
    """What a seed trains on, and the same of titles that are held out.

    Attributes:
        pairs, held_out: for DPO. passed: every sample that holds together. chosen,
            chosen_held_out: those of the pairs alone. told: plain numbers, for the record.
    """

    pairs: Preferences
    held_out: Preferences
    passed: Answers
    chosen: Answers
    chosen_held_out: Answers
    told: dict[str, float]


def gather_material(
    model: GPT, tokenizer: Tokenizer, titles: Sequence[str], sizes: Sizes, seed: int
) -> Material:
    """Sample, judge and pair.

    Raises:
        DataError: of the titles that are trained on, or of the others, none has both a story that
            holds together and one that does not.
    """
    sampled = sample_titles(model, tokenizer, titles, sizes.samples, 10 * seed)
    kept, trained = sampled[::HELD_OUT], [s for n, s in enumerate(sampled) if n % HELD_OUT]
    T = model.config.block_size
    pairs, others = (encode_pairs(tokenizer, pairs_of(some), T) for some in (trained, kept))
    passed = sum(sum(some.holds) for some in sampled)
    if not pairs or not others:
        raise DataError(
            f"{passed} of {len(sampled) * sizes.samples} stories hold together, which makes "
            f"{len(pairs)} pairs to train on and {len(others)} to hold out; sample more titles, or "
            "more stories to each"
        )
    alone = [(s.title, story, story) for s in trained for story in s.passed]
    told = {
        "stories": len(sampled) * sizes.samples,
        "passed": passed,
        "passed_to_train_on": len(alone),
        "pairs": len(pairs),
        "held_out_pairs": len(others),
        **_lengths(pairs),
        "titles_with_pairs": sum(map(_has_both, trained)),
    }
    rows = 2 * sizes.pairs
    return Material(
        make_preferences(pairs, model),
        make_preferences(others, model),
        _to_imitate(encode_pairs(tokenizer, alone, T), rows, seed),
        _to_imitate(pairs, rows, seed),
        _to_imitate(others, rows, seed),
        told,
    )


def _has_both(sampled: Sampled) -> bool:
    return bool(sampled.passed and sampled.failed)


def _to_imitate(pairs: Sequence[PreferencePair], rows: int, seed: int) -> Answers:
    """The chosen stories alone."""
    return Answers([(pair.prompt, pair.chosen) for pair in pairs], rows, seed)


def _lengths(pairs: Sequence[PreferencePair]) -> dict[str, float]:
    """What a preference for short stories, or for long ones, would have to go by."""
    longer = [len(pair.rejected) > len(pair.chosen) for pair in pairs]
    return {
        "chosen_tokens": statistics.fmean(len(pair.chosen) for pair in pairs),
        "rejected_tokens": statistics.fmean(len(pair.rejected) for pair in pairs),
        "rejected_is_longer": statistics.fmean(longer),
    }
