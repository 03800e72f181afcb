"""What a model has read of the texts that it goes on with, and what it makes of the next token.

One job: `Reader`, on which everything that writes is built. It holds the whole of each text, and of
it the window that the model reads. A KV cache makes each step cost one token instead of the whole
context. When the context is full, its last half is kept and read in again; with the cache and
without, the windows are the same, and so are the tokens.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from gptlib.kv_cache import KVCache
from gptlib.model import GPT, evaluating
from gptlib.products import large_layers, quick_products


class Seen(NamedTuple):
    """What stands before the next token, in rows of one length, (B, …) int64 each."""

    window: Tensor  #: what the model read, `block_size` tokens at most
    text: Tensor  #: all of it
    new: Tensor  #: without the prompt


class Reader:
    """B texts of one length, and the model that reads them.

    Args:
        model: the model. prompts: (B, T) int64 on its device. use_cache: keep keys and values.
    """

    def __init__(self, model: GPT, prompts: Tensor, use_cache: bool = True) -> None:
        self._at(model)
        self._ids, self.end = prompts, prompts.size(1)
        self.prompt_length = self.end
        self.start = max(0, self.end - model.config.block_size)
        self.cache: KVCache | None = None
        if use_cache:
            self.cache = KVCache(model.config, len(prompts), model.dtype, model.device)

    def _at(self, model: GPT) -> None:
        self.model, self.block_size = model, model.config.block_size
        # Half, not all but one: in a new window every token has a new position, so the cache is
        # worthless, and filling it must not happen at each step.
        self.keep = max(1, self.block_size // 2)
        self._modules = list(model.modules())
        self._layers = large_layers(self._modules)

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Inside the block the model is one that only reads; after it, it is as it was."""
        with evaluating(self.model, self._modules), quick_products(self._layers):
            yield

    def __len__(self) -> int:
        return self._ids.size(0)

    @property
    def text(self) -> Tensor:
        """The texts so far, prompts included: (B, end)."""
        return self._ids[:, : self.end]

    def row(self, row: int) -> list[int]:
        """One of the texts so far."""
        return self._ids[row, : self.lengths()[row]].tolist()

    def lengths(self) -> list[int]:
        """How long each text is, its prompt included."""
        return [self.end] * len(self)

    def seen(self) -> list[Seen]:
        """What stands before the next token, in as few parts of one length as there are."""
        text = self.text
        return [Seen(text[:, self.start :], text, text[:, self.prompt_length :])]

    def scores(self, hidden: Tensor) -> Tensor:
        """The logits of hidden states (…, C); ids that are of no token have none."""
        return self.model.logits(hidden)[..., : self.model.config.known_ids]

    def read(self) -> Tensor:
        """Read what is new; return the logits of every row's next token, (B, V)."""
        return self.scores(self._hidden()[:, -1])  # the other positions' guesses are known

    def read_last(self, n: int) -> Tensor:
        """Likewise, after each of the last n tokens, which were not read yet: (B, n, V)."""
        return self.scores(self._hidden()[:, -n:])

    def _slide(self) -> None:
        if self.end - self.start > self.block_size:
            self.start = self.end - self.keep
            if self.cache is not None:
                self.cache.length = 0

    def _hidden(self) -> Tensor:
        self._slide()
        # The first time the whole prompt is read, then only what the cache has not seen.
        held = self.cache.length if self.cache is not None else 0
        return self.model.hidden(self._ids[:, self.start + held : self.end], self.cache)

    def append(self, tokens: Tensor) -> None:
        """Add the next token of every row, (B,) int64."""
        if self.end == self._ids.size(1):  # twice the room: copied once in a while
            longer = self._ids.new_empty(len(self), 2 * self.end)
            longer[:, : self.end] = self._ids
            self._ids = longer
        self._ids[:, self.end] = tokens
        self.end += 1

    def ids(self, token: int) -> Tensor:
        """A token for `append`, where there is one text: (1,) int64."""
        return self._ids.new_tensor([token])

    def room(self) -> int:
        """How many tokens can be appended and read before the window slides again."""
        self._slide()
        return self.block_size - (self.end - self.start)

    def rewind(self, n: int) -> None:
        """Take the last n tokens away, to append others or some of them again; then `forget`."""
        self.end -= n

    def forget(self) -> None:
        """Forget what was read where the last token stands now, and after it."""
        if self.end <= self.start:  # the window has slid in the meantime
            self.start = max(0, self.end - self.keep)
            if self.cache is not None:
                self.cache.length = 0
        elif self.cache is not None:
            self.cache.length = min(self.cache.length, self.end - 1 - self.start)

    def select(self, rows: Tensor) -> None:
        """Let row i go on from what row rows[i] was; rows (N,) int64, N may be another than B."""
        self._ids = self._ids[rows]
        if self.cache is not None:
            self.cache.select(rows)
