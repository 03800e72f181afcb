"""Places on a sheet: boxes, and matrices of them.

One job: `Box` and `Grid`, which name the points where the next mark begins or ends.
"""

from dataclasses import dataclass
from typing import NamedTuple

Point = tuple[float, float]


class Box(NamedTuple):
    """A place on the sheet: its upper left corner and its size, in pixels."""

    x: float
    y: float
    width: float
    height: float

    def at(self, across: float, down: float) -> Point:
        """Return the point at these shares of width and height; (0, 0) is the upper left."""
        return self.x + across * self.width, self.y + down * self.height

    @property
    def top(self) -> Point:
        return self.at(0.5, 0)

    @property
    def bottom(self) -> Point:
        return self.at(0.5, 1)

    @property
    def left(self) -> Point:
        return self.at(0, 0.5)

    @property
    def right(self) -> Point:
        return self.at(1, 0.5)

    @property
    def center(self) -> Point:
        return self.at(0.5, 0.5)


@dataclass(frozen=True)
class Grid:
    """The place of a matrix of `shape` (rows, columns), and of its parts.

    Rows and columns count from 0, or from -1 backward.
    """

    box: Box
    shape: tuple[int, int]

    def cell(self, row: int, column: int) -> Box:
        """Return the place of one cell."""
        rows, columns = self.shape
        width, height = self.box.width / columns, self.box.height / rows
        x, y = self.box.x + column % columns * width, self.box.y + row % rows * height
        return Box(x, y, width, height)

    def row(self, row: int) -> Box:
        """Return the place of a whole row."""
        first = self.cell(row, 0)
        return Box(self.box.x, first.y, self.box.width, first.height)

    def column(self, column: int) -> Box:
        """Return the place of a whole column."""
        first = self.cell(0, column)
        return Box(first.x, self.box.y, first.width, self.box.height)
