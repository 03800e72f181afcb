"""Weights in eight bits: whole numbers from -127 to 127, and one scale for each row.

One job: `quantize_int8`, and a GPT whose matrices are stored so. Only weights are rounded, not what
flows through them. It saves three quarters of the bytes and costs time: before each product the
numbers become floats again, and torch has no product of a float vector with an int8 matrix that
beats its own in float32 (`torch._weight_int8pack_mm` does in bfloat16, rounding the activations to
eight bits as well). What is meant to be fast goes out as GGUF, `gptlib.quantization.blocks`.

torch's own observer gives the same scales and the same codes for the range -127 to 127, and so do
torchao 0.18's functions when they are asked for it. Its `Int8WeightOnlyConfig` takes -128 as well
and divides by 127.5: then the largest weight of a row is cut to 127 steps and misses by half a one.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.errors import ConfigError
from gptlib.model import GPT

LARGEST = 127  # and -127, so that a weight and its opposite get opposite codes; -128 stays unused


def quantize_int8(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round each row to 255 equidistant levels, of which the middle one is 0.

    Derived in chapter 7, *How many bits does a weight need?*

    Args:
        weight: (out, in), finite.

    Returns:
        codes (out, in) int8, and scales (out,), the distance of two levels: a row's largest
        magnitude / 127. A weight is off by half of that at most.

    Raises:
        ConfigError: no matrix, or a weight that is no finite number.
    """
    check_weights(weight)
    scales = weight.abs().amax(dim=1) / LARGEST
    scales = scales.clamp(min=torch.finfo(weight.dtype).tiny)  # a row of zeros
    codes = (weight / scales[:, None]).round()
    return codes.to(torch.int8), scales


def dequantize_int8(codes: Tensor, scales: Tensor) -> Tensor:
    """The weights (out, in) that codes (out, in) and scales (out,) stand for."""
    return codes * scales[:, None]


def check_weights(weight: Tensor) -> None:
    """Refuse what cannot be rounded.

    Raises:
        ConfigError: see `quantize_int8`.
    """
    if weight.dim() != 2 or not weight.numel():
        raise ConfigError(f"weights of the shape {tuple(weight.shape)}; give a matrix (out, in)")
    if not weight.isfinite().all():
        raise ConfigError(
            "some of the weights are infinite or no numbers at all, and no scale holds them; "
            "training has diverged: take an earlier checkpoint"
        )


class Int8Linear(nn.Module):
    """A linear layer (…, in) -> (…, out) whose weights are codes and scales, to read with only.

    A row has one scale, so it comes out of the sum: the codes are multiplied, then each output by
    its scale.
    """

    codes: Tensor
    scales: Tensor

    def __init__(self, codes: Tensor, scales: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.register_buffer("codes", codes)  # (out, in) int8
        self.register_buffer("scales", scales)  # (out,)
        self.register_buffer("bias", bias)  # (out,), in full

    @classmethod
    def of(cls, layer: nn.Linear) -> Int8Linear:
        """The layer with its weights rounded; raises what `quantize_int8` raises."""
        bias = None if layer.bias is None else layer.bias.detach().clone()
        return cls(*quantize_int8(layer.weight.detach()), bias)

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.codes.to(x.dtype)) * self.scales
        return y if self.bias is None else y + self.bias


class Int8Embedding(nn.Module):
    """A table of V vectors, ids (…) -> (…, C), each with a scale of its own."""

    codes: Tensor
    scales: Tensor

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        super().__init__()
        self.register_buffer("codes", codes)  # (V, C) int8
        self.register_buffer("scales", scales)  # (V,)

    def forward(self, idx: Tensor) -> Tensor:
        return F.embedding(idx, self.codes) * self.scales[idx].unsqueeze(-1)


def quantize_model(model: GPT) -> GPT:
    """A copy of a GPT with all its matrices in eight bits, to measure and to sample; on any device.

    Linear layers and the token table are rounded; where the table is the head as well, it stays one
    table, with a scale for each token. Positions, norms and biases, a hundredth of the weights,
    stay as they are. The copy has no parameters where it has codes: `num_params` does not count
    them, and nothing trains them.

    Raises:
        ConfigError: a weight is no finite number.
    """
    memo: dict[int, object] = {}
    for module in model.modules():
        if isinstance(module, nn.Linear):
            memo[id(module)] = Int8Linear.of(module)
    table = Int8Embedding(*quantize_int8(model.transformer.wte.weight.detach()))
    memo[id(model.transformer.wte)] = table
    if model.config.tied_head:
        memo[id(model.lm_head)] = Int8Linear(table.codes, table.scales)
    return copy.deepcopy(model, memo).eval()  # what is in the memo counts as copied already
