"""Grammars that write the embedded corpora: sample, parse, score, and the exact entropy."""

from gptlib.grammar.grammar import Document, Grammar, Parse, Probe, Shown, sample_corpus

__all__ = ["Document", "Grammar", "Parse", "Probe", "Shown", "sample_corpus"]
