"""A run that is trained in a second, for what is done with runs."""

import numpy as np
import torch

from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import BPETokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

TEXT = "The fox sat. The hen sat, and the fox ran: it's the hen's 🪿 über 12 straße.\n\n" * 40
SPECIAL = ("<|endoftext|>", "<|end|>")


def small_run(folder, padding: int = 0, steps: int = 60, **shape):
    """A GPT-2 in small on a vocabulary of its own, with `padding` rows that no token stands for;
    trained far enough that its likeliest token leads by more than what rounding moves."""
    tokenizer = BPETokenizer.train(TEXT, 300, SPECIAL)
    sizes = dict(block_size=128, n_layer=2, n_head=2, n_embd=32) | shape
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size + padding, **sizes))
    ids = np.array(tokenizer.encode((TEXT + "<|endoftext|>") * 8), dtype=np.int64)
    config = TrainConfig(
        steps=steps, batch_size=4, lr=1e-2, min_lr=1e-3, warmup=5, eval_every=steps, eval_windows=2
    )
    run = Trainer(model, ids, ids[:1000], config, folder, tokenizer).fit()
    return run.model.eval(), tokenizer
