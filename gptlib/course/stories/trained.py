"""The runs behind chapter 7: preset `stories`, with the checkpoints that show what it learned when,
and the two that the model that ships began with.

One job: `train_stories`, which picks up a run that was cut, and `train_two`.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from gptlib.corpora import load_corpus
from gptlib.errors import DataError
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.tokenizers import learn_tokenizer, learned_size
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


def train_stories(folder: Path) -> Path:
    """Train preset `stories` in a folder, an hour on one thread, and keep a checkpoint of every
    fiftieth step; returns the folder.

    Raises:
        SystemExit: a signal stopped it; the same call goes on from there.
    """
    chosen = preset("stories")
    corpus = load_corpus(chosen.corpus or "stories", size=chosen.corpus_size)
    tokenizer = learn_tokenizer(corpus, learned_size(chosen.tokenizer) or 0)
    train, val = corpus.encode(tokenizer)
    config = TrainConfig(**chosen.train, save_every=50, keep_last=200)
    torch.manual_seed(config.seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **chosen.model))
    trainer = Trainer(
        model, train, val, config, folder, tokenizer, report=print,
        separator=tokenizer.encode(chosen.separator or ""),
    )  # fmt: skip
    if not trainer.fit().finished:
        raise SystemExit("stopped by a signal; the same command goes on from there")
    return folder


def train_two(home: Path) -> tuple[Path, Path]:
    """Run the first two commands of `gptlib.course.stories.stages`, two to three hours on one
    thread; returns the folders ONE and TWO."""
    one, two = home / "one", home / "two"
    train = [sys.executable, "-m", "gptlib", "train", "--threads", "1", "--preset"]
    for command in (
        [*train, "stories", "--out", str(one)],
        [*train, "stories-on", "--init-from", str(one), "--out", str(two)],
    ):
        if subprocess.run(command, check=False).returncode:
            raise DataError("a run did not come to its end; what it said stands above")
    return one, two
