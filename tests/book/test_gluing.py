"""A formula keeps what touches it on its line, and no word of the page changes."""

import pytest
from docutils import nodes

from book.gluing import glue


def paragraph(*parts: str | nodes.Node) -> nodes.paragraph:
    """A paragraph of texts and of formulas, which are written `$x$`."""
    made = nodes.paragraph()
    for part in parts:
        formula = isinstance(part, str) and part.startswith("$")
        made += nodes.math("", part.strip("$")) if formula else nodes.Text(part)
    return made


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        (("its slope ", "$p - y$", ", and a step"), ["p - y,"]),
        (("(for ", "$V$", ") and (", "$T$", "); no more"), ["V)", "(T);"]),
        (("in ", "$V$", "’s row, ", "$V$", "-fold, ", "$T$", "th, ", "$C$"), ["V’s"]),
        (("at ", "$T$", "."), ["T."]),
        (("(", "$i$", ", ", "$j$", ")"), ["(i,", "j)"]),
        (("a word, ", "$i$", " – ", "$j$", "/", "$k$"), []),
    ],
)
def test_a_formula_and_its_marks_are_one(parts, kept):
    line = paragraph(*parts)
    words = line.astext()
    for _ in range(2):
        glue(None, line)
        assert [span.astext() for span in line.findall(nodes.inline)] == kept
        assert line.astext() == words
    assert all("together" in span["classes"] for span in line.findall(nodes.inline))
    assert not [text for text in line.findall(nodes.Text) if not text.astext()]


def test_a_formula_in_italics_is_glued_there():
    line = nodes.paragraph("", "", nodes.emphasis("", "", *paragraph("at ", "$T$", ".").children))
    glue(None, line)
    assert [span.astext() for span in line.findall(nodes.inline)] == ["T."]
