"""What a page of the book takes from chapters and records: `<!-- fill: NAME ARGUMENT -->`.

One job: turn each such comment in a Markdown page into HTML or a table made from committed facts,
so that no page holds a number or a sample that somebody typed. What is not recorded yet is said.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from book.commands import command_help
from book.waiting import waiting_table
from gptlib.course.tables import MISSING
from gptlib.errors import DataError
from gptlib.train_config import FREE, OVERRIDABLE

_COMMENT = re.compile(r"<!-- fill: (?P<name>[\w-]+)(?: (?P<argument>[\w.-]+))? -->")
_SHOWN, _LINES = 210, 3  # characters and lines of a sample on the first page
_WHOLE = 600, 12  # of the last one, which is there to be read to its end
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


@dataclass(frozen=True)
class Effort:
    """What a chapter takes of its reader: hours to read, and minutes for what there is to do."""

    reading: tuple[float, float]
    exercises: list[int]
    lab: tuple[int, int] | None
    figures: int


def effort(notebook: dict) -> Effort:
    """Reckon a chapter's times.

    Reading is 200 words a minute without what is folded, a minute for a figure, a minute for a
    dozen lines of code that stand open; that, to the half hour, and half as much again for
    predictions and what has to be read twice. Exercises and labs say their minutes themselves.
    """
    cells = notebook["cells"]
    prose = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    figures = len(re.findall(r"^[*][*]Figure ", prose, re.M))
    read = re.sub(r"<details>.*?</details>|<!--.*?-->", "", prose, flags=re.S)
    words = len(read.partition("\n## References")[0].split())
    lines = sum(
        sum(bool(line.strip()) for line in "".join(c.get("source", "")).splitlines())
        for c in cells
        if c["cell_type"] == "code" and not _FOLDED & set(c.get("metadata", {}).get("tags", ()))
    )
    hours = (words / 200 + figures + lines / 12) / 60
    low = max(0.5, round(2 * hours) / 2)
    lab = re.search(r"^## Lab: .*\n+★+, (?:about )?(\d+)(?: to (\d+))? minutes", prose, re.M)
    return Effort(
        (low, max(low + 0.5, math.ceil(3 * hours) / 2)),
        [int(n) for n in re.findall(r"^### Exercise .*?(\d+) minutes\)", prose, re.M)],
        (int(lab[1]), int(lab[2] or lab[1])) if lab else None,
        figures,
    )


_FOLDED = {"setup", "exercise", "solution", "hide-input", "hide-cell"}


def _half(hours: float) -> str:
    """Write hours to the half: ½, 1, 1½."""
    return f"{int(hours) or ''}{'½' if hours % 1 else ''}"


def _span(low: float, high: float, write: Callable[[Any], str] = str) -> str:
    return write(low) if low == high else f"{write(low)} to {write(high)}"


def chapter_facts(root: Path, name: str) -> str:
    """Return one line on a chapter: the reader's hours, its exercises, lab and figures."""
    path = root / "chapters" / f"{name}.ipynb"
    if not path.exists():
        return '<p class="facts">in preparation</p>'
    found = effort(json.loads(path.read_text("utf8")))
    facts = [
        f"reading {_span(*found.reading, write=_half)} hours".replace("to 1 hours", "to 1 hour")
    ]
    if found.exercises:
        facts.append(f"{_plural(len(found.exercises), 'exercise')}, {sum(found.exercises)} minutes")
    if found.lab:
        facts.append(f"a lab, {_span(*found.lab)} minutes")
    if found.figures:
        facts.append(_plural(found.figures, "figure"))
    return f'<p class="facts">{" · ".join(facts)}</p>'


def all_hours(root: Path, _: str) -> str:
    """Return a sentence on the hours of the whole book."""
    found = [effort(json.loads(p.read_text("utf8"))) for p in (root / "chapters").glob("*.ipynb")]
    reading = [sum(e.reading[n] for e in found) for n in (0, 1)]
    labs = [sum(e.lab[n] for e in found if e.lab) for n in (0, 1)]
    doing = [round((sum(sum(e.exercises) for e in found) + minutes) / 60) for minutes in labs]
    return (
        f"Together they take {_span(round(reading[0]), round(reading[1]))} hours to read, and "
        f"{_span(doing[0], doing[1])} more for all exercises and labs."
    )


def chapter_title(root: Path, name: str) -> str:
    """Return a chapter's title as a link, numbered and worded as in the contents at the side.

    Raises:
        DataError: the contents do not have such a chapter.
    """
    number = 0
    for part in yaml.safe_load((root / "_toc.yml").read_text("utf8"))["parts"]:
        for entry in part["chapters"]:
            number += bool(part.get("numbered"))
            if entry["file"] == f"chapters/{name}":
                path = root / "chapters" / f"{name}.ipynb"
                first = json.loads(path.read_text("utf8"))["cells"][0]["source"]
                title = "".join(first).splitlines()[0].lstrip("# ")
                shown = f"{number}. {title}" if part.get("numbered") else title
                return f"**[{shown}](chapters/{name}.ipynb)**"
    raise DataError(f"_toc.yml has no chapter {name}")


def descent(root: Path, name: str) -> str:
    """Return one prompt continued at several losses, from a record's samples.

    Samples that hold `val` (nats per character) and `step` are taken, from the highest loss to the
    lowest, at most five, each about the same part of the loss below the one before; the last one
    is shown whole.
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
        limits = _WHOLE if sample["val"] == min(losses) else (_SHOWN, _LINES)
        tale = _cut(sample["text"].removeprefix(prompt), *limits)
        rungs.append(
            f'<div class="rung"><div class="loss">{sample["val"]:.2f}'
            f"<small>step {sample['step']:,}</small></div>"
            f'<p class="tale"><b>{escape(prompt)}</b>{escape(tale)}</p></div>'
        )
    return '<div class="descent">\n' + "\n".join(rungs) + "\n</div>"


def _cut(text: str, most: int, rows: int) -> str:
    """Shorten a sample to whole words and few lines; a blank line would end its HTML block."""
    first, *rest = (line.strip() for line in text.split("\n"))
    lines = [first, *filter(None, rest)]
    short = "\n".join(lines[:rows])
    if len(short) > most:
        short = short[:most].rsplit(" ", 1)[0]
    return short if short == "\n".join(lines).rstrip() else short.rstrip() + " …"


def costs(root: Path, _: str) -> str:
    """Return tables of all recorded runs, one for each machine: the command, time and speed.

    The machine stands over its table: in a column of its own it would be said in every row.
    """
    by_machine: dict[str, list[str]] = {}
    for folder in sorted((root / "data" / "runs").glob("*/record.json")):
        about = json.loads(folder.read_text("utf8"))
        machine = about["hardware"]
        where = machine.get("gpu") or f"{machine['cpu']}, {_plural(machine['threads'], 'thread')}"
        where += f"; {machine['note']}" if "note" in machine else ""
        seconds, rate = (_mean(about["result"].get(key)) for key in ("seconds", "tokens_per_s"))
        by_machine.setdefault(where, []).append(
            f"| `{about['name']}`<br>`{about['command']}` | {_time(seconds)} | "
            f"{f'{rate:,.0f}' if rate else MISSING} |"
        )
    tables = []
    for where, rows in by_machine.items():
        head = ["| record, and the command that repeats it | one run | tokens a second |"]
        tables.append("\n".join([f"**{where}**", "", *head, "|---|---:|---:|", *rows]))
    return "\n\n".join(tables) or "No run is recorded yet."


def waiting(root: Path, _: str) -> str:
    """Return a table of the planned runs that no record holds yet."""
    return waiting_table(root)


def chapter_costs(root: Path, _: str) -> str:
    """Return a table of the chapters: what each takes of its reader, and what of the machine."""
    rows = [
        "| chapter | read, h | exercises, min | lab, min | CPU, s | GB |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for path in sorted((root / "chapters").glob("*.ipynb")):
        notebook = json.loads(path.read_text("utf8"))
        title = "".join(notebook["cells"][0]["source"]).splitlines()[0].lstrip("# ")
        found = effort(notebook)
        hours = _span(*found.reading, write=_half)
        minutes = (
            f"{sum(found.exercises) or MISSING} | {_span(*found.lab) if found.lab else MISSING}"
        )
        stamp = notebook["metadata"].get("gptlib", {})
        took = [stamp.get(key, "not measured") for key in ("seconds", "gigabytes")]
        rows.append(
            f"| [{title}](chapters/{path.name}) | {hours} | {minutes} | {took[0]} | {took[1]} |"
        )
    return "\n".join(rows) if len(rows) > 2 else "No chapter has been run yet."


def resume_rules(root: Path, _: str) -> str:
    """Return a table of the settings that a resumed run may change, and how."""
    flags = {name: ", ".join(f"`--{n.replace('_', '-')}`" for n in names) for name, names in
             (("free", FREE), ("told", OVERRIDABLE))}  # fmt: skip
    return "\n".join([
        "| may change | settings |",
        "|---|---|",
        f"| freely: how to compute and when to save | {flags['free']}, `--threads`, and the number "
        "of processes; the tokens of a step stay the same |",
        f"| with `--override`: the rest of the schedule is another | {flags['told']} |",
    ])  # fmt: skip


def faults(root: Path, _: str) -> str:
    """Return the table of what was done to runs on purpose, and what came of it."""
    result = _record(root, "faults").get("result")
    if not result:
        return "The long version of these tests is not recorded yet."
    killed, damaged, log = (result[k] for k in ("R1_killed", "R2_damaged", "R6_log"))
    rows = [
        ("a process killed (`SIGKILL`), half of them at any instant, half inside a save",
         f"{killed['kills']}, {killed['inside_a_save']} inside a save",
         f"spread over {killed['runs']} runs; {killed['runs_equal_to_the_unbroken']} of them ended "
         "equal, to the bit, to the run that was left alone"),
        ("bits flipped, or files cut, in a checkpoint", f"{damaged['damages']}",
         f"{damaged['noticed_named_and_passed_over']} noticed, named, and passed over"),
        ("the log read after a kill: does it tell of a step that is not repeated?",
         f"{log['kills']}", f"{log['false_lines']} false lines"),
        *((what, "", _passed(result[key])) for what, key in (
            ("a disk that is full, cannot be written, or vanishes", "R3_disk"),
            ("SIGTERM and Ctrl-C", "R4_signals"),
            ("two writers in one folder", "R5_two_writers"),
        )),
    ]  # fmt: skip
    table = ["| what was done | how often | what came of it |", "|---|---|---|"]
    return "\n".join(table + [f"| {' | '.join(row)} |" for row in rows])


def _passed(counts: dict) -> str:
    return f"{counts['tests'].split()[0]} tests, all passed"


def save_cost(root: Path, _: str) -> str:
    """Return a sentence on what a checkpoint of GPT-2 124M costs."""
    result = _record(root, "save-cost").get("result")
    if not result:
        return "What a checkpoint costs is not measured yet."
    return (
        f"A checkpoint of GPT-2 124M, {result['bytes'] / 1e9:.2f} GB, took "
        f"{result['median_s']:.1f} s at {result['bytes_per_second'] / 1e6:.0f} MB/s on the "
        f"disk of the machine that made this book, and the peak of its memory grew by "
        f"{result['memory_grew_by']:.1%}. The interval between saves, five minutes, grows on a "
        "slow disk, so that saving never takes more than a fiftieth of the time."
    )


def _record(root: Path, name: str) -> dict:
    path = root / "data" / "runs" / name / "record.json"
    return json.loads(path.read_text("utf8")) if path.exists() else {}


def _mean(value: float | dict | None) -> float | None:
    return value["mean"] if isinstance(value, dict) else value


def _time(seconds: float | None) -> str:
    if seconds is None:
        return MISSING
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


FILLS: dict[str, Callable[[Path, str], str]] = {
    "title": chapter_title,
    "facts": chapter_facts,
    "hours": all_hours,
    "descent": descent,
    "costs": costs,
    "waiting": waiting,
    "chapter-costs": chapter_costs,
    "resume-rules": resume_rules,
    "faults": faults,
    "save-cost": save_cost,
    "command": command_help,
}
