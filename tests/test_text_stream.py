"""Text is shown as soon as it is settled, never taken back, and never lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.sampling.text_stream import until_stop
from gptlib.tokenizers import BPETokenizer, CharTokenizer


@given(
    pieces=st.lists(st.text("ab", max_size=3), max_size=8),
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
)
def test_the_text_ends_before_the_first_stop_that_is_whole(pieces, stops):
    text = "".join(pieces)
    ends = [len(text[:n]) for n in range(len(text) + 1) if any(s in text[:n] for s in stops)]
    shown = "".join(until_stop(pieces, stops))
    assert text.startswith(shown) and not any(s in shown for s in stops)
    assert shown == text if not ends else any(text[: ends[0]].endswith(s) for s in stops)


def test_what_might_begin_a_stop_waits_and_is_given_in_the_end():
    pieces = ["The fox", " sat.", " T", "he e", "nd", "?", " a T"]
    assert list(until_stop(pieces, ["The end."])) == [
        "The fox", " sat.", " ", "The end?", " a ", "T"
    ]  # fmt: skip
    assert "".join(until_stop(["a T", "he en", "d. More"], ["The end.", "x"])) == "a "


def test_the_work_at_each_piece_does_not_grow():
    """Every character is handed on at once, so that nothing piles up to be searched again."""
    seen = 0
    for n, piece in enumerate(until_stop("ab" * 5000, ["abc"]), 1):
        assert len(piece) <= 3
        seen += len(piece)
        assert seen >= n
    assert seen == 10_000


@pytest.fixture(scope="module")
def bpe():
    return BPETokenizer.train("the snowman ☃ 💩 ß the snow " * 20, 280, ["<|endoftext|>"])


@given(data=st.data())
def test_decoded_each_on_its_own_is_decoded_together(bpe, data):
    ids = data.draw(st.lists(st.integers(0, bpe.vocab_size - 1), max_size=12))
    assert "".join(bpe.decode_each(ids)) == bpe.decode(ids)
    text = data.draw(st.text("☃💩ß the", max_size=12))
    for tokenizer in (bpe, CharTokenizer("☃💩ß the")):
        pieces = list(tokenizer.decode_each(tokenizer.encode(text)))
        assert "".join(pieces) == text and "\N{REPLACEMENT CHARACTER}" not in pieces
