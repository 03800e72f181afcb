"""A novel cut into chapters and chunks: at ends of paragraphs, and without losing a word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.beats import Chapter, chapters_of, chunks_of, cut
from gptlib.errors import ConfigError, DataError

WORD = st.sampled_from(["Ada", "rang", "the", "bell.", "No", '"Yes."', "hen,", "and", "so?"])
PARAGRAPH = st.lists(WORD, min_size=1, max_size=40).map(" ".join)
PARAGRAPHS = st.lists(PARAGRAPH, min_size=1, max_size=12)


def words(texts) -> list[str]:
    return " ".join(texts).split()


@given(paragraphs=PARAGRAPHS, most=st.integers(1, 50))
def test_no_word_is_lost_and_no_chunk_is_too_long(paragraphs, most):
    chunks = cut(paragraphs, most)
    assert words(chunks) == words(paragraphs)
    assert all(1 <= len(chunk.split()) <= most for chunk in chunks)


@given(paragraphs=PARAGRAPHS, most=st.integers(1, 50))
def test_a_paragraph_is_cut_only_where_it_alone_is_too_long(paragraphs, most):
    parts = [part for chunk in cut(paragraphs, most) for part in chunk.split("\n\n")]
    for paragraph in paragraphs:
        if len(paragraph.split()) <= most:
            assert paragraph in parts
            parts.remove(paragraph)


@given(paragraphs=PARAGRAPHS, most=st.integers(40, 60))
def test_there_is_no_way_with_fewer_chunks(paragraphs, most):
    greedy, held = 0, most
    for paragraph in paragraphs:  # filling up is optimal for their number
        size = len(paragraph.split())
        greedy, held = (greedy, held + size) if held + size <= most else (greedy + 1, size)
    assert len(cut(paragraphs, most)) == greedy


def test_chunks_are_even():
    """Filled up from the front, the last would have ten words."""
    assert sorted(len(chunk.split()) for chunk in cut(["a " * 10] * 11, 50)) == [30, 40, 40]


def test_a_long_paragraph_is_cut_where_a_sentence_ends():
    assert cut(["One two three. Four five. Six."], 4) == ["One two three.", "Four five. Six."]
    assert cut(["One two three four five"], 2) == ["One two", "three four", "five"]
    assert cut([], 10) == []
    with pytest.raises(ConfigError, match="chunk of 0 words"):
        cut(["a"], 0)


NOVEL = """For my aunt.

CHAPTER I. The Bell

The bell rang once, and everybody who was awake by then looked at
the clock, which had stopped.

It rang again.

Part Two

CHAPTER II

A verse
of two lines

III.

The end.
"""


def test_chapters_are_found_by_their_headings():
    chapters = chapters_of(NOVEL)
    assert [(c.name, c.line) for c in chapters] == [
        ("opening", 1), ("CHAPTER I. The Bell", 3), ("Part Two CHAPTER II", 12), ("III.", 17)
    ]  # fmt: skip
    assert chapters[1].paragraphs == (
        "The bell rang once, and everybody who was awake by then looked at the clock, which had "
        "stopped.",
        "It rang again.",
    )
    assert chapters[2].paragraphs == ("A verse\nof two lines",), "verse keeps its lines"
    told = [c.name for c in chapters[1:]] + [p for c in chapters for p in c.paragraphs]
    assert sorted(words(told)) == sorted(NOVEL.split())


@pytest.mark.parametrize(
    "line",
    ["Chapter 1", "CHAPTER ONE", "Chapter the First: Rain", "# Rain", "Chapter 12 · Rain", "XIV",
     "7.", "Prologue", "Epilogue."],
)  # fmt: skip
def test_what_a_heading_looks_like(line):
    assert chapters_of(f"{line}\n\nRain fell.")[0].paragraphs == ("Rain fell.",)


@pytest.mark.parametrize("line", ["Chapters are long.", "I am here.", "IT RAINED", "#rain", "1984"])
def test_what_is_no_heading(line):
    with pytest.raises(DataError, match="none of 3 lines begins a chapter"):
        chapters_of(f"{line}\n\nRain fell.")


def test_other_headings_and_other_files():
    assert [c.name for c in chapters_of("Scene 1\nA.\nB.\nScene 2\nC.", r"Scene \d")] == [
        "Scene 1",
        "Scene 2",
    ]
    assert chapters_of("I\r\nOne line.\r\nAnother.")[0].paragraphs == ("One line.", "Another.")
    names = [chapter.name for chapter in chapters_of("I\n\na\n\nII\n\nb\n\nI\n\nc")]
    assert names == ["I", "II", "I (2)"], "two parts may number their chapters alike"
    with pytest.raises(ConfigError, match="no regular expression"):
        chapters_of("I\n\na", "(")


def test_a_table_of_contents_is_named_by_its_line():
    with pytest.raises(DataError, match=r"line 2: the chapter 'I\.' has no text.*contents"):
        chapters_of("\nI.\nII.\n\nI.\n\nRain.\n\nII.\n\nSnow.")


def test_chunks_know_where_they_come_from():
    chunks = chunks_of([Chapter("A", ("a b", "c d"), 1), Chapter("B", ("e",), 5)], 3)
    assert [(c.chapter, c.number, c.text) for c in chunks] == [
        ("A", 1, "a b"),
        ("A", 2, "c d"),
        ("B", 1, "e"),
    ]
