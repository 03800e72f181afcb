"""The reference's docstrings: fields that share a line are taken apart, other text is not."""

from book.docstrings import split_fields
from book.signatures import lines


def attend(q, k, v, scale=None):
    """A function with parameters."""


def split(text: str, what: str = "function", obj=attend) -> list[str]:
    lines = text.split("\n")
    split_fields(None, what, "attend", obj, None, lines)
    return lines


def test_each_parameter_begins_a_line():
    text = (
        "Attend.\n\nArgs:\n    q: queries. k, v: keys and\n        values (B, S). scale: a factor."
    )
    assert split(text)[3:] == [
        "    q: queries.",
        "    k, v: keys and",
        "        values (B, S).",
        "    scale: a factor.",
    ]
    assert split("Attributes:\n    bytes: of it. tokens, size: two.", "class", dict)[1:] == [
        "    bytes: of it.",
        "    tokens, size: two.",
    ]


def test_what_is_no_parameter_stays_in_its_sentence():
    for text in [
        "Attend. q: this is prose.",
        "Args:\n    q: queries. note: these are normalized.",
        "Returns:\n    the sum. q: unchanged.",
    ]:
        assert split(text) == text.split("\n")
        assert split("Args:\n    q: a. k: b.", what="module")[1] == "    q: a. k: b."


def test_a_signature_is_lines_and_no_list_without_terms():
    signature = (
        '(<dl>\n<dd><em class="sig-param">q</em>,</dd>\n<dd><em class="sig-param">k</em>,</dd>'
        "\n</dl>)"
    )
    assert "<d" not in lines(signature) and lines(signature).count('class="sig-line"') == 2
    fields = "<dl><dt>Parameters:</dt><dd><p>q: queries.</p></dd></dl>"
    assert lines(fields) == fields
