"""Signatures of the reference that a screen reader reads as they stand.

One job: a long signature has a line for each parameter, which Sphinx writes as a list of
definitions without a word that they define. Lines of one signature are lines, not definitions.
"""

import re
from typing import Any

_LIST = re.compile(r'<dl>\s*((?:<dd><em class="sig-param">.*?</dd>\s*)+)</dl>', re.S)


def lines(html: str) -> str:
    """Return a page with the parameters of its signatures as lines."""

    def line(match: re.Match[str]) -> str:
        inside = match[1].replace("<dd>", '<span class="sig-line">').replace("</dd>", "</span>")
        return f'<span class="sig-lines">{inside}</span>'

    return _LIST.sub(line, html)


def _mend(app: Any, page: str, template: str, context: dict, doctree: Any) -> None:
    if 'class="sig-param"' in context.get("body", ""):
        context["body"] = lines(context["body"])


def connect(app: Any) -> None:
    """Register with Sphinx."""
    app.connect("html-page-context", _mend)
