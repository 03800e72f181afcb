"""Byte-pair encoding: GPT-2's own, or one that is trained here.

One job: `BPETokenizer`. It works on bytes, so it knows every text; its encoder is tiktoken's, its
merges are GPT-2's or are learned by `tokenizers`. A special token is one id wherever `encode` meets
it, and its text never takes part in a merge.
"""

import base64
import codecs
import itertools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from gptlib.corpora.downloads import fetch
from gptlib.errors import TokenizerError
from gptlib.tokenizers.base import (
    FORMAT,
    Tokenizer,
    check_special,
    check_text,
    check_training_text,
)

END_OF_TEXT = "<|endoftext|>"
# How GPT-2 cuts a text into pieces before it merges (Radford et al. 2019, encoder.py): no merge
# crosses from a word into a number, a sign or the next word; a space goes with the word after it.
# "++" keeps what a run has matched, so that a long run is read once.
GPT2_PATTERN = (
    r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
)
# A run of what the pattern means by \s; Python's own \s has four characters more.
BLANKS = re.compile(r"[^\S\x1c-\x1f]+")
LONG_RUN = 100_000  # blanks in a row; at 999,994 the pattern's search overflows its stack
LONG_WORD = 10_000  # bytes; the learner's time grows with the square of a word's length


class BPETokenizer(Tokenizer):
    """Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) over tiktoken.

    `BPETokenizer.train` and `BPETokenizer.gpt2` make one. Derived in chapter 5, *Where may a merge
    not go?*

    Args:
        pieces: the bytes of the ordinary tokens, by id; all 256 single bytes are among them. An
            earlier piece is merged before a later one.
        special_tokens: texts that are one id each; they get the ids after the pieces, in order.

    Raises:
        TokenizerError: a byte is missing, a piece is there twice, or a special token cannot be
            used.
    """

    def __init__(self, pieces: list[bytes], special_tokens: Iterable[str] = ()) -> None:
        import tiktoken

        special = check_special(special_tokens)
        ranks = {piece: rank for rank, piece in enumerate(pieces)}
        if len(ranks) != len(pieces) or not all(bytes([b]) in ranks for b in range(256)):
            raise TokenizerError(
                f"found {len(pieces):,} byte-pair pieces, {len(ranks):,} of them different; "
                "expected each once, all 256 single bytes among them; BPETokenizer.train does that"
            )
        self._pieces = list(pieces)
        self.special_tokens = {token: len(pieces) + i for i, token in enumerate(special)}
        self._encoding = tiktoken.Encoding(
            "gptlib-bpe",
            pat_str=GPT2_PATTERN,
            mergeable_ranks=ranks,
            special_tokens=self.special_tokens,
        )

    @classmethod
    def gpt2(
        cls, special_tokens: Iterable[str] = (), registry: str | Path | None = None
    ) -> "BPETokenizer":
        """Return GPT-2's tokenizer: 50,257 ids, the last of them `<|endoftext|>`.

        `special_tokens` come after it, from id 50,257. The merges are read from the cache folder
        (GPTLIB_DATA), or downloaded once and checked; `registry` is as in
        `gptlib.corpora.downloads.fetch`.

        Raises:
            DataError: the merges are not in the cache and cannot be downloaded.
            TokenizerError: a special token that cannot be used.
        """
        special = check_special([END_OF_TEXT, *check_special(special_tokens)])
        byte_of = byte_characters()
        pieces = [bytes([b]) for b in byte_of.values()]
        lines = fetch("gpt2", registry).read_text(encoding="utf-8").splitlines()
        for line in lines[1:]:  # the first one is "#version: 0.2"
            pieces.append(bytes(byte_of[c] for c in line.replace(" ", "")))
        return cls(pieces, special)

    @classmethod
    def train(
        cls, text: str | Iterable[str], vocab_size: int, special_tokens: Iterable[str] = ()
    ) -> "BPETokenizer":
        """Learn merges from `text` until there are `vocab_size` ids, special tokens included.

        `text` may be documents, of which one is in memory at a time: they count as one text in
        which a special token stands between them.

        Pairs that occur once are not merged, so a short text may give fewer ids than asked for;
        `vocab_size` of the result says how many. Special tokens in the text are left out of the
        counting; a word of more than `LONG_WORD` bytes counts as several. The same text gives the
        same tokenizer. Derived in chapter 5, *Which two shall become one?*

        Raises:
            TokenizerError: empty text, no documents, a vocabulary smaller than the bytes and the
                special tokens, or a special token that cannot be used.
        """
        from tokenizers import Regex, models, pre_tokenizers, trainers
        from tokenizers import Tokenizer as Learner

        if isinstance(text, str) or not isinstance(text, Iterable):
            check_training_text(text)
            documents, long_words = [text], _may_have_long_words(text)
        else:
            documents, long_words = text, True  # nobody has looked; where there are none, no matter
        special = check_special(special_tokens)
        least = 256 + len(special)
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, int) or vocab_size < least:
            raise TokenizerError(
                f"vocab_size is {vocab_size!r}; expected a whole number of at least {least}: "
                f"256 bytes, {len(special)} special tokens, and one more for each merge"
            )
        learner = Learner(models.BPE())
        learner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        if long_words:
            cut = pre_tokenizers.Split(Regex(rf"[\s\S]{{{LONG_WORD}}}"), "isolated")
            learner.pre_tokenizer = pre_tokenizers.Sequence([learner.pre_tokenizer, cut])
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - len(special),
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator(_stretches(documents, special), trainer)
        byte_of = byte_characters()
        rank = learner.get_vocab()
        pieces = [bytes(byte_of[c] for c in p) for p in sorted(rank, key=rank.__getitem__)]
        return cls(pieces, special)

    def with_special(self, tokens: Iterable[str]) -> "BPETokenizer":
        """The same pieces and special tokens under the same ids, and `tokens` after them.

        `gptlib.resize_vocab` gives a model rows for them. One that is there already stays.

        Raises:
            TokenizerError: a special token that cannot be used.
        """
        new = [token for token in check_special(tokens) if token not in self.special_tokens]
        return BPETokenizer(self._pieces, [*self.special_tokens, *new])

    def added_to(self, other: Tokenizer) -> list[str]:
        """The special tokens that `other.with_special` would need to become this tokenizer; none if
        it cannot."""
        if not isinstance(other, BPETokenizer):
            return []
        new = list(self.special_tokens)[len(other.special_tokens) :]
        return new if other.with_special(new) == self else []

    @property
    def vocab_size(self) -> int:
        """The number of ids, V, special tokens included."""
        return len(self._pieces) + len(self.special_tokens)

    @property
    def byte_lengths(self) -> list[int]:
        """Bytes of each piece, and 0 for each special token."""
        return [len(piece) for piece in self._pieces] + [0] * len(self.special_tokens)

    @property
    def pieces(self) -> list[bytes]:
        """The bytes of the ordinary tokens, by id; some are no whole characters."""
        return list(self._pieces)

    def encode(self, text: str) -> list[int]:
        """Return the ids of `text`; where it spells a special token of this tokenizer, its one id.

        Use `encode_ordinary` for text that strangers wrote and that should not be able to end a
        document by spelling its end.

        Raises:
            TokenizerError: no text, or half of a surrogate pair in it.
        """
        check_text(text, "the text to encode")
        allowed = set(self.special_tokens)
        if not _long_runs(text):
            return self._encoding.encode(text, allowed_special=allowed, disallowed_special=())
        ids: list[int] = []
        for number, part in enumerate(_between(text, list(allowed), keep=True)):
            ids += [self.special_tokens[part]] if number % 2 else self.encode_ordinary(part)
        return ids

    def encode_ordinary(self, text: str) -> list[int]:
        """Return the ids of `text`, with special tokens spelled out like any other text.

        Raises:
            TokenizerError: no text, or half of a surrogate pair in it.
        """
        check_text(text, "the text to encode")
        first, *more = map(self._encoding.encode_ordinary, _encodable(text))
        return first + list(itertools.chain(*more)) if more else first

    def encode_array(self, text: str) -> np.ndarray:
        """Return the ids of `encode_ordinary` as an array (N,); raises what that raises."""
        check_text(text, "the text to encode")
        parts = [
            self._encoding.encode_to_numpy(part, disallowed_special=()) for part in _encodable(text)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of `ids`, a flat sequence of whole numbers.

        Ids that stop inside a character (a model may write such) give U+FFFD there.

        Raises:
            TokenizerError: an id that the tokenizer does not have, with its position.
        """
        return self._encoding.decode(self.checked_ids(ids).tolist())

    def decode_each(self, ids: Iterable[int]) -> Iterator[str]:
        """Yield the text that each id adds, and last what an unfinished character leaves.

        Derived in chapter 5, *What does half a hen look like?*

        Raises:
            TokenizerError: an id that the tokenizer does not have.
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        for token in ids:
            (known,) = self.checked_ids([token]).tolist()
            yield decoder.decode(self._encoding.decode_single_token_bytes(known))
        yield decoder.decode(b"", final=True)

    def content(self) -> dict:
        """All that decides the ids, as plain JSON values."""
        return {
            "format": FORMAT,
            "kind": "bpe",
            "pattern": GPT2_PATTERN,
            "pieces": [base64.b64encode(piece).decode("ascii") for piece in self._pieces],
            "special_tokens": list(self.special_tokens),
        }

    def __repr__(self) -> str:
        return f"BPETokenizer({self.vocab_size:,} ids, special: {list(self.special_tokens)})"


def _stretches(documents: Iterable[str], special: list[str]) -> Iterator[str]:
    """The stretches of all documents between special tokens, a document at a time.

    Raises:
        TokenizerError: there is nothing in them.
    """
    empty = True
    for number, document in enumerate(documents):
        check_text(document, f"document {number} of the training text")
        empty = empty and not document
        yield from _between(document, special)
    if empty:
        check_training_text("")


def _between(text: str, special: list[str], keep: bool = False) -> list[str]:
    """The stretches of `text` between special tokens; `keep` puts the tokens between them."""
    pattern = "|".join(map(re.escape, special))
    return re.split(f"({pattern})" if keep else pattern, text) if special else [text]


def _long_runs(text: str) -> list[int]:
    """Where runs of `LONG_RUN` blanks or more end, if something follows them.

    It looks at every `LONG_RUN`th character only: no such run fits between two of them.
    """
    ends, at = [], 0
    while at < len(text):
        if run := BLANKS.match(text, at):
            before = BLANKS.match(text[max(0, at - LONG_RUN) : at][::-1])
            length = len(run[0]) + (len(before[0]) if before else 0)
            at = run.end()
            if length >= LONG_RUN and at < len(text):
                ends.append(at)
        at += LONG_RUN
    return ends


def _encodable(text: str) -> list[str]:
    """`text` in parts that the pattern can search, which give the ids of the whole.

    The pattern leaves the last blank of a run to what follows. Cut before it, all others stand at
    the end of a part, where `\\s++$` takes them without the search that overflows.
    """
    cuts = [0, *(end - 1 for end in _long_runs(text)), len(text)]
    return [text[a:b] for a, b in itertools.pairwise(cuts)]


def _may_have_long_words(text: str) -> bool:
    """Whether a word of the pattern may have more than `LONG_WORD` bytes; it looks here and there.

    A character has up to 4 bytes, and half the word covers one of the places looked at.
    """
    window = max(1, LONG_WORD // 8)
    uniform = re.compile(rf"\S{{{window}}}|\s{{{window}}}")
    return any(uniform.match(text, at) for at in range(0, len(text), window))


def byte_characters() -> dict[str, int]:
    """GPT-2's printable character for each byte, character -> byte, in the order of GPT-2's ids.

    Printable Latin-1 stands for itself; the other 68 bytes get the characters from U+0100 on
    (Radford et al. 2019, encoder.py).
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}
