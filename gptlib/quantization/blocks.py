"""Weights by blocks of 32, each with a scale of its own: GGUF's Q8_0 and Q4_0, byte for byte.

One job: the two formats, to bytes and back. A block of Q8_0 is a scale in float16 and 32 codes of
eight bits, 34 bytes; one of Q4_0 a scale and 32 codes of four bits, 18 bytes: 8.5 and 4.5 bits a
weight. The smaller the group that shares a scale, the less one large weight coarsens its neighbors.

Source: `quantize_row_q8_0_ref` and `quantize_row_q4_0_ref` of ggml, the library under llama.cpp.
The bytes are those of a machine that writes the lowest byte first, as GGUF files do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.quantization.int8 import check_weights

BLOCK = 32  # weights that share a scale
_SCALE = 2  # bytes of a float16


def quantize_q8_0(weight: Tensor) -> Tensor:
    """Round each block to the 255 levels -127 … 127 of its scale, the largest magnitude / 127.

    Args:
        weight: (out, in), finite, and `in` a multiple of 32.

    Returns:
        (out, in / 32 * 34) uint8.

    Raises:
        ConfigError: no such matrix.
    """
    blocks = _blocks(weight)
    scale = blocks.abs().amax(dim=-1, keepdim=True) / 127
    x = blocks * _inverse(scale)
    codes = x.trunc() + (2 * (x - x.trunc())).trunc()  # C's roundf: a half goes away from zero
    return _joined(scale, codes.to(torch.int8).view(torch.uint8))


def dequantize_q8_0(raw: Tensor) -> Tensor:
    """The weights (out, in) float32 of bytes (out, in / 32 * 34) uint8."""
    scale, codes = _parted(raw, BLOCK)
    return (scale * codes.view(torch.int8)).flatten(-2)


def quantize_q4_0(weight: Tensor) -> Tensor:
    """Round each block to the 16 levels -8 … 7 of its scale.

    The scale is the weight of the largest magnitude, with its sign, / -8: so that one is met
    exactly, at the level -8, and its opposite, which would be 8, is cut to 7.

    Args, Returns, Raises: as `quantize_q8_0`, (out, in / 32 * 18). A byte holds the codes, counted
        from 0, of a weight of the block's first half and of the one 16 places on, in its low and
        its high four bits.
    """
    blocks = _blocks(weight)
    largest = blocks.gather(-1, blocks.abs().argmax(dim=-1, keepdim=True))  # the first of equals
    scale = largest / -8
    codes = (blocks * _inverse(scale) + 8.5).trunc().clamp(0, 15).to(torch.uint8)
    low, high = codes.chunk(2, dim=-1)
    return _joined(scale, low | high << 4)


def dequantize_q4_0(raw: Tensor) -> Tensor:
    """The weights (out, in) float32 of bytes (out, in / 32 * 18) uint8."""
    scale, pairs = _parted(raw, BLOCK // 2)
    codes = torch.cat([pairs & 15, pairs >> 4], dim=-1)
    return (scale * (codes.float() - 8)).flatten(-2)


@dataclass(frozen=True)
class BlockFormat:
    """A way to store a matrix.

    Attributes:
        quantize, dequantize: its functions, (out, in) to (out, bytes) and back.
        bits: for each weight, its share of the scale included.
    """

    quantize: Callable[[Tensor], Tensor]
    dequantize: Callable[[Tensor], Tensor]
    bits: float


#: By the names that `gptlib export --quant` has for them.
FORMATS = {
    "q8_0": BlockFormat(quantize_q8_0, dequantize_q8_0, 8.5),
    "q4_0": BlockFormat(quantize_q4_0, dequantize_q4_0, 4.5),
}


def _blocks(weight: Tensor) -> Tensor:
    """(out, in) -> (out, in / 32, 32) float32."""
    check_weights(weight)
    if weight.size(1) % BLOCK:
        raise ConfigError(
            f"rows of {weight.size(1)} weights; blocks of {BLOCK} need a multiple of {BLOCK}"
        )
    return weight.float().unflatten(1, (-1, BLOCK))


def _inverse(scale: Tensor) -> Tensor:
    """1 / scale, and 0 for a block of zeros."""
    return torch.where(scale == 0, 0.0, 1 / scale)


def _joined(scale: Tensor, codes: Tensor) -> Tensor:
    """Scales (…, 1) and codes (…, n) uint8 as the bytes of their blocks, one after another."""
    return torch.cat([scale.half().view(torch.uint8), codes], dim=-1).flatten(-2)


def _parted(raw: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """The scales (…, 1) float32 and the n bytes of codes of each block."""
    blocks = raw.unflatten(-1, (-1, _SCALE + n))
    scale, codes = blocks.split([_SCALE, n], dim=-1)
    return scale.contiguous().view(torch.float16).float(), codes.contiguous()
