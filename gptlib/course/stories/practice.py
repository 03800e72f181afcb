"""Practice for what a story asks only once: the third run of the model that ships as `stories`.

One job: stories that ask it more often, a loss in which the asked words weigh more, and the record
`story-practice`, which says what each of the two brings.

In one story of eighteen somebody must name the color of what was found, and only its owner knows
it: the color stands a hundred tokens earlier, and nothing else depends on it. After 300,000
stories the model still guessed. Such a token is one in three thousand, and a step follows the
others. That some tokens teach more than others, and that the loss may say so, is Lin et al. (2024).

    python -m gptlib.course.stories.practice train TWO --out THREE
    python -m gptlib.course.stories.practice record TWO
"""

from __future__ import annotations

import argparse
import hashlib
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gptlib.batches import Batches, TokenBatches, document_starts
from gptlib.course.command import answer
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.trained import train_two
from gptlib.course.stories.writing import story_loss
from gptlib.errors import DataError
from gptlib.finetuning.rehearsal import weighted_loss
from gptlib.grammar import Grammar, sample_corpus
from gptlib.grammar.grammar import SEPARATOR, shipped
from gptlib.model import GPT, Block, evaluating
from gptlib.stories import START
from gptlib.stories.kinds import storybook
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

#: How the owner of what was found names its color.
ASKED = re.compile(r'(?:"It is|"A) (\w+)(?= and good for nothing| \w+," said \w+\. "It is nothing)')
BLOCK = 256
ROWS = 16

# Weights of the courses that ask for what was said long before; the others keep theirs.
OFTEN = {
    "lost_course": ["1 {lost_order}", "3 {lost_owner}", "3 {lost_owner_twice}", "1 {lost_song}",
                    "1 {lost_song_twice}"],
    "barter_course": ["1 {barter_circle}", "1 {barter_talk}", "1 {barter_honest}",
                      "3 {barter_lid}"],
    "wager_course": ["1 {wager_sit}", "1 {wager_bowl}", "3 {wager_steps}"],
}  # fmt: skip

# The same question from nearby, with no other color in between.
_DRAW = "a c: person, x: small, o: color, p r: place"
_ENDS = "{describe c a x o} {returns a c x} / {moral_owner}"
SHORT = {
    "lost_shorter": {"draw": _DRAW, "text": "{finds a x p} {its_color x o} " + _ENDS},
    "lost_short": {
        "draw": _DRAW,
        "text": "[{title_lost x}|{title_finder x}] / {finds a x p} {its_color x o} {careful a} / "
                "{walk a r} {ground c r} {lost_something a c x} " + _ENDS,
    },
    "lost_course": ["1 {lost_order}", "4 {lost_shorter}", "6 {lost_short}", "4 {lost_owner}",
                    "4 {lost_owner_twice}", "1 {lost_song}", "1 {lost_song_twice}"],
}  # fmt: skip


def practice_grammar(short: bool = False) -> Grammar:
    """The grammar of stories, with other weights: courses that ask for something far back are
    common. With `short`, half of the stories ask for a color, some of them at once."""
    source = shipped("stories")
    rules = source["rules"] | OFTEN | (SHORT if short else {})
    genres = source["genres"] | ({"lost": 14} if short else {})
    return Grammar(source | {"rules": rules, "genres": genres}, "stories, for practice")


def color_questions(stories: Iterable[str]) -> list[tuple[str, str]]:
    """(what stands before, " color") of each story in which an owner names the color of a thing."""
    found = ((text, ASKED.search(text)) for text in stories)
    return [(text[: at.start(1) - 1], f" {at[1]}") for text, at in found if at]


def answered(model: GPT, tokenizer: Tokenizer, questions: Sequence[tuple[str, str]]) -> float:
    """The mean probability of the right word, at the place where it is asked for.

    Raises:
        DataError: there are no questions, or a word is several tokens.
    """
    total = 0.0
    with torch.no_grad(), evaluating(model):
        for before, word in questions:
            ids, right = tokenizer.encode(before), tokenizer.encode(word)
            if len(right) != 1:
                raise DataError(f"{word!r} is {len(right)} tokens; ask for words of one")
            logits = model(torch.tensor([ids[-BLOCK:]]))[0][0, -1]
            total += float(logits.float().softmax(-1)[right[0]])
    if not questions:
        raise DataError("no story asks for a color; take more stories")
    return total / len(questions)


def weights_of(tokenizer: Tokenizer, words: dict[str, float]) -> Tensor:
    """What each token weighs as a target, (V,): 1, or what a word says that it is a piece of."""
    weights = torch.ones(tokenizer.vocab_size)
    for word, weight in words.items():
        for form in (word, f" {word}"):
            weights[tokenizer.encode(form)] = weight
    return weights


def asked_words(weight: float) -> dict[str, float]:
    """The words that a story has to remember, those of its tables; colors count twice."""
    words: dict[str, float] = {}
    for name in shipped("stories")["tables"]:
        for title in storybook().words(name, ""):
            words |= dict.fromkeys(title.split(), 2 * weight if name == "color" else weight)
    return words


class Practice(Batches):
    """Rows of two texts, whose targets weigh by what they are; from step `until` on, rows of the
    first alone, and every target weighs the same.

    Args:
        usual, often: as many rows a step each. share: rows of a step that are `often`'s.
        weights: what each token weighs as a target, (V,).

    A batch is what `weighted_loss` takes.
    """

    def __init__(
        self, usual: TokenBatches, often: TokenBatches, share: int, weights: Tensor, until: int
    ) -> None:
        self.usual, self.often, self.share = usual, often, share
        self.weights, self.until = weights, until
        self.batch_size, self.tokens_per_step = usual.batch_size, usual.tokens_per_step
        told = hashlib.sha256(f"{share} {until}".encode())
        for part in (usual.tokens, often.tokens, weights):
            told.update(np.ascontiguousarray(part).tobytes())
        self.sha256 = told.hexdigest()

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs, targets and weights, each (rows, T) on the CPU; see `Batches.batch`."""
        x, y = self.usual.batch(step)
        weights = torch.ones(y.shape)
        if step < self.until:
            more = self.often.batch(step)
            keep = self.batch_size - self.share
            x, y = (torch.cat([one[:keep], two[: self.share]])
                    for one, two in zip((x, y), more, strict=True))  # fmt: skip
            weights = self.weights[y]
        rows = self.rows(world_size, accumulate)
        first = (micro * world_size + rank) * rows
        return x[first : first + rows], y[first : first + rows], weights[first : first + rows]

    def weight(self, batch: tuple[Tensor, ...]) -> float:
        """The sum of the weights."""
        return float(batch[-1].double().sum())


def batches_of(grammar: Grammar, tokenizer: Tokenizer, size: int, seed: int) -> TokenBatches:
    """Windows of `size` characters of a grammar's stories, each of which begins with a story."""
    text = "".join(document.text + SEPARATOR for document in sample_corpus(grammar, size, seed))
    tokens = np.array(tokenizer.encode(text), dtype=np.uint16)
    starts = document_starts(tokens, tokenizer.encode(START))
    return TokenBatches(tokens, ROWS, BLOCK, starts=starts)


def regrow(model: GPT, heads: Iterable[tuple[int, int]], seed: int = 0) -> None:
    """Begin attention heads anew, in place: they ask and say nothing in particular, and what they
    say is not heard, so that the model without them is where it was.

    Args:
        heads: (layer, head), both from 0: those that `story-heads` found to do nothing.
    """
    C, D = model.config.n_embd, model.config.n_embd // model.config.n_head
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer, head in heads:
            attention = cast(Block, model.transformer.h[layer]).attn
            for part in range(3):  # query, key, value
                rows = slice(part * C + head * D, part * C + (head + 1) * D)
                attention.c_attn.weight[rows] = torch.randn(D, C, generator=generator) * 0.04
                if attention.c_attn.bias is not None:
                    attention.c_attn.bias[rows] = 0
            attention.c_proj.weight[:, head * D : (head + 1) * D] = 0


def spread(model: GPT, ids: Sequence[int], seed: int = 0) -> None:
    """Set the embeddings of some tokens apart, in place: their mean, and 0.8 in a direction of its
    own for each. What never had to be told apart lies close together."""
    generator = torch.Generator().manual_seed(seed)
    table = model.transformer.wte.weight
    with torch.no_grad():
        away = torch.randn(len(ids), table.size(1), generator=generator)
        table[ids] = table[ids].mean(0) + 0.8 * away / away.norm(dim=1, keepdim=True)


#: The heads of the second run's model without which it is as good, to two thousandths of a nat.
IDLE = ((0, 0), (0, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (3, 2), (3, 3), (4, 0), (4, 3))
MUON = dict(
    batch_size=ROWS, lr=2e-3, warmup=50, beta2=0.99, weight_decay=0.0, optimizer="muon",
    eval_windows=1,
)  # fmt: skip
COLOR_WEIGHT = 30.0
WEIGHT = 5.0


def _color_ids(tokenizer: Tokenizer) -> list[int]:
    return [tokenizer.encode(f" {color}")[0] for color in storybook().words("color", "")]


def practice_colors(
    model: GPT, tokenizer: Tokenizer, folder: Path, weight: float, steps: int = 300, size: int = 24
) -> list[dict]:
    """Train a model, in place, on stories half of which ask for a color.

    Args:
        weight: of a color in the loss; 1 is the usual loss. size: millions of characters.

    Returns:
        What `answered` says before the first step and after every fiftieth.
    """
    questions = color_questions(held_out(3000, seed=4))[:80]
    read = batches_of(practice_grammar(short=True), tokenizer, size * 1_000_000, seed=9)
    weights = torch.ones(tokenizer.vocab_size)
    weights[_color_ids(tokenizer)] = weight
    curve: list[dict] = []

    def measure(model: GPT) -> float:
        curve.append({"step": 50 * len(curve), "right": answered(model, tokenizer, questions)})
        print(curve[-1], flush=True)
        return 1 - curve[-1]["right"]

    config = TrainConfig(steps=steps, schedule="constant", eval_every=50, save_every=steps, **MUON)
    batches = Practice(read, read, 0, weights, steps)
    Trainer(model, batches, measure, config, folder, tokenizer, loss=weighted_loss).fit()
    return curve


def train_third(two: str | Path, out: Path) -> None:
    """The third run: idle heads begin anew, colors are practised, and 4,900 steps on the grammar's
    own stories follow, in the first 3,700 of which the words that a story must remember weigh more
    and a part of the stories is of those that ask far back. An hour on one slow thread."""
    model, tokenizer, manifest = load_with_tokenizer(two)
    begin_anew(model, tokenizer)
    with tempfile.TemporaryDirectory() as home:
        practice_colors(model, tokenizer, Path(home) / "colors", COLOR_WEIGHT)
    usual = batches_of(Grammar.load("stories"), tokenizer, 80_000_000, seed=11)
    often = batches_of(practice_grammar(), tokenizer, 18_000_000, seed=7)
    weights = weights_of(tokenizer, asked_words(WEIGHT))
    documents = [tokenizer.encode(text) for text in held_out(100, seed=5)]

    def measure(model: GPT) -> float:
        nats, tokens = story_loss(model, documents)
        return nats / tokens

    config = TrainConfig(
        steps=4900, schedule="wsd", decay=1.0, min_lr=3e-5, eval_every=200, save_every=200, **MUON
    )
    batches = Practice(usual, often, 6, weights, 3700)
    Trainer(
        model, batches, measure, config, out, tokenizer, report=print, loss=weighted_loss,
        note=manifest["note"],
    ).fit()  # fmt: skip


def begin_anew(model: GPT, tokenizer: Tokenizer) -> None:
    """Give the idle heads of the second run's model new weights, and set its colors apart."""
    regrow(model, IDLE)
    spread(model, _color_ids(tokenizer))


def story_practice(two: str | Path) -> Record:
    """Practice four times from the same weights: as they are, or with idle heads and colors begun
    anew; and a color in the loss like any other word, or thirty times."""
    runs, manifest = [], {}
    for anew in (False, True):
        for weight in (1.0, COLOR_WEIGHT):
            model, tokenizer, manifest = load_with_tokenizer(two)
            if anew:
                begin_anew(model, tokenizer)
            with tempfile.TemporaryDirectory() as home:
                curve = practice_colors(model, tokenizer, Path(home) / "run", weight)
            runs.append({"anew": anew, "weight": weight, "curve": curve})
    practice = [document.text for document in sample_corpus(practice_grammar(True), 500_000)]
    asked = {"usual": held_out(5000, seed=4), "practice": practice}
    shares = {name: share_of_asked(stories) for name, stories in asked.items()}
    config = {"from": manifest.get("note"), "train": MUON, "idle": [list(head) for head in IDLE]}
    command = "python -m gptlib.course.stories.practice record TWO"
    return make_record("story-practice", config, {"runs": runs, "asked": shares}, command)


def remake() -> Record:
    """Two to three hours on one thread, of which the record takes ten minutes."""
    with tempfile.TemporaryDirectory() as home:
        return story_practice(train_two(Path(home))[1])


def share_of_asked(stories: Sequence[str]) -> float:
    """The share of stories in which an owner names a color."""
    return len(color_questions(stories)) / len(stories)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.stories.practice")
    parser.add_argument("what", choices=("train", "record"))
    parser.add_argument("two", help="the run to begin with")
    parser.add_argument("--out", type=Path, default=Path("data/runs/story-practice"))
    a = parser.parse_args(arguments)
    if a.what == "train":
        train_third(a.two, a.out)
    else:
        record = story_practice(a.two)
        save_record(record, a.out)
        print(record)


if __name__ == "__main__":
    answer(main)
