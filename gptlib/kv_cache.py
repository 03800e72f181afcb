"""Keys and values that were computed before, kept for the tokens to come.

One job: `KVCache`, which `GPT.hidden` reads and fills.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptlib.model_config import GPTConfig


class KVCache:
    """Keys and values of the tokens already read, so that each is computed once.

    Args:
        config: the model's. batch_size: B. dtype, device: of the model's activations.

    `length` tokens are held; `append` adds to one layer, `advance` moves on after all layers.
    """

    def __init__(
        self, config: GPTConfig, batch_size: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        shape = (batch_size, config.n_head, config.block_size, config.head_size)
        # Room for a full context at once: growing a tensor copies it, token after token.
        self.layers = [  # keys and values of each
            tuple(torch.empty(shape, dtype=dtype, device=device) for _ in range(2))
            for _ in range(config.n_layer)
        ]
        self.length = 0

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
