"""The figures of chapter 2.

One job: draw what the chapter computed; nothing is computed here.
"""

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from gptlib.course.plotting import (
    BLUE,
    FAINT,
    INK,
    SMALL,
    VERMILION,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    panels,
    words_beside,
)
from gptlib.course.squares import squares


def ngram_losses(losses: Mapping[str, Mapping[int, float]], floor: float, alt: str) -> Plot:
    """Loss against n, one line for each way of counting.

    Args:
        losses: label -> {n: nats per character}. floor: nats per character.
    """
    fig, ax = figure()
    for label, by_n in losses.items():
        ax.plot(list(by_n), list(by_n.values()), marker="o", label=label)
    ax.set_xticks(sorted({n for by_n in losses.values() for n in by_n}))
    ax.set_xlabel("n, characters in the window")
    ax.set_ylabel("loss (nats per character)")
    ax.set_ylim(bottom=0.4)  # two lines lie close to each other
    floor_line(ax, floor)
    label_ends(ax)
    return Plot(fig, alt)


def spread_and_entropy(
    D: Sequence[int],
    spread: Mapping[str, Sequence[float]],
    entropy: Mapping[str, Sequence[float]],
    uniform: float,
    alt: str,
) -> Plot:
    """Above, standard deviation of q·k against D; below, entropy of a row of weights against D.

    Args:
        D: head sizes. spread: label -> standard deviations. entropy: label -> nats.
        uniform: entropy of equal weights, in nats.
    """
    fig, (above, below) = panels(5.2, rows=2, sharex=True)
    for ax, lines in ((above, spread), (below, entropy)):
        for (label, values), color in zip(lines.items(), (VERMILION, BLUE), strict=True):
            ax.plot(D, values, marker="o", color=color, label=label)
        ax.set_xscale("log", base=2)
        ax.set_xticks(D, [str(d) for d in D])
        ax.minorticks_off()
    below.set_xlabel("D, numbers in a query")
    above.set_ylabel("spread of the scores")
    below.set_ylabel("entropy of a row (nats)")
    above.set_ylim(bottom=0)
    below.set_ylim(0, 1.15 * uniform)
    below.axhline(uniform, color=FAINT, linewidth=0.9, linestyle="--", zorder=1)
    below.text(D[0], 1.02 * uniform, "equal weights", va="bottom", fontsize=SMALL, color=INK)
    for ax in (above, below):
        label_ends(ax)
    return Plot(fig, alt)


def maps(
    weights: Mapping[str, Tensor], tokens: Sequence[str], row: int, words: str, alt: str
) -> Plot:
    """Two T×T maps: a row is a query, a column is a key, ink is weight.

    No query looks ahead, so half of a map is empty: the first map stands small in the corner of
    the second, which is the one to read and names its tokens, and a scale stands between them.

    Args:
        weights: title -> (T, T), lower triangles whose rows sum to 1; two of them.
        tokens: T texts; a space is drawn as ␣.
        row: the query to be framed in the large map. words: what to call it.
    """
    names = ["␣" if token == " " else "↵" if token == "\n" else token for token in tokens]
    fig, large = figure(height=5.0)
    small = large.inset_axes((0.62, 0.62, 0.34, 0.34))
    for ax, (title, weight) in zip((small, large), weights.items(), strict=True):
        squares(ax, weight.detach().sqrt())
        ax.set_title(title)
    scale, shares = large.inset_axes((0.62, 0.42, 0.34, 0.1)), (0.01, 0.1, 0.5, 1.0)
    squares(scale, [[math.sqrt(share) for share in shares]])
    scale.set_xticks(range(len(shares)), [f"{share:g}" for share in shares])
    scale.tick_params(length=0, pad=2)
    scale.set_title("weight")
    for ax in (small, large, scale):
        ax.spines[:].set_visible(False)
    small.set_xticks([])
    scale.set_yticks([])
    small.set_yticks([])
    for axis in (large.xaxis, large.yaxis):
        axis.set_ticks(range(len(names)), names)
    large.tick_params(length=0, pad=3)
    large.set_xlabel("key: looked at")
    large.set_ylabel("query: looking")
    # A frame around one row, from its first key to itself, and its name beside it.
    corners = [(-0.5, row - 0.5), (row + 0.5, row - 0.5), (row + 0.5, row + 0.5), (-0.5, row + 0.5)]
    large.plot(*zip(*corners, corners[0], strict=True), color=VERMILION, linewidth=1.4)
    words_beside(large, row, words, VERMILION)
    return Plot(fig, alt)


def speed(T: Sequence[int], milliseconds: Mapping[str, Sequence[float]], alt: str) -> Plot:
    """Milliseconds of one forward and backward pass against T, both axes logarithmic."""
    fig, ax = figure()
    for label, values in milliseconds.items():
        ax.plot(T, values, marker="o", label=label)
    ax.set_xscale("log", base=2)
    log_ticks(ax, "y")
    ax.set_xticks(T, [str(t) for t in T])
    ax.minorticks_off()
    ax.set_xlabel("T, tokens in the window")
    ax.set_ylabel("forward and backward (ms)")
    label_ends(ax)
    return Plot(fig, alt)
