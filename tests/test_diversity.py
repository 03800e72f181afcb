"""Diversity: each measure against counting by hand, and BLEU against sacrebleu's own."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sacrebleu import sentence_bleu

from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.diversity import (
    copied_share,
    distinct_n,
    longest_shared_run,
    longest_shared_runs,
    self_bleu,
    sentences,
    words,
)

LETTERS = st.lists(st.sampled_from("abc"), max_size=14)
STORIES = ["Ada had a bell and no goat.", "Otto had a goat and no sleep.", "Ada rang the bell."]


def stretches(text: list, n: int) -> list[tuple]:
    return [tuple(text[i : i + n]) for i in range(len(text) - n + 1)]


def by_hand(text: list, documents: list[list]) -> tuple[tuple, int]:
    """The first of the longest stretches that some document has."""
    for n in range(len(text), 0, -1):
        known = {run for document in documents for run in stretches(document, n)}
        for start, run in enumerate(stretches(text, n)):
            if run in known:
                return run, start
    return (), 0


@given(texts=st.lists(LETTERS, min_size=1, max_size=4), documents=st.lists(LETTERS, max_size=4))
def test_the_longest_shared_run_is_the_one_found_by_hand(texts, documents):
    """All texts at once, though they share one automaton."""
    assert longest_shared_runs(texts, documents) == [by_hand(t, documents) for t in texts]


@given(text=LETTERS, document=LETTERS)
def test_a_text_alone_finds_the_same(text, document):
    run = longest_shared_run(text, iter([document]))
    assert run == by_hand(text, [document]) and run.length == len(run.words)


def test_runs_are_of_words_and_end_where_a_document_does():
    text, training = "Ada had a bell; Otto had no bell.", "Otto had a bell."
    assert longest_shared_run(text, training) == (("had", "a", "bell"), 1)
    assert longest_shared_run(text, ["She had a", "bell; Otto"]).words == ("bell", ";", "Otto")
    assert longest_shared_run(text, training.split()).length == 2  # "bell." is another word
    assert longest_shared_run([5, 7, 9], [[7, 9, 5, 7]]) == ((5, 7), 0)


@given(texts=st.lists(LETTERS, max_size=5), n=st.integers(1, 4), most=st.integers(1, 20))
def test_distinct_counts_runs_within_texts(texts, n, most):
    runs = [run for text in texts for run in stretches(text, n)]
    if not runs:
        with pytest.raises(DataError, match=f"has {n} words"):
            distinct_n(texts, n)
    else:
        assert distinct_n(texts, n) == len(set(runs)) / len(runs)
        assert distinct_n(texts, n, most) == len(set(runs[:most])) / len(runs[:most])


def test_distinct_takes_marks_of_punctuation_for_words():
    assert words("I don't, Ada.") == ["I", "don't", ",", "Ada", "."]
    assert distinct_n(["a b. a b."], 2) == 3 / 5


@pytest.mark.parametrize("numbers", [(0, None), (2, 0)])
def test_distinct_refuses_what_counts_nothing(numbers):
    with pytest.raises(ConfigError, match="give whole numbers"):
        distinct_n(STORIES, *numbers)


def test_self_bleu_is_the_mean_of_sacrebleu_s():
    others = [[b for b in STORIES if b != a] for a in STORIES]
    theirs = [sentence_bleu(a, rest).score for a, rest in zip(STORIES, others, strict=True)]
    assert self_bleu(STORIES) == pytest.approx(sum(theirs) / 3)
    assert 0 < self_bleu(STORIES) < self_bleu([*STORIES, STORIES[0]])
    assert self_bleu([STORIES[0]] * 3) == pytest.approx(100)


def test_self_bleu_needs_two_texts_and_the_library(monkeypatch):
    for texts in (STORIES[:1], ["Ada.", " "]):
        with pytest.raises(DataError, match=f"there are {len(texts)} texts"):
            self_bleu(texts)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ConfigError, match="pip install sacrebleu"):
        self_bleu(STORIES)


def test_copies_are_counted_whole_and_by_the_sentence():
    training = ["Ada had a bell. She rang it.\n", 'Otto slept. "No," said Otto.']
    texts = ["Ada had a bell. She rang it.", 'Ada had a bell.\n"No," said Otto. He woke.']
    assert sentences(texts[1]) == ["Ada had a bell.", '"No," said Otto.', "He woke."]
    assert copied_share(texts, iter(training)) == {"texts": 0.5, "sentences": 4 / 5}
    with pytest.raises(DataError, match="no sentence in 1 texts"):
        copied_share([" "], training)
