"""From logits to text: `generate`, `stream`, and what may be drawn."""

from gptlib.sampling.generation import filter_logits, generate, stream

__all__ = ["filter_logits", "generate", "stream"]
