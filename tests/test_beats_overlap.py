"""What counts words where no grammar reads: overlap with a beat, and SQuALITY's summaries."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from gptlib.beats import covered, overlap, squality_pairs, story_pairs, told
from gptlib.beats.overlap import content
from gptlib.beats.squality import align
from gptlib.errors import ConfigError, DataError
from gptlib.stories.kinds import storybook


def test_overlap_is_a_share_of_the_beat_s_words_in_two_sentences():
    prose = "It rained. The hen walked to the well. Otto had seen it."
    assert overlap(["A hen walks to the well."], prose) == [1.0]
    assert overlap(["Otto sees a hen."], prose) == [pytest.approx(2 / 3)], "saw and sees differ"
    assert overlap(["Rain falls, and Otto sings."], prose) == [0.25], "they stand too far apart"
    assert overlap(["Mei laughs."], "") == [0.0]
    assert content("The hens walked, walking") == {"hen", "walk"}
    with pytest.raises(DataError, match="'And so.' has no word"):
        overlap(["And so."], prose)


def test_how_good_counting_words_is_where_the_truth_is_known():
    """As its docstring says: three times in four it prefers the text that tells the beat."""
    rng, with_it, without = random.Random(5), [], []
    for pair in story_pairs(60, seed=5):
        beat = rng.choice(told(pair.prose))
        end = max(match.end for match in storybook().read(pair.prose, beat.start))
        cut = pair.prose[: beat.start] + pair.prose[end:].lstrip()
        assert covered([beat.text], pair.prose) == [True] != covered([beat.text], cut)
        with_it += overlap([beat.text], pair.prose)
        without += overlap([beat.text], cut)
    area = roc_auc_score([1] * 60 + [0] * 60, with_it + without)
    assert 0.65 < area < 0.85


SENTENCES = ["Ada found a bell.", "A pike bit Otto.", "The bridge fell down."]


def test_sentences_are_put_where_their_words_stand():
    chunks = ["Ada Ada bell bell", "nothing of it", "pike and Otto", "bridge down bridge"]
    assert align(SENTENCES, chunks) == [0, 2, 3]
    assert align(SENTENCES[::-1], chunks) != [3, 2, 0], "a summary tells in order"
    for told_, texts in (([], chunks), (SENTENCES, []), (["the"], ["of"])):
        with pytest.raises(DataError):
            align(told_, texts)


@given(
    sentences=st.lists(st.text("abc ", min_size=1, max_size=9).map("x".join), min_size=1,
                       max_size=5),
    chunks=st.lists(st.text("abc ", max_size=9).map(lambda t: f"word {t}"), min_size=1, max_size=5),
)  # fmt: skip
def test_places_never_go_back(sentences, chunks):
    places = align([f"word {text}" for text in sentences], chunks)
    assert len(places) == len(sentences) and places == sorted(places)
    assert 0 <= places[0] and places[-1] < len(chunks)


def story(**changes) -> dict:
    document = "Produced by X at http://www.pgdp.net\nAda found\na bell.\n\nThe pike bit Otto.\n \n"
    return {
        "metadata": {"passage_id": "61263"},
        "document": document + "Then the bridge fell.\n[Transcriber's Note: by\n\nX.]\n",
        "questions": [
            {"question_text": "What is the plot of the story?",
             "responses": [{"response_text": " ".join(SENTENCES[::2])}] * 4},
        ],
    } | changes  # fmt: skip


def test_summaries_become_pairs(tmp_path, monkeypatch):
    path = tmp_path / "squality" / "train.jsonl"
    with pytest.raises(DataError, match=r"train\.jsonl is not there.*GPTLIB_DATA"):
        squality_pairs(path)
    path.parent.mkdir()
    path.write_text(json.dumps(story()) + "\n" + json.dumps(story()) + "\n")
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path))
    pairs = squality_pairs(most=4, stories=1)
    assert [(p.beats, p.prose, p.where) for p in pairs] == [
        ((SENTENCES[0],), "Ada found a bell.", "61263, chunk 1"),
        ((SENTENCES[2],), "Then the bridge fell.", "61263, chunk 3"),
    ]
    path.write_text(json.dumps(story()) + "\n" + json.dumps(story(questions=[])) + "\n")
    with pytest.raises(DataError, match=r"line 2 of train\.jsonl is no story of SQuALITY"):
        squality_pairs(path)
    with pytest.raises(ConfigError, match="summary is 4"):
        squality_pairs(path, summary=4)
