"""Chapter 5's checks: the right answer passes, each wrong answer gets its own diagnosis."""

import codecs
import itertools
import math
import random
import re
from collections import Counter

import pytest
from check_promises import CheckPromises

import gptlib
from gptlib.course.tokens import checks, lab, own


def merge(tokens, pair, step=2):
    out, i = [], 0
    while i < len(tokens):
        both = tuple(tokens[i : i + 2]) == tuple(pair)
        out.append(tokens[i] + tokens[i + 1] if both else tokens[i])
        i += step if both else 1
    return out


def overlapping(tokens, pair):
    out, i = [], 0
    while i < len(tokens):
        if tuple(tokens[i : i + 2]) == pair:
            out.append("".join(pair))
            i += 1
            if tuple(tokens[i : i + 2]) != pair:
                i += 1
        else:
            out.append(tokens[i])
            i += 1
    return out


def from_the_right(tokens, pair):
    out, i = [], len(tokens)
    while i > 0:
        if i > 1 and tuple(tokens[i - 2 : i]) == pair:
            out.insert(0, "".join(pair))
            i -= 2
        else:
            out.insert(0, tokens[i - 1])
            i -= 1
    return out


def first_only(tokens, pair):
    for i in range(len(tokens) - 1):
        if tuple(tokens[i : i + 2]) == pair:
            return [*tokens[:i], "".join(pair), *tokens[i + 2 :]]
    return tokens


def never_looks_at_the_last(tokens, pair):
    out, i = [], 0
    while i < len(tokens) - 1:
        both = tuple(tokens[i : i + 2]) == pair
        out.append("".join(pair) if both else tokens[i])
        i += 1 + both
    return out


def joined_and_searched(tokens, pair):
    parts = re.split(f"({''.join(pair)})", "".join(tokens))
    return [t for part in parts for t in ([part] if part == "".join(pair) else part)]


def drops_the_rest(tokens, pair):
    return [a + b for a, b in itertools.pairwise(tokens) if (a, b) == pair]


def pairs(words, weigh=True):
    counts = Counter()
    for word, times in words.items():
        for pair in itertools.pairwise(word):
            counts[pair] += times if weigh else 1
    return counts


def best(words, key=None, weigh=True):
    counts = pairs(words, weigh)
    return min(counts, key=key(counts) if key else lambda p: (-counts[p], p))


def across(words):
    row = [token for word, times in words.items() for token in word * times]
    counts = Counter(itertools.pairwise(row))
    return min(counts, key=lambda p: (-counts[p], p))


def ranked(word, rank, choose=min, by=None):
    tokens = list(word)
    key = by or (lambda p: rank["".join(p)])
    while known := [p for p in itertools.pairwise(tokens) if "".join(p) in rank]:
        tokens = merge(tokens, choose(known, key=key))
    return tokens


def once(word, rank):
    tokens = list(word)
    known = [p for p in itertools.pairwise(tokens) if "".join(p) in rank]
    return merge(tokens, min(known, key=lambda p: rank["".join(p)])) if known else tokens


def in_list_order(word, rank):
    """Go through all merges in the order of learning: another right way."""
    tokens = list(word)
    for piece in sorted(rank, key=rank.get):
        for i in range(1, len(piece)):
            tokens = merge(tokens, (piece[:i], piece[i:]))
    return tokens


def longest_match(word, rank):
    out = []
    while word:
        n = max(n for n in range(1, len(word) + 1) if n == 1 or word[:n] in rank)
        out, word = [*out, word[:n]], word[n:]
    return out


def bits(nats, text):
    return nats.sum() / math.log(2) / len(text.encode())


def stream(pieces):
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [*map(decoder.decode, pieces), decoder.decode(b"", final=True)]


def buffered(pieces):
    """By hand: show the longest beginning that can be decoded."""
    shown, held = [], b""
    for piece in pieces:
        held += piece
        for n in range(len(held), -1, -1):
            try:
                shown.append(held[:n].decode())
            except UnicodeDecodeError:
                continue
            held = held[n:]
            break
    return [*shown, held.decode(errors="replace")]


def everything_again(pieces):
    shown = stream(pieces)
    return [*("".join(shown[: n + 1]) for n in range(len(pieces))), shown[-1]]


def learned(**change):
    return lambda text, size: own.learn(text, size, **change)


RIGHT = [
    (checks.merge, merge),
    (checks.best_pair, best),
    (checks.encode, ranked),
    (checks.encode, in_list_order),
    (checks.bits_per_byte, bits),
    (checks.bits_per_byte, lambda nats, text: bits(nats, text).item()),
    (checks.decode_stream, stream),
    (checks.decode_stream, buffered),
    (checks.your_own_bpe, own.learn),
    (checks.your_own_bpe, lambda text, size: gptlib.BPETokenizer.train(text, size).pieces),
]

WRONG = [
    (checks.merge, "two merges", overlapping),
    (checks.merge, "second token is still there", lambda t, p: merge(t, p, step=1)),
    (checks.merge, "from left to right, so", from_the_right),
    (checks.merge, "only the first occurrence", first_only),
    (checks.merge, "the last token is lost", never_looks_at_the_last),
    (checks.merge, "you merged letters", joined_and_searched),
    (checks.merge, "the text itself has changed", drops_the_rest),
    (
        checks.best_pair,
        "seen first",
        lambda words: max(counts := pairs(words), key=counts.get),
    ),
    (
        checks.best_pair,
        "you took the largest",
        lambda words: best(words, lambda c: lambda p: (-c[p], -p[0], -p[1])),
    ),
    (checks.best_pair, "add the word's count", lambda words: best(words, weigh=False)),
    (checks.best_pair, "one token ends a word", across),
    (
        checks.best_pair,
        "rarest",
        lambda words: best(words, lambda c: lambda p: (c[p], p)),
    ),
    (checks.best_pair, "you returned the count", lambda words: max(pairs(words).values())),
    (checks.encode, "longest piece that fits", longest_match),
    (
        checks.encode,
        "the longest pair first",
        lambda word, rank: ranked(word, rank, max, lambda p: len("".join(p))),
    ),
    (
        checks.encode,
        "the first pair that you met",
        lambda word, rank: ranked(word, rank, min, lambda p: 0),
    ),
    (checks.encode, "learned last", lambda word, rank: ranked(word, rank, max)),
    (checks.encode, "one merge is not the end", once),
    (checks.encode, "nothing was merged", lambda word, rank: list(word)),
    (checks.encode, "the tokens in a list", lambda word, rank: "|".join(ranked(word, rank))),
    (
        checks.bits_per_byte,
        "divided by characters",
        lambda nats, text: nats.sum() / math.log(2) / len(text),
    ),
    (checks.bits_per_byte, "bits per token", lambda nats, text: nats.mean() / math.log(2)),
    (
        checks.bits_per_byte,
        "nats per byte: a bit",
        lambda nats, text: nats.sum() / len(text.encode()),
    ),
    (
        checks.bits_per_byte,
        "multiplied by ln 2",
        lambda nats, text: nats.sum() * math.log(2) / len(text.encode()),
    ),
    (checks.bits_per_byte, "the loss itself", lambda nats, text: nats.mean()),
    (
        checks.bits_per_byte,
        "the sum, not the mean",
        lambda nats, text: nats.mean() / math.log(2) / len(text.encode()),
    ),
    (
        checks.bits_per_byte,
        "the bits of the whole text",
        lambda nats, text: nats.sum() / math.log(2),
    ),
    (checks.bits_per_byte, "upside down", lambda nats, text: 1 / bits(nats, text)),
    (
        checks.decode_stream,
        "became two question marks",
        lambda pieces: [*(p.decode(errors="replace") for p in pieces), ""],
    ),
    (
        checks.decode_stream,
        "has vanished",
        lambda pieces: [*(p.decode(errors="ignore") for p in pieces), ""],
    ),
    (
        checks.decode_stream,
        "Latin-1",
        lambda pieces: [*(p.decode("latin-1") for p in pieces), ""],
    ),
    (
        checks.decode_stream,
        "all of it comes at the end",
        lambda pieces: ["" for _ in pieces] + [b"".join(pieces).decode(errors="replace")],
    ),
    (checks.decode_stream, "repeats what was shown", everything_again),
    (checks.decode_stream, "one text is missing", lambda pieces: stream(pieces)[:-1]),
    (
        checks.decode_stream,
        "has to be shown, as U+FFFD",
        lambda pieces: [*stream(pieces)[:-1], ""],
    ),
    (
        checks.your_own_bpe,
        "0 to 255",
        learned(alphabet=[bytes([b]) for b in range(256)]),
    ),
    (checks.your_own_bpe, "went into two merges", learned(step=1)),
    (checks.your_own_bpe, "three times holds", learned(weigh=False)),
    (checks.your_own_bpe, "by heart", learned(least=1)),
    (checks.your_own_bpe, "into the next", learned(whole=True)),
    (checks.your_own_bpe, "was seen first", learned(ties="first")),
    (checks.your_own_bpe, "you took the largest", learned(ties="largest")),
    (checks.your_own_bpe, "compared their bytes", learned(ties="bytes")),
    (
        checks.your_own_bpe,
        "the 256 single bytes are missing",
        lambda text, size: own.learn(text, size)[256:],
    ),
    (
        checks.your_own_bpe,
        "vocab_size counts the 256",
        lambda text, size: own.learn(text, 256 + size, least=1 if size == 258 else 2),
    ),
    (
        checks.your_own_bpe,
        "expected a list of bytes",
        lambda text, size: [piece.decode("latin-1") for piece in own.learn(text, size)],
    ),
    (
        checks.your_own_bpe,
        "too few pieces",
        lambda text, size: own.learn(text, size)[:-1],
    ),
    (
        checks.your_own_bpe,
        "is another, not",
        lambda text, size: [*own.learn(text, size)[:-1], b"zzz"],
    ),
]


class TestTokens(CheckPromises):
    module, right = checks, RIGHT
    wrong = tuple((check, answer, words) for check, words, answer in WRONG)


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (lambda text, pieces: own.encode(text, pieces, "first"), "the leftmost or the longest"),
        (lambda text, pieces: own.encode(text, pieces, "last"), "highest rank first"),
        (lambda text, pieces: list(text.encode()), "id 0 is not byte 0"),
        (lambda text, pieces: own.encode(text, pieces)[:-1], "do not spell the text"),
        (
            lambda text, pieces: [pieces.index(bytes([b])) for b in text.encode()],
            "the library cuts it otherwise",
        ),
        (lambda text, pieces: [pieces[i] for i in own.encode(text, pieces)], "a list of ids"),
    ],
)
def test_wrong_ids_get_their_own_diagnosis(encode, words):
    result = checks.your_own_bpe(own.learn, encode)
    assert result.passed is False and words in result.message
    assert not repr(result).endswith("…")


def special(text, pieces, tokens, first=0, keep=True):
    id_of = {token: len(pieces) + first + n for n, token in enumerate(tokens)}
    ids = []
    for part in re.split("(" + "|".join(map(re.escape, tokens)) + ")", text):
        known = [id_of[part]] if part in id_of else own.encode(part, pieces)
        ids += known if keep or part not in id_of else []
    return ids


@pytest.mark.parametrize(
    ("encode", "words"),
    [
        (lambda text, pieces, tokens: own.encode(text, pieces), "several ordinary pieces"),
        (lambda *case: special(*case, first=2), "right after the pieces"),
        (lambda *case: special(*case, keep=False), "are lost"),
        (lambda text, pieces, tokens: [0], "are not the library's"),
        (lambda text, pieces, tokens: text, "a list of ids"),
    ],
)
def test_wrong_special_tokens_get_their_own_diagnosis(encode, words):
    result = checks.your_own_bpe(own.learn, own.encode, encode)
    assert result.passed is False and words in result.message


def test_the_lab_answers_with_the_last_that_was_built():
    assert checks.your_own_bpe(own.learn, lambda *case: ...).passed is None
    assert checks.your_own_bpe(lambda *case: ..., own.encode).passed is None
    assert "ids are" in repr(checks.your_own_bpe(own.learn, own.encode))
    assert checks.your_own_bpe(own.learn, own.encode, own.encode_special)


@pytest.mark.parametrize("seed", range(3))
def test_the_plain_encoder_is_the_library(seed):
    """On texts with ties, runs, emoji and marks; what the chapter shows on the tales."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abä🐔", k=rng.randint(1, 5))) for _ in range(12)]
    text = "".join(rng.choice(words) + rng.choice([" ", ". ", "  ", "!\n"]) for _ in range(150))
    tokenizer = gptlib.BPETokenizer.train(text, 300)
    pieces = own.learn(text, 300)
    assert pieces == tokenizer.pieces and pieces[:256] == lab.ALPHABET
    other = "".join(rng.choices([*words, " ", "1849", "zebra's"], k=60))
    assert own.encode(other, pieces) == tokenizer.encode_ordinary(other)
    assert [(a + b) for a, b in own.halves(own.learn("aaaa aaa ab ab", 260))] == [
        piece.decode() for piece in own.learn("aaaa aaa ab ab", 260)[256:]
    ]
