"""Schematic pictures: boxes, arrows, matrices and strips of cells, in the book's colors.

One job: `Drawing`, a sheet on which a chapter's drawing is put together from a few kinds of mark.
A sheet is as wide as `WIDTH` and grows downward. What is placed has edges to place the next thing
by. The colors are those of `gptlib.course.picture`, which a page may turn dark; equal calls give
equal bytes.

    from gptlib.course.drawing import Drawing
    from gptlib.course.picture import GREEN

    d = Drawing()
    ids = d.box(200, 10, 160, 34, "ids", shape="(B, T)")
    table = d.box(200, 74, 160, 54, "token table\\n(V, C)", color=GREEN)
    d.arrow(ids.bottom, table.top)
    return d.picture("Ids go into the token table.")

In all words, `W_{Q}` lowers what stands in the braces and `10^{-3}` raises it.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from gptlib.course.drawing import ink
from gptlib.course.drawing.ink import SMALL
from gptlib.course.drawing.places import Box, Grid, Point
from gptlib.course.picture import BLUE, FAINT, INK, PAPER, VERMILION, Picture, themed

__all__ = ["MARGIN", "SMALL", "TEXT", "WIDTH", "Box", "Drawing", "Grid", "by_value", "number"]

WIDTH = 560  # screen pixels; a phone of 390 shows them on 376
TEXT = 18  # the size of words, but for notes and what stands in cells, which are SMALL
MARGIN = 10

#: (value, row, column) -> the color of a cell and how deep it is, from 0 to 1.
Paint = Callable[[Any, int, int], tuple[str, float]]


def number(value: Any) -> str:
    """Write a cell's value: words as they are, a number with no digits or two, a real minus."""
    if isinstance(value, str):
        return value
    value = float(value)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    digits = 0 if value.is_integer() else 2
    return f"{round(value, digits) + 0:.{digits}f}".replace("-", "−")  # + 0 makes −0 a 0


def _of_group(paint: Paint, group: int) -> Paint:
    """The same paint for a row of cells that is drawn by itself."""
    return lambda value, _, column: paint(value, group, column)


def by_value(most: float = 1, above: str = BLUE, below: str = VERMILION) -> Paint:
    """Return a paint that shades a cell by its size.

    Args:
        most: the size of the deepest shade. above, below: colors of positive and negative values.
    """

    def paint(value: Any, row: int, column: int) -> tuple[str, float]:
        value = float(value)
        share = 0.0 if math.isinf(value) else min(1.0, abs(value) / most)
        return above if value > 0 else below, share

    return paint


class Drawing:
    """A sheet that grows downward as marks are put on it.

    Args:
        width: in screen pixels; `WIDTH` at most, or its words are too small on a phone.
    """

    def __init__(self, width: float = WIDTH) -> None:
        self.width, self.height = width, 0.0
        self._marks: list[str] = []

    def text(
        self,
        at: Point,
        words: str,
        *,
        size: float = TEXT,
        color: str = INK,
        align: str = "middle",
        bold: bool = False,
    ) -> Box:
        """Write one line of words at half their height; `at` is its "start", "middle" or "end"."""
        width = ink.words_width(words, size)
        x = at[0] - width * {"start": 0, "middle": 0.5, "end": 1}[align]
        self._marks.append(ink.words(at, words, size, color, align, bold))
        return self._filled(Box(x, at[1] - size / 2, width, size))

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        words: str = "",
        *,
        color: str = INK,
        tint: float = 0.12,
        shape: str = "",
    ) -> Box:
        """Draw a box with words in it: the first line is its name, further ones are notes.

        Args:
            tint: how much of its color the box is filled with, from 0 to 1.
            shape: a note to the right of the box.
        """
        box = Box(x, y, width, height)
        self._marks.append(ink.rectangle(box, color, tint, color, 1.5, 6))
        lines = words.splitlines()
        down = box.center[1] - 0.625 * (TEXT + SMALL * (len(lines) - 1))
        for n, line in enumerate(lines):
            size, shade = (TEXT, INK) if n == 0 else (SMALL, FAINT)
            self.text((box.center[0], down + 0.625 * size), line, size=size, color=shade)
            down += 1.25 * size
        if shape:
            beside = (x + width + 10, box.center[1])
            self.text(beside, shape, size=SMALL, color=FAINT, align="start")
        return self._filled(box)

    def frame(
        self, box: Box, *, color: str = INK, grow: float = 4, width: float = 2, dashed: bool = False
    ) -> Box:
        """Draw an empty frame around a place, such as a row of a matrix that is spoken of.

        Args:
            grow: how far outside the place the frame stands.
        """
        box = Box(box.x - grow, box.y - grow, box.width + 2 * grow, box.height + 2 * grow)
        self._marks.append(ink.frame(box, color, width, dashed))
        return self._filled(box)

    def operator(self, at: Point, sign: str = "+", *, color: str = INK) -> Box:
        """Draw a small circle with a sign in it, such as the + where two streams meet."""
        box = Box(at[0] - 12, at[1] - 12, 24, 24)
        self._marks.append(ink.circle(box, PAPER, color))
        self.text(at, sign, color=color)
        return self._filled(box)

    def dot(self, at: Point, *, color: str = INK) -> Box:
        """Draw a filled dot: two lines that cross do meet here."""
        box = Box(at[0] - 5, at[1] - 5, 10, 10)
        self._marks.append(ink.circle(box, color, PAPER))
        return self._filled(box)

    def line(
        self,
        *points: Point,
        color: str = INK,
        width: float = 1.8,
        dashed: bool = False,
        head: bool = False,
    ) -> None:
        """Draw a line through two points or more; its corners are round."""
        self._marks.append(ink.line(points, color, width, dashed, head))

    def arrow(self, *points: Point, **style: Any) -> None:
        """Draw a line with a head, whose tip is the last point; the options are those of `line`."""
        self.line(*points, head=True, **style)

    def curve(
        self,
        start: Point,
        end: Point,
        *,
        color: str = INK,
        width: float = 1.8,
        dashed: bool = False,
        head: bool = False,
    ) -> None:
        """Draw an S from one height to another, upright at both ends."""
        self._marks.append(ink.curve(start, end, color, width, dashed, head))

    def matrix(
        self,
        x: float,
        y: float,
        values: Sequence[Sequence[Any]],
        *,
        cell: tuple[float, float] = (44, 28),
        paint: Paint | None = None,
        write: Callable[[Any], str] = number,
        rows: Sequence[str] = (),
        columns: Sequence[str] = (),
    ) -> Grid:
        """Draw a matrix of cells, its upper left corner at (x, y).

        Args:
            values: rows of numbers or words. A `None` leaves its cell out.
            cell: width and height of a cell.
            paint: (value, row, column) -> a color and its depth from 0 to 1; at 0 the value is
                faint too.
            write: value -> what is written in its cell, nothing if that is empty.
            rows, columns: names, written to the left of rows and above columns.
        """
        shape = len(values), len(values[0])
        grid = Grid(Box(x, y, cell[0] * shape[1], cell[1] * shape[0]), shape)
        for i, row in enumerate(values):
            for j, value in enumerate(row):
                if value is None:
                    continue
                color, share = paint(value, i, j) if paint else (INK, None)
                place, shade = grid.cell(i, j), FAINT if share == 0 else INK
                self._marks.append(ink.rectangle(place, color, 0.5 * (share or 0), FAINT, 1, 0))
                if name := write(value):
                    self.text(place.center, name, size=SMALL, color=shade)
        for i, name in enumerate(rows):
            self.text((x - 8, grid.row(i).center[1]), name, size=SMALL, align="end")
        for j, name in enumerate(columns):
            self.text((grid.column(j).center[0], y - 14), name, size=SMALL)
        self._filled(grid.box)
        return grid

    def strip(
        self,
        x: float,
        y: float,
        groups: Sequence[Sequence[Any]],
        *,
        gaps: Sequence[float] = (),
        paint: Paint | None = None,
        **style: Any,
    ) -> list[Grid]:
        """Draw one row of cells in groups, from left to right; return the place of each group.

        Args:
            gaps: the space behind each group, 0 where the list has ended.
            paint: as for `matrix`, with the group's number in place of the row's.
            style: `cell` and `write`, as for `matrix`.
        """
        grids = []
        for n, group in enumerate(groups):
            painted = _of_group(paint, n) if paint else None
            grids.append(self.matrix(x, y, [group], paint=painted, **style))
            x += grids[-1].box.width + (gaps[n] if n < len(gaps) else 0)
        return grids

    def bracket(
        self, start: Point, end: Point, words: str = "", *, color: str = INK, up: bool = False
    ) -> Point:
        """Draw a flat bracket below (or above) a level stretch, with words at its tip.

        Returns:
            The tip, where an arrow may begin if there are no words.
        """
        (x0, y), x1, side = start, end[0], -1 if up else 1
        middle, low, tip = (x0 + x1) / 2, y + side * 7, y + side * 13
        self.line((x0, y), (x0, low), (x1, low), (x1, y), color=color, width=1.4)
        self.line((middle, low), (middle, tip), color=color, width=1.4)
        if words:
            self.text((middle, tip + side * 12), words, size=SMALL, color=color)
        return middle, tip

    def picture(self, alt: str) -> Picture:
        """Return the finished picture; `alt` tells what it shows to whoever cannot see it."""
        width, height = f"{self.width:g}", math.ceil(self.height + MARGIN)
        top = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width}" height="{height}" '
            "font-family=\"var(--figure-font, 'DejaVu Sans', Verdana, sans-serif)\">"
        )
        paper = f'<rect width="{width}" height="{height}" fill="{themed(PAPER)}"/>'
        return Picture("\n".join([top, paper, *self._marks, "</svg>"]), alt)

    def _filled(self, box: Box) -> Box:
        self.height = max(self.height, box.y + box.height)
        return box
