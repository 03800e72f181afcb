"""What else could stand here: stories with the grammar's own odds as targets.

One job: the fourth run of the model that ships as `stories`, whose targets are not only what a
story says but, where it names somebody or something for the first time, what it might have said.

A text shows a model one name where thirty were possible, and that a name is taken shows only in
what never comes. The grammar knows the odds of all of them, exactly: those of the table, without
what the story has drawn and shown before. A loss against the odds has the same mean as one against
what was drawn, and less noise (Rao-Blackwell); it is distillation (Hinton et al. 2015) from a
teacher that makes no mistakes.

    python -m gptlib.course.stories.taught THREE --out FOUR
"""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.batches import Batches, TokenBatches, document_starts
from gptlib.course.command import answer
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.stories.practice import (
    BLOCK,
    IDLE,
    MUON,
    practice_grammar,
    regrow,
    train_third,
)  # fmt: skip
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.trained import train_two
from gptlib.course.stories.writing import story_loss
from gptlib.grammar import Grammar, Shown
from gptlib.grammar.grammar import SEPARATOR
from gptlib.model import GPT
from gptlib.stories import END, START
from gptlib.task import Loss
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: A mark of a token: an index into `Odds` where it was drawn just now, or one of these two.
PLAIN, AGAIN = 0, -1


class Odds:
    """Distributions over the next token, each kept once: `ids` and `p`, (D, widest).

    Distribution 0 is none. `excludes` says of each whether something of its table cannot come.
    """

    def __init__(self) -> None:
        self._number: dict[tuple, int] = {}
        self._rows: list[list[tuple[int, float]]] = [[(0, 0.0)]]
        self._excludes = [False]

    def number(self, chances: dict[int, float], excludes: bool) -> int:
        """The number of a distribution over ids; a new one if it is new."""
        row = sorted((token, round(p, 6)) for token, p in chances.items())
        key = (*row, excludes)
        if key not in self._number:
            self._number[key] = len(self._rows)
            self._rows.append(row)
            self._excludes.append(excludes)
        return self._number[key]

    def tables(self) -> tuple[Tensor, Tensor, Tensor]:
        """ids and p, (D, widest) each, filled up with id 0 of probability 0; excludes, (D,)."""
        widest = max(map(len, self._rows))
        rows = [row + [(0, 0.0)] * (widest - len(row)) for row in self._rows]
        both = torch.tensor(rows, dtype=torch.float64)
        return both[..., 0].long(), both[..., 1].float(), torch.tensor(self._excludes)


@dataclass
class Teller:
    """Stories as tokens, with what else could have stood in the place of each.

    Attributes:
        odds: every distribution that the told stories needed.
    """

    tokenizer: Tokenizer
    odds: Odds = field(default_factory=Odds)
    _pieces: dict[tuple[str, ...], list[list[int]]] = field(default_factory=dict)
    _lengths: dict[int, int] = field(default_factory=dict)

    def tell(self, text: str, shown: Iterable[Shown]) -> tuple[list[int], np.ndarray]:
        """Encode a story, and mark each token.

        Returns:
            ids, and as many marks: the number in `odds` of what could stand there, where the story
            shows for the first time what was drawn; AGAIN where it shows it once more and the
            token says what; PLAIN elsewhere.
        """
        ids = self.tokenizer.encode(text)
        ends = list(accumulate(map(self.length, ids)))
        marks, at = np.zeros(len(ids), dtype=np.int32), 0
        for one in shown:
            while ends[at] <= one.start:
                at += 1
            before = text[ends[at] - self.length(ids[at]) : one.start]
            forms = self.forms(before, one.values)
            said = forms[one.entry]
            if len(before) > 1 or ids[at : at + len(said)] != said:
                continue  # the words around it were cut together with it
            left = [entry for entry in range(len(forms)) if not one.odds or one.odds[entry]]
            for place, token in enumerate(said):
                left = [entry for entry in left if len(forms[entry]) > place]
                if len({forms[entry][place] for entry in left}) > 1:
                    marks[at + place] = self._mark(one, forms, left, place)
                left = [entry for entry in left if forms[entry][place] == token]
        return ids, marks

    def length(self, token: int) -> int:
        """The characters of a token."""
        if token not in self._lengths:
            self._lengths[token] = len(self.tokenizer.decode([token]))
        return self._lengths[token]

    def _mark(self, one: Shown, forms: list[list[int]], left: list[int], place: int) -> int:
        if one.odds is None:
            return AGAIN
        total = sum(one.odds[entry] for entry in left)
        chances: dict[int, float] = {}
        for entry in left:
            token = forms[entry][place]
            chances[token] = chances.get(token, 0.0) + one.odds[entry] / total
        return self.odds.number(chances, one.known > 0)

    def forms(self, before: str, values: tuple[str, ...]) -> list[list[int]]:
        """The tokens of each value behind `before`, a space or nothing."""
        key = (before, *values)
        if key not in self._pieces:
            self._pieces[key] = [self.tokenizer.encode(before + value) for value in values]
        return self._pieces[key]

    def corpus(self, grammar: Grammar, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and marks of about `size` characters of a grammar's stories."""
        rng, tokens, marks, written = random.Random(seed), [], [], 0
        while written < size:
            text, shown = grammar.sample_shown(rng)
            ids, marked = self.tell(text + SEPARATOR, shown)
            tokens.append(np.array(ids, dtype=np.uint16))
            marks.append(marked)
            written += len(text) + len(SEPARATOR)
        return np.concatenate(tokens), np.concatenate(marks)


class Taught(Batches):
    """Rows of one story each, with the odds of what could stand there; from step `until` on, rows
    of the first text alone, and lighter weights.

    Args:
        usual, often: tokens and marks (see `Teller.corpus`). rows: of a step; share: those of them
            that are `often`'s. excludes: see `Odds.tables`.
        heavy, light: (weight of a target that excludes something, weight of one that was shown
            before), before and after step `until`; other targets weigh 1.

    A batch is inputs, targets, marks of the targets and their weights, (rows, T) each, as `loss`
    takes it. What follows the story's end weighs nothing.
    """

    def __init__(
        self,
        usual: tuple[np.ndarray, np.ndarray],
        often: tuple[np.ndarray, np.ndarray],
        tokenizer: Tokenizer,
        excludes: Tensor,
        rows: int,
        share: int,
        until: int,
        heavy: tuple[float, float],
        light: tuple[float, float],
        seed: int = 0,
    ) -> None:
        self.end, self.excludes, self.until = tokenizer.encode(END)[0], excludes, until
        self.heavy, self.light = heavy, light
        self.batch_size, self.tokens_per_step = rows, rows * BLOCK
        start = tokenizer.encode(START)

        def windows(text: tuple[np.ndarray, np.ndarray], n: int) -> tuple[TokenBatches, np.ndarray]:
            starts = document_starts(text[0], start)
            return TokenBatches(text[0], n, BLOCK, seed=seed, starts=starts), text[1]

        self.early = [windows(usual, rows - share), windows(often, share)]
        self.late = [windows(usual, rows)]
        told = hashlib.sha256(f"{rows} {share} {until} {heavy} {light} {seed}".encode())
        for array in (*usual, *often):
            told.update(array.tobytes())
        self.sha256 = told.hexdigest()

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return inputs, targets, marks and weights, on the CPU; see `Batches.batch`."""
        parts = self.early if step < self.until else self.late
        tokens, marks = [], []
        for text, marked in parts:
            at = text.offsets(step)[:, None] + np.arange(BLOCK + 1)
            tokens.append(torch.from_numpy(np.asarray(text.tokens[at], dtype=np.int64)))
            marks.append(torch.from_numpy(marked[at].astype(np.int64)))
        row, mark = torch.cat(tokens), torch.cat(marks)
        first, again = self.heavy if step < self.until else self.light
        weights = torch.ones(row.shape)
        weights[(mark > 0) & self.excludes[mark.clamp(min=0)]] = first
        weights[mark == AGAIN] = again
        ends = row == self.end
        end = torch.where(ends.any(1), ends.int().argmax(1), BLOCK)
        weights *= torch.arange(BLOCK + 1) <= end[:, None]
        rows = self.rows(world_size, accumulate)
        first = (micro * world_size + rank) * rows
        some = slice(first, first + rows)
        return row[some, :-1], row[some, 1:], mark[some, 1:], weights[some, 1:]

    def weight(self, batch: tuple[Tensor, ...]) -> float:
        """The sum of the weights."""
        return float(batch[-1].double().sum())


def against(ids: Tensor, p: Tensor) -> Loss:
    """The weighted mean loss, in nats, of a batch of `Taught`: where a target has a mark, the
    cross-entropy with distribution number `mark`.

    Args:
        ids, p: see `Odds.tables`.
    """

    def loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        x, y, marks, weights = batch
        logits = model(x)[0].float()
        losses = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none").view_as(y)
        drawn = marks > 0
        number = marks[drawn]
        logp = logits[drawn].log_softmax(-1).gather(1, ids[number])
        losses = losses.masked_scatter(drawn, -(p[number] * logp).sum(1))
        return (losses * weights).sum() / weights.sum()

    return loss


ROWS = 12
HEAVY, LIGHT = (30.0, 5.0), (10.0, 1.0)
SIZES = (55_000_000, 22_000_000)  # characters, of both texts

STEPS, UNTIL, SHARE = 9000, 7600, 4


def train_fourth(three: str | Path, out: Path) -> None:
    """The fourth run: idle heads begin anew, and the grammar's odds are the targets, those of
    `practice_grammar` among them. An hour on one thread."""
    model, tokenizer, manifest = load_with_tokenizer(three)
    regrow(model, IDLE)
    teller = Teller(tokenizer)
    usual = teller.corpus(Grammar.load("stories"), SIZES[0], seed=13)
    often = teller.corpus(practice_grammar(), SIZES[1], seed=14)
    ids, p, excludes = teller.odds.tables()
    batches = Taught(usual, often, tokenizer, excludes, ROWS, SHARE, UNTIL, HEAVY, LIGHT)
    documents = [tokenizer.encode(text) for text in held_out(100, seed=5)]

    def measure(model: GPT) -> float:
        nats, tokens = story_loss(model, documents)
        return nats / tokens

    config = replace(
        TrainConfig(
            steps=STEPS, schedule="wsd", decay=0.8, min_lr=2e-5, eval_every=200, **MUON
        ),
        batch_size=ROWS, save_every=200,
    )  # fmt: skip
    Trainer(
        model, batches, measure, config, out, tokenizer, report=print, loss=against(ids, p),
        note=manifest["note"],
    ).fit()  # fmt: skip


def train_all(home: Path) -> tuple[Path, Path, Path, Path]:
    """The four runs behind the model that ships, five hours on one thread; returns the folders."""
    one, two = train_two(home)
    three, four = home / "three", home / "four"
    train_third(two, three)
    train_fourth(three, four)
    return one, two, three, four


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.taught")
    parser.add_argument("three", help="the run to begin with")
    parser.add_argument("--out", type=Path, required=True)
    a = parser.parse_args(arguments)
    train_fourth(a.three, a.out)


if __name__ == "__main__":
    answer(main)
