"""A run of a second on stories with their marks, for what is asked for by title and genre."""

from functools import cache
from pathlib import Path

import numpy as np
import torch

from gptlib import GPT, BPETokenizer, GPTConfig, TrainConfig, Trainer, load_corpus
from gptlib.stories import special_tokens


@cache
def tokenizer_and_ids() -> tuple[BPETokenizer, np.ndarray]:
    """A tokenizer that knows the marks, and the ids of a few stories."""
    corpus = load_corpus("stories", size=20_000)
    tokenizer = BPETokenizer.train(corpus.text, 400, special_tokens())
    return tokenizer, np.array(tokenizer.encode(corpus.text), dtype=np.int64)


def marked_run(folder: Path) -> tuple[GPT, BPETokenizer]:
    """Train for two steps into `folder`: it has the form of a storyteller and none of its sense."""
    tokenizer, ids = tokenizer_and_ids()
    torch.manual_seed(0)
    shape = GPTConfig(64, tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16)
    config = TrainConfig(steps=2, batch_size=2, eval_every=2, eval_windows=1, warmup=1)
    run = Trainer(GPT(shape), ids, ids[:500], config, folder, tokenizer).fit()
    return run.model.eval(), tokenizer
