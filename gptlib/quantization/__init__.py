"""Weights in fewer bits: eight by row, and eight or four by block as GGUF files have them."""

from gptlib.quantization.blocks import (
    BLOCK,
    BlockFormat,
    dequantize_q4_0,
    dequantize_q8_0,
    quantize_q4_0,
    quantize_q8_0,
)
from gptlib.quantization.int8 import (
    Int8Embedding,
    Int8Linear,
    dequantize_int8,
    quantize_int8,
    quantize_model,
)

__all__ = [
    "BLOCK",
    "BlockFormat",
    "Int8Embedding",
    "Int8Linear",
    "dequantize_int8",
    "dequantize_q4_0",
    "dequantize_q8_0",
    "quantize_int8",
    "quantize_model",
    "quantize_q4_0",
    "quantize_q8_0",
]
