"""The records of chapter 9: each runs small, on texts and a model that tests have."""

import json

import pytest
from small_llama import small_base

from gptlib.beats import Pair, covered
from gptlib.course.beats import leak, novel, plots, qlora, qlora_scenes
from gptlib.course.recorded import RECIPES
from gptlib.course.records import read_record, save_record


def test_chunks_that_are_dealt_one_by_one_know_more_names():
    people = "Ada Otto Mei Tove Rosa Emil Ivo Noor Olaf Wanda".split()
    pairs = [
        Pair(("x",), f"Nobody but {who} came.", f"Of {who}", n) for who in people for n in (1, 2, 3)
    ]
    found = leak.names_known(pairs, seeds=3)
    assert found["chunks"] == 30 and found["stories"] == 10
    assert found["chunk"]["mean"] > 0.8 and found["story"]["mean"] == 0


def test_an_author_is_found_by_words_that_nobody_thinks_about():
    books = {"Ada": "the hen and the the of she".split(), "Otto": "of and of a the and of".split()}
    known = {name: words * 60 for name, words in books.items()}
    (found,) = leak.authors_found(known, known, {35: 4}, long=70)
    assert found == {"words": 35, "right": 8, "pieces": 8}


def test_a_first_scene_tells_its_beats():
    scenes = qlora_scenes.first_scenes(30, seed=1)
    assert len({scene.prose for scene in scenes}) == 30
    assert all("\n" not in scene.prose and scene.beats for scene in scenes)
    told = [beat for scene in scenes for beat in covered(scene.beats, scene.prose)]
    assert sum(told) > 0.9 * len(told)


def test_the_record_of_a_small_llama(tmp_path, monkeypatch):
    pairs = novel.pairs()
    monkeypatch.setattr(qlora, "novel_pairs", lambda n: (pairs[:n], pairs[-n:]))
    monkeypatch.setattr(qlora, "other_hands", lambda words: [p.prose for p in pairs])
    sizes = qlora.Sizes(
        scenes=16, held_out=4, steps=2, batch=2, novel=4, epochs=2, rates=(1e-2, 1e-3), answers=2,
        tokens=8,
    )  # fmt: skip
    record = qlora.beats_qlora(sizes, small_base(tmp_path), report=lambda line: None)
    save_record(record, tmp_path / "record")
    result = read_record(tmp_path / "record").result
    assert result["weights"]["as published"]["missed"] == 0
    assert 0.05 < result["weights"]["NF4"]["missed"] < result["weights"]["equal steps"]["missed"]
    ways = {way["way"]: way for way in result["merges"]}
    assert ways["dequantized"]["mean"] < 1e-3 < ways["4bit"]["mean"]
    assert [line["step"] for line in result["tuned"]] == [0, 1, 2]
    epochs = result["rates"][0]["epochs"]
    assert [line["epoch"] for line in epochs] == [0, 1, 2] and epochs[0]["train"] is None
    assert [side["side"] for side in result["sides"]] == ["the author", "base", "tuned"]
    assert result["sides"][0]["covered"] > 0
    assert "held out" in repr(plots.by_rate(result["rates"]))
    assert json.dumps(record.samples)


@pytest.mark.parametrize("name", ["beats-leak", "beats-qlora", "story-preference"])
def test_every_record_of_the_chapter_has_a_recipe(name):
    assert RECIPES[name].startswith("beats.")
