"""Beam search: the likeliest texts that can be found with a few of them in view.

One job: `beam_search`, and `search`, which `generate(num_beams=...)` calls. At each step every beam
is continued by every token, and the best of all these are kept (Graves 2012, section 3; Sutskever
et al. 2014, section 3.2). A text that ended is ranked by the sum of its log-probabilities over its
length to a power (Wu et al. 2016, section 7, have a kin of it), since each further token makes a
sum smaller. In groups, each in turn is kept from the tokens that the groups before it chose at the
same step (diverse beam search: Vijayakumar et al. 2016, algorithm 1). No dice are thrown. Texts and
scores are transformers', whose rule of when to stop is kept (`early_stopping=False`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Unpack

import torch
from torch import Tensor

from gptlib.errors import DataError
from gptlib.model import GPT
from gptlib.sampling.drawing import processed
from gptlib.sampling.processors import Processor
from gptlib.sampling.prompts import Prompts, padded
from gptlib.sampling.ragged import reader_of
from gptlib.sampling.reading import Reader
from gptlib.sampling.settings import More, Sampling
from gptlib.sampling.stops import Ending, Stop


class Beams(NamedTuple):
    """What a beam search found: for each prompt `num_samples` texts, the best first."""

    ids: Tensor  #: (B * num_samples, T) int64, prompts included; short rows repeat their last token
    lengths: list[int]  #: of the rows
    scores: list[float]  #: sums of log-probabilities over new tokens to the power `length_penalty`


def beam_search(
    model: GPT,
    ids: Prompts,
    max_new_tokens: int,
    stop: Stop = (),
    use_cache: bool = True,
    processors: Sequence[Processor] = (),
    **more: Unpack[More],
) -> Beams:
    """Find likely continuations of prompts, and say how likely; arguments as for `generate`.

    Derived in chapter 7, *Why not write the likeliest text?*

    `num_beams` is among those that go by name; with one beam the likeliest token is taken.

    Processors and penalties are applied to the log-probabilities, as in transformers, and what
    they return is added up as it is.

    Raises:
        ConfigError, DataError: what `generate` refuses.
    """
    settings = Sampling(max_new_tokens, 0, None, None, stop, None, use_cache, processors, **more)
    settings.check_vocabulary(model.config.known_ids)
    found = [text for texts in search(reader_of(model, ids, use_cache), settings) for text in texts]
    return Beams(*padded([text.ids for text in found], model.device), [x.score for x in found])


@torch.inference_mode()
def search(reader: Reader, settings: Sampling) -> list[list[Found]]:
    """For each prompt of a reader, the `num_samples` best texts that are found, best first.

    Raises:
        DataError: there are not so many, because processors forbid the others.
    """
    n = settings.num_samples
    if settings.max_new_tokens == 0:
        return [[Found(reader.row(row), 0.0)] * n for row in range(len(reader))]
    beams = Search(reader, settings)
    for new in range(1, settings.max_new_tokens + 1):
        if not beams.step(new):
            break
    best = [
        sorted((x for pool in pools for x in pool.found), key=lambda x: -x.score)[:n]
        for pools in beams.pools
    ]
    if (fewest := min(map(len, best))) < n:
        raise DataError(
            f"beam search found {fewest} texts where {n} were asked for; the processors, or "
            "allowed_ids, forbid all others"
        )
    return best


class Found(NamedTuple):
    """A text that has ended."""

    ids: list[int]  #: prompt included
    score: float  #: as in `Beams`


class Pool:
    """The best texts that a group of beams has ended, `size` at most."""

    def __init__(self, size: int) -> None:
        self.size, self.found = size, list[Found]()
        self.open = True  #: whether a beam may still become better than the worst of them

    def add(self, found: Found) -> None:
        """Take a text in; where there are enough, only in place of a worse one."""
        self.found.append(found)
        self.found.sort(key=lambda text: -text.score)  # of equal ones the first stays
        del self.found[self.size :]

    def settle(self, best: float) -> None:
        """Close, if no beam can improve it any more; `best` is the score of the best of them."""
        worst = self.found[-1].score if len(self.found) == self.size else -torch.inf
        self.open = self.open and best > worst


class Step(NamedTuple):
    """How a group goes on, by beam."""

    scores: list[float]  #: sums of log-probabilities
    rows: list[int]  #: of the reader, which are continued
    tokens: list[int]  #: by which


class Search:
    """The state of a search: a reader with `num_beams` rows for each prompt, and their scores."""

    def __init__(self, reader: Reader, settings: Sampling) -> None:
        self.reader, self.settings = reader, settings
        self.process = processed(settings)
        self.prompts, self.groups = len(reader), settings.num_beam_groups
        self.beams = settings.num_beams // self.groups  # of a group
        self.pools = [[Pool(self.beams) for _ in range(self.groups)] for _ in range(self.prompts)]
        self.stops = Ending(settings.stop).stops
        self.longest = max(map(len, self.stops), default=0)
        self.tails: list[tuple] = [()] * (self.prompts * settings.num_beams)
        # All beams of a group begin alike, so at first only one of them counts.
        self.number = torch.promote_types(reader.model.dtype, torch.float32)  # sums are of many
        shape = (self.prompts, self.groups, self.beams)
        self.scores = torch.full(shape, -torch.inf, dtype=self.number, device=reader.model.device)
        self.scores[:, :, 0] = 0

    def step(self, new: int) -> bool:
        """Draw out all beams by their token number `new`; say whether any group goes on."""
        with self.reader.at_work():
            logits = self.reader.read()
            if new == 1:  # the prompt was read once for all of its beams
                rows = torch.arange(self.prompts, device=logits.device)
                rows = rows.repeat_interleave(self.settings.num_beams)
                self.reader.select(rows)
                logits = logits[rows]
            logits = self.process(logits.to(self.number).log_softmax(dim=-1), self.reader)
        logits = logits.view(self.prompts, self.groups, self.beams, -1)
        chosen = torch.zeros_like(logits[:, 0, 0])  # (prompts, V): how many groups' beams took each
        steps: list[list[Step]] = [[] for _ in range(self.prompts)]
        for group in range(self.groups):
            less = self.settings.diversity_penalty * chosen[:, None]
            total = (self.scores[:, group, :, None] + logits[:, group] - less).flatten(1)
            # So many that `beams` of them go on, though each stop may end a text of every beam.
            width = max(2, 1 + len(self.stops)) * self.beams
            best = total.topk(min(width, total.size(1)))
            for prompt, candidates in enumerate(
                zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ):
                steps[prompt].append(self._go_on(prompt, group, new, *candidates, logits.size(-1)))
            tokens = torch.tensor([step[group].tokens for step in steps], device=logits.device)
            chosen = chosen.scatter_add(1, tokens, torch.ones_like(tokens, dtype=chosen.dtype))
        self._apply(steps)
        return any(pool.open for pools in self.pools for pool in pools)

    def _go_on(self, prompt: int, group: int, new: int, scores: list, places: list, V: int) -> Step:
        """Share out the best candidates of a group, in their order: to its pool, or to its beams.

        A text that ends is taken only from among the best `beams`.
        """
        pool, step = self.pools[prompt][group], Step([], [], [])
        first = (prompt * self.groups + group) * self.beams
        last = new == self.settings.max_new_tokens
        for rank, (score, place) in enumerate(zip(scores, places, strict=True)):
            row, token = first + place // V, place % V
            if not score > -torch.inf:  # forbidden, or no number
                continue
            ends = self._ends(row, token)
            if (last or ends) and rank < self.beams and pool.open:
                ids = [*self.reader.row(row), token]
                pool.add(Found(ids, score / new**self.settings.length_penalty))
            if not ends and len(step.rows) < self.beams:
                step.scores.append(score)
                step.rows.append(row)
                step.tokens.append(token)
        missing = self.beams - len(step.rows)  # they go on at any rate, and never count
        step = Step(
            step.scores + [-torch.inf] * missing,
            step.rows + [first] * missing,
            step.tokens + [0] * missing,
        )
        pool.settle(max(step.scores) / new**self.settings.length_penalty)
        return step

    def _ends(self, row: int, token: int) -> bool:
        tail = (*self.tails[row], token)
        return any(tail[-len(stop) :] == stop for stop in self.stops)

    def _apply(self, steps: list[list[Step]]) -> None:
        device, flat = self.scores.device, [step for groups in steps for step in groups]
        scores = torch.tensor([step.scores for step in flat], dtype=self.number, device=device)
        self.scores = scores.view(self.prompts, self.groups, self.beams)
        rows = [row for step in flat for row in step.rows]
        tokens = [token for step in flat for token in step.tokens]
        self.reader.select(torch.tensor(rows, device=device))
        self.reader.append(torch.tensor(tokens, device=device))
        tails = [(*self.tails[row], token) for row, token in zip(rows, tokens, strict=True)]
        self.tails = [tail[max(0, len(tail) - self.longest) :] for tail in tails]
