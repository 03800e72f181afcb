"""From logits to text: `generate`, `stream`, and what may be drawn."""

from gptlib.sampling.generation import generate, stream
from gptlib.sampling.penalties import (
    no_repeated_ngrams,
    penalize_frequency,
    penalize_presence,
    penalize_repetition,
)
from gptlib.sampling.processors import (
    Processor,
    allow_only,
    divide_by_temperature,
    filter_logits,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
)
from gptlib.sampling.settings import Sampling

__all__ = [
    "Processor",
    "Sampling",
    "allow_only",
    "divide_by_temperature",
    "filter_logits",
    "generate",
    "keep_min_p",
    "keep_top_k",
    "keep_top_p",
    "keep_typical",
    "no_repeated_ngrams",
    "penalize_frequency",
    "penalize_presence",
    "penalize_repetition",
    "stream",
]
