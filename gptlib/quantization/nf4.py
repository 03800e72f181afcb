"""Weights in four bits at the quantiles of a normal distribution: NF4, as QLoRA stores a model.

One job: `quantize_nf4` and its inverse, on a page, to the codes of `bitsandbytes`. Three ideas:

- Trained weights look normal, so the sixteen levels stand where a normal distribution has its
  quantiles: dense in the middle, where most weights are. All codes would be equally frequent if a
  block's largest weight were its outermost quantile; the largest of 64 lies farther out (Yoshida
  2023), so they are only more even than those of equidistant levels.
- A block of 64 weights shares a scale, its largest magnitude, which one level meets exactly.
- The scales are weights too, a sixty-fourth as many, and are stored in eight bits (double
  quantization): 4 + 8/64 + 32/(64 · 256) = 4.127 bits a weight instead of 4.5.

Nothing is computed in four bits: before each product the weights become floats again.

Source: Dettmers et al. 2023, *QLoRA*, section 3 and appendix E; `bitsandbytes.functional`. Where
two levels are equally near, the lower one is taken, as there, so on a CPU every weight has the same
code. CUDA's kernel compares with midpoints written out in decimals: there a weight within 1e-7 of
one, in units of its block's scale, may go to the neighbor. The codes of scales are equal but for
two cases: a scale within 2e-5 of a midpoint, in units of its group's, since bitsandbytes searches
by a table and may end one level off; and a group of equal scales, all at distance 0 from their
mean, to which it gives code 0 times 0 and we the code of 0. Both stand for the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gptlib.quantization.int8 import check_weights

BLOCK = 64  # weights that share a scale
GROUP = 256  # scales that share a scale of their own
#: As published, lowest first: `derived_levels()` in single precision, rounded on its way.
LEVELS = torch.tensor([
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
])  # fmt: skip


def derived_levels() -> Tensor:
    """The sixteen levels (16,) float64 from the quantiles of a normal distribution.

    Sixteen quantiles that leave as much on both sides have no level at 0, and a weight of 0 should
    stay one. So eight are taken above the middle and seven below, each side with its own spacing,
    and 0 between them. The outermost stands at 1 - (1/30 + 1/32) / 2, the mean of where an even
    division by fifteen and by sixteen would end, since the last quantile of all is infinite.

    Derived in chapter 9, *Where should sixteen levels stand?*
    """
    end = 1 - (1 / 30 + 1 / 32) / 2
    above = torch.special.ndtri(torch.linspace(0.5, end, 9, dtype=torch.float64))
    below = -torch.special.ndtri(torch.linspace(0.5, end, 8, dtype=torch.float64))
    return torch.cat([below.flip(0), above[1:]]) / above[-1]


def scale_levels() -> Tensor:
    """The 256 levels (256,) float32 of the scales: as fine near 0 as eight bits allow.

    In each of seven decades from 1e-7 to 1, twice as many as in the one below, from one to 64, at
    the middles of equal parts, and as many below 0; with 0 and 1. Source: Dettmers 2016, *8-bit
    approximations for parallelism*, which calls the type dynamic.
    """
    ends = [torch.linspace(0.1, 1, 2**decade + 1) for decade in range(7)]
    positive = torch.cat([10.0 ** (i - 6) * (e[:-1] + e[1:]) / 2 for i, e in enumerate(ends)])
    return torch.cat([-positive, positive, torch.tensor([0.0, 1.0])]).sort().values


@dataclass(frozen=True)
class Scales8:
    """The scales of blocks in eight bits.

    Attributes:
        codes: (blocks,) uint8. scales: (blocks / 256,), rounded up: the largest distance from the
            mean in each group. mean: () of all scales, which are never negative and so would use
            half of the levels if it were not taken off.
    """

    codes: Tensor
    scales: Tensor
    mean: Tensor


@dataclass(frozen=True)
class NF4:
    """A matrix in four bits.

    Attributes:
        packed: (n / 2,) uint8, rounded up: two codes a byte, the first in the high four bits.
        scales: (n / 64,) float32, rounded up, or the same in eight bits.
        shape: (out, in) of the matrix, row after row; a block may go on in the next row.
    """

    packed: Tensor
    scales: Tensor | Scales8
    shape: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Bytes of the codes and scales."""
        scales = self.scales
        parts = (
            [scales] if isinstance(scales, Tensor) else [scales.codes, scales.scales, scales.mean]
        )
        return self.packed.nbytes + sum(part.nbytes for part in parts)


def quantize_nf4(weight: Tensor, double: bool = True) -> NF4:
    """Round each weight to the nearest of 16 levels of its block.

    Derived in chapter 9, *Where should sixteen levels stand?* and *Who pays for the scales?*

    Args:
        weight: (out, in), finite. double: store the scales in eight bits.

    Raises:
        ConfigError: no matrix, or a weight that is no finite number.
    """
    check_weights(weight)
    codes, scales = _nearest(weight.flatten(), LEVELS, BLOCK)
    rows, columns = weight.shape
    return NF4(pack(codes), _quantize_scales(scales) if double else scales, (rows, columns))


def dequantize_nf4(stored: NF4) -> Tensor:
    """The weights (out, in) float32 that are stored."""
    scales = stored.scales
    if isinstance(scales, Scales8):
        scales = _looked_up(scales.codes, scale_levels(), scales.scales, GROUP) + scales.mean
    rows, columns = stored.shape
    codes = unpack(stored.packed)[: rows * columns]
    return _looked_up(codes, LEVELS, scales, BLOCK).reshape(rows, columns)


def pack(codes: Tensor) -> Tensor:
    """Codes (n,) uint8 from 0 to 15 as bytes (n / 2,), rounded up; a last one alone is joined by
    the code of 0."""
    if len(codes) % 2:
        codes = torch.cat([codes, codes.new_tensor([7])])
    return codes[::2] << 4 | codes[1::2]


def unpack(packed: Tensor) -> Tensor:
    """Bytes (n,) uint8 as codes (2n,)."""
    return torch.stack([packed >> 4, packed & 15], dim=1).flatten()


def _quantize_scales(scales: Tensor) -> Scales8:
    mean = scales.mean()
    codes, largest = _nearest(scales - mean, scale_levels(), GROUP)
    return Scales8(codes, largest, mean)


def _nearest(x: Tensor, levels: Tensor, block: int) -> tuple[Tensor, Tensor]:
    """For numbers (n,), the index of the nearest level, the lower of two, times their block's
    largest magnitude: (n,) uint8, and these magnitudes (n / block,) float32, rounded up."""
    blocks = torch.nn.functional.pad(x.float(), (0, -len(x) % block)).unflatten(0, (-1, block))
    largest = blocks.abs().amax(dim=1)
    relative = blocks * (1 / largest.clamp(min=1e-38))[:, None]  # of zeros too; not `/`: as theirs
    between = (levels[:-1] + levels[1:]) / 2
    codes = torch.bucketize(relative.clamp(-1, 1), between)
    return codes.to(torch.uint8).flatten()[: len(x)], largest


def _looked_up(codes: Tensor, levels: Tensor, scales: Tensor, block: int) -> Tensor:
    """The numbers (n,) float32 of codes (n,) with a scale for each block."""
    return levels[codes.long()] * scales.repeat_interleave(block)[: len(codes)]
