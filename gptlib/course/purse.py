"""A budget for the labs that train: it makes the model, deals the text, and counts what is spent.

One job: `Purse`. What is counted is what the model does, whoever wrote the loop, so that a result
is judged by FLOPs or by tokens, and never by the clock of the machine that it came from.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn

from gptlib.batches import TokenBatches
from gptlib.corpora import load_corpus
from gptlib.errors import ConfigError
from gptlib.evaluation import split_loss
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import CharTokenizer


class Overspent(Exception):
    """A step was asked for that the purse cannot pay."""


@functools.cache
def tales() -> tuple[Tensor, Tensor, int]:
    """The ids of the tales' training and validation text, and how many symbols there are."""
    corpus = load_corpus("tales")
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = (torch.tensor(tokenizer.encode(part)) for part in (corpus.train, corpus.val))
    return train, val, tokenizer.vocab_size


class Purse:
    """What a run may spend on the tales, and what it has spent.

    Args:
        flops, tokens: what training may cost, forward and backward; None is no limit.
        parameters: most of them that the model may have, or None.
        T: the context. seed: of the order of the text.

    Attributes:
        spent_flops, spent_tokens: by passes that a way back may follow, so far. steps: batches
            dealt.
    """

    def __init__(
        self,
        flops: float | None = None,
        tokens: int | None = None,
        parameters: int | None = None,
        T: int = 64,
        seed: int = 0,
    ) -> None:
        self.flops, self.tokens, self.parameters, self.T = flops, tokens, parameters, T
        self.spent_flops, self.spent_tokens, self.steps = 0, 0, 0
        self.made: GPT | None = None
        self._seed, self._batches = seed, {}

    def model(self, **fields: Any) -> GPT:
        """A new GPT with these fields of `GPTConfig`, whose passes are counted.

        Raises:
            ConfigError: what `GPTConfig` refuses, or more parameters than are allowed.
        """
        *_, V = tales()
        model = GPT(GPTConfig(self.T, V, **fields))
        if self.parameters is not None and model.num_params() > self.parameters:
            raise ConfigError(
                f"this model has {model.num_params():,} parameters, and {self.parameters:,} are "
                "allowed"
            )
        model.register_forward_pre_hook(self._count)
        self.made = model
        return model

    def batch(self, B: int) -> tuple[Tensor, Tensor]:
        """The next B windows: ids and targets, (B, T) each."""
        if B not in self._batches:
            self._batches[B] = TokenBatches(tales()[0], B, self.T, self._seed)
        self.steps += 1
        return self._batches[B].batch(self.steps - 1)

    def loss(self, model: GPT, windows: int = 400) -> float:
        """Nats a character on the validation text; looking is free."""
        was = model.training
        found = split_loss(model, tales()[1], windows=windows)
        model.train(was)
        return found

    @property
    def share(self) -> float:
        """How much of the budget is spent, from 0 to 1."""
        if self.flops is not None:
            return self.spent_flops / self.flops
        return self.spent_tokens / self.tokens if self.tokens is not None else 0.0

    def _count(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if not torch.is_grad_enabled():
            return
        assert isinstance(model, GPT)
        tokens = inputs[0].numel()
        flops = tokens * model.flops_per_token(inputs[0].size(-1))
        if self.flops is not None and self.spent_flops + flops > self.flops:
            left = self.flops - self.spent_flops
            raise Overspent(f"step {self.steps} costs {flops:.3g} FLOPs, and {left:.3g} are left")
        if self.tokens is not None and self.spent_tokens + tokens > self.tokens:
            raise Overspent(
                f"step {self.steps} reads {tokens:,} characters, and "
                f"{self.tokens - self.spent_tokens:,} are left"
            )
        self.spent_flops += flops
        self.spent_tokens += tokens
