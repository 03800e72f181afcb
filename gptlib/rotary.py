"""Rotary positions: a query and a key are turned by their places, so their product sees the gap.

One job: `Rotary` (RoPE; Su et al. 2021, section 3.2). Channel j of a head and channel j + D/2 are
the two coordinates of a point, which is turned by the angle m * 10000^(-2j/D) at position m.
Turning a query by m and a key by n leaves their dot product where turning only the query by m - n
would: attention then depends on how far apart two tokens are, not on where they stand.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Rotary(nn.Module):
    """Turn vectors by the angles of their positions; nothing here is learned.

    Derived in the speedrun, *Can a position be something other than a vector to add?*

    Args:
        block_size: the number of positions. head_size: D, even.
    """

    def __init__(self, block_size: int, head_size: int, base: float = 10_000.0) -> None:
        super().__init__()
        speeds = base ** -(torch.arange(0, head_size, 2) / head_size)  # (D / 2,)
        angles = torch.outer(torch.arange(block_size), speeds)  # (block_size, D / 2)
        self.register_buffer("cos", angles.cos(), persistent=False)  # not part of a checkpoint
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, x: Tensor, start: int | Tensor = 0) -> Tensor:
        """Turn x (B, H, T, D), whose tokens stand at positions start … start + T - 1.

        Where `start` is a tensor (B,), T is 1 and each row stands at a position of its own.
        """
        tables = (self.cos, self.sin)
        if isinstance(start, Tensor):
            cos, sin = (table[start][:, None, None] for table in tables)  # (B, 1, 1, D / 2)
        else:
            cos, sin = (table[start : start + x.size(2)] for table in tables)
        a, b = x.chunk(2, dim=-1)  # the two coordinates of each point
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1).type_as(x)
