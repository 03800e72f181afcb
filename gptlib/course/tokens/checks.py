"""Checks of chapter 5's exercises: a merge, a tie, ranks, bits per byte, half characters; its lab.

One job: compare a learner's function with the right one on small cases, and name the misconception
behind each of the usual wrong answers.
"""

import codecs
import itertools
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check
from gptlib.course.tokens import own

Pair = tuple[str, str]


def _merged(tokens: Sequence[str], pair: Pair) -> list[str]:
    return list(own.merge(tokens, pair))


def merge(fn: Callable[[list[str], Pair], list[str]]) -> Result:
    """Exercise 5.1: replace every occurrence of a pair by one token, from left to right."""

    def from_right(tokens: list[str], pair: Pair) -> list[str]:
        turned = _merged([t[::-1] for t in tokens[::-1]], (pair[1][::-1], pair[0][::-1]))
        return [t[::-1] for t in turned[::-1]]

    def first_only(tokens: list[str], pair: Pair) -> list[str]:
        for i in range(len(tokens) - 1):
            if tuple(tokens[i : i + 2]) == pair:
                return [*tokens[:i], tokens[i] + tokens[i + 1], *tokens[i + 2 :]]
        return tokens

    def last_lost(tokens: list[str], pair: Pair) -> list[str]:
        out, i = [], 0
        while i < len(tokens) - 1:
            hit = tuple(tokens[i : i + 2]) == pair
            out.append(tokens[i] + tokens[i + 1] if hit else tokens[i])
            i += 2 if hit else 1
        return out

    def kept(tokens: list[str], pair: Pair) -> list[str]:
        out = []
        for i, token in enumerate(tokens):
            hit = tuple(tokens[i : i + 2]) == pair
            out.append(token + tokens[i + 1] if hit else token)
        return out

    def by_text(tokens: list[str], pair: Pair) -> list[str]:
        whole = "".join(pair)
        return [t for t in re.split(f"({re.escape(whole)})|", "".join(tokens)) if t]

    return check(
        fn,
        cases=[
            (list("the hen then"), ("t", "h")),
            (["th", "e", " ", "h", "e", "n"], ("h", "e")),
            (list("aaa"), ("a", "a")),
            (list("baaaac"), ("a", "a")),
            (["th", "e", "n"], ("t", "h")),
            ([], ("a", "b")),
        ],
        right=_merged,
        wrongs=[
            Wrong(
                "in “aaa” the middle a went into two merges, and the text has grown: step over "
                "both tokens of a pair once they are merged",
                lambda tokens, pair: list(own.merge(tokens, pair, step=1)),
            ),
            Wrong(
                "the pair's second token is still there after the merge: step over both, not over "
                "the first alone",
                kept,
            ),
            Wrong(
                "right but for a run such as “aaa”, where you began at its end: merges go from "
                "left to right, so that two machines cut a run alike",
                from_right,
            ),
            Wrong("only the first occurrence was merged: go on to the end", first_only),
            Wrong(
                "the last token is lost when no merge takes it: a loop that ends at "
                "len(tokens) - 1 never looks at it alone",
                last_lost,
            ),
            Wrong(
                "you merged letters, not tokens: the pair is made of two tokens side by side, and "
                "the text of other tokens may spell the same; do not join and search",
                by_text,
            ),
            Wrong(
                "the text itself has changed: joined, the tokens have to spell what they spelled",
                when=lambda got, tokens, pair: (
                    isinstance(got, list)
                    and all(isinstance(t, str) for t in got)
                    and "".join(got) != "".join(tokens)
                ),
            ),
        ],
        success="every pair is merged once, from left to right, and the text is what it was",
    )


def best_pair(fn: Callable[[dict[tuple[int, ...], int]], tuple[int, int]]) -> Result:
    """Exercise 5.2: the pair to merge next, among words that are counted, ties included."""

    def counts(words: Mapping[tuple[int, ...], int], weigh: bool = True) -> Counter:
        found: Counter = Counter()
        for word, times in words.items():
            for pair in itertools.pairwise(word):
                found[pair] += times if weigh else 1
        return found

    def by(order: Callable, weigh: bool = True) -> Callable[..., tuple[int, int]]:
        """Return a rule: the pair that `order` (times, pair) puts first."""

        def choose(words: Mapping[tuple[int, ...], int]) -> tuple[int, int]:
            found = counts(words, weigh)
            return min(found, key=lambda pair: order(found[pair], pair))

        return choose

    def across(words: Mapping[tuple[int, ...], int]) -> tuple[int, int]:
        row = [t for word, times in words.items() for _ in range(times) for t in word]
        found = Counter(itertools.pairwise(row))
        return min(found, key=lambda pair: (-found[pair], pair))

    return check(
        fn,
        cases=[
            ({(7, 3, 4): 5, (3, 4, 8): 1, (8, 9): 2},),
            ({(6, 7): 3, (2, 5): 3, (9, 1): 3},),
            ({(1, 2): 2, (1, 2, 3): 1, (8, 9, 8): 4},),
            ({(5, 6): 4, (6, 5, 5): 3, (2, 3): 3},),
            ({(5,): 6, (2, 3): 3},),
        ],
        right=by(lambda times, pair: (-times, pair)),
        wrongs=[
            Wrong(
                "among pairs of equal count you took the one that was seen first, which hangs on "
                "the order of the dictionary: take the smallest pair, so that the same counts "
                "give the same merge everywhere",
                by(lambda times, pair: -times),
            ),
            Wrong(
                "among pairs of equal count you took the largest: the library takes the smallest, "
                "and either rule would do, but two programs have to share it",
                by(lambda times, pair: (-times, -pair[0], -pair[1])),
            ),
            Wrong(
                "a word that occurs five times holds its pairs five times: add the word's count, "
                "not 1",
                by(lambda times, pair: (-times, pair), weigh=False),
            ),
            Wrong(
                "you also counted pairs of which one token ends a word and the other begins the "
                "next: no merge may cross that border",
                across,
            ),
            Wrong(
                "that is the rarest pair: the most frequent one is wanted",
                by(lambda times, pair: (times, pair)),
            ),
            Wrong(
                "you returned the count: the pair itself is wanted, two ids",
                when=lambda got, words: isinstance(got, int),
            ),
        ],
        success="most frequent first, and among equals the smallest, as in the library",
    )


#: Ten merges of the carried sentence, in the order in which they are learned.
_LEARNED = ("th", " th", "en", "gh", "hen", "ou", " o", " hen", "the", " the")


def encode(fn: Callable[[str, dict[str, int]], list[str]]) -> Result:
    """Exercise 5.3: a word to tokens, by the rank of each merge."""

    def by(choose: Callable) -> Callable[[str, dict[str, int]], list[str]]:
        def cut(word: str, rank: Mapping[str, int]) -> list[str]:
            tokens = list(word)
            while True:
                pairs = [p for p in itertools.pairwise(tokens) if "".join(p) in rank]
                if not pairs:
                    return tokens
                tokens = _merged(tokens, choose(pairs, rank))

        return cut

    def longest_match(word: str, rank: Mapping[str, int]) -> list[str]:
        out = []
        while word:
            n = next(n for n in range(len(word), 0, -1) if n == 1 or word[:n] in rank)
            out.append(word[:n])
            word = word[n:]
        return out

    def once(word: str, rank: Mapping[str, int]) -> list[str]:
        tokens = list(word)
        pairs = [p for p in itertools.pairwise(tokens) if "".join(p) in rank]
        return _merged(tokens, min(pairs, key=lambda p: rank["".join(p)])) if pairs else tokens

    rank = {piece: n for n, piece in enumerate(_LEARNED)}
    words = (" then", " hens", " other", "then", " lighthouse", " zebra")
    return check(
        fn,
        cases=[
            *((word, rank) for word in words),
            ("aaaa", {"aa": 0, "aaa": 1}),
            ("abcd", {"bc": 0, "bcd": 1, "abcd": 2, "ab": 3}),
            ("cbaaaba", {"aa": 0, "aaaa": 1, "ba": 2, "aba": 3}),
        ],
        right=by(lambda pairs, rank: min(pairs, key=lambda p: rank["".join(p)])),
        wrongs=[
            Wrong(
                "you took the longest piece that fits, from the left: “ then” is then cut as the "
                "training never cut it; a merge that was learned earlier goes first, however "
                "short",
                longest_match,
            ),
            Wrong(
                "you merged the longest pair first: the order in which the merges were learned "
                "decides, and a low rank is early",
                by(lambda pairs, rank: max(pairs, key=lambda p: len("".join(p)))),
            ),
            Wrong(
                "you merged the first pair that you met from the left: look at all pairs and take "
                "the one of lowest rank",
                by(lambda pairs, rank: pairs[0]),
            ),
            Wrong(
                "you began with the merge that was learned last: a low rank is early, so take the "
                "smallest",
                by(lambda pairs, rank: max(pairs, key=lambda p: rank["".join(p)])),
            ),
            Wrong(
                "one merge is not the end: what it made may be half of another; go on until no "
                "pair has a rank",
                once,
            ),
            Wrong("nothing was merged: those are the letters", lambda word, rank: list(word)),
            Wrong(
                "expected the tokens in a list",
                when=lambda got, word, rank: isinstance(got, str),
            ),
        ],
        success="the merges run in the order in which they were learned",
    )


def bits_per_byte(fn: Callable[[Tensor, str], float]) -> Result:
    """Exercise 5.4: losses (N,) in nats of the tokens of a text, to bits per byte."""

    def per(count: Callable[[Tensor, str], float], factor: float = 1 / math.log(2)) -> Callable:
        return lambda nats, text: factor * nats.sum().item() / count(nats, text)

    def in_bytes(nats: Tensor, text: str) -> int:
        return len(text.encode())

    cases = [
        (torch.tensor([2.31, 0.52, 1.17, 3.03]), "niitä kolmea"),
        (torch.tensor([4.1, 2.7, 1.9]), "über dem Leuchtturm"),
        (torch.tensor([6.2, 3.3, 2.9, 5.4, 0.8]), "🐔🐔 in the lighthouse"),
    ]
    return check(
        fn,
        cases=cases,
        right=per(in_bytes),
        wrongs=[
            Wrong(
                "you divided by characters: ä has two bytes and the hen has four, and a text in "
                "another alphabet would look worse than it is; len(text.encode()) counts bytes",
                per(lambda nats, text: len(text)),
            ),
            Wrong(
                "that is bits per token, which two vocabularies do not share: divide the sum of "
                "all losses by the bytes of the text",
                per(lambda nats, text: len(nats)),
            ),
            Wrong("that is nats per byte: a bit is ln 2 nats", per(in_bytes, 1.0)),
            Wrong(
                "you multiplied by ln 2: a bit is the smaller unit, so there are more of them than "
                "nats; divide",
                per(in_bytes, math.log(2)),
            ),
            Wrong("that is nats per token, the loss itself", lambda nats, text: nats.mean()),
            Wrong(
                "that is the mean loss spread over all bytes: each token has paid its own, so take "
                "the sum, not the mean",
                lambda nats, text: nats.mean() / math.log(2) / len(text.encode()),
            ),
            Wrong(
                "those are the bits of the whole text: divide by its bytes",
                lambda nats, text: nats.sum() / math.log(2),
            ),
            Wrong(
                "that is upside down: bits are above the line, bytes below it",
                lambda nats, text: len(text.encode()) * math.log(2) / nats.sum(),
            ),
        ],
        success="bits above, bytes below: any two vocabularies can be compared",
    )


def decode_stream(fn: Callable[[list[bytes]], list[str]]) -> Result:
    """Exercise 5.5: the bytes of each token to the text that it adds to the screen."""

    def right(pieces: list[bytes]) -> list[str]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return [*(decoder.decode(piece) for piece in pieces), decoder.decode(b"", final=True)]

    def each(errors: str, codec: str = "utf-8") -> Callable[[list[bytes]], list[str]]:
        return lambda pieces: [*(p.decode(codec, errors) for p in pieces), ""]

    def at_the_end(pieces: list[bytes]) -> list[str]:
        return [""] * len(pieces) + [b"".join(pieces).decode(errors="replace")]

    def again(pieces: list[bytes]) -> list[str]:
        wholes = [right(pieces[: n + 1])[:-1] for n in range(len(pieces))]
        return [*("".join(whole) for whole in wholes), right(pieces)[-1]]

    hen, key = "🐔".encode(), "ä".encode()
    return check(
        fn,
        cases=[
            ([b"the", b" hen"],),
            ([b"niit", key[:1], key[1:], b"!"],),
            ([b"a ", hen[:1], hen[1:3], hen[3:] + b" and", b" another"],),
            ([b"cut off: ", hen[:2]],),
        ],
        right=right,
        wrongs=[
            Wrong(
                "a text may end in mid-character, since a model may stop anywhere: what is left "
                "then has to be shown, as U+FFFD",
                lambda pieces: [*right(pieces)[:-1], ""],
            ),
            Wrong(
                "a character whose bytes lie in two tokens became two question marks: keep bytes "
                "that end in mid-character until the rest has come",
                each("replace"),
            ),
            Wrong(
                "a character whose bytes lie in two tokens has vanished: errors='ignore' throws "
                "each half away; keep them until the rest has come",
                each("ignore"),
            ),
            Wrong(
                "you read each byte as a character of its own, which is what Latin-1 does: the "
                "bytes are UTF-8",
                each("strict", "latin-1"),
            ),
            Wrong(
                "all of it comes at the end: that is decode, and no stream; hand out what is whole "
                "after each token",
                at_the_end,
            ),
            Wrong(
                "each entry repeats what was shown before: return only what the token adds",
                again,
            ),
            Wrong(
                "one text is missing at the end: after the last token comes one more, for what an "
                "unfinished character leaves, and it is empty when nothing is left",
                lambda pieces: right(pieces)[:-1],
            ),
        ],
        success="no half character is shown, and none is lost",
    )


def your_own_bpe(
    learn: Callable[[str, int], list[bytes]],
    encode: Callable[[str, list[bytes]], list[int]] | None = None,
    encode_special: Callable[[str, list[bytes], list[str]], list[int]] | None = None,
) -> Result:
    """The lab: judge what has been built so far; answer with the last of it or the first fault.

    Args:
        learn: (text, vocab_size) to pieces, as `BPETokenizer.train` makes them.
        encode: (text, pieces) to ids.
        encode_special: (text, pieces, special tokens) to ids.
    """
    found = own.judge_learn(learn)
    if found and encode is not None:
        found = own.judge_encode(encode)
    if found and encode_special is not None:
        found = own.judge_special(encode_special)
    return found
