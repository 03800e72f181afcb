"""The figures of chapter 2.

One job: draw what the chapter computed; nothing is computed here.
"""

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
    letter_ticks,
    log_ticks,
    panels,
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
    ax.set_ylim(bottom=0)
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


def maps(weights: Mapping[str, Tensor], tokens: Sequence[str], alt: str) -> Plot:
    """Two T×T maps: a row is a query, a column is a key, ink is weight.

    No query looks ahead, so half of a map is empty: the first map stands small in the corner of
    the second, which is the one to read and names its tokens.

    Args:
        weights: title -> (T, T), lower triangles whose rows sum to 1; two of them.
        tokens: T texts; a space is drawn as ␣.
    """
    names = ["␣" if token == " " else "↵" if token == "\n" else token for token in tokens]
    fig, large = figure(height=5.0)
    small = large.inset_axes((0.62, 0.6, 0.36, 0.36))
    for ax, (title, weight) in zip((small, large), weights.items(), strict=True):
        squares(ax, weight.detach().sqrt())
        ax.set_title(title)
        ax.spines[:].set_visible(False)
    small.set_xticks([])
    small.set_yticks([])
    letter_ticks(large, names)
    large.set_xlabel("key: looked at")
    large.set_ylabel("query: looking")
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
