"""The look of every figure in the book, and figures that carry their own alt text.

One job: a chapter's figure is a `Plot`. It holds the picture and the sentence that says what the
picture shows, so that a page, a notebook and a screen reader all get both.

    fig, ax = figure()
    ax.plot(steps, losses, label="one head")
    floor_line(ax, 0.71)
    label_ends(ax)
    return Plot(fig, "Loss against step: it falls from 3.6 to 0.9 and stays above the floor.")
"""

import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

import matplotlib
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.ticker import FuncFormatter

from gptlib.course.picture import (
    BLUE,  # noqa: F401, for the chapters' figures
    COLORS,
    FAINT,
    GREEN,  # noqa: F401
    INK,
    PAPER,
    VERMILION,  # noqa: F401
    Picture,
)
from gptlib.course.svg import page_svg

WIDTH = 5.4  # inches of 100 screen pixels
SMALL = 12  # points: 11 pixels on a phone, where a figure is 376 pixels wide

STYLE = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": False,
    # Solid lines first, then dashes. Dotted is kept for the floor.
    "axes.prop_cycle": cycler(linestyle=["-", "--", "-."]) * cycler(color=[*COLORS, INK]),
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "lines.solid_capstyle": "round",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture everywhere
    "font.size": 12,
    "axes.titlesize": 12,
    "axes.titlelocation": "left",
    "axes.labelsize": 12,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.hspace": 0.08,
}


class Plot(Picture):
    """A finished figure with its alt text; the value of a notebook cell that shows one.

    Args:
        fig: a matplotlib figure. It is drawn at once and closed, so nothing shows it again.
        alt: one or two sentences that tell what the figure shows to whoever cannot see it.
    """

    def __init__(self, fig: Figure, alt: str) -> None:
        super().__init__(page_svg(fig), alt)
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(fig)


def figure(width: float = WIDTH, height: float = 3.4) -> tuple[Figure, Axes]:
    """Return an empty figure in the book's style and its axes.

    Args:
        width, height: in inches of 100 screen pixels; `WIDTH` at most, or text is small on a phone.
    """
    fig, (ax,) = panels(height, width=width)
    return fig, ax


def panels(
    height: float, rows: int = 1, columns: int = 1, width: float = WIDTH, **options: Any
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure and its axes, row by row.

    Args:
        height, width: as for `figure`.
        rows, columns, options: as in `matplotlib.figure.Figure.subplots`.
    """
    matplotlib.rcParams.update(STYLE)
    fig = Figure(figsize=(width, height))
    return fig, list(fig.subplots(rows, columns, squeeze=False, **options).flat)


def floor_line(ax: Axes, value: float, label: str | None = "floor") -> None:
    """Draw the lowest loss that any model can reach: always a thin dotted line in ink.

    With a label, the words stand at the right end of the line.
    """
    ax.axhline(value, color=INK, linewidth=0.9, linestyle=":", zorder=1)
    if label:
        words_beside(ax, value, label)


def words_beside(ax: Axes, height: float, words: str, color: str = INK) -> None:
    """Write words at the right of the axes, at a height of its data."""
    ax.annotate(
        words,
        xy=(1.0, height),
        xycoords=("axes fraction", "data"),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=color,
        fontsize=SMALL,
        annotation_clip=False,
    )


def label_ends(ax: Axes, gap: float = 15.0) -> None:
    """Write each line's label where the line ends, in the line's color, in place of a legend.

    Args:
        ax: axes whose lines were drawn with `label=`; call it after the limits are final.
        gap: least distance between two labels, in points; closer ones are moved apart. A floor
            line's words, written before, keep their place and are kept clear of.
    """
    lines = [line for line in ax.get_lines() if not str(line.get_label()).startswith("_")]
    if not lines:
        return
    ax.figure.canvas.draw()  # the layout, and so the pixel positions, are known after drawing
    points_per_pixel = 72 / ax.figure.dpi
    taken = [
        ax.transData.transform((0, note.xy[1]))[1] * points_per_pixel
        for note in ax.texts
        if isinstance(note, Annotation) and note.xycoords == ("axes fraction", "data")
    ]
    ends = []
    for line in lines:
        x, y = np.asarray(line.get_xydata())[-1]
        ends.append((ax.transData.transform((x, y))[1] * points_per_pixel, x, y, line))
    placed = sorted(taken)
    for height, x, y, line in sorted(ends, key=lambda end: end[0]):
        at = height
        for other in sorted(placed):
            if abs(at - other) < gap:
                at = other + gap
        placed.append(at)
        ax.annotate(
            str(line.get_label()),
            xy=(x, y),
            xytext=(8, at - height),
            textcoords="offset points",
            va="center",
            color=line.get_color(),
            fontsize=SMALL,
            annotation_clip=False,
        )


def letter_ticks(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows and columns of a map, every second one farther out, so that all can be read.

    Args:
        ax: axes of a square map. names: what its n rows, and its n columns, are called.
    """
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks(range(0, len(names), 2), names[::2])
        axis.set_ticks(range(1, len(names), 2), names[1::2], minor=True)
    ax.tick_params(length=0, pad=3)
    ax.tick_params(which="minor", length=SMALL + 2, width=0.5, pad=2, color=FAINT, labelsize=SMALL)


def log_ticks(ax: Axes, *axes: str) -> None:
    """Make axes logarithmic, with numbers that any font can write: 0.01, 10⁻⁷.

    Args:
        axes: "x", "y" or both. One that spans little more than a power of ten gets its 2 and 5.
    """
    for name in axes:
        getattr(ax, f"set_{name}scale")("log")
        axis = getattr(ax, f"{name}axis")
        axis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
        axis.set_minor_formatter(FuncFormatter(partial(_between_powers, axis)))


def power_of_ten(value: float) -> str:
    """Return "10⁻⁷" for 1e-7, and a number near 1 as it is."""
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    return "10" + f"{np.log10(value):.0f}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def _between_powers(axis: Axis, value: float, _: int) -> str:
    low, high = sorted(axis.get_view_interval())
    return f"{value:g}" if high < 50 * low and f"{value:e}"[0] in "25" else ""
