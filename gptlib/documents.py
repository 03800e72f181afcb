"""Which tokens of a window belong to one document, where several stand one behind another.

One job: `documents_of`, by which attention stays within each of them. No (T, T) mask is made. The
rows are cut into their documents, those of about one length are laid side by side, and torch's
fused causal kernel reads each by itself: what is padded stands at the end, where no token looks. A
document of n tokens costs n^2 / 2 products instead of its share of T^2 / 2, so the longer the
window, the less work it is.

What else torch 2.13 has for it: `flex_attention` has no backward pass on a CPU, `varlen_attn` no
CPU kernel at all, and nested tensors refuse a causal mask there.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gptlib.kv_cache import KVCache

STEP = 64  # documents are padded to a multiple of this, so that few are alone with their length


def documents_of(idx: Tensor, start: int) -> Documents | None:
    """The documents of a batch of ids (B, T), or None where each row is one.

    Derived in chapter 7, *Within a story, or across?*

    Args:
        start: the id that every document begins with. A row that begins within a document begins
            with its rest, which counts as a document of its own.
    """
    begins = idx == start
    begins[:, 0] = True
    return Documents(begins) if begins.sum() > len(idx) else None


class Documents(KVCache):
    """The documents of a batch, which takes a cache's place: it says where each token stands and
    whom it may see, and keeps nothing.

    Args:
        begins: (B, T) bool, where documents begin; all rows begin with one.
    """

    keeps, start, length = False, 0, 0

    def __init__(self, begins: Tensor) -> None:
        at = begins.flatten().nonzero().flatten()  # (N,), where each document begins
        tokens = torch.arange(begins.numel(), device=begins.device)
        number = begins.flatten().cumsum(0) - 1  # (B T,), whose token it is
        places = tokens - at[number]
        self.positions = places.view(begins.shape)  # (B, T), from 0 in every document
        lengths = torch.diff(at, append=tokens.new_tensor([len(tokens)]))
        padded = -(-lengths // STEP) * STEP
        #: For each padded length: it, its documents, their tokens, and these tokens' places.
        self.groups: list[tuple[int, int, Tensor, Tensor]] = []
        for length in padded.unique().tolist():
            here = padded == length
            row = here.cumsum(0) - 1
            mine = here[number].nonzero().flatten()
            place = row[number[mine]] * length + places[mine]
            self.groups.append((length, int(here.sum()), mine, place))

    def places(self, places: Tensor) -> Tensor:
        """(B, T): as if each document stood alone. Rotary positions run on, since they count only
        by their differences."""
        return self.positions

    def append(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        return k, v

    def advance(self, T: int) -> None:
        """Nothing was kept."""

    def cut(self, x: Tensor) -> list[Tensor]:
        """Queries, keys or values (B, H, T, D) as documents: (N, H, L, D) for each length L."""
        B, H, T, D = x.shape
        flat = x.transpose(1, 2).reshape(B * T, H, D)
        return [
            flat.new_zeros(n * length, H, D)
            .index_copy(0, place, flat[mine])
            .view(n, length, H, D)
            .transpose(1, 2)
            for length, n, mine, place in self.groups
        ]

    def join(self, parts: list[Tensor]) -> Tensor:
        """The inverse of `cut`: (B, H, T, D)."""
        B, T = self.positions.shape
        H, D = parts[0].size(1), parts[0].size(3)
        rows = [
            part.transpose(1, 2).reshape(n * length, H, D)[place]
            for part, (length, n, _, place) in zip(parts, self.groups, strict=True)
        ]
        mine = torch.cat([mine for _, _, mine, _ in self.groups])
        flat = parts[0].new_empty(B * T, H, D).index_copy(0, mine, torch.cat(rows))
        return flat.view(B, T, H, D).transpose(1, 2)
