"""The run behind chapter 7: preset `stories`, with the checkpoints that show what it learned when.

One job: `train_stories`. It picks up a run that was cut.
"""

from __future__ import annotations

from pathlib import Path

import torch

from gptlib.corpora import load_corpus
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
