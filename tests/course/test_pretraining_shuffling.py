"""What the recipe of unshuffled shards cuts and measures."""

import json

import pytest

from gptlib.course.pretraining.shuffling import LONGEST, documents, pieces, rises
from gptlib.course.recipes import RECIPES
from gptlib.errors import DataError


def test_a_rise_is_the_mean_after_a_border_less_that_before():
    losses = [3.0] * 10 + [9.0] + [4.0] * 9  # the step with the border in it counts for neither
    assert rises(losses, [10], width=3) == [pytest.approx(1.0)]
    assert rises([2.0] * 30, [10, 20]) == [0.0, 0.0]


def test_pieces_end_with_a_paragraph_and_lose_nothing():
    text = "\n\n".join(f"{i} " + "word " * (i % 300) for i in range(200))
    cut = list(pieces(text))
    assert "\n\n".join(cut) == text.strip() and len(cut) > 10
    assert all(len(piece) <= LONGEST for piece in cut)


def test_a_block_is_the_beginning_of_its_file(tmp_path):
    path = tmp_path / "books.jsonl"
    lines = [{"id": f"{book}/{i}", "text": f"{book} {i} " * 20} for i in range(30) for book in "ab"]
    path.write_text("\n".join(map(json.dumps, lines)))
    block = list(documents(path, "b", 1000))
    assert all(text.startswith("b ") for text in block)
    assert 1000 <= sum(map(len, block)) < 1000 + len(block[-1])
    with pytest.raises(DataError, match=r"fewer than the 100,000 of a block"):
        list(documents(path, "b", 100_000))
    with pytest.raises(DataError, match=r"put one in GPTLIB_DATA as .*/none.txt"):
        list(documents(tmp_path / "none.txt", "", 10))


def test_the_recipe_has_its_name():
    assert RECIPES["shuffled-shards"] == "pretraining.shuffling:shuffled_shards"
