"""What a judge's verdict teaches: which word was the wrong one.

One job: `find_faults`, the words at which a model's own stories go wrong, and `learn_from`, which
trains it on the grammar's stories as before and, beside them, not to say those words. A story shows
what may be said; that something may not be said it can only show by never saying it.

    python -m gptlib.course.stories.lessons --run RUN --out RUN

Source: Welleck et al., Neural text generation with unlikelihood training (2020), equation 4, whose
candidates are here the words that the judge refuses.
"""

from __future__ import annotations

import argparse
import hashlib
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.batches import Batches, TokenBatches, Tokens, document_starts, permute
from gptlib.corpora import load_corpus
from gptlib.course.command import answer, at_least_one
from gptlib.course.stories.lab import ends, sound_beginning, title
from gptlib.course.stories.replay import grammar
from gptlib.course.stories.writing import begin_with, write_stories
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import judge_prefix, judge_story
from gptlib.evaluation.loss import split_loss
from gptlib.files import append_line, read_jsonl
from gptlib.model import GPT, evaluating
from gptlib.runs import Run, load_run
from gptlib.sampling import Sampling, generate
from gptlib.stories import END, START
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

SURE = 0.97  # a token likelier than that was no choice
TRIES = 4  # how often each choice is made again
ROOM = 28  # tokens in which a sentence comes to its end
AT_ONCE = 120  # sentences written in one pass
RECORDED: dict = dict(
    steps=2400, batch_size=24, lr=4e-4, min_lr=3e-5, warmup=50, beta2=0.99, optimizer="muon",
    dtype="fast", eval_every=200, eval_windows=200, save_every=50, save_minutes=0, keep_last=60,
)  # fmt: skip
WEIGHT = 0.3  # of the words not to say, beside the mean loss of those that were said


class Fault(NamedTuple):
    """The ids of a story up to where it went wrong, and the id that must not come there."""

    before: tuple[int, ...]
    wrong: int


def find_faults(
    model: GPT, tokenizer: Tokenizer, beginnings: Sequence[str], seed: int = 0
) -> tuple[list[Fault], float]:
    """Let a model write, and find the word with which each story that does not hold went wrong.

    The judge names the first wrong sentence. In it, the choices are made again from the last to
    the first, `TRIES` times each: if what comes now can stand, the word that was chosen there was
    the one, since everything before it could still be saved.

    Returns:
        (faults, share of the stories that do not hold together). Stories drawn at temperature 1;
        where no choice saves the sentence, or the same word can also stand, nothing is blamed.
    """
    T = model.config.block_size
    stories = write_stories(model, tokenizer, beginnings, Sampling(T, temperature=1.0), seed)
    failed = [text for text in stories if not judge_story(text).ok]
    cases = [case for text in failed if (case := _wrong_sentence(text, tokenizer, T))]
    asked = [
        (number, place)
        for number, (ids, first, _) in enumerate(cases)
        for place in _choices(model, ids, first)
    ]
    again = _write_again(model, tokenizer, cases, asked, seed)
    faults = []
    for number, (ids, _, _) in enumerate(cases):
        for place in sorted((p for n, p in asked if n == number), reverse=True):
            saved = {token for token, stands in again[number, place] if stands}
            if saved:
                if ids[place] not in saved:
                    faults.append(Fault(tuple(ids[:place]), ids[place]))
                break
    return faults, len(failed) / len(stories)


#: A story's ids up to the end of its first wrong sentence, where that begins in them, and in text.
Case = tuple[list[int], int, int]


def _wrong_sentence(text: str, tokenizer: Tokenizer, T: int) -> Case | None:
    good = sound_beginning(text)
    end = next((end for end in ends(text) if end > len(good)), None)
    if end is None:  # it breaks off
        return None
    head, ids = tokenizer.encode(good), tokenizer.encode(text[:end])
    return (ids, len(head), len(good)) if ids[: len(head)] == head and len(ids) <= T else None


@torch.no_grad()
def _choices(model: GPT, ids: Sequence[int], first: int) -> list[int]:
    """The places from `first` on where another token might have come."""
    with evaluating(model):
        p = model(torch.tensor(ids[:-1])[None])[0][0].softmax(dim=-1)  # (T, V)
    return [place for place in range(first, len(ids)) if p[place - 1, ids[place]] < SURE]


def _write_again(
    model: GPT,
    tokenizer: Tokenizer,
    cases: Sequence[Case],
    asked: Sequence[tuple[int, int]],
    seed: int,
) -> dict[tuple[int, int], list[tuple[int, bool]]]:
    """Make each choice anew: the token that came, and whether its sentence can stand."""
    end, T = tokenizer.encode(END)[0], model.config.block_size
    found: dict[tuple[int, int], list[tuple[int, bool]]] = {case: [] for case in asked}
    jobs = sorted((case for case in asked for _ in range(TRIES)), key=lambda case: case[1])
    for first in range(0, len(jobs), AT_ONCE):
        some = jobs[first : first + AT_ONCE]
        prompts = [cases[number][0][:place] for number, place in some]
        room = min(ROOM, T - max(map(len, prompts)))
        if room < 1:
            continue
        dice = [seed * 1_000_003 + first + n for n in range(len(some))]
        got = generate(model, prompts, room, temperature=1.0, stop=[end], seed=dice)
        rows = (got if isinstance(got, Tensor) else got[0]).tolist()
        for case, prompt, row in zip(some, prompts, rows, strict=True):
            new = row[len(prompt) : len(prompt) + room]
            new = new[: new.index(end) + 1] if end in new else new
            text, start = tokenizer.decode([*prompt, *new]), cases[case[0]][2]
            stop = next((stop for stop in ends(text) if stop > start), None)
            if stop is not None:
                found[case].append((new[0], judge_prefix(text[:stop]).ok))
    return found


class Lessons(Batches):
    """Windows of stories, and beside them beginnings after which a certain word must not come.

    A batch is (x, y, wrong): in the first `batch_size - faults_a_step` rows y are the next tokens
    and wrong is -1; in the others it is the other way round, and only their last place counts.

    Args:
        tokens: the ids of a text of stories, each of which begins with the id `start`.
    """

    def __init__(
        self,
        tokens: Tokens,
        faults: Sequence[Fault],
        start: int,
        T: int,
        batch_size: int,
        faults_a_step: int,
        seed: int = 0,
    ) -> None:
        self.faults, self.T, self.seed = faults, T, seed
        self.batch_size, self.faults_a_step = batch_size, faults_a_step
        if not faults or not 0 < faults_a_step < batch_size:
            raise DataError(
                f"{len(faults)} faults, {faults_a_step} of {batch_size} rows for them; give one or "
                "more, and a row or more for each of the two"
            )
        starts = document_starts(tokens, [start])
        stories = batch_size - faults_a_step
        self.windows = TokenBatches(tokens, stories, T, seed, "shuffled", starts)
        self.tokens_per_step = stories * T
        digest = hashlib.sha256(np.asarray(tokens).tobytes() + repr(list(faults)).encode())
        self.sha256 = f"{digest.hexdigest()} in the order of seed {seed}"

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, ...]:
        if world_size * accumulate > 1:
            raise ConfigError("lessons are read by one process, and each batch at once")
        x = torch.zeros(self.batch_size, self.T, dtype=torch.int64)
        y, wrong = x - 1, x - 1
        n = self.windows.batch_size
        x[:n], y[:n] = self.windows.batch(step)
        for row in range(self.faults_a_step):
            epoch, at = divmod(step * self.faults_a_step + row, len(self.faults))
            before, bad = self.faults[
                permute(np.array([at]), len(self.faults), self.seed + epoch)[0]
            ]
            x[n + row, : len(before)] = torch.tensor(before)
            wrong[n + row, len(before) - 1] = bad
        return x, y, wrong

    def weight(self, batch: tuple[Tensor, ...]) -> int:
        return int((batch[1] >= 0).sum())


def lesson_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean of -log p(next token), and `WEIGHT` times the mean of -log(1 - p(wrong token))."""
    x, y, wrong = batch
    logits = model(x)[0].float()  # (B, T, V)
    said = F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1)
    logp = logits[wrong >= 0].log_softmax(dim=-1)
    p = logp.gather(1, wrong[wrong >= 0][:, None]).exp().clamp(max=1 - 1e-4)
    return said - WEIGHT * torch.log1p(-p).mean()


def some_beginnings(n: int, seed: int) -> list[str]:
    """Half with the titles of new stories, a quarter with genres, a quarter with nothing."""
    dice, genres = random.Random(seed), grammar().genres
    return [
        (begin_with(), begin_with(genre=genres[number // 4 % len(genres)]))[number % 2]
        if number % 4 < 2
        else title(grammar().sample(dice).text)
        for number in range(n)
    ]


def collect(
    model: GPT,
    tokenizer: Tokenizer,
    path: Path,
    rounds: int,
    n: int,
    report: Callable[[str], None] = print,
) -> list[Fault]:
    """Find faults in `rounds` times n stories, and keep them in a file, with which it goes on."""
    lines = read_jsonl(path) if path.exists() else []
    for number in range(len(lines), rounds):
        # The dice of corpora and of stories to be judged on are small numbers.
        faults, failed = find_faults(model, tokenizer, some_beginnings(n, 5000 + number), number)
        lines.append({"failed": failed, "stories": n, "faults": faults})
        append_line(path, lines[-1])
        report(f"round {number + 1} of {rounds}: {failed:.1%} fail, {len(faults)} words to blame")
    return [Fault(tuple(before), wrong) for line in lines for before, wrong in line["faults"]]


def learn_from(
    faults: Sequence[Fault],
    model: GPT,
    tokenizer: Tokenizer,
    folder: Path,
    size: int,
    config: TrainConfig,
    faults_a_step: int = 8,
    note: dict | None = None,
) -> Run:
    """Train a model on stories of the grammar and on faults; a run in the folder is resumed.

    Args:
        size: characters of the corpus. config: `batch_size` counts the rows of both.
    """
    corpus = load_corpus("stories", size=size)
    train, val = corpus.encode(tokenizer)
    start = tokenizer.encode(START)
    lessons = Lessons(
        train, faults, start[0], model.config.block_size, config.batch_size, faults_a_step
    )
    trainer = Trainer(
        model, lessons, _Validation(val, start, config.eval_windows), config, folder, tokenizer,
        report=print, note=note, loss=lesson_loss,
    )  # fmt: skip
    return trainer.fit()


class _Validation:
    """The loss of windows that begin with stories, as of a run without lessons."""

    def __init__(self, val: Tensor, start: Sequence[int], windows: int) -> None:
        self.val, self.windows = val, windows
        self.starts = document_starts(val, start)
        self.sha256 = hashlib.sha256(val.numpy().tobytes()).hexdigest()

    def __call__(self, model: GPT) -> float:
        return split_loss(model, self.val, windows=self.windows, starts=self.starts)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.lessons")
    parser.add_argument("--run", required=True, help="the run that learns, or `stories`")
    parser.add_argument("--out", type=Path, required=True, help="the run folder that is made")
    parser.add_argument("--rounds", type=at_least_one, default=20, help="of stories to judge")
    parser.add_argument("--n", type=at_least_one, default=600, help="stories a round")
    parser.add_argument("--steps", type=at_least_one, default=RECORDED["steps"], help="updates")
    options = parser.parse_args(arguments)
    model, tokenizer, manifest = load_run(options.run)
    if tokenizer is None:
        raise DataError(f"{options.run} has no tokenizer; give a run that was trained with one")
    options.out.mkdir(parents=True, exist_ok=True)
    faults = collect(model, tokenizer, options.out / "faults.jsonl", options.rounds, options.n)
    note = manifest.get("note") or {}
    config = TrainConfig(**RECORDED | {"steps": options.steps})
    print(learn_from(faults, model, tokenizer, options.out, note["corpus_size"], config, note=note))


if __name__ == "__main__":
    answer(main)
