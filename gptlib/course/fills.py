"""What a page of the book takes from chapters and records: `<!-- fill: NAME ARGUMENT -->`.

One job: turn each such comment in a Markdown page into HTML made from committed facts, so that no
page holds a number or a sample that somebody typed. A record that does not exist yet is said.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path

from gptlib.errors import DataError

_COMMENT = re.compile(r"<!-- fill: (?P<name>[\w-]+)(?: (?P<argument>[\w.-]+))? -->")


def fill(text: str, root: Path) -> str:
    """Replace every fill comment in a page.

    Args:
        text: the page's Markdown.
        root: the repository's root.

    Raises:
        DataError: a comment asks for a fill that does not exist.
    """

    def replace(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in FILLS:
            raise DataError(f"no fill is called {name}; there are {', '.join(sorted(FILLS))}")
        return FILLS[name](root, match["argument"] or "")

    return _COMMENT.sub(replace, text)


def chapter_facts(root: Path, name: str) -> str:
    """Return one line on a chapter: its exercises, figures and how long its cells ran."""
    path = root / "chapters" / f"{name}.ipynb"
    if not path.exists():
        return '<p class="facts">in preparation</p>'
    notebook = json.loads(path.read_text("utf8"))
    prose = "\n".join(
        "".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "markdown"
    )
    facts = [
        f"{len(re.findall(r'^### Exercise ', prose, re.M))} exercises",
        f"{len(re.findall(r'^[*][*]Figure ', prose, re.M))} figures",
    ]
    seconds = notebook["metadata"].get("gptlib", {}).get("seconds")
    if seconds is not None:
        facts.append(f"runs in {seconds} s on one CPU thread")
    return f'<p class="facts">{" · ".join(facts)}</p>'


FILLS: dict[str, Callable[[Path, str], str]] = {
    "facts": chapter_facts,
}
