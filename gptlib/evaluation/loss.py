"""The loss of a model on all the text that it did not train on.

One job: whole-split means in nats per token, every token predicted once, and what follows from
them: perplexity, and bits per byte.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gptlib import parallel
from gptlib.batches import Tokens
from gptlib.errors import ConfigError, DataError
from gptlib.id_checks import check_device, check_targets
from gptlib.model import GPT, evaluating
from gptlib.tokenizers import Tokenizer


@torch.no_grad()
def token_losses(model: GPT, idx: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of every target, (B, T) in nats; no gradient. Targets of -1 give 0.

    Where the logits would take more than a gigabyte, they are made in parts, one after another.

    Raises:
        DataError: a target outside the vocabulary, or none that counts (on a CPU); ids on another
            device than the model.
    """
    check_device(targets, model.device, "targets")
    if targets.device.type == "cpu":
        check_targets(targets, idx.shape, model.config.vocab_size)
    return model(idx, targets, return_logits=False, reduction="none")[1]


def _windows(n: int, T: int, stride: int) -> list[tuple[int, int, int]]:
    """(start, end, first counted) of windows that together predict tokens 1 … n - 1 once each."""
    windows, counted = [], 1
    while counted < n:
        end = min(n, counted + (stride if windows else T))
        start = max(0, end - T - 1)
        windows.append((start, end, counted))
        counted = end
    return windows


@dataclass(frozen=True)
class SplitLoss:
    """What predicting a split cost, summed over its tokens; nothing predicts the first.

    Attributes:
        nats, tokens: of all. text_nats, text_tokens, text_bytes: of those that are text, and their
            UTF-8 bytes. A special token, such as GPT-2's end of text between documents, is no text:
            neither its nats nor its bytes count, as in nanochat, since nobody wrote it.
    """

    nats: float
    tokens: int
    text_nats: float = 0.0
    text_tokens: int = 0
    text_bytes: int = 0

    @property
    def loss(self) -> float:
        """Mean nats per token, special tokens and all."""
        return self.nats / self.tokens

    @property
    def perplexity(self) -> float:
        """exp(loss): among how many equally likely tokens the model might as well choose."""
        return math.exp(self.loss) if self.loss < 700 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Bits for each byte of text, which compares models with different tokenizers.

        Raises:
            DataError: the split has no text after its first token.
        """
        if not self.text_tokens:
            raise DataError("the split has only special tokens after its first: bits for no text")
        return bits_per_byte(self.text_nats / self.text_tokens, self.text_tokens, self.text_bytes)


def split_loss(
    model: GPT,
    tokens: Tokens,
    stride: int | None = None,
    windows: int | None = None,
    batch_size: int = 64,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    starts: np.ndarray | None = None,
    shared: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> float:
    """Mean loss over a whole split, in nats per token; every token after the first counts once.

    Derived in chapter 1, *What does it say to a sentence it never read?*

    It takes what `measure_split` takes, and refuses what that refuses.
    """
    return measure_split(
        model, tokens, stride=stride, windows=windows, batch_size=batch_size, autocast=autocast,
        starts=starts, shared=shared, progress=progress,
    ).loss  # fmt: skip


def measure_split(
    model: GPT,
    tokens: Tokens,
    tokenizer: Tokenizer | None = None,
    stride: int | None = None,
    windows: int | None = None,
    batch_size: int = 64,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    starts: np.ndarray | None = None,
    shared: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> SplitLoss:
    """The loss over a whole split; every token after the first counts once.

    Args:
        tokens: 1-D ids; a tensor may be on any device.
        tokenizer: says which ids are text, and how many bytes each has; None counts no text.
        stride: tokens counted in a window after the first. None is `block_size`, windows side by
            side; smaller overlaps them, so that each counted token has at least
            `block_size - stride` tokens of context, and costs more.
        windows: count only this many windows, spread evenly over the split: a fixed sample.
        batch_size: windows at a time.
        autocast: a function that returns the context to run the model in.
        starts: begin a fresh window at each of these tokens, so that a document is read from its
            own beginning and never from the middle of another.
        shared: deal the windows out to the processes of the job, all of which must call this.
        progress: called with how many windows are done, and of how many.

    Raises:
        DataError: fewer than two tokens, or ids outside the vocabulary.
        ConfigError: a stride, a number of windows or a batch size below 1, or a stride above
            `block_size`.
    """
    T = model.config.block_size
    for name, value in (("stride", stride), ("windows", windows), ("batch_size", batch_size)):
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{name} is {value!r}; it must be a whole number, 1 or more")
    if stride and stride > T:
        raise ConfigError(
            f"stride is {stride}, and block_size is {T}: a window counts the tokens that it reads, "
            f"{T} at most; give a stride up to that"
        )
    if len(tokens) < 2:
        raise DataError(f"the split has {len(tokens)} tokens; a loss needs at least 2")
    if starts is None:
        plan = _windows(len(tokens), T, stride or T)
    else:
        cuts = sorted({0, *map(int, starts), len(tokens) - 1})
        plan = [
            (a + start, a + end, a + first)
            for a, b in itertools.pairwise(cuts)
            for start, end, first in _windows(b - a + 1, T, stride or T)
        ]
    if windows and windows < len(plan):
        plan = [plan[i * len(plan) // windows] for i in range(windows)]
    rank, processes = parallel.rank_and_size() if shared else (0, 1)
    batches = [plan[i : i + batch_size] for i in range(0, len(plan), batch_size)]
    known = torch.tensor(tokenizer.byte_lengths if tokenizer else [0])
    sizes = torch.zeros(model.config.vocab_size, dtype=torch.int64)  # bytes; 0 where no text
    sizes[: len(known)] = known[: len(sizes)]
    sizes = sizes.to(model.device)
    total, text_total, count, text_count, text_bytes = 0.0, 0.0, 0, 0, 0
    with evaluating(model):
        for first in range(0, len(batches), processes):
            mine = first + rank
            # A sharded model runs only when all processes call it: those that have run out of
            # windows repeat one and do not count it.
            idx, targets = _gather(tokens, batches[min(mine, len(batches) - 1)], model)
            with autocast():
                losses = token_losses(model, idx, targets)
            if mine < len(batches):
                total += losses.double().sum().item()
                count += int((targets >= 0).sum())
                if tokenizer:
                    sized = torch.where(targets >= 0, sizes[targets], 0)
                    text_total += losses[sized > 0].double().sum().item()
                    text_count += int((sized > 0).sum())
                    text_bytes += int(sized.sum())
            if progress:
                progress(min(len(plan), (first + processes) * batch_size), len(plan))
    sums = [total, count, text_total, text_count, text_bytes]
    if shared:
        sums = parallel.all_reduce_sum(*sums)
    return SplitLoss(sums[0], int(sums[1]), sums[2], int(sums[3]), int(sums[4]))


def _gather(
    tokens: Tokens, plan: Sequence[tuple[int, int, int]], model: GPT
) -> tuple[Tensor, Tensor]:
    """Stack windows into (B, T) inputs and targets; -1 where a target is not counted."""
    width = max(end - start - 1 for start, end, _ in plan)
    idx = torch.zeros(len(plan), width, dtype=torch.int64)
    targets = torch.full_like(idx, -1)
    for row, (start, end, counted) in enumerate(plan):
        window = tokens[start:end]
        window = window.cpu() if isinstance(window, Tensor) else window
        window = torch.as_tensor(np.asarray(window).astype(np.int64))
        idx[row, : end - start - 1] = window[:-1]
        targets[row, counted - 1 - start : end - start - 1] = window[counted - start :]
    device = model.device
    return idx.to(device), targets.to(device)


def loss_by_position(
    model: GPT,
    tokens: Tokens,
    batch_size: int = 64,
    starts: np.ndarray | None = None,
) -> Tensor:
    """Mean loss at each position of the context, (T,) in nats: what more context buys.

    Windows stand side by side, or begin at each of `starts` that leaves room for one.

    Raises:
        DataError: the split is shorter than one window.
    """
    T = model.config.block_size
    begins = range(0, len(tokens) - T, T) if starts is None else starts[starts < len(tokens) - T]
    plan = [(int(s), int(s) + T + 1, int(s) + 1) for s in begins]
    if not plan:
        raise DataError(f"the split has {len(tokens)} tokens; one window needs {T + 1}")
    total = torch.zeros(T, dtype=torch.float64)
    with evaluating(model):
        for i in range(0, len(plan), batch_size):
            losses = token_losses(model, *_gather(tokens, plan[i : i + batch_size], model))
            total += losses.double().sum(dim=0).cpu()
    return total / len(plan)


def bits_per_byte(nats_per_token: float, n_tokens: int, n_bytes: int) -> float:
    """Convert a loss to bits per UTF-8 byte, which compares models with different tokenizers.

    Derived in chapter 5, *How many ids are enough?*

    Raises:
        DataError: a text without bytes.
    """
    if n_bytes < 1:
        raise DataError(f"the text has {n_bytes} bytes; give the number of those that were read")
    return nats_per_token * n_tokens / (n_bytes * math.log(2))
