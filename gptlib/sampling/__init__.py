"""From logits to text: `generate`, `stream`, and what may be drawn."""

from gptlib.sampling.beams import Beams, beam_search
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
from gptlib.sampling.speculation import Tally, speculate

__all__ = [
    "Beams",
    "Processor",
    "Sampling",
    "Tally",
    "allow_only",
    "beam_search",
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
    "speculate",
    "stream",
]
