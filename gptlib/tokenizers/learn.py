"""A byte-pair tokenizer of a corpus's own, by the size that it is asked for.

One job: `learn_tokenizer`, and what `bpe-2048` means.
"""

from __future__ import annotations

import re

from gptlib.corpora import Corpus
from gptlib.tokenizers.bpe import BPETokenizer

LEARNED_FROM = 10_000_000  # characters: more of them change little, and take their time


def learned_size(name: str) -> int | None:
    """The ids of a tokenizer that is to be learned, 2048 of "bpe-2048"; None of any other name."""
    found = re.fullmatch(r"bpe-(\d{1,9})", name)
    return int(found[1]) if found else None


def learn_tokenizer(corpus: Corpus, vocab_size: int) -> BPETokenizer:
    """Learn from the beginning of a corpus's training part, its marks as ids of their own.

    Raises:
        TokenizerError: fewer ids than 256 bytes and the marks.
    """
    return BPETokenizer.train(corpus.train[:LEARNED_FROM], vocab_size, corpus.marks)
