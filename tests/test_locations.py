"""Places of the reader's own: blocks of `<LOC>`, the rooms of LIGHT, and what is malformed."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib import load_corpus
from gptlib.corpora.locations import (
    deal,
    mark_location,
    read_locations,
    read_rooms,
    tokens_of,
    write_locations,
)
from gptlib.corpora.titled import MARK
from gptlib.errors import DataError
from gptlib.shards.sources import open_source

CAVE = "<LOC>\nIt drips.\n\nIt has always dripped.\n</LOC>"
MUG = "<LOC><|tavern|>\nThe Broken Mug\nA low room.\n</LOC>"
ROOM = {"category": "Inside Church", "name": "The rectory", "description": "It is small.", "id": 1}


def file(folder, text, name="a.txt"):
    path = folder / name
    path.write_text(text if isinstance(text, str) else json.dumps(text), "utf8")
    return path


def test_a_text_with_blocks_is_a_corpus_of_documents(tmp_path):
    corpus = load_corpus(file(tmp_path, f"{CAVE}\n\n{MUG}\n"))
    assert (corpus.train_documents, corpus.val_documents) == ((CAVE,), (MUG,))
    assert corpus.text == f"{CAVE}\n\n{MUG}\n\n"
    assert corpus.marks == ("<LOC>", "</LOC>", "<|tavern|>")
    assert corpus.entropy is None and corpus.val_floor is None


def test_space_around_the_marks_does_not_count(tmp_path):
    path = file(
        tmp_path,
        "\n <LOC> It drips.\r\n\r\nIt has always dripped. </LOC>\n\n\n"
        "<LOC>\n<|tavern|> \nThe Broken Mug\nA low room.</LOC>",
    )
    assert read_locations(path) == [CAVE, MUG]


def test_the_corpus_of_places_reads_as_it_was_written(tmp_path):
    places = load_corpus("places", size=12_000)
    again = load_corpus(file(tmp_path, places.text))
    assert sorted(again.train_documents + again.val_documents) == sorted(
        places.train_documents + places.val_documents
    )
    assert set(again.marks) <= set(places.marks)
    assert again.separator == places.separator


def test_a_plain_text_that_speaks_of_a_mark_stays_one(tmp_path):
    corpus = load_corpus(file(tmp_path, "A place begins with <LOC> and ends.\n" * 10))
    assert corpus.train_documents == () and corpus.marks == ()


MALFORMED = {
    "no end": ("<LOC>\nA\n\n" + CAVE, r"a\.txt, line 1: no </LOC> before the next <LOC>"),
    "no last end": (CAVE + "\n<LOC>And", r"line 6: no </LOC> before the next <LOC> or the end"),
    "no start": ("It drips.</LOC>\n" + CAVE, r"line 1: text before the first <LOC>"),
    "no start between": (CAVE + "\n\nIt drips.</LOC>", r"line 7: text after </LOC>, and no <LOC>"),
    "no text": (CAVE + "\n<LOC>\n \n</LOC>", r"line 6: no text between <LOC> and </LOC>"),
    "only a theme": ("<LOC><|tavern|>\n</LOC>", "line 1: no text between"),
    "a mark inside": (
        "<LOC>It <|end|> drips.</LOC>",
        r"line 1: the mark <\|end\|> inside the text",
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_block_is_named_by_line_and_what_is_missing(tmp_path, case):
    text, message = MALFORMED[case]
    with pytest.raises(DataError, match=message):
        load_corpus(file(tmp_path, text))


def test_many_malformed_blocks_are_counted(tmp_path):
    text = CAVE + "\n" + "<LOC>\n</LOC>\n" * 9
    with pytest.raises(DataError, match=r"malformed places: .*line 6: .*; and 6 more of 10"):
        load_corpus(file(tmp_path, text))


def test_what_has_no_places_or_too_few(tmp_path):
    with pytest.raises(DataError, match=r"a\.txt has no places in it"):
        read_locations(file(tmp_path, "\n"))
    with pytest.raises(DataError, match="leaves 0 places to train on and 1 to validate on"):
        load_corpus(file(tmp_path, CAVE))


def test_size_takes_whole_places_of_both_parts(tmp_path):
    path = file(tmp_path, "".join(mark_location("x" * 40) + "\n" for _ in range(100)))
    whole = load_corpus(path)
    half = load_corpus(path, size=len(whole.text) // 2)
    assert (len(half.train_documents), len(half.val_documents)) == (45, 5)
    with pytest.raises(DataError, match=r"size is 9,000, but a\.txt has 5,500 characters"):
        load_corpus(path, size=9000)


def test_shards_take_the_documents_of_a_file_of_places(tmp_path):
    source = open_source(file(tmp_path, f"{CAVE}\n\n{MUG}"))
    assert [document.text for document in source.documents()] == [CAVE, MUG]
    assert source.ending == "\n\n"


def test_rooms_become_places_with_their_category_as_a_theme(tmp_path):
    path = file(tmp_path, [ROOM], "rooms.json")
    assert read_rooms(path) == ["<LOC>\nThe rectory\nIt is small.\n</LOC>"]
    themed = read_rooms(path, themes=True)
    assert themed == ["<LOC><|inside_church|>\nThe rectory\nIt is small.\n</LOC>"]
    assert tokens_of(themed * 2) == ["<|inside_church|>"]
    write_locations(tmp_path / "rooms.txt", themed * 3)
    assert read_locations(tmp_path / "rooms.txt") == themed * 3
    assert load_corpus(tmp_path / "rooms.txt").marks[-1] == "<|inside_church|>"


ROOMS = {
    "no JSON": ("[", "rooms.json is not JSON"),
    "no list": ({"rooms": []}, "is JSON, but not a list of rooms"),
    "none": ([], "is JSON, but not a list of rooms"),
    "no object": ([ROOM, "x"], r"rooms\.json, room 2: str, not an object with category, name"),
    "no description": ([ROOM | {"description": " "}], "room 1: no description"),
    "no name": ([{k: v for k, v in ROOM.items() if k != "name"}], "room 1: no name"),
    "no string": ([ROOM | {"name": 3}], "room 1: name is no string"),
    "a mark": ([ROOM | {"description": "a </LOC> b"}], "room 1: the mark </LOC> inside the text"),
    "no theme": ([ROOM | {"category": "?!"}], r"room 1: the category '\?!' is no theme"),
    "a taken theme": ([ROOM | {"category": "endoftext"}], "'endoftext' is no theme"),
}


@pytest.mark.parametrize("case", ROOMS)
def test_a_malformed_room_is_named_by_its_number_and_what_is_missing(tmp_path, case):
    rooms, message = ROOMS[case]
    with pytest.raises(DataError, match=message):
        read_rooms(file(tmp_path, rooms, "rooms.json"), themes=True)


WORDS = st.text("ab <|>\n", min_size=1).filter(lambda t: t.strip() and not MARK.search(t))


@given(st.lists(st.tuples(WORDS, st.sampled_from([(), ("cave",), ("cave", "cold")])), min_size=1))
def test_marking_and_reading_are_inverse(tmp_path_factory, places):
    documents = [mark_location(text.strip(), *themes) for text, themes in places]
    path = tmp_path_factory.getbasetemp() / "inverse.txt"
    write_locations(path, documents)
    assert read_locations(path) == documents


@given(st.integers(2, 200))
def test_a_tenth_validates_and_every_place_is_in_one_part(n):
    train, val = deal([str(i) for i in range(n)])
    assert len(val) == max(1, n // 10) and len({*train, *val}) == n
