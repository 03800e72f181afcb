"""Byte-pair encoding with a cutting expression of one's own choice.

One job: `learn`, for experiments in which the expression varies. `gptlib.BPETokenizer` always cuts
as GPT-2 does, because a saved tokenizer has to mean the same everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from gptlib.tokenizers.bpe import byte_characters

#: GPT-2's expression, with the longest run of digits to be filled in ("+", "{1,3}").
DIGITS = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}%s| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
#: No cut inside a paragraph.
PARAGRAPHS = r"[^\n]+|\n+"


@dataclass(frozen=True)
class Cut:
    """A vocabulary learned under one cutting expression.

    Attributes:
        pattern: the expression. pieces: the bytes of each id, the 256 single bytes first.
    """

    pattern: str
    pieces: list[bytes]
    _encoding: object = field(repr=False, compare=False)

    @property
    def vocab_size(self) -> int:
        """The number of ids, V."""
        return len(self.pieces)

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids of `text`, (N,)."""
        return self._encoding.encode_to_numpy(text, disallowed_special=())  # pyrefly: ignore

    def spelled(self, text: str) -> list[str]:
        """Return the pieces of `text`, as text; a broken character shows as U+FFFD."""
        return [self.pieces[i].decode(errors="replace") for i in self.encode_array(text)]


def learn(text: str, vocab_size: int, pattern: str) -> Cut:
    """Learn merges that stay inside the pieces which `pattern` cuts.

    Pairs that occur once are not merged, so a short text may give fewer than `vocab_size` ids.
    """
    import tiktoken
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    learner = Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    learner.train_from_iterator([text], trainer)
    byte_of = byte_characters()
    rank = learner.get_vocab()
    pieces = [bytes(byte_of[c] for c in p) for p in sorted(rank, key=rank.__getitem__)]
    ranks = {piece: i for i, piece in enumerate(pieces)}
    encoding = tiktoken.Encoding("cut", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Cut(pattern, pieces, encoding)
