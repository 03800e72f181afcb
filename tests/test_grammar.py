"""The grammar engine, held against grammars small enough to be written out whole."""

import random
from collections import Counter
from itertools import permutations, product
from math import exp, fsum, inf, isclose, log

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import DataError, GrammarError
from gptlib.grammar import Grammar, sample_corpus
from gptlib.grammar.nodes import Choice, Literal, Scope, Sequence, Show, Words
from gptlib.grammar.rules import read_source
from gptlib.resources import data_path

SMALL = {
    "genres": {"tale": 2, "note": 1},
    "tables": {
        "person": {
            "columns": "name they says",
            "rows": [
                "Ada | she | [no|not {thing.one}]",
                "Ned | he | no",
                "Ida | she | [yes|no|well]",
            ],
        },
        "thing": {"columns": "one", "rows": ["an oar", "a hat"]},
    },
    "rules": {
        "tale": {
            "draw": "hero rival: person, load: thing",
            "text": """{hero.name} had {load.one}. / {Rival.name} {wept}. {Hero.they} {wept}:
                {hero.says}.""",
        },
        "wept": ["wept", "[3 slept|1 sang][| and {wept2}]"],
        "wept2": ["left", "coughed"],
        "note": "[{Thing.one}|Nothing]. / {Wept}.",
    },
}


def small(**rules) -> dict:
    """SMALL with some rules replaced."""
    return SMALL | {"rules": SMALL["rules"] | rules}


def written_out(node, env: dict[int, int] | None = None) -> list[tuple[str, float]]:
    """Every derivation of a node, its text and probability; nothing here parses."""
    env = env or {}
    if isinstance(node, Literal):
        return [(node.text, 1.0)]
    if isinstance(node, Words):
        return list(zip(node.texts, node.weights.p, strict=True))
    if isinstance(node, Choice):
        options = zip(node.options, node.weights.p, strict=True)
        return [(t, p * q) for option, p in options for t, q in written_out(option, env)]
    if isinstance(node, Sequence):
        whole = [("", 1.0)]
        for part in node.parts:
            ends = written_out(part, env)
            whole = [(t + u, p * q) for t, p in whole for u, q in ends]
        return whole
    if isinstance(node, Show):
        return written_out(node.values[env[node.slot]], env)
    assert isinstance(node, Scope)
    whole = []
    for drawn in product(*(ordered_draws(len(g.table.rows), len(g.slots)) for g in node.groups)):
        inner, p = dict(env), 1.0
        for group, (entries, q) in zip(node.groups, drawn, strict=True):
            inner |= dict(zip(group.slots, entries, strict=True))
            p *= q
        whole += [(t, p * q) for t, q in written_out(node.body, inner)]
    return whole


def ordered_draws(rows: int, slots: int) -> list[tuple[tuple[int, ...], float]]:
    """Sampling without replacement from a table whose k-th row weighs 1/(k + 9)."""
    weights, found = [1 / (k + 10) for k in range(rows)], []
    for entries in permutations(range(rows), slots):
        p, left = 1.0, sum(weights)
        for entry in entries:
            p, left = p * weights[entry] / left, left - weights[entry]
        found.append((entries, p))
    return found


def check_whole(grammar: Grammar) -> None:
    """Write the grammar out whole and hold every promise of `Grammar` against the list."""
    whole = written_out(grammar.root)
    texts = Counter(text for text, _ in whole)
    derivations = max(texts.values())
    assert derivations == 1
    assert fsum(p for _, p in whole) == pytest.approx(1.0, abs=1e-12)
    for text, p in whole[:: max(1, len(whole) // 5000)]:
        assert isclose(grammar.score(text), log(p), abs_tol=1e-9)
    assert grammar.entropy == pytest.approx(fsum(-p * log(p) for _, p in whole), rel=1e-12)
    assert grammar.mean_length == pytest.approx(fsum(p * (len(t) + 2) for t, p in whole), rel=1e-12)
    shortest, longest = grammar.length_range
    assert all(shortest <= len(text) <= longest for text in texts)


def cut_down_tales() -> dict:
    """The shipped grammar with all its genres and mechanisms, and few enough words to list."""
    source = read_source(data_path("grammars/tales.toml"))
    del source["probes"]
    rows = dict(villager=3, answer=3, thing=2, flock=2, start=2, turn=2, close=2, way=2, deed=2)
    for name, table in source["tables"].items():
        table["rows"] = table["rows"][: rows.get(name, 1)]
    for name, rule in source["rules"].items():
        if isinstance(rule, list):
            source["rules"][name] = rule[:1]
    source["rules"] |= {
        "fared": ["left", "wept"],
        "act": ["{fared}"],
        "ob": ["{stuff}"],
        "np": ["{stuff}"],
        "plot": ["{swap}", "{search}"],
        "news": ["nobody {fared}."],
        "creatures": ["{flocks}"],
        "middle": ["that {fared}"],
        "charge": ["You {fared}"],
        "retort": ["I {fared}"],
        "remark": ["{herds}"],
    }
    return source


def test_a_small_grammar_written_out_whole():
    check_whole(Grammar(SMALL))


def test_the_tales_cut_down_and_written_out_whole():
    grammar = Grammar(cut_down_tales())
    check_whole(grammar)
    assert len(written_out(grammar.root)) > 10_000


@pytest.mark.parametrize("source", [small(wept2=["left", "coughed", "left"]), cut_down_tales()])
def test_an_ambiguous_rule_fails_the_whole_check(source):
    if "stuff" in source["rules"]:
        source["rules"]["fared"] = ["left", "wept", "[left|slept]"]
    grammar = Grammar(source)
    with pytest.raises(AssertionError):
        check_whole(grammar)


def test_the_score_sums_over_all_derivations():
    grammar = Grammar(small(note="[this|that|this] [is|was]", tale="[this is|so]"))
    total: Counter = Counter()
    for text, p in written_out(grammar.root):
        total[text] += p
    for text, p in total.items():
        assert grammar.score(text) == pytest.approx(log(p), abs=1e-12)
    entropy_of_text = -fsum(p * log(p) for p in total.values())
    assert grammar.entropy > entropy_of_text + 0.1  # choices that the text does not show


def test_a_variable_that_is_never_shown_is_summed_out():
    hidden = {"draw": "hero rival: person", "text": "{Rival.name} left."}
    grammar = Grammar(small(tale=hidden))
    total: Counter = Counter()
    for text, p in written_out(grammar.root):
        total[text] += p
    for text in ("Ada left.", "Ned left.", "Ida left."):
        assert grammar.score(text) == pytest.approx(log(total[text]), abs=1e-12)


def test_a_pronoun_before_the_name_is_bound_late():
    late = {
        "draw": "hero: person",
        "text": "{Hero.they} [left|sang] and {hero.they} was {hero.name}.",
    }
    grammar = Grammar(small(tale=late))
    check_whole(grammar)
    with pytest.raises(GrammarError, match="at character 13"):
        grammar.score("She left and he was Ned.")


def test_a_capitalized_rule_is_as_likely_as_the_plain_one():
    rules = {"note": "{line}", "line": ["{wept}", "[5 so|1 it|1 {thing.one}] {wept}"]}
    plain = written_out(Grammar(small(**rules) | {"genres": {"note": 1}}).root)
    rules["note"] = "{Line}"
    capital = written_out(Grammar(small(**rules) | {"genres": {"note": 1}}).root)
    assert capital == [(text[0].upper() + text[1:], p) for text, p in plain]


@given(st.integers())
def test_samples_are_what_their_derivation_says(seed):
    grammar = Grammar(SMALL)
    document = grammar.sample(random.Random(seed))
    assert grammar.score(document.text) == pytest.approx(document.logprob, abs=1e-12)
    assert grammar.parse(document.text).genre == document.genre


def test_samples_follow_their_probabilities():
    grammar, n = Grammar(SMALL), 40_000
    rng = random.Random(3)
    seen = Counter(grammar.sample(rng).text for _ in range(n))
    whole = dict(written_out(grammar.root))
    assert set(seen) <= set(whole)
    chi = sum((seen[text] - n * p) ** 2 / (n * p) for text, p in whole.items() if n * p > 5)
    freedom = sum(n * p > 5 for p in whole.values())
    assert chi < freedom + 5 * (2 * freedom) ** 0.5


@pytest.mark.parametrize(
    ("text", "place", "found", "wanted"),
    [
        ("", "character 0 ", "the end of the text", "'Ada'"),
        ("Ada had a hat. x", "character 14", "' x'", r"'\\n'"),
        ("Ada had a hat.\nNed wept. He", r"character 25 \(line 2, column 11\)", "'He'", "'She'"),
        ("Ada had a hat.\nAda wept. She wept", "character 15", "'Ada wept", "'Ida', 'Ned' was"),
        ("Nothing.\nWept.\n\n", "character 14", r"'\\n\\n'", "the end of the document"),
        ("Nothing.\nSlept and", "character 18", "the end of the text", "' ' was"),
    ],
)
def test_a_foreign_text_is_refused_with_its_place(text, place, found, wanted):
    with pytest.raises(GrammarError, match=f"{place}.*{found}.*{wanted}"):
        Grammar(SMALL).score(text)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (small(wept2=["left", "{wept}"]), "rule wept reaches itself: tale > wept > wept2 > wept"),
        (small(tale="{tale}"), "reaches itself"),
        (small(note="{nobody}"), "nobody.*names no rule"),
        (small(note="{thing.colour}"), "names no attribute"),
        (small(note="{hero.name}"), "names no attribute"),
        (small(note="[a|b"), "does not close"),
        (small(note="a]"), "closes what it did not open"),
        (small(note="[2 a|b]"), "need a weight each"),
        (small(note=["0 a", "1 b"]), "need a weight each"),
        (small(note=[]), "rule note is"),
        (small(note=[1, 2]), "rule note is"),
        (small(note=7), "rule note is"),
        (small(note={"draw": "x: thing"}), "rule note is"),
        (small(note={"draw": "x: things", "text": "{x.one}"}), "names|draw ="),
        (small(note={"draw": "thing", "text": "a"}), "draw ="),
        (small(note={"draw": "x y z: thing", "text": "a"}), "draw ="),
        (small(note={"draw": "x x: thing", "text": "a"}), "x is drawn twice"),
        (small(note="{Note2}", note2="[|a]b"), "begins with something that may be empty"),
        (small(note="a / / b"), "blank line"),
        (small(note="a / [c|/ b]"), "blank line"),
        (small(note="a {lines}", lines="b / / c"), "blank line"),
        (small(note="[|a]"), "may be empty"),
        (small(note="a /"), "line break at an end"),
        (SMALL | {"genres": {}}, "genres"),
        (SMALL | {"genres": {"tale": 0}}, "genres"),
        (SMALL | {"genres": {"tale": "2"}}, "genres"),
        ({}, "genres"),
        (SMALL | {"tables": 3}, "tables is 3"),
        (SMALL | {"tables": {"person": {"columns": "a"}}}, "table person needs"),
        (SMALL | {"tables": {"person": {"columns": "a", "rows": []}}}, "table person needs"),
        (SMALL | {"tables": {"person": {"columns": "a b", "rows": ["x"]}}}, "has the row"),
        (SMALL | {"probes": {"far": {"shows": ["thing.one"]}}}, "needs a distance"),
        (SMALL | {"probes": {"far": 3}}, "needs a distance"),
        (SMALL | {"probes": {"far": {"distance": [1, 9], "shows": ["thing.two"]}}}, "no table has"),
        (SMALL | {"probes": {"far": {"distance": [1, 9], "shows": ["thing"]}}}, "no table has"),
        (SMALL | {"probes": {"far": {"distance": [1, 9], "shows": ["person.they"]}}}, "be pairs"),
        (SMALL | {"probes": {"spelling": {"distance": [2, 5], "twins": ["h-a-t"]}}}, "twins"),
    ],
)
def test_a_malformed_grammar_is_refused_when_it_is_built(source, says):
    with pytest.raises(GrammarError, match=says):
        Grammar(source)


def test_a_file_that_is_not_toml_and_one_that_is_not_there(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[rules")
    with pytest.raises(GrammarError, match="bad.toml is not valid TOML"):
        read_source(path)
    with pytest.raises(DataError, match="grammars/nowhere.toml"):
        Grammar.load("nowhere")


def test_probes_ask_what_was_shown_before():
    source = SMALL | {
        "tables": {"person": {"columns": "name they", "rows": ["Ada|she", "Ned|he"]}},
        "rules": {
            "tale": {
                "draw": "x: person",
                "text": "{x.name} {mid}, and {x.they} left. {Twice} {Twice}",
            },
            "mid": ["sat in the fog", "saw a ladder", "kept a saddle"],
            "twice": {"draw": "y: person", "text": "{y.name} said that {y.they} slept."},
        },
        "genres": {"tale": 1},
        "probes": {
            "near": {"distance": [1, 12], "shows": ["person.they"]},
            "far": {"distance": [13, 30], "shows": ["person.they"]},
            "none": {"distance": [900, 999], "shows": ["person.they"]},
            "spelling": {"distance": [2, 5], "twins": ["s-add-le l-add-er"]},
        },
    }
    grammar = Grammar(source)
    document = grammar.sample(random.Random(1))
    assert Counter(p.kind for p in document.probes)["near"] == 2  # each draw asks for its own
    for kind, answers in {
        "near": {"she ", "he "},
        "far": {"she ", "he "},
        "spelling": {"le,", "er,"},
    }.items():
        probes = grammar.probes(kind, 40, seed=2)
        assert probes == grammar.probes(kind, 40, seed=2) != grammar.probes(kind, 40, seed=3)
        assert Counter(p.right for p in probes) == dict.fromkeys(answers, 20)
        assert all({p.right, p.wrong} == answers for p in probes)
    source["rules"]["tale"]["text"] = "So {x.they} left."  # said for the first time: nothing to ask
    assert Grammar(source).sample(random.Random(1)).probes == ()
    for kind, n in (("nothing", 2), ("near", 3), ("none", 2)):
        with pytest.raises(GrammarError, match=kind):
            grammar.probes(kind, n)


def test_a_corpus_has_the_size_asked_for():
    grammar = Grammar(SMALL)
    documents = sample_corpus(grammar, 1000, seed=4)
    lengths = [len(d.text) + len(grammar.separator) for d in documents]
    assert sum(lengths[:-1]) < 1000 <= sum(lengths)
    assert sample_corpus(grammar, 2000, seed=4)[: len(documents)] == documents
    assert sample_corpus(grammar, 0) == []
    assert exp(grammar.score(documents[0].text)) > 0 > -inf


MET = small(tale={
    "draw": "hero rival third: person, load: thing",
    "text": "{Rival.name} met {hero.name}. {Hero.name} had {load.one}, {third.name} not.",
}) | {"genres": {"tale": 1}}  # fmt: skip


@given(st.integers(0, 10**6))
def test_what_is_shown_is_told_with_its_odds(seed):
    grammar = Grammar(MET)
    document = grammar.sample(random.Random(seed))
    text, shown = grammar.sample_shown(random.Random(seed))
    assert text == document.text and len(shown) == 5
    for one in shown:
        assert text[one.start : one.end] == one.values[one.entry]
    first = [one for one in shown if one.odds]
    assert [one.known for one in first] == [0, 1, 0, 2] and shown[2].odds is None
    # Nothing but the draws is left to chance here, so the odds multiply to the document's.
    assert isclose(fsum(log(one.odds[one.entry]) for one in first), document.logprob)
    for one in first:
        taken = [other.entry for other in shown[: shown.index(one)] if other.table == one.table]
        assert isclose(fsum(one.odds), 1) and all(one.odds[entry] == 0 for entry in taken)
