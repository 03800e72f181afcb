"""Small things that many tests train on."""

import numpy as np
import pytest
import torch

from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import CharTokenizer

TEXT = "the fox sat. the hen sat. the fox ran.\n" * 60


@pytest.fixture(scope="session")
def tokenizer() -> CharTokenizer:
    return CharTokenizer.train(TEXT)


@pytest.fixture(scope="session")
def ids(tokenizer) -> np.ndarray:
    return np.array(tokenizer.encode(TEXT), dtype=np.uint16)


@pytest.fixture
def make_model(tokenizer):
    """A function that returns the same small model every time, dropout on."""

    def make(**changes) -> GPT:
        shape = dict(block_size=16, vocab_size=tokenizer.vocab_size, n_layer=2, n_head=2, n_embd=16)
        torch.manual_seed(1)
        return GPT(GPTConfig(**(shape | {"dropout": 0.1, "attn_dropout": 0.1} | changes)))

    return make
