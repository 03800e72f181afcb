"""Texts to train on, by name or path, and how those that are elsewhere come here."""

from gptlib.corpora.corpus import Corpus, CorpusInfo, list_corpora, load_corpus

__all__ = ["Corpus", "CorpusInfo", "list_corpora", "load_corpus"]
