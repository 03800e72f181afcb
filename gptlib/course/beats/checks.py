"""Chapter 9's exercises on its data: a split by chapter, a run of words on both sides, a chat form.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gptlib.course.beats.chat_form import BEGIN, HEAD, HEAD_END, TURN_END, encode, written
from gptlib.course.checking import Result, Wrong, check

_LETTER = "Dear Vane the bridge will be done before the snow".split()


def longest_run(fn: Callable[[list[str], list[str]], list[str]]) -> Result:
    """Check `fn(test, train)`: two lists of words, to the longest run of words, in a row, that both
    have, as `test` has it; of several the first, of none []. Capital letters do not count."""

    def right(test: list[str], train: list[str]) -> list[str]:
        return _longest(_low(test), _low(train), test)

    cases = [
        (["he", "read", *_LETTER, "aloud"], ["it", "said", *_LETTER[:8], "and", "more"]),
        (["So", "The", "ferry", "came"], ["the", "bell", "rang", "so", "the", "ferry", "went"]),
        (["the", "bell", "and", "then", "a", "pike"], ["a", "pike", "the", "old", "bell"]),
        (["snow"], ["ice", "water"]),
        (["bell", "the", "pike", "saw", "it"], ["the", "old", "pike", "then", "saw", "bell"]),
        (["a", "map", "of", "it"], ["of", "a", "map", "x", "map", "of", "it"]),
    ]
    return check(
        fn,
        cases=cases,
        right=right,
        wrongs=[
            Wrong(
                "the words that both texts have, in a row or not: two pages about one ferry share "
                "“ferry” and leak nothing; a run is words one after the other",
                lambda test, train: [word for word in test if word.lower() in _low(train)],
            ),
            Wrong(
                "the longest common subsequence, which may leave words out in between; a run may "
                "not",
                when=lambda got, test, train: (
                    len(got) >= len(right(test, train))
                    and _within(got, test)
                    and _within(_low(got), _low(train))
                ),
            ),
            Wrong(
                "only words at the same place of both texts were compared: what was copied stands "
                "anywhere, so try each place of one against each of the other",
                lambda test, train: _aligned(test, train),
            ),
            Wrong(
                "the first run that was found, not the longest: go on after it",
                lambda test, train: _first(test, train),
            ),
            Wrong(
                "“The” and “the” were taken for two words: compare them without capitals",
                lambda test, train: _longest(test, train, test),
            ),
            Wrong(
                "the words are right and in small letters: return them as `test` has them",
                lambda test, train: _low(right(test, train)),
            ),
        ],
        success="the longest run that two texts share, wherever it stands in either",
    )


def hold_out(fn: Callable[[list[str], int], list[bool]]) -> Result:
    """Check `fn(chapters, n)`: the chapter of each chunk, to whether the chunk is held out, if the
    last n chapters are, in the order in which they first appear."""

    def right(chapters: list[str], n: int) -> list[bool]:
        held = list(dict.fromkeys(chapters))[-n:]
        return [chapter in held for chapter in chapters]

    def from_there_on(chapters: list[str], n: int) -> list[bool]:
        first = right(chapters, n).index(True)
        return [place >= first for place in range(len(chapters))]

    return check(
        fn,
        cases=[
            (["bell", "bell", "raft", "raft", "snow", "snow"], 1),
            (["bell", "raft", "bell", "snow", "raft", "snow", "bell", "mill", "raft"], 2),
            (["snow", "snow", "bell", "ash", "bell", "ash", "ash", "snow"], 1),
            (["chapter 9", "chapter 9", "chapter 10", "chapter 11", "chapter 10", "chapter 9"], 2),
        ],
        right=right,
        wrongs=[
            Wrong(
                "so many chunks were held out, and not so many chapters: their neighbors stay in "
                "training and tell about them",
                lambda chapters, n: [p >= len(chapters) - n for p in range(len(chapters))],
            ),
            Wrong(
                "all chunks from the first held-out one on were held out: those of other chapters, "
                "which stand between them, belong to training",
                from_there_on,
            ),
            Wrong(
                "these are the first chapters, not the last",
                lambda chapters, n: [c in list(dict.fromkeys(chapters))[:n] for c in chapters],
            ),
            Wrong(
                "True and False have changed places: True is what is held out",
                lambda chapters, n: [not held for held in right(chapters, n)],
            ),
            Wrong(
                "the chapters were put in the order of their names: “chapter 10” sorts before "
                "“chapter 9”; take them as they appear",
                lambda chapters, n: [c in sorted(set(chapters))[-n:] for c in chapters],
            ),
            Wrong(
                "a chapter was placed by its last chunk: it appears where its first one stands",
                lambda chapters, n: [
                    c in list(dict.fromkeys(chapters[::-1]))[:n] for c in chapters
                ],
            ),
            Wrong(
                "those are the places of held-out chunks; give True or False for every chunk",
                lambda chapters, n: [p for p, held in enumerate(right(chapters, n)) if held],
            ),
        ],
        success="a chapter stands on one side, wherever its chunks lie in the file",
    )


def asked(fn: Callable[[list[dict], Callable], list]) -> Result:
    """Check `fn(messages, encode)`: a conversation that ends with a question, to the pieces that
    Llama 3.1 reads before it answers."""

    def turns(messages: list[dict]) -> str:
        return "".join(written(m["role"], m["content"]) for m in messages)

    head = f"{HEAD}assistant{HEAD_END}\n\n"
    system, user = (
        {"role": "system", "content": "Write the scene."},
        {"role": "user", "content": "- A woman brings a piano.\n- The ferry is too small."},
    )
    before = {"role": "assistant", "content": "It rang."}
    return check(
        fn,
        cases=[([user], encode), ([system, user], encode), ([system, user, before, user], encode)],
        right=lambda messages, encode: encode(turns(messages) + head),
        wrongs=[
            Wrong(
                "there are two begins: `encode` writes one of its own; leave yours out, or say "
                "special=False",
                lambda messages, encode: encode(BEGIN + turns(messages) + head),
            ),
            Wrong(
                "the begin is missing: Llama has never read a text without it",
                lambda messages, encode: encode(turns(messages) + head, special=False),
            ),
            Wrong(
                "there is a begin before every turn: it begins the text, once",
                lambda messages, encode: [
                    piece for m in messages for piece in encode(written(m["role"], m["content"]))
                ] + encode(head, special=False),
            ),
            Wrong(
                "the generation prompt is missing: the header of the assistant's turn says whose "
                "turn it is; without it the model may well write another beat",
                lambda messages, encode: encode(turns(messages)),
            ),
            Wrong(
                "the assistant's turn was closed before it was written: no end of turn stands "
                "behind the last header",
                lambda messages, encode: encode(turns(messages) + head + TURN_END),
            ),
            Wrong(
                "the blank line behind the last header is missing: the model would have to write "
                "it, and in training it never did",
                lambda messages, encode: encode(turns(messages) + head.rstrip()),
            ),
            Wrong(
                "no turn was ended: each message is followed by its mark",
                lambda messages, encode: encode(turns(messages).replace(TURN_END, "") + head),
            ),
            Wrong(
                "only the last message was written: the system's turn comes first, and what was "
                "said before",
                lambda messages, encode: encode(turns(messages[-1:]) + head),
            ),
        ],
        success="one begin, every turn closed but the one that is to be written",
    )  # fmt: skip


def _low(words: Sequence[str]) -> list[str]:
    return [word.lower() for word in words]


def _run(a: Sequence[str], i: int, b: Sequence[str], j: int) -> int:
    """How many words agree from these places on."""
    n = 0
    while i + n < len(a) and j + n < len(b) and a[i + n] == b[j + n]:
        n += 1
    return n


def _longest(a: Sequence[str], b: Sequence[str], shown: Sequence[str]) -> list[str]:
    runs = [(_run(a, i, b, j), -i) for i in range(len(a)) for j in range(len(b))]
    length, start = max(runs, default=(0, 0))
    return list(shown[-start : -start + length])


def _first(test: list[str], train: list[str]) -> list[str]:
    a, b = _low(test), _low(train)
    runs = ((_run(a, i, b, j), i) for i in range(len(a)) for j in range(len(b)))
    length, start = next(((n, i) for n, i in runs if n), (0, 0))
    return test[start : start + length]


def _aligned(test: list[str], train: list[str]) -> list[str]:
    a, b = _low(test), _low(train)
    runs = [(_run(a, i, b, i), -i) for i in range(min(len(a), len(b)))]
    length, start = max(runs, default=(0, 0))
    return test[-start : -start + length]


def _within(words: Sequence[str], text: Sequence[str]) -> bool:
    """Whether a text has these words in this order, with others between them or not."""
    rest = iter(text)
    return all(word in rest for word in words)
