"""Keys and values that were computed before, kept for the tokens to come.

One job: `KVCache`, which `GPT.hidden` reads and fills, and `RaggedCache` for rows of different
lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gptlib.model_config import GPTConfig


class KVCache:
    """Keys and values of the tokens already read, so that each is computed once.

    Args:
        config: the model's. batch_size: B. dtype, device: of the model's activations.
        room: for how many tokens, `block_size` unless it is known that fewer will come.

    `length` tokens are held; `append` adds to one layer, `advance` moves on after all layers. Set
    `length` back, and what came later is forgotten.
    """

    #: (B, 1, 1, S), which keys each row may see; None where a row may see all that came before.
    mask: Tensor | None = None
    #: Whether a pass leaves something in it.
    keeps = True

    def __init__(
        self,
        config: GPTConfig,
        batch_size: int,
        dtype: torch.dtype,
        device: torch.device,
        room: int | None = None,
    ) -> None:
        shape = (batch_size, config.n_head, room or config.block_size, config.head_size)
        # Room for a full context at once: growing a tensor copies it, token after token.
        self.layers = [  # keys and values of each
            tuple(torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
            for _ in range(config.n_layer)
        ]
        self.length = 0

    @property
    def start(self) -> int | Tensor:
        """The position of the next token; (B,) where each row has its own."""
        return self.length

    def places(self, places: Tensor) -> Tensor:
        """The positions of the next tokens: `places` (T,), where all rows have the same."""
        return places

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Store k, v (B, H, T, D) of one layer; return all so far, (B, H, length + T, D)."""
        keys, values = self.layers[layer]
        T = k.size(2)
        keys.narrow(2, self.length, T).copy_(k)
        values.narrow(2, self.length, T).copy_(v)
        # No queries are kept: a token asks once, when it is read, and is asked about ever after.
        return keys.narrow(2, 0, self.length + T), values.narrow(2, 0, self.length + T)

    def advance(self, T: int) -> None:
        self.length += T

    def select(self, rows: Tensor) -> None:
        """Let row i go on from what row rows[i] was; rows (N,) int64, N may be another than B."""
        if rows.numel() != self.layers[0][0].size(0):
            self.layers = [tuple(part[rows] for part in layer) for layer in self.layers]
            return
        for part in (part for layer in self.layers for part in layer):
            held = part.narrow(2, 0, self.length)
            held.copy_(held[rows])


class RaggedCache(KVCache):
    """A cache whose rows hold different numbers of tokens, and which takes one more of each.

    Row i has its tokens at places 0 … lengths[i] - 1, so a place is a position, and a row can be
    begun anew while the others go on. `length` is that of the longest.
    """

    def __init__(
        self, config: GPTConfig, batch_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        super().__init__(config, batch_size, dtype, device)
        for part in (part for layer in self.layers for part in layer):
            part.zero_()  # what is masked is multiplied by 0, which leaves of a NaN a NaN
        self._hold([0] * batch_size)

    def _hold(self, lengths: list[int]) -> None:
        self.lengths, self.length = lengths, max(lengths)
        device = self.layers[0][0].device
        self._start = torch.tensor(lengths, device=device)  # (B,)
        self._rows = torch.arange(len(lengths), device=device)
        keys = torch.arange(self.length + 1, device=device)
        self.mask = (keys <= self._start[:, None])[:, None, None]  # (B, 1, 1, length + 1)

    @property
    def start(self) -> Tensor:
        return self._start

    def places(self, places: Tensor) -> Tensor:
        return self._start[:, None]  # (B, 1)

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        keys, values = self.layers[layer]
        keys[self._rows, :, self._start] = k[:, :, 0]
        values[self._rows, :, self._start] = v[:, :, 0]
        return keys.narrow(2, 0, self.length + 1), values.narrow(2, 0, self.length + 1)

    def advance(self, T: int) -> None:
        self._hold([length + T for length in self.lengths])

    def select(self, rows: Tensor) -> None:
        super().select(rows)
        self._hold([self.lengths[row] for row in rows.tolist()])

    def restart(self, rows: Sequence[int], lengths: Sequence[int], read: KVCache | None) -> None:
        """Begin `rows` anew, each with the first `lengths` tokens of a row of `read`."""
        if read is not None:
            index = torch.tensor(rows, device=self._start.device)
            for layer, new in zip(self.layers, read.layers, strict=True):
                for part, held in zip(layer, new, strict=True):
                    part[index, :, : read.length] = held.narrow(2, 0, read.length)
        now = dict(zip(rows, lengths, strict=True))
        self._hold([now.get(row, length) for row, length in enumerate(self.lengths)])
