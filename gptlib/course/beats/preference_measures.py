"""What a preference bought and what it cost: the judge's verdict, and all that it does not look at.

One job: `describe` many stories by one model, and `followed`, what happened to the log-probability
of chosen and of rejected stories while it was trained.

Whoever trains on a verdict gets more of it. So beside the share of stories that hold together stand
their length, how different they are from one another, how many morals they find, and what the model
now thinks of stories that the grammar tells.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from gptlib import checkpoint
from gptlib.course.beats.preference_rivals import Picked
from gptlib.course.stories.verdicts import MORAL, Rate
from gptlib.evaluation.diversity import distinct_n, self_bleu, words
from gptlib.finetuning.preferences import Preferences, pair_logprobs
from gptlib.model import GPT
from gptlib.stories import END, TITLE_END

PAIRS_OF_WORDS = 10_000  # that `distinct_2` looks at, whatever there are


def without_head(story: str) -> str:
    """A story's text, without the title that was asked for and without marks."""
    return story.partition(TITLE_END)[2].removesuffix(END).strip()


def moral_of(story: str) -> str:
    """Its last line, where that is a moral; else ""."""
    last = without_head(story).rpartition("\n")[2]
    return last.removeprefix(MORAL) if last.startswith(MORAL) else ""


def describe(picked: Sequence[Picked], again: Sequence[Sequence[str]] = ()) -> dict:
    """Plain numbers of stories, each to a title of its own.

    Args:
        picked: stories and verdicts. again: several stories to each of some titles, as many to
            each, for what only those show: whether a title still gets more than one story.

    Returns:
        holds: count, n, share and its 95% interval. words: the mean length of a story. distinct_2:
        share of different ones of the first `PAIRS_OF_WORDS` pairs of words. morals: how many
        different ones, and commonest, the share of the most frequent. With `again`,
        within_distinct_2 and within_self_bleu, each the mean over titles.
    """
    texts = [without_head(story) for story, _ in picked]
    morals = Counter(filter(None, (moral_of(story) for story, _ in picked)))
    told = {
        "holds": Rate(sum(holds for _, holds in picked), len(picked)).to_dict(),
        "words": statistics.fmean(len(words(text)) for text in texts),
        "distinct_2": distinct_n(texts, 2, PAIRS_OF_WORDS),
        "morals": len(morals),
        "commonest": max(morals.values(), default=0) / len(picked),
    }
    if again:
        groups = [list(map(without_head, stories)) for stories in again]
        told["within_distinct_2"] = statistics.fmean(distinct_n(group, 2) for group in groups)
        told["within_self_bleu"] = statistics.fmean(map(self_bleu, groups))
    return told


def followed(run: Path, model: GPT, pairs: Preferences) -> list[dict]:
    """Chosen and rejected stories at every step that a run kept, apart.

    Args:
        model: of the run's shape; it is filled with the weights of each step in turn.
        pairs: which nobody trained on.

    Returns:
        a line a step: step; chosen and rejected, the nats that each has gained since the reference,
        a mean over pairs; told_apart, the share of pairs whose chosen story gained more. The first
        is step 0, where nothing has changed.
    """
    lines = [{"step": 0, "chosen": 0.0, "rejected": 0.0, "told_apart": 0.0}]
    for step in sorted(checkpoint.saved_steps(run)):
        weights, _ = checkpoint.load_model(checkpoint.folder_of(run, step))
        checkpoint.load_weights(model, weights)
        gained = pair_logprobs(model, pairs) - pairs.reference
        chosen, rejected = gained.mean(dim=0).tolist()
        apart = (gained[:, 0] > gained[:, 1]).double().mean().item()
        lines.append({"step": step, "chosen": chosen, "rejected": rejected, "told_apart": apart})
    return lines
