"""The look of every figure in the book, and figures that carry their own alt text.

One job: a chapter's figure is a `Plot`. It holds the picture and the sentence that says what the
picture shows, so that a page, a notebook and a screen reader all get both.

    fig, ax = figure()
    ax.plot(steps, losses, label="one head")
    floor_line(ax, 0.71)
    label_ends(ax)
    return Plot(fig, "Loss against step: it falls from 3.6 to 0.9 and stays above the floor.")
"""

import base64
import io
import struct
import sys
from collections.abc import Sequence

import matplotlib
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

PAPER = "#FBFAF7"
INK = "#222222"
FAINT = "#8A8780"
BLUE, VERMILION, GREEN = COLORS = ("#0072B2", "#D55E00", "#009E73")
SMALL = 11.5  # points: 9 pixels on a phone, where a figure is 376 pixels wide

#: Maps for heat maps: paper is nothing, deep blue is most; the other has zero in the middle.
SEQUENTIAL = LinearSegmentedColormap.from_list("paper-blue", [PAPER, "#7DB4D6", BLUE, "#063A5C"])
DIVERGING = LinearSegmentedColormap.from_list("blue-paper-red", [BLUE, PAPER, VERMILION])

STYLE = {
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "axes.facecolor": PAPER,
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
}

_DPI = 100  # screen pixels per inch; pictures are stored at twice that


class Plot:
    """A finished figure with its alt text; the value of a notebook cell that shows one.

    Args:
        fig: a matplotlib figure. It is drawn at once and closed, so nothing shows it again.
        alt: one or two sentences that tell what the figure shows to whoever cannot see it.
    """

    def __init__(self, fig: Figure, alt: str) -> None:
        if not alt.strip():
            raise ValueError("a Plot needs alt text: a sentence that says what the figure shows")
        buffer = io.BytesIO()
        fig.savefig(
            buffer,
            format="png",
            dpi=2 * _DPI,
            bbox_inches="tight",
            pad_inches=0.1,
            metadata={"Software": None},  # no version number: the same plot gives the same bytes
        )
        if "matplotlib.pyplot" in sys.modules:
            sys.modules["matplotlib.pyplot"].close(fig)
        self.alt = " ".join(alt.split())
        self.png = buffer.getvalue()
        self.width = struct.unpack(">I", self.png[16:20])[0] // 2  # screen pixels

    def __repr__(self) -> str:
        return self.alt

    def _repr_mimebundle_(self, include=None, exclude=None) -> tuple[dict, dict]:
        data = {"image/png": base64.b64encode(self.png).decode(), "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt, "width": self.width}}


def figure(
    width: float = 6.4, height: float = 3.6, rows: int = 1, columns: int = 1, **options
) -> tuple[Figure, Axes]:
    """Return an empty figure in the book's style and its axes (an array where there are several).

    Args:
        width, height: in inches of 100 screen pixels; 6.4 at most, or text is small on a phone.
        rows, columns, options: as in `matplotlib.figure.Figure.subplots`.
    """
    matplotlib.rcParams.update(STYLE)
    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **options)


def floor_line(ax: Axes, value: float, label: str | None = "floor") -> None:
    """Draw the lowest loss that any model can reach: always a thin dotted black line.

    With a label, the words stand at the right end of the line.
    """
    ax.axhline(value, color="black", linewidth=0.9, linestyle=":", zorder=1)
    if label:
        ax.annotate(
            label,
            xy=(1.0, value),
            xycoords=("axes fraction", "data"),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            color="black",
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
    lines = [line for line in ax.get_lines() if not line.get_label().startswith("_")]
    if not lines:
        return
    ax.figure.canvas.draw()  # the layout, and so the pixel positions, are known after drawing
    points_per_pixel = 72 / ax.figure.dpi
    taken = [
        ax.transData.transform((0, note.xy[1]))[1] * points_per_pixel
        for note in ax.texts
        if getattr(note, "xycoords", None) == ("axes fraction", "data")
    ]
    ends = []
    for line in lines:
        x, y = line.get_xdata()[-1], line.get_ydata()[-1]
        ends.append((ax.transData.transform((x, y))[1] * points_per_pixel, x, y, line))
    placed = sorted(taken)
    for height, x, y, line in sorted(ends, key=lambda end: end[0]):
        at = height
        for other in sorted(placed):
            if abs(at - other) < gap:
                at = other + gap
        placed.append(at)
        ax.annotate(
            line.get_label(),
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
