"""What a page of the book takes from chapters and records: `<!-- fill: NAME ARGUMENT -->`.

One job: turn each such comment in a Markdown page into HTML or a table made from committed facts,
so that no page holds a number or a sample that somebody typed. What is not recorded yet is said.
"""

import json
import re
from collections.abc import Callable
from html import escape
from pathlib import Path

from gptlib.errors import DataError

_COMMENT = re.compile(r"<!-- fill: (?P<name>[\w-]+)(?: (?P<argument>[\w.-]+))? -->")
_SHOWN, _LINES = 210, 3  # characters and lines of a sample on the first page
_RUNGS = 5


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
    counts = {
        "exercises": len(re.findall(r"^### Exercise ", prose, re.M)),
        "figures": len(re.findall(r"^[*][*]Figure ", prose, re.M)),
    }
    facts = [f"{count} {what}" for what, count in counts.items() if count]
    seconds = notebook["metadata"].get("gptlib", {}).get("seconds")
    if seconds is not None:
        facts.append(f"its cells ran in {seconds} seconds on one CPU thread")
    return f'<p class="facts">{" · ".join(facts)}</p>'


def descent(root: Path, name: str) -> str:
    """Return one prompt continued at several losses, from a record's samples.

    Samples that hold `val` (nats per character) and `step` are taken, from the highest loss to the
    lowest, at most five, each about the same part of the loss below the one before.
    """
    record = _record(root, name)
    samples = [s for s in record.get("samples", ()) if "val" in s and "step" in s]
    if not samples:
        return '<p class="descent-note">The run that writes here is not recorded yet.</p>'
    samples = [s for s in samples if s["prompt"] == samples[0]["prompt"]]
    losses = [sample["val"] for sample in samples]
    ratio = (min(losses) / max(losses)) ** (1 / (_RUNGS - 1))
    wanted = [max(losses) * ratio**k for k in range(_RUNGS)]
    picked = {min(range(len(losses)), key=lambda n: abs(losses[n] - w)) for w in wanted}
    rungs = []
    for sample in sorted((samples[n] for n in picked), key=lambda sample: -sample["val"]):
        prompt = sample["prompt"]
        tale = _cut(sample["text"].removeprefix(prompt))
        rungs.append(
            f'<div class="rung"><div class="loss">{sample["val"]:.2f}'
            f"<small>step {sample['step']:,}</small></div>"
            f'<p class="tale"><b>{escape(prompt)}</b>{escape(tale)}</p></div>'
        )
    return '<div class="descent">\n' + "\n".join(rungs) + "\n</div>"


def _cut(text: str) -> str:
    """Shorten a sample to whole words and few lines; a blank line would end its HTML block."""
    lines = [line.strip() for line in text.split("\n")]
    short = "\n".join([lines[0], *filter(None, lines[1:])][:_LINES])
    if len(short) > _SHOWN:
        short = short[:_SHOWN].rsplit(" ", 1)[0]
    return short if short == text.rstrip() else short.rstrip() + " …"


def costs(root: Path, _: str) -> str:
    """Return a table of all recorded runs: machine, time, speed and the command to repeat them."""
    rows = [
        "| record | machine | one run | tokens a second | repeat it with |",
        "|---|---|---|---|---|",
    ]
    for folder in sorted((root / "data" / "runs").glob("*/record.json")):
        about = json.loads(folder.read_text("utf8"))
        machine = about["hardware"]
        where = machine.get("gpu") or f"{machine['cpu']}, {_plural(machine['threads'], 'thread')}"
        where += f" ({machine['note']})" if "note" in machine else ""
        seconds, rate = (_mean(about["result"].get(key)) for key in ("seconds", "tokens_per_s"))
        rows.append(
            f"| `{about['name']}` | {where} | {_time(seconds)} | "
            f"{f'{rate:,.0f}' if rate else 'not recorded'} | `{about['command']}` |"
        )
    return "\n".join(rows) if len(rows) > 2 else "No run is recorded yet."


def chapter_costs(root: Path, _: str) -> str:
    """Return a table of the chapters: code cells, exercises, and how long the cells ran."""
    rows = ["| chapter | code cells | seconds, one CPU thread |", "|---|---|---|"]
    for path in sorted((root / "chapters").glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf8"))
        title = "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ")
        cells = sum(cell["cell_type"] == "code" for cell in notebook["cells"])
        seconds = notebook["metadata"].get("gptlib", {}).get("seconds", "not measured")
        rows.append(f"| [{title}](chapters/{path.name}) | {cells} | {seconds} |")
    return "\n".join(rows) if len(rows) > 2 else "No chapter has been run yet."


def _record(root: Path, name: str) -> dict:
    path = root / "data" / "runs" / name / "record.json"
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def _mean(value: float | dict | None) -> float | None:
    return value["mean"] if isinstance(value, dict) else value


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "not recorded"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


FILLS: dict[str, Callable[[Path, str], str]] = {
    "facts": chapter_facts,
    "descent": descent,
    "costs": costs,
    "chapter-costs": chapter_costs,
}
