"""The promises of the stories: an exact floor, one derivation each, marks, many different ones."""

import hashlib
import random
import re
from collections import Counter

import pytest
from grammar_promises import GrammarPromises

from gptlib.corpora import load_corpus
from gptlib.errors import GrammarError
from gptlib.grammar import Grammar, sample_corpus
from gptlib.grammar.grammar import shipped
from gptlib.grammar.rules import read_source
from gptlib.stories import END, START, TITLE, TITLE_END, special_tokens
from gptlib.tokenizers import BPETokenizer

GRAMMAR = Grammar.load("stories")
PLOTS = ["barter", "lost", "wager", "riddle", "two", "promise"]


@pytest.fixture(scope="module")
def documents():
    """3,000 seeded stories."""
    rng = random.Random(20261129)
    return [GRAMMAR.sample(rng) for _ in range(3000)]


def body(text: str) -> str:
    return text.partition(TITLE_END)[2].removesuffix(END).strip()


class TestGrammar(GrammarPromises):
    grammar = GRAMMAR


def test_a_story_is_sixty_to_two_hundred_words(documents):
    lengths = [len(body(document.text).split()) for document in documents]
    assert min(lengths) >= 60
    assert max(lengths) <= 200
    shortest, longest = GRAMMAR.length_range
    assert all(shortest <= len(document.text) <= longest for document in documents)


def test_a_few_hundred_words_and_a_tokenizer_of_a_thousand_ids_hold_them(documents):
    text = "\n\n".join(document.text for document in documents)
    words = set(re.findall(r"[a-z]+", re.sub(r"</?\|\w+\|>", "", text).lower()))
    assert 600 <= len(words) <= 1300
    tokenizer = BPETokenizer.train(text[:300_000], 1000, special_tokens())
    ids = tokenizer.encode(documents[0].text)
    assert tokenizer.decode(ids) == documents[0].text
    assert len(ids) < 320


def test_marks_stand_once_and_in_order_and_the_genre_in_half(documents):
    marks = Counter()
    for document in documents:
        found = re.findall(r"</?\|\w+\|>", document.text)
        asked = [mark for mark in found if mark[2:-2] in PLOTS]
        assert [m for m in found if m not in asked] == [START, TITLE, TITLE_END, END]
        assert asked in ([], [f"<|{document.genre}|>"])
        assert found[: 1 + len(asked)] == [START, *asked]
        assert "\n\n" not in document.text
        assert document.text.endswith(END)
        marks[bool(asked)] += 1
    assert 0.47 < marks[True] / len(documents) < 0.58


def test_every_plot_is_told_in_three_courses_or_more(documents):
    assert Counter(d.genre for d in documents).keys() == set(PLOTS)
    assert special_tokens() == [START, TITLE, TITLE_END, END, *(f"<|{plot}|>" for plot in PLOTS)]
    ends = {}
    for document in documents:
        ends.setdefault(document.genre, set()).add(document.text.rpartition("Moral: ")[2])
    assert all(len(morals) >= 6 for morals in ends.values())  # two morals close a course
    for plot in PLOTS:
        courses = shipped("stories")["rules"][f"{plot}_course"]
        assert len(courses) >= 3


def test_something_of_the_first_sentence_is_in_the_end(documents):
    """A name or a thing: any word with a capital, or any noun of the tables."""
    tables = shipped("stories")["tables"]
    words = {
        row.split("|")[at].strip()
        for table in ("person", "tool", "animal", "food", "small", "chest", "shared", "carrier")
        for row in tables[table]["rows"]
        for at in [0 if table == "person" else 1]
    }
    for document in documents:
        lines = body(document.text).split("\n")
        first = set(re.findall(r"\w+", lines[0])) & words
        last = set(re.findall(r"\w+", " ".join(lines[-3:-1]))) & words
        assert first & last, document.text


def test_no_two_tables_of_things_share_a_word():
    source = shipped("stories")
    seen = Counter()
    for title in source["classes"]["thing"].split():
        columns = source["tables"][title]["columns"].split()
        for row in source["tables"][title]["rows"]:
            seen[row.split("|")[columns.index("sg")].strip()] += 1
    assert max(seen.values()) == 1


def test_a_corpus_of_stories_is_split_by_document():
    corpus = load_corpus("stories", size=60_000)
    assert corpus.text == corpus.train + corpus.val
    assert all(d.startswith(START) and d.endswith(END) for d in corpus.val_documents)
    assert corpus.train == "".join(d + "\n\n" for d in corpus.train_documents)
    assert corpus.entropy == GRAMMAR.rate
    assert abs(corpus.val_floor - corpus.entropy) < 0.2 * corpus.entropy


def test_a_seed_is_a_text_on_every_machine():
    text = "".join(d.text + GRAMMAR.separator for d in sample_corpus(GRAMMAR, 100_000, seed=0))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "e78390944b8a70ae6f57e287f1711b2ae1d1bbaf1b3395b39cfda22e00ae4b75"
    assert sample_corpus(GRAMMAR, 100, seed=1)[0] != sample_corpus(GRAMMAR, 100, seed=2)[0]


# What the stories ask of the engine: sentences with parameters, and folders of files.

SMALL = {
    "genres": {"swap": 1},
    "classes": {"being": "person beast"},
    "tables": {
        "person": {"columns": "name", "rows": ["Ada", "Ned"]},
        "beast": {"columns": "name", "rows": ["the dog", "the cat"]},
    },
    "rules": {"swap": {"draw": "a b: person, x: beast", "text": "{sees a b} {Sees x a} {end}"}},
    "sentences": {
        "sees": {"takes": "p q: being", "text": "{p.name} [sees|hears] {q.name}."},
        "end": {"text": "The end."},
    },
}


def test_a_sentence_is_told_of_what_it_is_called_with():
    grammar = Grammar(SMALL)
    assert grammar.score("Ada sees Ned. The dog hears Ada. The end.") < 0
    for wrong in (
        "Ada sees Ada. The dog hears Ada. The end.",
        "Ada sees Ned. The dog hears Ned. The end.",
    ):
        with pytest.raises(GrammarError, match="cannot write"):
            grammar.score(wrong)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{sees a}", "takes .* but is told of"),
        ("{sees a c}", "which nobody has drawn"),
        ("{hears a b}", "calls no sentence"),
        ("{chases x a}", "needs a person as p, not a beast"),
        ("{again a b}", "reaches itself"),
    ],
)
def test_a_call_that_does_not_fit_is_refused(text, why):
    more = {
        "chases": {"takes": "p q: person", "text": "{p.name}"},
        "again": {"takes": "p q: person", "text": "{again p q}"},
    }
    rules = {"swap": {"draw": "a b: person, x: beast", "text": text}}
    with pytest.raises(GrammarError, match=why):
        Grammar(SMALL | {"rules": rules, "sentences": SMALL["sentences"] | more})


def test_the_files_of_a_folder_are_one_source(tmp_path):
    (tmp_path / "a.toml").write_text('[rules]\nx = "y"\n')
    (tmp_path / "b.toml").write_text('[rules]\nz = "</ y / y"\n')
    assert read_source(tmp_path) == {"rules": {"x": "y", "z": "</ y / y"}}
    (tmp_path / "c.toml").write_text('[rules]\nx = "again"\n')
    with pytest.raises(GrammarError, match=r"c.toml gives x in \[rules\] a second time"):
        read_source(tmp_path)
