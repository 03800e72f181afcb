"""Recorded, not remembered: a number in prose agrees with a record or with an output beside it.

`1.481<!-- kalevala-gpt: val -->` is held against `data/runs/kalevala-gpt/record.json`, and
`1.479<!-- published: kalevala-gpt.val -->` against `data/published.toml`, to the digits shown.
"""

import json
import re
import tomllib

import pytest

from gptlib.resources import data_path

MARKED = re.compile(
    r"(?P<number>[-−]?\d[\d,\u202f]*(?:\.\d+)?)(?P<percent> ?%| percent)?"
    r"(?:\*\*|\*|\$)?<!-- (?P<record>[\w-]+): (?P<key>[^ ]+) -->"
)
MARKER = re.compile(r"<!-- [\w-]+: [^ ]+ -->")
LONG = re.compile(r"(?<![\w./:-])\d+\.\d{3,}(?![\w/])")
LINKS = re.compile(r"\]\([^)]*\)|<https?://[^>]*>|https?://\S+|`[^`\n]*`")
PAGES = (
    "index.md", "notation.md", "glossary.md", "README.md", "long_runs.md", "waiting.md",
)  # fmt: skip


def look_up(record: str, key: str):
    if record == "published":
        value = tomllib.loads(data_path("published.toml").read_text("utf8"))
    else:
        path = data_path(f"runs/{record}") / "record.json"
        value = json.loads(path.read_text("utf8"))["result"]
    for step in key.split("."):
        value = value[int(step)] if isinstance(value, list) else value[step]
    for summary in ("value", "mean"):
        value = value[summary] if isinstance(value, dict) and summary in value else value
    return value


def disagreements(text: str) -> list[str]:
    """Return a line for every marked number that its record does not bear out."""
    found = []
    for match in MARKED.finditer(text):
        try:
            value = look_up(match["record"], match["key"])
        except Exception as error:
            found.append(f"{match[0]}: nothing recorded there ({error!r})")
            continue
        shown = re.sub("[,\u202f]", "", match["number"]).replace("−", "-")
        digits = len(shown.partition(".")[2])
        value = value * 100 if match["percent"] and abs(value) <= 1 else value
        if f"{value:.{digits}f}" != shown:
            found.append(f"{match[0]}: the record says {value}")
    if len(MARKER.findall(text)) != len(MARKED.findall(text)):
        found.append("a marker without a number directly before it")
    return found


def unsupported(prose: str, evidence: str) -> list[str]:
    """Return numbers of three or more decimals that neither a marker nor an output bears out."""
    numbers = [float(n) for n in re.findall(r"\d+\.\d+(?:e[-+]?\d+)?", evidence)]
    bare = MARKED.sub("", LINKS.sub(" ", prose))
    return [
        shown
        for shown in LONG.findall(bare)
        if not any(f"{n:.{len(shown.partition('.')[2])}f}" == shown for n in numbers)
    ]


def prose_of(notebook) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def evidence_of(notebook) -> str:
    """Everything that the chapter's cells state or print."""
    parts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts.append(cell.source)
            for output in cell.outputs:
                parts.append(output.get("text", ""))
                parts.append(str(output.get("data", {}).get("text/plain", "")))
    return "\n".join(parts)


def test_marked_numbers_of_chapters_agree_with_their_records(chapter):
    wrong = disagreements(prose_of(chapter))
    assert not wrong, "\n".join(wrong)


def test_long_numbers_of_chapters_are_marked_or_printed(chapter):
    lost = unsupported(prose_of(chapter), evidence_of(chapter))
    assert not lost, f"no marker and no output for {', '.join(lost)}"


@pytest.mark.parametrize("page", PAGES)
def test_pages_agree_with_records(root, page):
    text = re.sub(r"<!-- (fill|publish): .*? -->", "", (root / page).read_text("utf8"))
    wrong = disagreements(text)
    assert not wrong, "\n".join(wrong)
    assert not unsupported(text, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("0.613<!-- published: no.such.key -->", "nothing recorded"),
        ("a number <!-- kalevala-gpt: val -->", "without a number"),
    ],
)
def test_a_wrong_marker_is_found(text, problem):
    assert any(problem in line for line in disagreements(text))


def test_a_number_from_nowhere_is_found():
    assert unsupported("it was 2.4713 here", "the cell printed 2.47") == ["2.4713"]
    assert unsupported("it was 2.471 here", "the cell printed 2.47134") == []
