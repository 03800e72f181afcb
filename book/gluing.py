"""No line of a page begins with the comma behind a formula, or ends with the bracket before one.

One job: `glue`. MathJax makes a formula a box of its own, and a browser may end a line at any such
box. What touches a formula without a space, punctuation mostly, goes into one span with it, which
the style sheet keeps on one line (`.together`).
"""

import re
from typing import Any

from docutils import nodes

#: What touches a formula from behind or from before: marks, no words, and so nothing wide.
_BEHIND = re.compile(r"(?:[^\s\w–—/-]|(?<=[’'])s\b)+")
_BEFORE = re.compile(r"[^\s\w–—/.,;:!?-]+$")


def glue(app: Any, doctree: Any) -> None:
    """Put each formula within a line into a span with the marks that touch it."""
    for formula in list(doctree.findall(nodes.math)):
        line = formula.parent
        if "together" in line.get("classes", ()):
            continue
        at = line.index(formula)
        before = _touching(line, at - 1, _BEFORE.search)
        behind = _touching(line, at + 1, _BEHIND.match)
        if before or behind:
            _cut(line, at + 1, len(behind), from_end=False)
            at -= _cut(line, at - 1, len(before), from_end=True)
            span = nodes.inline("", "", classes=["together"])
            line.insert(at, span)
            line.remove(formula)
            span += [nodes.Text(before)] * bool(before) + [formula]
            span += [nodes.Text(behind)] * bool(behind)


def _touching(line: nodes.Element, at: int, found: Any) -> str:
    """Return the marks at one end of what stands at a place, if text does."""
    beside = line[at] if 0 <= at < len(line) else None
    match = found(beside.astext()) if isinstance(beside, nodes.Text) else None
    return match[0] if match else ""


def _cut(line: nodes.Element, at: int, count: int, *, from_end: bool) -> int:
    """Take characters from one end of a text; return 1 if that was all of it, and it is gone."""
    if not count:
        return 0
    text = line[at].astext()
    rest = text[:-count] if from_end else text[count:]
    if rest:
        line[at] = nodes.Text(rest)
        return 0
    del line[at]
    return 1


def connect(app: Any) -> None:
    """Register with Sphinx."""
    app.connect("doctree-read", glue)
