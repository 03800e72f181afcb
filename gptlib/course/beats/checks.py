"""Chapter 9's exercises on its data: the longest run of words that two texts share.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

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
