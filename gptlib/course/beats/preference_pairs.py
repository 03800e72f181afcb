"""Pairs of stories from a model and a judge: the same title, one that holds together, one not.

One job: `sample_titles`, several stories for each of many titles with the simulator's verdict on
each, and `pairs_of`, what of them can be preferred to what. Nobody has labeled anything.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gptlib.course.stories.probes import held_out
from gptlib.course.stories.writing import begin_with, write_stories
from gptlib.errors import DataError
from gptlib.evaluation import judge_story
from gptlib.finetuning.preferences import PreferencePair
from gptlib.model import GPT
from gptlib.sampling import Sampling
from gptlib.tokenizers import Tokenizer

_TITLE = re.compile(r"<\|title\|>(.*?)</\|title\|>")


@dataclass(frozen=True)
class Sampled:
    """What a model wrote to one title.

    Attributes:
        stories: marks and all, in the order in which they were drawn. holds: for each, whether the
            simulator accepts it.
    """

    title: str
    stories: tuple[str, ...]
    holds: tuple[bool, ...]

    def of(self, verdict: bool) -> list[str]:
        """The stories with this verdict, each text once."""
        judged = zip(self.stories, self.holds, strict=True)
        return list(dict.fromkeys(story for story, holds in judged if holds == verdict))

    @property
    def passed(self) -> list[str]:
        return self.of(True)

    @property
    def failed(self) -> list[str]:
        return self.of(False)


def story_titles(n: int, seed: int, without: Collection[str] = ()) -> list[str]:
    """n different titles of stories that the grammar tells with this seed, none of `without`.

    Raises:
        DataError: 20 n + 100 stories have not so many.
    """
    found: dict[str, None] = {}
    for text in held_out(20 * n + 100, seed):
        title = _TITLE.findall(text)[0]
        if title not in without:
            found[title] = None
        if len(found) == n:
            return list(found)
    raise DataError(f"{20 * n + 100} stories have {len(found)} titles to ask for, not {n}")


def sample_titles(
    model: GPT,
    tokenizer: Tokenizer,
    titles: Sequence[str],
    n: int,
    seed: int,
    temperature: float = 0.8,
) -> list[Sampled]:
    """Write n stories to each title, and judge them.

    Raises:
        DataError: no titles, or n is 0.
    """
    beginnings = [begin_with(title=title) for title in titles for _ in range(n)]
    sampling = Sampling(model.config.block_size, temperature=temperature)
    stories = write_stories(model, tokenizer, beginnings, sampling, seed)
    holds = [judge_story(story).ok for story in stories]
    return [
        Sampled(title, tuple(stories[at : at + n]), tuple(holds[at : at + n]))
        for at, title in zip(range(0, len(stories), n), titles, strict=True)
    ]


def pairs_of(sampled: Sequence[Sampled]) -> list[tuple[str, str, str]]:
    """(title, chosen, rejected), whole stories: the first that passed with the first that failed of
    the same title, the second with the second. Each story is in one pair at most.

    A title to which all stories passed, or none, has nothing to prefer and gives no pair.
    """
    return [
        (asked.title, chosen, rejected)
        for asked in sampled
        for chosen, rejected in zip(asked.passed, asked.failed, strict=False)
    ]


def encode_pairs(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str, str]], block_size: int
) -> list[PreferencePair]:
    """The ids of pairs: the prompt is all up to the title's end, and the story is the answer.

    The prompt ends with a mark, which no token reaches over, so that both parts can be encoded by
    themselves. A story that came to no end within the context is cut there, in whatever tokens its
    text is encoded anew.
    """
    found = []
    for title, *stories in pairs:
        begun = begin_with(title=title)
        prompt = tokenizer.encode(begun)
        answers = (tokenizer.encode(story.removeprefix(begun)) for story in stories)
        chosen, rejected = (answer[: block_size - len(prompt)] for answer in answers)
        found.append(PreferencePair(prompt, chosen, rejected))
    return found
