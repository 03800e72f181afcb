"""From logits to text: `generate`, `stream`, and what may be drawn."""

from gptlib.sampling.generation import generate, stream
from gptlib.sampling.processors import (
    Processor,
    divide_by_temperature,
    filter_logits,
    keep_top_k,
    keep_top_p,
)
from gptlib.sampling.settings import Sampling

__all__ = [
    "Processor",
    "Sampling",
    "divide_by_temperature",
    "filter_logits",
    "generate",
    "keep_top_k",
    "keep_top_p",
    "stream",
]
