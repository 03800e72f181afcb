"""Stories of the reader's own: three forms, one marked text, and what is malformed has a place."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib import load_corpus
from gptlib.corpora.titled import MARK, Story, deal, mark_story, read_stories
from gptlib.errors import DataError
from gptlib.shards.sources import open_source
from gptlib.stories import special_tokens

FOX = {"title": "The Fox", "text": "The fox sat.\n\nMoral: sit."}
HEN = {"title": "The Hen", "text": "The hen ran.", "genre": "wager"}
SPOKEN = "<|start|><|title|>The Fox</|title|>\nThe fox sat.\n\nMoral: sit.<|end|>"
ASKED = "<|start|><|wager|><|title|>The Hen</|title|>\nThe hen ran.<|end|>"


def lines(folder, *records, name="a.jsonl"):
    path = folder / name
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records), "utf8")
    return path


def test_a_jsonl_file_is_stories_in_the_form_of_the_corpus_of_stories(tmp_path):
    corpus = load_corpus(lines(tmp_path, FOX, "", HEN))
    assert (corpus.train_documents, corpus.val_documents) == ((SPOKEN,), (ASKED,))
    assert corpus.train == SPOKEN + "\n\n" and corpus.text == corpus.train + corpus.val
    assert corpus.marks == ("<|start|>", "<|title|>", "</|title|>", "<|end|>", "<|wager|>")
    assert corpus.entropy is None and corpus.val_floor is None


def test_the_corpus_of_stories_reads_as_it_was_written(tmp_path):
    """What `load_corpus` writes and what it reads is one form."""
    stories = load_corpus("stories", size=12_000)
    (tmp_path / "a.txt").write_text(stories.text, "utf8")
    again = load_corpus(tmp_path / "a.txt")
    assert sorted(again.train_documents + again.val_documents) == sorted(
        stories.train_documents + stories.val_documents
    )
    assert set(again.marks) <= set(stories.marks) == set(special_tokens())
    assert again.separator == stories.separator


def test_space_around_the_marks_does_not_count(tmp_path):
    (tmp_path / "a.txt").write_text(
        "\n<|start|>\r\n<|title|> The Fox </|title|>\r\n\r\nThe fox sat.\r\n\r\nMoral: sit.\r\n"
        "<|end|>\n\n\n<|start|> <|wager|>\n<|title|>The Hen</|title|>The hen ran. <|end|>\n"
    )
    assert load_corpus(tmp_path / "a.txt").text == f"{SPOKEN}\n\n{ASKED}\n\n"


def test_a_folder_takes_titles_from_names_and_first_lines_that_say_the_same(tmp_path):
    (tmp_path / "b_the_snow_man.txt").write_text("It is cold.\n")
    (tmp_path / "a_fox_s_tail.txt").write_text("A FOX'S TAIL.\n\nIt was red.\n")
    (tmp_path / "notes.md").write_text("no story")
    (tmp_path / ".hidden.txt").write_text("no story")
    corpus = load_corpus(tmp_path)
    assert corpus.train == "<|start|><|title|>A FOX'S TAIL.</|title|>\nIt was red.<|end|>\n\n"
    assert corpus.val == "<|start|><|title|>b the snow man</|title|>\nIt is cold.<|end|>\n\n"


def test_a_folder_of_marked_texts(tmp_path):
    (tmp_path / "a.txt").write_text(SPOKEN)
    (tmp_path / "b.txt").write_text(ASKED)
    assert load_corpus(tmp_path).text == f"{SPOKEN}\n\n{ASKED}\n\n"


def test_where_no_story_has_a_title_none_needs_one(tmp_path):
    corpus = load_corpus(lines(tmp_path, *[{"text": f"Story {n}.", "set": "x"} for n in range(20)]))
    assert corpus.train_documents[0] == "<|start|>Story 0.<|end|>"
    assert corpus.val_documents == ("<|start|>Story 9.<|end|>", "<|start|>Story 19.<|end|>")


def test_a_records_own_split_holds_and_test_is_in_neither(tmp_path):
    names = ["validation", "train", "test", "Train"]
    corpus = load_corpus(lines(tmp_path, *[{"text": n, "split": n} for n in names]))
    assert corpus.train_documents == ("<|start|>train<|end|>", "<|start|>Train<|end|>")
    assert corpus.val_documents == ("<|start|>validation<|end|>",)


def test_a_plain_text_that_speaks_of_a_mark_stays_one(tmp_path):
    (tmp_path / "a.txt").write_text("A story begins with <|start|> and ends.\n" * 10)
    assert load_corpus(tmp_path / "a.txt").train_documents == ()


GOOD = json.dumps(FOX)
MALFORMED = {
    "no title": ('{"text": "x"}', "a.jsonl, line 2: no title, and other stories have one"),
    "blank title": ('{"title": " ", "text": "x"}', "line 2: no title, and other"),
    "null title": ('{"title": null, "text": "x"}', "line 2: no title, and other"),
    "no text": ('{"title": "x"}', r"line 2: no text \(found keys title\)"),
    "empty text": ('{"title": "x", "text": "\\n "}', "line 2: no text"),
    "mark in the text": ('{"title": "x", "text": "a<|end|>b"}', r"the mark <\|end\|> inside the t"),
    "any mark": ('{"title": "x", "text": "a</|title|>b"}', r"mark </\|title\|> inside the text"),
    "in the title": ('{"title": "<|lost|>", "text": "a"}', r"mark <\|lost\|> inside the title"),
    "broken title": ('{"title": "a\\nb", "text": "a"}', "a line break inside the title"),
    "broken JSON": ('{"title": "x", "text": "a', r"line 2: not JSON \(Unterminated"),
    "no object": ('["x"]', "line 2: list, not an object"),
    "wrong type": ('{"title": 7, "text": "a"}', "line 2: title is of type int, not a string"),
    "a genre that is a mark": (
        '{"title": "x", "text": "a", "genre": "End"}', r"line 2: the genre 'End', whose token"
    ),
    "an unknown split": ('{"title": "x", "text": "a", "split": "all"}', "the split 'all', which"),
    "no split": (
        '{"title": "x", "text": "a", "split": "val"}', "line 1: no split, and other stories"
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_record_is_named_by_file_line_and_what_is_missing(tmp_path, case):
    line, message = MALFORMED[case]
    with pytest.raises(DataError, match=message):
        load_corpus(lines(tmp_path, GOOD, line))


TAGGED = {
    "no start": ("The hen ran.<|end|>\n" + SPOKEN, r"a.txt, line 1: text before the first"),
    "unclosed title": (
        SPOKEN + "\n\n<|start|><|title|>The Hen\nThe hen ran.<|end|>",
        r"line 6: <\|title\|> is not closed by </\|title\|>",
    ),
    "no end": (
        "<|start|>\n<|title|>A</|title|>\nB\n\n" + SPOKEN, r"line 1: no <\|end\|> before the next"
    ),
    "no last end": (SPOKEN + "\n<|start|>And", r"line 5: no <\|end\|> before the next"),
    "no start between": (
        SPOKEN + "\n\nThe hen ran.<|end|>", r"line 6: text after <\|end\|>, and no"
    ),
    "no title between": ("<|start|><|title|> </|title|>x<|end|>", "line 1: no title between"),
    "no text": ("\n<|start|><|title|>A</|title|>\n<|end|>", "line 2: no text"),
    "title closed alone": ("<|start|>A</|title|>B<|end|>", r"mark </\|title\|> inside the text"),
    "two genres": ("<|start|><|lost|><|two|>B<|end|>", r"the mark <\|two\|> inside the text"),
}  # fmt: skip


@pytest.mark.parametrize("case", TAGGED)
def test_a_malformed_marked_story_is_named_by_file_and_line(tmp_path, case):
    text, message = TAGGED[case]
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        load_corpus(tmp_path / "a.txt")


def test_many_malformed_stories_are_counted(tmp_path):
    with pytest.raises(DataError, match=r"line 2: .*; a\.jsonl, line 4: .*; and 6 more of 10"):
        load_corpus(lines(tmp_path, GOOD, *['{"text": ""}'] * 9))


def test_what_cannot_be_split_or_has_no_stories(tmp_path):
    with pytest.raises(DataError, match="leaves 0 stories to train on and 1 to validate on"):
        load_corpus(lines(tmp_path, FOX))
    with pytest.raises(DataError, match=r"a\.jsonl has no stories in it"):
        load_corpus(lines(tmp_path, "", ""))
    with pytest.raises(DataError, match=r"is a folder; .*stories, a \.txt file each"):
        (tmp_path / "empty").mkdir()
        load_corpus(tmp_path / "empty")


def test_size_takes_whole_stories_of_both_parts(tmp_path):
    path = lines(tmp_path, *[{"text": "x" * 40} for _ in range(100)])
    whole, half = load_corpus(path), load_corpus(path, size=len(load_corpus(path).text) // 2)
    assert (len(half.train_documents), len(half.val_documents)) == (45, 5)
    assert half.train_documents == whole.train_documents[:45]
    with pytest.raises(DataError, match=r"size is 9,000, but a\.jsonl has 5,800 characters"):
        load_corpus(path, size=9000)


def test_shards_of_stories_read_as_before(tmp_path):
    """`gptlib data prepare` takes the field alone from jsonl, and marked documents whole."""
    path = lines(tmp_path, FOX, HEN)
    assert [d.text for d in open_source(path).documents()] == [FOX["text"], HEN["text"]]
    (tmp_path / "a.txt").write_text(f"{SPOKEN}\n\n{ASKED}")
    source = open_source(tmp_path / "a.txt")
    assert [d.text for d in source.documents()] == [SPOKEN, ASKED] and source.ending == "\n\n"


WORDS = st.text("ab <|>\n", min_size=1).filter(lambda t: t.strip() and not MARK.search(t))


@given(st.lists(st.tuples(WORDS, WORDS, st.sampled_from(["", "lost", "two"])), min_size=1))
def test_marking_and_reading_are_inverse(tmp_path_factory, stories):
    wanted = [Story(text.strip(), " ".join(title.split()), genre or None, None, "")
              for text, title, genre in stories]  # fmt: skip
    path = tmp_path_factory.getbasetemp() / "inverse.txt"
    path.write_text("\n".join(mark_story(s.text, s.title, s.genre) for s in wanted), "utf8")
    assert [s._replace(where="") for s in read_stories(path)] == wanted


@given(st.integers(2, 200))
def test_a_tenth_validates_and_every_story_is_in_one_part(n):
    train, val = deal([Story(str(i), None, None, None, "") for i in range(n)])
    assert len(val) == max(1, n // 10) and len({*train, *val}) == n
