"""Texts of different lengths, read together.

One job: `RaggedReader`, a `Reader` whose rows are of different lengths and slide their windows at
different times, each where it would alone. Rows that are read in (all of them at first, later those
whose window has slid) are padded at the right, where no token before can see it; then all rows
read their last token together.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptlib.kv_cache import KVCache, RaggedCache
from gptlib.model import GPT
from gptlib.sampling.prompts import Prompts, as_prompt, lengths_differ
from gptlib.sampling.reading import Reader, Seen


class RaggedReader(Reader):
    """As `Reader`; prompts are tensors (T,) of any lengths."""

    def __init__(self, model: GPT, prompts: Sequence[Tensor], use_cache: bool = True) -> None:
        self._at(model)
        self.ends = [len(prompt) for prompt in prompts]
        self.prompt_lengths = self.ends
        self.starts = [max(0, end - self.block_size) for end in self.ends]
        self._ids = _padded(prompts)
        self._held = None
        if use_cache:
            self._held = RaggedCache(model.config, len(prompts), model.dtype, model.device)
        self.cache = self._held

    def lengths(self) -> list[int]:
        return self.ends

    def seen(self) -> list[Seen]:
        parts = []
        for row, end in enumerate(self.ends):
            text = self._ids[row : row + 1, :end]
            parts.append(
                Seen(text[:, self.starts[row] :], text, text[:, self.prompt_lengths[row] :])
            )
        return parts

    def read(self) -> Tensor:
        slid = [i for i in range(len(self)) if self.ends[i] - self.starts[i] > self.block_size]
        for row in slid:
            self.starts[row] = self.ends[row] - self.keep
        ends = torch.tensor(self.ends, device=self._ids.device)
        rows = torch.arange(len(self), device=self._ids.device)
        if self._held is None:
            windows = _padded([part.window[0] for part in self.seen()])
            last = ends - torch.tensor(self.starts, device=ends.device) - 1
            return self.scores(self.model.hidden(windows)[rows, last])
        if due := slid if self._held.length else range(len(self)):
            self._read_in(due, self._held)
        last_tokens = self._ids[rows, ends - 1][:, None]  # (B, 1)
        return self.scores(self.model.hidden(last_tokens, self._held)[:, -1])

    def _read_in(self, rows: Sequence[int], cache: RaggedCache) -> None:
        """Begin rows anew with all of their window but its last token."""
        windows = [self._ids[i, self.starts[i] : self.ends[i] - 1] for i in rows]
        lengths, read = [len(window) for window in windows], None
        if longest := max(lengths):  # else each window is one token
            model = self.model
            read = KVCache(model.config, len(rows), model.dtype, model.device, longest)
            model.hidden(_padded(windows), read)
        cache.restart(rows, lengths, read)

    def append(self, tokens: Tensor) -> None:
        if (most := max(self.ends)) == self._ids.size(1):
            longer = self._ids.new_zeros(len(self), 2 * most)
            longer[:, :most] = self._ids
            self._ids = longer
        rows = torch.arange(len(self), device=self._ids.device)
        self._ids[rows, torch.tensor(self.ends, device=self._ids.device)] = tokens
        self.ends = [end + 1 for end in self.ends]

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        for name in ("ends", "starts", "prompt_lengths"):
            held = getattr(self, name)
            setattr(self, name, [held[row] for row in rows.tolist()])


def reader_of(model: GPT, ids: Prompts, use_cache: bool) -> Reader:
    """A reader of what a caller gave.

    Derived in chapter 7, *Can a hundred stories be told at once?*

    Raises:
        DataError: it is no prompts; see `as_prompt`.
    """
    if lengths_differ(ids):
        return RaggedReader(model, [as_prompt(model, row)[0] for row in ids], use_cache)
    return Reader(model, as_prompt(model, ids), use_cache)


def _padded(rows: Sequence[Tensor]) -> Tensor:
    """Rows (T,) as one tensor, with zeros after the short ones."""
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
