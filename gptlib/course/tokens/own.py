"""Byte-pair encoding in plain Python, and the judge of the lab in which a learner writes it.

One job: a reference that can also be wrong in each of the usual ways. The chapter shows that the
right one gives what `gptlib.BPETokenizer` gives.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, AnyStr

from gptlib.course.answers import describe
from gptlib.course.checking import Result, attempt, failed, passed
from gptlib.course.tokens.lab import ALPHABET, cut, words
from gptlib.tokenizers import BPETokenizer


def merge(word: Sequence[AnyStr], pair: tuple[AnyStr, AnyStr], step: int = 2) -> tuple[AnyStr, ...]:
    """Merge a pair in a word, from the left; with a step of 1, tokens may be merged twice."""
    out, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            out.append(word[i] + word[i + 1])
            overlaps = step == 1 and tuple(word[i + 1 : i + 3]) == pair
            i += 1 if overlaps else 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def learn(
    text: str,
    vocab_size: int,
    *,
    alphabet: Sequence[bytes] = ALPHABET,
    weigh: bool = True,
    ties: str = "smallest",
    step: int = 2,
    least: int = 2,
    whole: bool = False,
) -> list[bytes]:
    """Return the pieces of a vocabulary, by id: `BPETokenizer.train`, slowly.

    Args:
        weigh: add a word's count for each of its pairs, not 1. ties: "smallest" pair of ids, the
            "first" seen, the "largest", or by "bytes". step: see `merge`. least: a pair that occurs
            less often is not merged. whole: cut nowhere.
    """
    pieces, id_of = list(alphabet), {piece: i for i, piece in enumerate(alphabet)}
    todo: dict[tuple[bytes, ...], int] = dict(words(text))
    if whole:
        todo = {tuple(text.encode()[i : i + 1] for i in range(len(text.encode()))): 1}

    def order(pair: tuple[bytes, bytes]) -> tuple:
        ids = id_of[pair[0]], id_of[pair[1]]
        if ties == "bytes":
            return -counts[pair], pair
        sign = {"smallest": 1, "largest": -1, "first": 0}[ties]
        return -counts[pair], sign * ids[0], sign * ids[1]

    while len(pieces) < vocab_size:
        counts: Counter = Counter()
        for word, times in todo.items():
            for pair in pairwise(word):
                counts[pair] += times if weigh else 1
        best = min(counts, key=order, default=None)
        if best is None or counts[best] < least:
            break
        merged: Counter = Counter()
        for word, times in todo.items():
            merged[merge(word, best, step)] += times
        todo = dict(merged)
        piece = best[0] + best[1]
        if piece not in id_of:  # two pairs may spell one text, which keeps its id
            id_of[piece] = len(pieces)
            pieces.append(piece)
    return pieces


def encode(text: str, pieces: Sequence[bytes], choose: str = "rank") -> list[int]:
    """Return the ids of a text: `BPETokenizer.encode_ordinary`, slowly.

    Args:
        choose: which pair to merge first: that of lowest "rank", the "first" from the left, the
            "longest", or that of the "last" rank.
    """
    rank = {piece: i for i, piece in enumerate(pieces)}
    by = {
        "rank": lambda pair: rank[pair[0] + pair[1]],
        "first": lambda pair: 0,
        "longest": lambda pair: -len(pair[0] + pair[1]),
        "last": lambda pair: -rank[pair[0] + pair[1]],
    }[choose]
    ids: list[int] = []
    for word in cut(text):
        tokens: tuple[bytes, ...] = tuple(word[i : i + 1] for i in range(len(word)))
        while known := [pair for pair in pairwise(tokens) if pair[0] + pair[1] in rank]:
            tokens = merge(tokens, min(known, key=by))
        ids += [rank[token] for token in tokens]
    return ids


def encode_special(text: str, pieces: Sequence[bytes], special: Sequence[str]) -> list[int]:
    """Return the ids of a text in which special tokens are one id each: `BPETokenizer.encode`."""
    id_of = {token: len(pieces) + n for n, token in enumerate(special)}
    if not special:
        return encode(text, pieces)
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, special)) + ")", text):
        ids += [id_of[part]] if part in id_of else encode(part, pieces)
    return ids


def halves(pieces: Sequence[bytes]) -> list[tuple[str, str]]:
    """Return the two tokens that each merged piece was made of, in the order of learning."""
    rank, pairs = {piece: i for i, piece in enumerate(pieces)}, []
    for piece in pieces[256:]:
        tokens: tuple[bytes, ...] = tuple(piece[i : i + 1] for i in range(len(piece)))
        while len(tokens) > 2:
            known = [pair for pair in pairwise(tokens) if pair[0] + pair[1] in rank]
            tokens = merge(tokens, min(known, key=lambda pair: rank[pair[0] + pair[1]]))
        pairs.append((tokens[0].decode(errors="replace"), tokens[1].decode(errors="replace")))
    return pairs


TEXTS = (
    ("the hen in the lighthouse then thought of the other three hens", 266),
    ("ab ab cd cd", 258),
    ("aaaa aaaa aaa baab", 260),
    ("banana bandana cabana. banana!", 264),
    ("the three hens and then the hens the three hens thought of. " * 2, 300),
    ("niitä kolmea kanaa, niitä 🐔🐔🐔", 268),
)

_LEARN: tuple[tuple[dict[str, Any], str], ...] = (
    (
        {"alphabet": [bytes([b]) for b in range(256)]},
        "the first 256 pieces are the bytes from 0 to 255 in their own order, and GPT-2's order is "
        "another, which decides ties as well: begin with lab.ALPHABET",
    ),
    (
        {"step": 1},
        "in “aaaa” a token went into two merges: step over both tokens of a pair that is merged",
    ),
    (
        {"weigh": False},
        "a word that occurs three times holds its pairs three times: add the word's count",
    ),
    (
        {"least": 1},
        "you merged a pair that occurs once: that only learns the text by heart; the library stops "
        "at pairs that occur twice",
    ),
    (
        {"whole": True},
        "a merge went from one word into the next: count and merge inside lab.words(text)",
    ),
    (
        {"ties": "first"},
        "right until two pairs are equally frequent, where you took the one that was seen first: "
        "take the pair with the smallest ids, the left one before the right one",
    ),
    (
        {"ties": "largest"},
        "right until two pairs are equally frequent, where you took the largest: take the pair "
        "with the smallest ids",
    ),
    (
        {"ties": "bytes"},
        "right until two pairs are equally frequent, where you compared their bytes: compare "
        "their ids, which follow the order of lab.ALPHABET and of learning",
    ),
)


def _library(text: str, size: int) -> tuple[BPETokenizer, list[bytes]]:
    tokenizer = BPETokenizer.train(text, size)
    return tokenizer, tokenizer.pieces


def judge_learn(fn: Callable[[str, int], list[bytes]]) -> Result:
    """Compare a learner's vocabularies with the library's."""
    missed = []
    for text, size in TEXTS:
        got = attempt(fn, text, size)
        if isinstance(got, Result):
            return got
        if not isinstance(got, (list, tuple)) or not all(isinstance(p, bytes) for p in got):
            return failed(f"expected a list of bytes, one for each id, found {describe(got)}")
        _, pieces = _library(text, size)
        if list(got) != pieces:
            missed.append((text, size, list(got), pieces))
    if not missed:
        return passed("your vocabularies are the library's, piece by piece")
    if all(len(got) > size and got[:size] == pieces for _, size, got, pieces in missed):
        return failed("vocab_size counts the 256 bytes too: stop when there are so many pieces")
    if all(got == pieces[256:] for _, _, got, pieces in missed):
        return failed("the 256 single bytes are missing: they are the first pieces")
    for change, words_for_it in _LEARN:
        if all(got == learn(text, size, **change) for text, size, got, _ in missed):
            return failed(words_for_it)
    text, size, got, pieces = missed[0]
    where = next((n for n, (a, b) in enumerate(zip(got, pieces, strict=False)) if a != b), None)
    if where is None:
        more = "too few" if len(got) < len(pieces) else "too many"
        return failed(f"for {text[:30]!r} and {size} ids: {more} pieces, {len(got)}")
    return failed(f"for {text[:30]!r} and {size} ids: piece {where} is another, not {got[where]!r}")


PROBES = (
    TEXTS[0][0],
    " then the hen then",
    "the zebra's 1849 hens!",
    "niitä 🐔",
    "",
)


def judge_encode(fn: Callable[[str, list[bytes]], list[int]]) -> Result:
    """Compare a learner's ids with the library's, on texts that were not trained on too."""
    tokenizer, pieces = _library(*TEXTS[0])
    missed = []
    for text in PROBES:
        got = attempt(fn, text, pieces)
        if isinstance(got, Result):
            return got
        if not isinstance(got, (list, tuple)) or not all(type(i) is int for i in got):
            return failed(f"expected a list of ids, found {describe(got)}")
        if list(got) != tokenizer.encode_ordinary(text):
            missed.append((text, list(got)))
    if not missed:
        return passed("your ids are the library's")
    for choose, words_for_it in (
        (
            "first",
            "where a word has several pairs to merge, you took the leftmost or the longest "
            "one: the pair that was learned first goes first",
        ),
        (
            "longest",
            "where a word has several pairs to merge, you took the longest one: the pair "
            "that was learned first goes first",
        ),
        ("last", "you merged the pair of highest rank first: early merges have low ranks"),
    ):
        if all(got == encode(text, pieces, choose) for text, got in missed):
            return failed(words_for_it)
    if all(got == list(text.encode()) for text, got in missed):
        return failed("those are byte values: id 0 is not byte 0, look each byte up in pieces")
    spelled = [b"".join(pieces[i] for i in got if 0 <= i < len(pieces)) for _, got in missed]
    if any(s != text.encode() for s, (text, _) in zip(spelled, missed, strict=True)):
        return failed(f"the ids of {missed[0][0]!r} do not spell the text that they are of")
    return failed(
        f"the ids of {missed[0][0]!r} spell it, but the library cuts it otherwise; merge inside "
        "the words of lab.cut, lowest rank first, until nothing is left to merge"
    )


def judge_special(fn: Callable[[str, list[bytes], list[str]], list[int]]) -> Result:
    """Compare a learner's ids with the library's, with special tokens."""
    _, pieces = _library(*TEXTS[0])
    special = ["<|end|>", "<|begin|>"]
    tokenizer = BPETokenizer(pieces, special)
    for text in ("the hen<|end|>then", "<|begin|>the hen<|end|><|end|>", "hens <|en", "the hen"):
        got = attempt(fn, text, pieces, special)
        if isinstance(got, Result):
            return got
        if not isinstance(got, (list, tuple)) or not all(type(i) is int for i in got):
            return failed(f"expected a list of ids, found {describe(got)}")
        if list(got) == tokenizer.encode(text):
            continue
        if list(got) == encode(text, pieces):
            return failed(
                "<|end|> came out as several ordinary pieces: split the text at the special "
                "tokens first, and encode only what lies between"
            )
        if set(got) & {len(pieces) + 2, len(pieces) + 3}:
            return failed("special tokens get the ids right after the pieces, in order, from "
                          "len(pieces)")  # fmt: skip
        if list(got) == [i for i in tokenizer.encode(text) if i < len(pieces)]:
            return failed("the special tokens are lost: put the id of each where it stood")
        return failed(f"the ids of {text!r} are not the library's: look at what stands around "
                      "its special tokens")  # fmt: skip
    return passed("a special token is one id, and its text never takes part in a merge")
