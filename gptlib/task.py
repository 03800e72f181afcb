"""What a model is trained on, and for: batches, a loss, and a validation.

One job: `open_task`. The next token of a text unless something else is given; a `Trainer` knows of
a task no more than what stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gptlib import parallel, runtime
from gptlib.batches import Batches, TokenBatches, Tokens, document_starts
from gptlib.errors import ConfigError
from gptlib.evaluation.loss import split_loss
from gptlib.model import GPT, GPTConfig, evaluating
from gptlib.runtime import Runtime
from gptlib.shards.splits import Split, open_split, split_sha256
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig

#: The mean loss of a batch, a scalar, over what `Batches.weight` counts.
Loss = Callable[[nn.Module, tuple[Tensor, ...]], Tensor]
#: A number that tells how good a model is, the lower the better.
Measure = Callable[[GPT], float]


@dataclass(frozen=True)
class Task:
    """What to learn, from what, and how well it is done.

    Attributes:
        batches: of training. loss: of a batch. validate: nats per token, called by all processes.
        data: tells this task from another, for the manifest of a checkpoint.
    """

    batches: Batches
    loss: Loss
    validate: Callable[[GPT, Runtime], float]
    data: dict


def next_token_loss(model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
    """Mean cross-entropy of the targets, in nats; `batch` is inputs and targets, (B, T) each."""
    x, y = batch
    return model(x, y, return_logits=False)[1]


def open_task(
    shape: GPTConfig,
    train: Split | Batches,
    val: Split | Measure,
    config: TrainConfig,
    tokenizer: Tokenizer | None = None,
    separator: Sequence[int] | None = None,
    loss: Loss | None = None,
) -> Task:
    """Put a task together from what a `Trainer` is given; arguments as there.

    Raises:
        DataError: a split that this model cannot be trained on. ConfigError: see `Trainer`.
    """
    if isinstance(train, Batches):
        batches, train_sha256 = train, train.sha256
        if batches.batch_size != config.batch_size:
            raise ConfigError(
                f"the batches have batch_size {batches.batch_size} and the TrainConfig has "
                f"{config.batch_size}; give both the same"
            )
    else:
        tokens = open_split(train, "train", shape, tokenizer)
        starts = document_starts(tokens, separator) if separator else None
        batches = TokenBatches(
            tokens, config.batch_size, shape.block_size, config.seed, config.sampling, starts
        )
        train_sha256 = split_sha256(tokens)
    if callable(val):
        validate, val_sha256 = _own_validation(val), getattr(val, "sha256", _name(val))
    else:
        held_out = open_split(val, "val", shape, tokenizer)
        validate = _split_validation(held_out, config.eval_windows, separator)
        val_sha256 = split_sha256(held_out)
    data = {
        "train": train_sha256,
        "val": val_sha256,
        "separator": list(separator) if separator else None,
    }
    return Task(
        batches, loss or next_token_loss, validate, data | ({"loss": _name(loss)} if loss else {})
    )


def document_start(config: TrainConfig, separator: Sequence[int] | None) -> int | None:
    """The token at which attention stops looking back, or None.

    Raises:
        ConfigError: it is to, and there is no separator, or one of several tokens.
    """
    if config.attend == "window":
        return None
    if separator is None or len(separator) != 1:
        found = f"a separator of {len(separator)} tokens" if separator else "no separator"
        raise ConfigError(
            f"attend is 'document' and there is {found}; give one that is a single token, such as "
            "<|start|>, or leave attend at window"
        )
    return separator[0]


def _split_validation(
    tokens: Tokens, windows: int, separator: Sequence[int] | None
) -> Callable[[GPT, Runtime], float]:
    starts = document_starts(tokens, separator) if separator else None

    def validate(model: GPT, here: Runtime) -> float:
        return split_loss(
            model, tokens, windows=windows or None, autocast=here.autocast, starts=starts,
            shared=True,
        )  # fmt: skip

    return validate


def _own_validation(measure: Measure) -> Callable[[GPT, Runtime], float]:
    """A reader's own measure; whatever it draws, training goes on with the dice it had."""

    def validate(model: GPT, here: Runtime) -> float:
        dice = runtime.random_state()
        with evaluating(model), torch.no_grad(), here.autocast():
            value = float(measure(model))
        runtime.set_random_state(dice)
        return parallel.gather(value)[0]  # the processes go on with one and the same number

    return validate


def _name(function: object) -> str:
    """What a function or an object that is called like one is called."""
    return getattr(function, "__qualname__", type(function).__qualname__)
