"""Stories with marks: asked for by title and genre, shown as text that a person reads."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marked_run import marked_run, tokenizer_and_ids

from gptlib.cli import main, sample
from gptlib.errors import ConfigError
from gptlib.sampling.marked import end_of, genres, has_marks, story_head, written
from gptlib.stories import END, START, TITLE, TITLE_END, special_tokens
from gptlib.tokenizers import BPETokenizer, CharTokenizer

LETTERS = CharTokenizer("\n .Tadehnst<|>")


@pytest.fixture(scope="module")
def marked() -> BPETokenizer:
    return tokenizer_and_ids()[0]


def test_marks_and_genres_are_those_of_the_tokenizer(marked):
    assert has_marks(marked) and end_of(marked) == marked.special_tokens[END]
    assert [f"<|{genre}|>" for genre in genres(marked)] == special_tokens()[4:]
    own = BPETokenizer.train(
        "a b " * 9, 270, [END, "<|endoftext|>", TITLE_END, TITLE, "<|noir|>", START]
    )
    assert genres(own) == ["noir"]
    for other in (LETTERS, BPETokenizer.train("a b " * 9, 270, ["<|endoftext|>", END])):
        assert not has_marks(other) and genres(other) == []
    assert end_of(other) == other.special_tokens["<|endoftext|>"] and end_of(LETTERS) is None


def test_a_story_begins_with_its_marks(marked):
    genre = genres(marked)[0]
    assert story_head(marked) == START
    assert story_head(marked, " A bell,\n a goat ") == f"{START}{TITLE}A bell, a goat{TITLE_END}\n"
    assert story_head(marked, "A", genre) == f"{START}<|{genre}|>{TITLE}A{TITLE_END}\n"
    assert story_head(marked, genre=genre) == f"{START}<|{genre}|>"


def test_what_cannot_be_asked_for(marked):
    for title in (f"A {END} B", f"{TITLE_END}", "the <|wager|>"):
        with pytest.raises(ConfigError, match="is a mark and no word of a title"):
            story_head(marked, title)
    with pytest.raises(ConfigError, match="the title is empty"):
        story_head(marked, " \n")
    with pytest.raises(ConfigError, match=r"wagr.*did you mean wager.*this model knows .*wager"):
        story_head(marked, "A", "wagr")
    with pytest.raises(ConfigError, match="knows no titles.* lacks <|start|>"):
        story_head(LETTERS, "A")


WORDS = st.text(st.characters(exclude_categories=["Cs"]))
PARTS = st.lists(st.one_of(WORDS, st.sampled_from([*special_tokens(), "<|", "|>", "</|"])))


@given(parts=PARTS)
def test_no_title_reaches_the_model_as_anything_but_words(parts):
    """Either it is refused, or its ids lie between the marks and none of them is special."""
    tokenizer, title = tokenizer_and_ids()[0], "".join(parts)
    try:
        ids = tokenizer.encode(story_head(tokenizer, title))
    except ConfigError:
        return
    special = [i for i in ids if i in tokenizer.special_tokens.values()]
    assert special == [tokenizer.special_tokens[mark] for mark in (START, TITLE, TITLE_END)]


def test_a_story_is_shown_as_a_title_and_a_text(marked):
    story = f"{START}<|wager|>{TITLE}A bell{TITLE_END}\nAda had a bell.{END}{START}more"
    ids = marked.encode(story)
    assert "".join(written(marked, ids)) == "A bell\nAda had a bell."
    assert "".join(written(marked, ids, marks=True)) == story.partition(END)[0]
    assert "".join(written(marked, ids, ["had"])) == "A bell\nAda "
    assert "".join(written(marked, ids, [TITLE_END])) == "A bell"
    spelled = marked.encode_ordinary(f"{TITLE}a")
    assert "".join(written(marked, spelled)) == f"{TITLE}a", "only the tokens are marks"
    assert "".join(written(LETTERS, LETTERS.encode("<|end|>"))) == "<|end|>"


@pytest.fixture
def run(tmp_path) -> str:
    marked_run(tmp_path / "run")
    return str(tmp_path / "run")


def test_sample_asks_for_a_title_and_a_genre(run, marked, monkeypatch, capsys):
    asked, story = [], marked.encode(f"Ada sat.{END}x")

    def stream(model, ids, *rest, **more):
        asked.append(marked.decode(ids))
        return iter(story)

    monkeypatch.setattr(sample, "stream", stream)
    words = ["sample", run, "--title", "A bell", "--genre", "wager", "--prompt", "Then "]
    head = f"{START}<|wager|>{TITLE}A bell{TITLE_END}\n"
    assert main(words) == 0
    assert capsys.readouterr().out == "A bell\nThen Ada sat.\n" and asked[-1] == head + "Then "
    assert main([*words, "--marks"]) == 0
    assert capsys.readouterr().out == head + "Then Ada sat.\n"
    assert main([*words, "--json", "--seed", "1"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == {"title": "A bell", "genre": "wager", "prompt": "Then ", "text": "Ada sat.",
                      "tokens": len(story) - 1, "ended": "stop", "seed": 1}  # fmt: skip
    assert main([*words, "--json", "--marks"]) == 0
    assert json.loads(capsys.readouterr().out)["begin"] == head


def test_without_a_title_the_model_chooses_one(run, marked, monkeypatch, capsys):
    story = marked.encode(f"{TITLE}A goat{TITLE_END}\nAda sat.{END}")
    asked = []
    monkeypatch.setattr(
        sample, "stream", lambda model, ids, *rest, **more: asked.append(ids) or iter(story)
    )
    assert main(["sample", run]) == main(["sample", run, "--genre", "riddle"]) == 0
    assert capsys.readouterr().out == 2 * "A goat\nAda sat.\n"
    assert [marked.decode(ids) for ids in asked[::2]] == [START, f"{START}<|riddle|>"]


@pytest.mark.parametrize("flags", [["--title", "A"], ["--genre", "wager"], ["--marks"]])
def test_a_run_without_marks_has_no_titles(flags, capsys):
    assert main(["sample", "tales", *flags]) == 2
    err = capsys.readouterr().err
    assert "knows no titles and no genres" in err and err.count("\n") == 1


def test_many_texts_of_one_title_go_on_after_a_kill(run, tmp_path, capsys):
    prompts, out = tmp_path / "p.txt", tmp_path / "o.jsonl"
    prompts.write_text("Ada\nOtto\n")
    words = ["sample", run, "--title", "A bell", "--prompts", str(prompts), "--out", str(out)]
    words += ["--seed", "3", "--max-new-tokens", "9", "--marks"]
    assert main(words) == 0
    whole = out.read_bytes()
    out.write_bytes(whole[: whole.index(b"\n") + 20])
    assert main(words) == 0 and out.read_bytes() == whole
    words[3] = "A goat"
    assert main(words) == 2 and "is not what this command writes" in capsys.readouterr().err
