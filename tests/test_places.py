"""The promises of the places: an exact floor, one derivation each, marks, things that fit."""

import hashlib
import random
import re
from collections import Counter

import pytest
from grammar_promises import GrammarPromises

from gptlib.cli.marked import sampling, where_windows_begin
from gptlib.cli.writer import between_documents
from gptlib.corpora import load_corpus
from gptlib.grammar import Grammar, sample_corpus
from gptlib.grammar.grammar import shipped
from gptlib.places import LOC, LOC_END, parse_place, special_tokens
from gptlib.places.marks import unasked
from gptlib.places.words import kinds, moods
from gptlib.tokenizers import BPETokenizer

GRAMMAR = Grammar.load("places")


@pytest.fixture(scope="module")
def documents():
    """3,000 seeded places."""
    rng = random.Random(20261129)
    return [GRAMMAR.sample(rng) for _ in range(3000)]


def body(text: str) -> str:
    return unasked(text).removeprefix(LOC).removesuffix(LOC_END).strip()


class TestGrammar(GrammarPromises):
    grammar = GRAMMAR


def test_a_place_is_forty_to_a_hundred_and_ten_words(documents):
    lengths = [len(body(document.text).split()) for document in documents]
    assert min(lengths) >= 40
    assert max(lengths) <= 110
    shortest, longest = GRAMMAR.length_range
    assert all(shortest <= len(document.text) <= longest for document in documents)


def test_a_tokenizer_of_a_thousand_ids_holds_their_words(documents):
    text = "\n\n".join(document.text for document in documents)
    words = set(re.findall(r"[a-z]+", re.sub(r"</?LOC>|<\|\w+\|>", "", text).lower()))
    assert 600 <= len(words) <= 1400
    tokenizer = BPETokenizer.train(text[:300_000], 1000, special_tokens())
    ids = tokenizer.encode(documents[0].text)
    assert tokenizer.decode(ids) == documents[0].text
    assert len(ids) < 256


def test_marks_stand_once_and_in_order_and_each_token_in_half(documents):
    asked = Counter()
    for document in documents:
        found = re.findall(r"</?LOC>|<\|\w+\|>", document.text)
        assert (found[0], found[-1]) == (LOC, LOC_END)
        names = [mark[2:-2] for mark in found[1:-1]]
        assert names == [n for n in names if n == document.genre] + [
            n for n in names if n in moods()
        ]
        assert len(names) == len(set(names)) <= 2
        assert document.text.startswith("".join(found[:-1]) + "\n")
        assert document.text.endswith("\n" + LOC_END) and "\n\n" not in document.text
        asked["kind"] += document.genre in names
        asked["mood"] += bool(set(names) & moods().keys())
    assert all(0.47 < count / len(documents) < 0.58 for count in asked.values())


def test_eighteen_kinds_and_ten_moods_each_have_a_token(documents):
    assert Counter(document.genre for document in documents).keys() == set(kinds())
    assert (len(kinds()), len(moods())) == (18, 10)
    tokens = [f"<|{name}|>" for name in [*kinds(), *moods()]]
    assert special_tokens() == [LOC, LOC_END, *tokens]
    assert len(set(tokens)) == 28


def test_all_kinds_meet_all_moods(documents):
    places = [parse_place(document.text) for document in documents]
    assert len({(place.kind, place.mood) for place in places}) == 180
    for attribute, number in (("time", 6), ("weather", 7), ("town", 16)):
        assert len({getattr(place, attribute) for place in places}) == number


def test_every_kind_has_files_of_the_same_form():
    """Ten things, three sounds, three people, four openings that name kind and town."""
    source = shipped("places")
    for kind in kinds():
        rows = {title: source["tables"][f"{kind}_{title}"]["rows"]
                for title in ("site", "thing", "sound", "folk")}  # fmt: skip
        assert [len(part) for part in rows.values()] == [1, 10, 3, 3], kind
        openings = source["sentences"][f"{kind}_opening"]["text"]
        assert len(openings) == 4
        assert all(kind in text and "{v.n}" in text for text in openings)
        for column in ("thing", "sound", "folk", "site"):
            assert f"{kind}_{column}" in source["classes"][column].split()


def test_the_article_agrees_with_its_noun():
    for title, table in shipped("places")["tables"].items():
        columns = table["columns"].split()
        for row in table["rows"] if "one" in columns else ():
            article, _, noun = row.split("|")[columns.index("one")].strip().partition(" ")
            if article in ("a", "an"):
                assert (article == "an") == (noun[0] in "aeiou"), (title, noun)
            else:
                assert article == "the" or title.endswith("_sound"), (title, row)


def test_the_sentences_of_one_mood_are_of_no_other():
    sentences = shipped("places")["sentences"]
    seen = Counter(text for name in moods() for end in ("", "_end")
                   for text in sentences[f"{name}{end}"]["text"])  # fmt: skip
    assert max(seen.values()) == 1
    assert len(seen) == 10 * (6 + 5)


def test_a_corpus_of_places_is_split_by_document():
    corpus = load_corpus("places", size=60_000)
    assert corpus.text == corpus.train + corpus.val
    assert all(d.startswith(LOC) and d.endswith(LOC_END) for d in corpus.val_documents)
    assert corpus.train == "".join(d + "\n\n" for d in corpus.train_documents)
    assert corpus.marks == tuple(special_tokens())
    assert corpus.entropy == GRAMMAR.rate
    assert abs(corpus.val_floor - corpus.entropy) < 0.2 * corpus.entropy


def test_a_run_on_places_begins_and_ends_at_their_marks():
    corpus = load_corpus("places", size=9000)
    tokenizer = BPETokenizer.train(corpus.train, 400, corpus.marks)
    assert where_windows_begin(corpus, tokenizer, 512) == LOC
    assert where_windows_begin(corpus, tokenizer, 32) is None
    assert sampling(corpus) == {"begin": LOC, "stop": LOC_END}
    assert between_documents({"note": {"separator": LOC}}) == (LOC, LOC_END)


def test_a_seed_is_a_text_on_every_machine():
    text = "".join(d.text + GRAMMAR.separator for d in sample_corpus(GRAMMAR, 100_000, seed=0))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "48e8af5ec33899e099674c81ec0f0edc1b754c08eb8fdbbcdb3c1db56cce5879"
    assert sample_corpus(GRAMMAR, 100, seed=1)[0] != sample_corpus(GRAMMAR, 100, seed=2)[0]
