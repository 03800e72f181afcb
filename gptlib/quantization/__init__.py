"""Weights in fewer bits: eight by row, eight or four by block as GGUF files have them, and NF4."""

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
from gptlib.quantization.nf4 import NF4, dequantize_nf4, quantize_nf4

__all__ = [
    "BLOCK",
    "NF4",
    "BlockFormat",
    "Int8Embedding",
    "Int8Linear",
    "dequantize_int8",
    "dequantize_nf4",
    "dequantize_q4_0",
    "dequantize_q8_0",
    "quantize_int8",
    "quantize_model",
    "quantize_nf4",
    "quantize_q4_0",
    "quantize_q8_0",
]
