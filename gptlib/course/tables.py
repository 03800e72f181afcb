"""Results in rows: the value of a notebook cell that shows a table.

One job: `Table`. It holds rows and shows them twice, as an HTML table where a page can draw one,
and as aligned plain text on a terminal and in the tests, with the same digits in both.

    Table({"steps": [100, 200], "loss, nats": [2.4713, 2.1042]})
    Table(rows, digits={"loss, nats": 2, "share": "{:.1%}"}, highlight=-1)
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gptlib.errors import ConfigError, nearest

#: How a value is written: a number of decimals, a format such as "{:.1%}", or a function.
Digits = int | str | Callable[[Any], str]
MISSING = "–"
_UNIT = re.compile(
    r"(nats|bits|ms|s|seconds|minutes|hours|[KMGT]i?B|bytes|characters|tokens|steps|millions?"
    r"|thousands|pixels|%|percent|[MGTP]?FLOPs?(/s)?)(?![\w-])"
)
_FIGURE_SPACE, _SPACE = "\u2007", "\u00a0"  # as wide as a digit, and where no line may break


class Table:
    """Rows of results under heads that name their units.

    Numbers stand at the right, so that equal decimals stand under one another; text at the left.
    Whole numbers are written with commas, others with three decimals, unless `digits` says more.
    `None` is missing and shows as a dash, a pair `(mean, spread)` shows as "mean ± spread", and a
    tensor counts as the numbers in it.

    Args:
        rows: a dict of columns, or a list of rows, each a dict or, with `columns`, a tuple.
        columns: the heads in order, units after a comma: `["steps", "loss, nats"]`. Default: all
            keys, in the order in which they first come.
        digits: how to write the values, for all numbers with a fraction (2) or by head
            (`{"loss, nats": 2, "share": "{:.1%}"}`).
        heads: how many columns, from the left, name their row.
        caption: a line that stands over the table.
        alt: a sentence for who cannot see the table; default: the caption, or the heads.
        highlight: rows to set in bold, by number from 0, or from −1 backward.

    Raises:
        ConfigError: columns or rows of unequal length, no row at all, a head that is unknown or a
            row to highlight that does not exist.
    """

    def __init__(
        self,
        rows: Mapping[str, Iterable] | Iterable[Mapping[str, Any] | Sequence],
        columns: Sequence[str] | None = None,
        *,
        digits: Digits | Mapping[str, Digits] = 3,
        heads: int = 1,
        caption: str = "",
        alt: str = "",
        highlight: int | Iterable[int] = (),
    ) -> None:
        self.columns, self.rows = _read(rows, columns)
        self.heads, self.caption = heads, caption
        self.alt = alt or caption or "Table: " + "; ".join(self.columns)
        by_head = digits if isinstance(digits, Mapping) else {}
        for head in by_head:
            if head not in self.columns:
                raise ConfigError(
                    f"digits names the column {head!r}{nearest(head, self.columns)}; "
                    f"the table has {', '.join(map(repr, self.columns))}"
                )
        picked = [highlight] if isinstance(highlight, int) else list(highlight)
        for n in picked:
            if not -len(self.rows) <= n < len(self.rows):
                raise ConfigError(f"highlight is {n}, but the table has {len(self.rows)} rows")
        self.highlight = {n % len(self.rows) for n in picked}
        default = 3 if isinstance(digits, Mapping) else digits
        self._numeric, self._cells = [], []  # by column
        for n, head in enumerate(self.columns):
            values = [row[n] for row in self.rows]
            self._numeric.append(_is_numeric(values))
            self._cells.append(_write(values, by_head.get(head), default))

    def __repr__(self) -> str:
        columns = [
            [head, *(cell.replace(_FIGURE_SPACE, " ").replace(_SPACE, " ") for cell in cells)]
            for head, cells in zip(self.columns, self._cells, strict=True)
        ]
        padded = []
        for column, numeric in zip(columns, self._numeric, strict=True):
            width = max(map(len, column))
            padded.append([c.rjust(width) if numeric else c.ljust(width) for c in column])
        lines = ["  ".join(cells) for cells in zip(*padded, strict=True)]
        lines.insert(1, "  ".join("-" * len(column[0]) for column in padded))
        for n in self.highlight:
            lines[n + 2] += " *"
        return "\n".join(line.rstrip() for line in [*filter(None, [self.caption]), *lines])

    def _repr_html_(self) -> str:
        sides = ["right" if numeric else "left" for numeric in self._numeric]
        head = "".join(
            f'<th scope="col" style="text-align: {side}">{_head(name)}</th>'
            for name, side in zip(self.columns, sides, strict=True)
        )
        body = []
        for n, row in enumerate(zip(*self._cells, strict=True)):
            picked = n in self.highlight
            cells = []
            for k, (cell, side) in enumerate(zip(row, sides, strict=True)):
                tag = 'th scope="row"' if k < self.heads else "td"
                shown = f"<strong>{escape(cell)}</strong>" if picked else escape(cell)
                cells.append(f'<{tag} style="text-align: {side}">{shown}</{tag[:2]}>')
            start = '<tr class="picked">' if picked else "<tr>"
            body.append(f"{start}{''.join(cells)}</tr>")
        caption = [f"<caption>{escape(self.caption)}</caption>"] if self.caption else []
        return "\n".join([
            '<div class="table-frame" tabindex="0" role="region" style="overflow-x: auto" '
            f'aria-label="{escape(self.alt)}">',
            '<table class="table results">',
            *caption,
            f"<thead><tr>{head}</tr></thead>",
            "<tbody>",
            *body,
            "</tbody></table></div>",
        ])  # fmt: skip


def _read(rows: Any, columns: Sequence[str] | None) -> tuple[list[str], list[list]]:
    """Return the heads and the rows, each a list of plain values."""
    if isinstance(rows, Mapping):
        named = {head: list(values) for head, values in rows.items()}
        counts = {head: len(values) for head, values in named.items()}
        if len(set(counts.values())) > 1:
            said = ", ".join(f"{head!r} has {count}" for head, count in counts.items())
            raise ConfigError(f"the columns of a table have one length; here {said}")
        rows = [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
    rows = list(rows)
    if not rows:
        raise ConfigError("found no row, expected at least one")
    named = list(dict.fromkeys(head for row in rows if isinstance(row, Mapping) for head in row))
    if columns is None and not all(isinstance(row, Mapping) for row in rows):
        raise ConfigError("found rows without names, expected dicts, or columns=[…] with them")
    columns = named if columns is None else list(columns)
    plain = []
    for n, row in enumerate(rows):
        if isinstance(row, Mapping):
            for head in columns:
                if head not in named:
                    raise ConfigError(f"no row has a column {head!r}{nearest(head, named)}")
            row = [row.get(head) for head in columns]
        if len(row) != len(columns):
            raise ConfigError(f"row {n} has {len(row)} values, but there are {len(columns)} heads")
        plain.append([v.tolist() if hasattr(v, "tolist") else v for v in row])
    return columns, plain


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_pair(value: Any) -> bool:
    """Whether a value is a mean with its spread, which may be missing."""
    if not isinstance(value, tuple) or len(value) != 2:
        return False
    return _is_number(value[0]) and (value[1] is None or _is_number(value[1]))


def _is_numeric(values: list) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(_is_number(value) or _is_pair(value) for value in known)


def _write(values: list, own: Digits | None, default: Digits) -> list[str]:
    """Return the cells of a column, with room for the longest spread where some have one."""

    def one(value: Any) -> str:
        if value is None:
            return MISSING
        if isinstance(value, bool):
            return "yes" if value else "no"
        how = default if own is None and isinstance(value, float) else own
        if callable(how):
            return how(value)
        if not _is_number(value) or how is None:
            text = f"{value:,}" if _is_number(value) else str(value)
        else:
            text = how.format(value) if isinstance(how, str) else f"{value:,.{how}f}"
        if not _is_number(value):
            return text
        if text.startswith("-") and not any(c in "123456789in" for c in text):
            text = text[1:]  # rounded to zero, which has no sign: not "−0.00" on some processors
        return text.replace("-", "−").replace("inf", "∞")

    pairs = [value if _is_pair(value) else (value, None) for value in values]
    spreads = ["" if spread is None else one(spread) for _, spread in pairs]
    width = max(map(len, spreads))
    if not width:
        return [one(value) for value, _ in pairs]
    room = f"{_SPACE}{_FIGURE_SPACE}{_SPACE}{_FIGURE_SPACE * width}"  # for what is missing
    tails = [f"{_SPACE}±{_SPACE}{s.rjust(width, _FIGURE_SPACE)}" if s else room for s in spreads]
    return [one(value) + tail for (value, _), tail in zip(pairs, tails, strict=True)]


def _head(name: str) -> str:
    """A head with its unit, if it ends in one after a comma, in lighter type."""
    what, comma, unit = name.rpartition(", ")
    if not comma or not _UNIT.match(unit):  # a head that is only a unit names the column
        return escape(name)
    return f'{escape(what)}<span class="unit">{comma}{escape(unit)}</span>'
