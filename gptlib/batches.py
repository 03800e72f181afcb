"""Which tokens a training step sees.

One job: `TokenBatches`, where a batch is a function of (seed, step, rank) and nothing else. Its
whole state is one integer, the step, so a resumed run reads on exactly where it stopped, and any
number of processes share one global batch. Windows are visited without replacement: each epoch is
a seeded permutation of all windows, computed in constant memory, and starts at a fresh offset so
that an epoch cuts the text elsewhere. They can also be drawn at random, or read as they lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gptlib.errors import ConfigError, DataError

SAMPLING = ("shuffled", "random", "in order")
PIECE = 1 << 20  # tokens that `document_starts` looks at in one go


class Tokens(Protocol):
    """A 1-D row of token ids: an array, a tensor, or the `ShardedTokens` of `gptlib.shards`."""

    @property
    def ndim(self) -> int: ...

    def __len__(self) -> int: ...

    def __getitem__(self, places: Any, /) -> Any: ...


def permute(index: np.ndarray, n: int, key: int) -> np.ndarray:
    """Map each of `index` (ints in [0, n)) to its place in a seeded permutation of [0, n).

    A four-round Feistel network on 2k bits, 4^k >= n, is a bijection whatever its round function;
    results outside [0, n) are sent through again until they fall inside ("cycle walking", Black &
    Rogaway 2002), so no table of n entries is ever built.
    """
    half = max(1, ((n - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << half) - 1)
    keys = np.random.SeedSequence([key & (2**63 - 1), n]).generate_state(4, np.uint64)
    out = index.astype(np.uint64)
    todo = np.ones(len(out), dtype=bool)
    while todo.any():
        left, right = out[todo] >> np.uint64(half), out[todo] & mask
        for round_key in keys:
            left, right = right, left ^ (_mix(right + round_key) & mask)
        out[todo] = (left << np.uint64(half)) | right
        todo = out >= n
    return out.astype(np.int64)


def _mix(x: np.ndarray) -> np.ndarray:
    """Scramble 64-bit integers (the finalizer of splitmix64; Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def place_in_epoch(sample: int, n: int, seed: int) -> int:
    """Which of `n` things is the `sample`-th to be seen, where each epoch shuffles them anew."""
    epoch, place = divmod(sample, n)
    key = int(np.random.default_rng([seed, epoch]).integers(0, 2**63))
    return int(permute(np.array([place]), n, key)[0])


def document_starts(tokens: Tokens, separator: Sequence[int]) -> np.ndarray:
    """Where each separator begins, (n,) int64: a window from there holds a document's beginning.

    Args:
        tokens: 1-D ids, or `ShardedTokens`, of which only a piece is in memory at a time.
        separator: the ids that stand after every document.

    Raises:
        ConfigError: the separator is empty or no list of ids.
    """
    listed = isinstance(separator, Sequence) and len(separator)
    if not listed or any(type(token) is not int for token in separator):
        raise ConfigError(
            f"the separator is {separator!r}; give the ids that stand after every document, such "
            "as tokenizer.encode('\\n\\n')"
        )
    places = max(0, len(tokens) - len(separator) + 1)  # where a separator has room
    found = [np.empty(0, dtype=np.int64)]
    for begin in range(0, places, PIECE):
        n = min(PIECE, places - begin)
        ids = np.asarray(tokens[begin : begin + n + len(separator) - 1])  # some into the next piece
        here = np.ones(n, dtype=bool)
        for i, token in enumerate(separator):
            here &= ids[i : i + n] == token
        found.append(begin + np.flatnonzero(here))
    return np.concatenate(found)


class Batches:
    """What a `Trainer` reads: batches that follow from the step, so that they have no state.

    Subclass it for data of another form, such as questions whose answers alone are learned. A batch
    is a tuple of tensors with `rows` examples each; what they mean is for the loss to know. The
    last one holds the targets, -1 where none counts, unless `weight` says otherwise.

        class Answers(Batches):
            def __init__(self, x, y, batch_size):  # (N, T) each, y is -1 in the questions
                self.x, self.y, self.batch_size = x, y, batch_size
                self.tokens_per_step = batch_size * x.size(1)
                self.sha256 = hashlib.sha256(x.numpy().tobytes()).hexdigest()

            def batch(self, step, rank=0, world_size=1, micro=0, accumulate=1):  # step from 0
                rows = self.rows(world_size, accumulate)
                first = step * self.batch_size + (micro * world_size + rank) * rows
                at = (first + torch.arange(rows)) % len(self.x)
                return self.x[at], self.y[at]

    Attributes:
        batch_size: examples in one step, over all ranks and micro-batches.
        tokens_per_step: for the log and the speed. sha256: which data it is, so that a run is not
            resumed with other; any text that tells it apart.
    """

    batch_size: int
    tokens_per_step: int
    sha256: str

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, ...]:
        """Return part `rank` of `world_size` of micro-batch `micro` of `step`, on the CPU.

        The same arguments must give the same batch in every process, at any time.
        """
        raise NotImplementedError

    def rows(self, world_size: int, accumulate: int) -> int:
        """Examples that one process reads at a time.

        Raises:
            ConfigError: the batch does not divide evenly.
        """
        parts = world_size * accumulate
        if self.batch_size % parts:
            raise ConfigError(
                f"batch_size is {self.batch_size}, which {world_size} processes x {accumulate} "
                f"micro-batches do not divide; choose a multiple of {parts}"
            )
        return self.batch_size // parts

    def weight(self, batch: tuple[Tensor, ...]) -> float:
        """How much a batch's mean loss counts: its targets that are not -1."""
        return int((batch[-1] >= 0).sum())


@dataclass
class TokenBatches(Batches):
    """Batches of windows from a 1-D array of token ids.

    Derived in the speedrun, *What does each change do to the text, and to the rate?*

    Args:
        tokens: 1-D integer array or tensor (a memory map serves as well), or the
            `ShardedTokens` that `gptlib.shards.open_shards` returns: one stream over its shards.
        batch_size: windows in one step, over all ranks and micro-batches.
        block_size: T, tokens a window.
        seed: another seed, another order.
        sampling: "shuffled" visits every window once an epoch; "random" draws offsets with
            replacement, as many published runs do; "in order" reads the windows as they lie, one
            after the other, and begins again at the end, as runs that read their shards in turn do.
        starts: where windows begin, e.g. `document_starts`; None cuts the text side by side.
            Those too near the end of the text are left out.

    Raises:
        DataError: fewer than `block_size + 1` tokens, or no start that leaves room for a window.
        ConfigError: a size below 1, or an unknown `sampling`.
    """

    tokens: Tokens
    batch_size: int
    block_size: int
    seed: int = 0
    sampling: str = "shuffled"
    starts: np.ndarray | None = None
    tokens_per_step: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("block_size", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number >= {least}")
        if self.sampling not in SAMPLING:
            raise ConfigError(f"sampling is {self.sampling!r}; use one of {', '.join(SAMPLING)}")
        if len(self.tokens) < self.block_size + 1:
            raise DataError(
                f"the text has {len(self.tokens)} tokens, but one window needs block_size + 1 = "
                f"{self.block_size + 1}; use a longer text or a smaller block_size"
            )
        if self.starts is not None:
            room = self.starts[self.starts < len(self.tokens) - self.block_size]
            if not len(room):
                raise DataError(
                    f"none of {len(self.starts)} starts leaves room for {self.block_size + 1} "
                    "tokens; use a longer text or a smaller block_size"
                )
            self.starts = room
        self.tokens_per_step = self.batch_size * self.block_size

    @property
    def windows(self) -> int:
        """Windows in an epoch. In another order than that of the text, one is given up where there
        is room, to let the offset vary."""
        if self.starts is not None:
            return len(self.starts)
        spare = 0 if self.sampling == "in order" else 1
        return max(1, (len(self.tokens) - 1) // self.block_size - spare)

    def offsets(self, step: int) -> np.ndarray:
        """First token of each window of the global batch of `step`: (batch_size,) int64."""
        last = len(self.tokens) - 1 - self.block_size
        if self.sampling == "random":
            rng = np.random.default_rng([self.seed, step])
            drawn = rng.integers(
                0, last + 1 if self.starts is None else self.windows, self.batch_size
            )
            return drawn if self.starts is None else self.starts[drawn]
        sample = step * self.batch_size + np.arange(self.batch_size)
        epoch, place = sample // self.windows, sample % self.windows
        if self.sampling == "in order":
            return self.block_size * place if self.starts is None else self.starts[place]
        offsets = np.empty_like(sample)
        for e in np.unique(epoch):  # a batch may run over the end of an epoch
            here = epoch == e
            spare = len(self.tokens) - 1 - self.windows * self.block_size
            rng = np.random.default_rng([self.seed, int(e)])
            start, key = int(rng.integers(0, max(0, spare) + 1)), int(rng.integers(0, 2**63))
            order = permute(place[here], self.windows, key)
            if self.starts is None:
                offsets[here] = start + self.block_size * order
            else:
                offsets[here] = self.starts[order]
        return offsets

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, each (rows, T) int64 on the CPU.

        The global batch of `step` is cut into `accumulate` micro-batches and each of those into
        `world_size` parts; this is part `rank` of micro-batch `micro`.

        Raises:
            ConfigError: the batch does not divide evenly.
        """
        rows = self.rows(world_size, accumulate)
        first = (micro * world_size + rank) * rows
        starts = self.offsets(step)[first : first + rows]
        at = torch.from_numpy(starts[:, None] + np.arange(self.block_size + 1))
        windows = torch.as_tensor(self.tokens[at.numpy()]).to(torch.int64)
        return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()

    def weight(self, batch: tuple[Tensor, ...]) -> int:
        """Every target counts, so all micro-batches weigh the same."""
        return batch[1].numel()
