"""A table of numbers drawn as squares of ink on the page's paper.

One job: `squares`, and `numbered`, which writes into them. They take the place of matplotlib's
`imshow`, whose pixels would keep their colors where the page is dark.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.transforms import Affine2D
from numpy.typing import ArrayLike

from gptlib.course.picture import BLUE, INK, PAPER, VERMILION
from gptlib.course.svg import CRISP

_LEVELS = 24  # of ink that a square may have: the eye tells no more


def squares(ax: Axes, shares: ArrayLike, two_sided: bool = False, color: str | None = None) -> None:
    """Draw a table as squares on paper, more ink for a larger number.

    Zero is paper, and the page's own colors do the rest, so that a map is as easy to read in the
    dark: up to two thirds blue grows stronger, above them it turns to ink.

    Args:
        ax: axes, which get an equal scale with row 0 at the top, as `imshow` makes them.
        shares: (rows, columns), from 0 to 1.
        two_sided: shares lie between −1 and 1; blue is below 0, vermilion above.
        color: one color for all, in place of blue that turns to ink.
    """
    shares = np.asarray(shares, dtype=float)
    layers = (
        ((BLUE, -shares, 1), (VERMILION, shares, 1))
        if two_sided
        else ((color, shares, 0.9),)
        if color
        else ((BLUE, 1.5 * shares, 1), (INK, 3 * shares - 2, 0.6))
    )
    for color, amounts, strongest in layers:
        levels = np.rint(_LEVELS * np.clip(amounts, 0, 1)).astype(int)
        for level in range(1, levels.max() + 1):
            path = _runs(levels == level)
            if path:
                patch = PathPatch(
                    Path.make_compound_path(*path), facecolor=color, linewidth=0,
                    alpha=strongest * level / _LEVELS, gid=CRISP,
                )  # fmt: skip
                ax.add_patch(patch)
    rows, columns = shares.shape
    ax.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal")


def numbered(
    ax: Axes,
    shares: ArrayLike,
    words: Sequence[Sequence[str]] | np.ndarray,
    color: str | None = None,
) -> None:
    """Draw a table as squares with words in them, which can be read on light and dark pages.

    Args:
        ax, shares: as for `squares`, but the middle of the scale is left out: no color of words
            stands out from it.
        words: what to write into each square; "" for nothing.
        color: as for `squares`.
    """
    shares = np.asarray(shares, dtype=float)
    strong = shares >= 0.5
    squares(ax, np.where(strong, 0.28 + 0.72 * shares, 0.7 * shares), color=color)
    for (y, x), dark in np.ndenumerate(strong):
        if words[y][x]:
            ax.text(x, y, words[y][x], ha="center", va="center", color=PAPER if dark else INK)


def _runs(chosen: np.ndarray) -> list[Path]:
    """Return the chosen squares of a table as rectangles one row high."""
    edges = np.diff(np.pad(chosen, ((0, 0), (1, 1))).astype(int), axis=1)
    starts, ends = np.argwhere(edges == 1), np.argwhere(edges == -1)
    return [
        Path([(a, y), (b, y), (b, y + 1), (a, y + 1), (a, y)], closed=True).transformed(_HALF)
        for (y, a), (_, b) in zip(starts.tolist(), ends.tolist(), strict=True)
    ]


_HALF = Affine2D().translate(-0.5, -0.5)  # square 0 has its middle at 0
