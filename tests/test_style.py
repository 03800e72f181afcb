"""What can be counted of a style: distance to an author, telling, repetition, votes' sign test."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import burrows_delta, repetition, sign_test, telling
from gptlib.evaluation.telling import FILTERS, NO_ADVERBS, is_adverb


def by(author: dict[str, float], n: int, seed: int) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choices(list(author), list(author.values()), k=n))


ADA = {"the": 9, "and": 5, "she": 4, "of": 2, "hen": 1}
OTTO = {"the": 6, "and": 6, "she": 1, "of": 6, "hen": 1}


def test_delta_is_what_the_definition_says():
    reference = ["a a b c", "a b b c", "a b c c"]
    counts = np.array([[2, 1, 1], [1, 2, 1], [1, 1, 2]]) / 4
    z = lambda rows: (np.array(rows) - counts.mean(0)) / counts.std(0)  # noqa: E731
    center = z([[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]).mean(0)
    expected = np.abs(z([[0.2, 0.2, 0.6]]) - center).mean()
    (got,) = burrows_delta(["C, c! c\nA 'b'"], ["a b a c", "b a b c"], reference)
    assert got == pytest.approx(expected)
    assert burrows_delta(["a b a c b a b c"], ["a b a c", "b a b c"], reference) == [
        pytest.approx(0, abs=1e-12)
    ]


def test_the_own_author_is_nearer_and_longer_texts_know_it_better():
    reference = [by(who, 2000, seed) for who in (ADA, OTTO) for seed in range(5)]
    ada = [by(ADA, 2000, seed) for seed in range(20, 25)]
    for n, least in ((50, 0.5), (2000, 1.0)):
        own = burrows_delta([by(ADA, n, seed) for seed in range(40, 60)], ada, reference)
        other = burrows_delta([by(OTTO, n, seed) for seed in range(40, 60)], ada, reference)
        assert np.mean([a < b for a, b in zip(own, other, strict=True)]) >= least
    assert max(own) < min(other)


def test_delta_looks_at_frequent_words_and_at_those_that_vary():
    reference, author = ["a a a b", "a a b b", "a b b b"], ["a b"]
    assert burrows_delta(["a b rare rare"], author, [f"{r} x" for r in reference], words=2)
    with pytest.raises(DataError, match="all alike"):
        burrows_delta(["a"], author, ["a b", "b a"])
    for given_, reason in (
        (([], author, reference), "0 texts, 1 of the author's and 3"),
        ((["a"], [], reference), "0 of the author's"),
        ((["a"], author, ["a"]), "1 of reference"),
        ((["a", "?"], author, reference), "the text number 2 has no words"),
        ((["a"], author, ["...", "!"]), "of reference have no words"),
    ):
        with pytest.raises(DataError, match=reason):
            burrows_delta(*given_)
    with pytest.raises(ConfigError, match="0 frequent words"):
        burrows_delta(["a"], author, reference, words=0)


def test_what_counts_as_telling():
    found = telling(
        ["She saw that it rained heavily. “I knew it, really,” he said.", "He felt it."]
    )
    assert found.words == 15
    assert found.dialogue == pytest.approx(4 / 15)
    assert found.filters == pytest.approx(2000 / 11), "saw and felt; what is spoken is free"
    assert found.adverbs == pytest.approx(1000 / 11)
    assert telling(['"Only speech', 'goes on."']).dialogue == pytest.approx(2 / 4)
    assert telling(["Nothing here."]).dialogue == 0
    with pytest.raises(DataError, match="no word in 1 texts"):
        telling(["…"])


def test_a_quotation_without_its_end_ends_with_the_line():
    assert telling(["“One two.\n“Three four,” five."]).dialogue == pytest.approx(4 / 5)


def test_what_ends_in_ly_and_is_no_adverb():
    assert is_adverb("suddenly") and is_adverb("happily")
    assert not any(map(is_adverb, ["only", "family", "fly", "fast", "silly"]))
    assert all(word.endswith(("ly", "lies")) or word in ("flies",) for word in NO_ADVERBS)
    assert not {word for word in FILTERS if word != word.lower()}


def test_repetition_is_of_a_text_by_itself():
    assert repetition(["a b c d"]) == 0 and repetition(["a b a b a b a b"], 2) == pytest.approx(
        5 / 7
    )
    assert repetition(["a b c d", "a b c d"]) == 0, "two texts may say the same"
    assert repetition(["a", "a b c a b c a b c"]) == pytest.approx((0 + 4 / 7) / 2)
    assert repetition([[1, 1, 1, 1]], 1) == 0.75
    with pytest.raises(DataError, match="0 texts"):
        repetition([])
    with pytest.raises(ConfigError, match="n is 0"):
        repetition(["a"], 0)


@given(wins=st.integers(0, 60), losses=st.integers(0, 60))
def test_the_sign_test_is_scipy_s(wins, losses):
    n = wins + losses
    expected = binomtest(wins, n).pvalue if n else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, abs=1e-12)


def test_counts_are_counts():
    with pytest.raises(DataError, match="-1 wins"):
        sign_test(-1, 3)
