"""The book's own linter: each rule on good and bad snippets, and all rules on every chapter."""

import pytest

from book.linter import (
    Cell,
    crowded,
    figures,
    given_away,
    premature,
    read,
    reading_order,
    terms,
    unanswered,
    undiscussed,
    unseen,
    used,
)
from book.notebooks import sources

PREDICT = "> **Predict.** More, or less?"
SHOWN = ("found = 1\nprint(found)", "1")


def cells(*parts: str | tuple[str, ...]) -> list[Cell]:
    """Markdown is a string; a code cell is a tuple of its code, its output and its tags."""
    return [
        Cell("markdown", part)
        if isinstance(part, str)
        else Cell("code", part[0], frozenset(part[2:]), part[1])
        for part in parts
    ]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("In 1913 he took 20,000 letters, 66% of them consonants.", ["20,000", "66"]),
        ("A loss of 2.47 ± 0.01 nats, 1e-3 below.", ["2.47 ± 0.01", "1e-3"]),
        ("Exercise 1.3 and Figures 2.1 and 2.2 of chapter 4.", []),
        ("`x[0]`, $T = 38$, GPT-2, an H100, [a page](https://a.b/2.3)", []),
        ("1.479<!-- published: kalevala-gpt.val --> nats of 21M parameters", ["1.479", "21"]),
    ],
)
def test_figures_are_what_a_reader_weighs(text, found):
    assert figures(text) == found


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("Of 1, 2, 3, 4 and 5 the last.", False),
        ("Of 1, 2, 3, 4, 5 and 6 the last.", True),
        ("Of 1, 2 and 3.\n\nOf 4, 5 and 6.", False),
        ("- Of 1, 2 and 3\n- of 4, 5 and 6", False),
        ("| 1 | 2 | 3 | 4 | 5 | 6 |\n|---|---|---|---|---|---|", False),
        ("> **In the wild.** Of 1, 2, 3, 4, 5 and 6.", True),
        ("<!-- linter: figures, because they are names -->A 1, 2, 3, 4, 5, 6.", False),
        ("<!-- linter: figures -->A 1, 2, 3, 4, 5, 6.", True),
        ("## References\n\n- Nobody (2003). Nothing. 1, 2, 3, 4, 5, 6.", False),
    ],
)
def test_a_paragraph_with_many_figures_is_found(text, bad):
    assert bool(crowded(cells(text))) == bad


@pytest.mark.parametrize(
    ("parts", "bad"),
    [
        ([SHOWN, "So it is one."], False),
        ([SHOWN, ("assert found", ""), "So it is one."], False),
        ([SHOWN, '<div class="caption">\n\n**Figure 1.1.** Look.\n\n</div>'], False),
        ([SHOWN, SHOWN, "So they are one."], True),
        ([SHOWN, "## What else?\n\nMuch."], True),
        ([SHOWN, PREDICT], True),
        ([SHOWN], True),
        ([PREDICT, SHOWN, SHOWN, "More."], False),
        ([("check()", "✓ right", "solution"), "## What else?"], False),
    ],
)
def test_an_output_that_no_text_discusses_is_found(parts, bad):
    assert bool(undiscussed(cells(*parts))) == bad


@pytest.mark.parametrize(
    ("parts", "bad"),
    [
        ([PREDICT, SHOWN, "More."], False),
        ([PREDICT, ("work()", ""), SHOWN, "More."], False),
        ([PREDICT + "\n\n<details><summary>Answer</summary>\n\nMore.\n\n</details>"], False),
        ([PREDICT + "\n\n### Exercise 1.1", ("stub()", "○", "exercise"), SHOWN, "More."], False),
        ([PREDICT, ("a", ""), ("b", ""), SHOWN, "More."], True),
        ([PREDICT, SHOWN, "## What else?"], True),
        ([PREDICT, "## What else?", SHOWN, "More."], True),
        ([PREDICT], True),
    ],
)
def test_a_prediction_that_is_not_answered_within_two_cells_is_found(parts, bad):
    assert bool(unanswered(cells(*parts))) == bad


@pytest.mark.parametrize(
    ("parts", "bad"),
    [
        ([PREDICT, SHOWN, "More.", ("Table(found)", "1")], True),
        ([PREDICT, SHOWN, ("Table(found)", "1"), "More."], False),
        ([PREDICT, SHOWN, "More.\n\nAnd then?", ("Table(found)", "1")], False),
        ([PREDICT, SHOWN, "More.", ('print("found")', "1")], False),
        ([SHOWN, "More.", ("Table(found)", "1")], False),
    ],
)
def test_an_open_output_that_gives_a_folded_answer_away_is_found(parts, bad):
    assert bool(given_away(cells(*parts))) == bad


@pytest.mark.parametrize(
    ("caption", "prose", "bad"),
    [
        ("**Figure 1.1.** Pairs. Look at row `h` first.", "", False),
        ("**Figure 1.1.** Pairs.", "Read the columns of Figure 1.1 downward.", False),
        ("**Figure 1.1.** Pairs.", "Read the columns of the table downward.", True),
    ],
)
def test_a_figure_that_says_nowhere_where_to_look_is_found(caption, prose, bad):
    snippet = cells(f'<div class="caption">\n\n{caption}\n\n</div>\n\n{prose}')
    assert bool(unseen(snippet)) == bad


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("Its logits are large.", True),
        ("These numbers are called *logits*.", False),
        ("Its logits ([chapter 1](01_bigram.ipynb)) are large.", False),
        ("Its logits, of which chapter 1 speaks, are large.", False),
        ("Its `logits` are large.", False),
        ("## Are logits large?\n\nThey are.", False),
        ("A catalogits is nothing.", False),
        ("<!-- linter: logits, because it is a name -->Mr. Logits is large.", False),
        ("## References\n\n- Nobody (2003). Logits.", False),
    ],
)
def test_a_term_before_its_explanation_is_found(text, bad):
    assert bool(premature(cells(text), {"logits"})) == bad
    opening = cells("Logits will be built.", ("", "", "setup"), text)
    assert bool(premature(opening, {"logits"})) == bad


def test_a_beat_is_a_term_and_to_beat_is_not():
    assert premature(cells("Write down each beat."), {"beat"})
    assert not premature(cells("No model can beat it, and this often beats chance."), {"beat"})


def test_a_term_is_known_after_the_chapter_that_used_it():
    assert used(cells("Called *logits*, plainly."), {"logits", "softmax"}) == {"logits"}


def test_the_glossary_names_the_chapter_of_a_term():
    order = ["00_digits", "01_bigram", "a2_speedrun"]
    text = "bigram\n    A pair. Chapter 1.\n\nautograd\n    Slopes. The interlude.\n\n"
    text += "WSD\n    A rate. The speedrun.\n\nseed\n    A number.\n"
    assert terms(text, order) == {
        "bigram": "01_bigram", "autograd": "00_digits", "WSD": "a2_speedrun"
    }  # fmt: skip


def test_every_chapter_has_a_place_in_the_order_of_reading(root):
    order = reading_order(root)
    assert sorted(order) == sorted(source.stem for source in sources(root))
    assert "digits" in order[0] and "bigram" in order[1]


@pytest.mark.parametrize("rule", [crowded, undiscussed, unanswered, given_away, unseen])
def test_a_chapter_keeps_the_rule(source, rule):
    found = rule(read(source))
    assert not found, "\n".join(found)


def test_no_chapter_uses_a_term_before_it_is_explained(root):
    order = reading_order(root)
    home = terms((root / "glossary.md").read_text("utf8"), order)
    unknown, early = set(home), []
    for name in order:
        chapter = read(root / "chapters" / "src" / f"{name}.md")
        found = premature(chapter, unknown).items()
        early += [f"{name} uses {term!r} unexplained: {sentence}" for term, sentence in found]
        unknown -= used(chapter, unknown) | {term for term in home if home[term] == name}
    assert not early, "\n".join(early)
