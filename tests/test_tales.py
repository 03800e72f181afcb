"""The promises of the embedded corpus: its floor, its words, and the dependencies planted in it."""

import hashlib
import random
import re
from collections import Counter
from math import log
from statistics import mean, stdev

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.corpora import Corpus
from gptlib.course.multi_head.tales import write_documents
from gptlib.errors import DataError, GrammarError
from gptlib.grammar import Grammar, sample_corpus
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import CharTokenizer

KINDS = {"spelling": (2, 5), "agreement": (15, 40), "pronoun": (60, 150), "promise": (300, 600)}
GRAMMAR = Grammar.load("tales")


@pytest.fixture(scope="module")
def documents():
    """10,000 seeded documents."""
    rng = random.Random(20261121)
    return [GRAMMAR.sample(rng) for _ in range(10_000)]


@pytest.fixture(scope="module")
def megabyte():
    """A corpus of a million characters as `load_corpus` splits it: by document, 90 to 10."""
    texts = [document.text for document in sample_corpus(GRAMMAR, 1_000_000, seed=0)]
    cut = int(0.9 * len(texts))
    return texts[:cut], texts[cut:]


def sentences(text: str) -> set[str]:
    return {part for part in re.split(r"(?<=[.?])\s|\n", text) if part}


def test_two_thousand_documents_have_one_derivation_each(documents):
    for document in documents[::5]:  # `bench/derivations.py` parses them all
        parse = GRAMMAR.parse(document.text)
        assert abs(parse.logprob - document.logprob) < 1e-9
        assert parse.genre == document.genre


def test_their_mean_surprisal_and_length_are_the_exact_ones(documents):
    n = len(documents)
    surprisals = [-document.logprob for document in documents]
    lengths = [len(document.text) + len(GRAMMAR.separator) for document in documents]
    for found, exact in ((surprisals, GRAMMAR.entropy), (lengths, GRAMMAR.mean_length)):
        assert abs(mean(found) - exact) < 3 * stdev(found) / n**0.5


def test_the_floor_is_where_the_book_needs_it():
    assert GRAMMAR.entropy / log(2) >= 40
    assert 0.5 <= GRAMMAR.rate <= 1.2
    assert GRAMMAR.rate == GRAMMAR.entropy / GRAMMAR.mean_length
    assert 250 <= GRAMMAR.mean_length <= 900


def test_every_document_is_whole_and_within_the_proven_bounds(documents):
    shortest, longest = GRAMMAR.length_range
    for text in (document.text for document in documents):
        assert GRAMMAR.separator not in text
        assert text == text.strip()
        assert shortest <= len(text) <= longest
    assert longest < 2000


def test_words_and_symbols(megabyte):
    text = "\n\n".join(megabyte[0] + megabyte[1])
    words = Counter(re.findall(r"[a-z]+", text.lower()))
    assert 350 <= len(words) <= 500
    assert len(set(text)) <= 45
    counts = sorted(words.values(), reverse=True)
    assert counts[0] > 8 * counts[40] > 30 * counts[300] > 0  # a few words do most of the work


def test_no_document_is_twice_in_the_corpus_and_most_sentences_are_new(megabyte):
    train, val = megabyte
    assert len(set(train)) == len(train)
    assert not set(train) & set(val)
    known = set().union(*map(sentences, train))
    asked = set().union(*map(sentences, val))
    new = len(asked - known) / len(asked)
    print(f"duplicates 0, overlap 0, {new:.1%} of {len(asked)} sentences of val are not in train")
    assert new > 0.8


def test_a_seed_is_a_text_on_every_machine():
    text = "".join(d.text + GRAMMAR.separator for d in sample_corpus(GRAMMAR, 100_000, seed=0))
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "e5c68fd5d75e5686c82cec9ac6e566ac4fb36bc6809225326feae3c7be6307f4"
    assert sample_corpus(GRAMMAR, 100, seed=1)[0] != sample_corpus(GRAMMAR, 100, seed=2)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_probes_of_every_kind(kind):
    probes = GRAMMAR.probes(kind, 200, seed=5)
    near, far = KINDS[kind]
    assert len(probes) == 200
    assert all(probe.kind == kind and near <= probe.distance <= far for probe in probes)
    right = Counter((probe.right[:-1], probe.wrong[:-1]) for probe in probes)
    assert right == Counter((probe.wrong[:-1], probe.right[:-1]) for probe in probes)
    assert all(abs(len(probe.right) - len(probe.wrong)) <= 1 for probe in probes)


def test_the_wrong_answer_of_a_probe_is_not_in_the_grammar(documents):
    asked = Counter()
    for document in documents[:60]:
        for probe in document.probes:
            start, end = len(probe.prefix), len(probe.prefix + probe.right)
            assert (document.text + "\n").startswith(probe.prefix + probe.right)
            spoiled = probe.prefix + probe.wrong + document.text[end:]
            with pytest.raises(GrammarError) as refusal:
                GRAMMAR.score(spoiled.rstrip("\n"))
            assert int(re.search(r"character (\d+)", str(refusal.value))[1]) >= start
            asked[probe.kind] += 1
    assert set(asked) == set(KINDS)


def longest_context_counter(text: str, probe, context: int = 50) -> bool | None:
    """Whether counts of what follows the longest seen context prefer the right answer.

    The context is at most `context` characters; None where neither answer was ever seen.
    """

    def seen(n: int) -> tuple[int, int]:
        before = probe.prefix[len(probe.prefix) - n :]
        return text.count(before + probe.right), text.count(before + probe.wrong)

    low, high = 0, min(context, len(probe.prefix))
    while low < high:  # what is seen with n characters before it is seen with fewer
        middle = (low + high + 1) // 2
        low, high = (middle, high) if any(seen(middle)) else (low, middle - 1)
    right, wrong = seen(low)
    return None if right == wrong else right > wrong


@pytest.mark.parametrize("kind", ["pronoun", "promise", "spelling"])
def test_fifty_characters_of_context_answer_spelling_and_nothing_farther(kind, megabyte):
    text = GRAMMAR.separator.join(megabyte[0])
    answers = [longest_context_counter(text, probe) for probe in GRAMMAR.probes(kind, 200, seed=9)]
    accuracy = sum(0.5 if answer is None else answer for answer in answers) / len(answers)
    if kind == "spelling":
        assert accuracy > 0.95
    else:
        assert abs(accuracy - 0.5) < 0.12  # 3.4 standard errors of a coin thrown 200 times


LETTERS = st.sampled_from(sorted(" \n'.,:?aehtnoAB" + "é0"))


@settings(deadline=None)
@given(seed=st.integers(0, 999), data=st.data())
def test_a_mutated_document_is_scored_or_refused(seed, data):
    text = GRAMMAR.sample(random.Random(seed)).text
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(text)))
        cut = data.draw(st.integers(0, 20))
        text = text[:at] + data.draw(st.text(LETTERS, max_size=3)) + text[at + cut :]
    try:
        assert GRAMMAR.score(text) < 0
    except GrammarError as error:
        assert re.search(
            r"at character \d+ \(line \d+, column \d+\) stands .* was expected", str(error)
        )


def test_a_model_writes_documents_only_of_a_corpus_with_a_grammar():
    plain = Corpus("mine", "mine", "ab", "a", "b")
    model, tokenizer = GPT(GPTConfig(vocab_size=2, n_layer=1, n_head=1, n_embd=8)), CharTokenizer
    with pytest.raises(DataError, match="no grammar is known of mine"):
        write_documents(model, tokenizer.train(plain.text), plain, 1, seed=0)
