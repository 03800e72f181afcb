"""From the library to the chapter that derives it: "Derived in chapter 2, *Why a third vector?*".

One job: `derivations`, which finds such sentences in docstrings, and `link`, which makes links of
them in the reference. A test follows each to its heading.
"""

import re
from pathlib import Path

import yaml
from docutils.nodes import make_id

#: Chapters that the contents do not number, by what docstrings call them.
UNNUMBERED = {
    "chapter 0": "00_digits",
    "the speedrun": "a2_speedrun",
    "the interlude on probes": "a3_learned_last",
}
_SENTENCE = re.compile(
    r"Derived\s+in\s+(?P<where>chapter\s+\d+|the\s+speedrun|the\s+interlude\s+on\s+probes),"
    r"\s+\*(?P<title>[^*]+)\*"
)


def chapters(root: Path) -> dict[str, str]:
    """The files of the chapters by what a docstring calls them: {"chapter 1": "01_bigram", ...}."""
    parts = yaml.safe_load((root / "_toc.yml").read_text("utf8"))["parts"]
    numbered = [
        Path(entry["file"]).name
        for part in parts
        if part.get("numbered")
        for entry in part["chapters"]
    ]
    return {f"chapter {n}": name for n, name in enumerate(numbered, 1)} | UNNUMBERED


def derivations(docstring: str) -> list[tuple[str, str]]:
    """(chapter, heading) of each sentence in a docstring that says where something is derived."""
    return [(_words(m["where"]), _words(m["title"])) for m in _SENTENCE.finditer(docstring)]


def link(docstring: str, root: Path) -> str:
    """Turn the sentences of a docstring, reStructuredText by now, into links from `api/`."""
    files = chapters(root)

    def linked(match: re.Match[str]) -> str:
        where, title = _words(match["where"]), _words(match["title"])
        page = f"../chapters/{files[where]}.html#{make_id(title)}"
        return f"Derived in {where}, `{title} <{page}>`__"

    return _SENTENCE.sub(linked, docstring)


def headings(root: Path, name: str) -> list[str]:
    """The headings of a chapter's text."""
    text = (root / "chapters" / "src" / f"{name}.md").read_text("utf8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    return re.findall(r"^#+ (.+)$", prose, re.M)


def _words(text: str) -> str:
    return " ".join(text.split())
