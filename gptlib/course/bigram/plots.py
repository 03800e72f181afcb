"""The figures of chapter 1: pairs as a map, loss against step, temperature, spread of batches.

One job: each function draws one figure and returns it as a `Plot` with its alt text, whose numbers
come from the data that was drawn.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike

from gptlib.course.plotting import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    SMALL,
    VERMILION,
    Plot,
    figure,
    floor_line,
    log_ticks,
    panels,
    words_beside,
)
from gptlib.course.squares import numbered, squares

_VISIBLE = {" ": "␣", "\n": "↵"}


def pair_map(table: ArrayLike, symbols: Sequence[str], framed: Sequence[str] = ()) -> Plot:
    """Draw a table of pairs: a row for the previous character, a column for the next.

    Args:
        table: (V, V), counts (integers, written into the squares) or probabilities.
        symbols: the V characters, in the order of rows and columns.
        framed: pairs such as "qu" whose squares get a frame.
    """
    table = np.asarray(table)
    counted = np.issubdtype(table.dtype, np.integer)
    names = [_VISIBLE.get(symbol, symbol) for symbol in symbols]
    fig, ax = figure(4.6, 4.6) if counted else figure(height=6.2)
    ax.set_xlabel("next character")
    ax.set_ylabel("previous character")
    used = np.argwhere(table > 0)
    if counted:
        numbered(ax, table / table.max(), [[str(n) if n else "" for n in row] for row in table])
        ax.set_xticks(range(len(names)), names)
        ax.set_yticks(range(len(names)), names)
        ax.tick_params(length=0)
        edges = np.arange(len(names)) - 0.5
        ax.hlines(edges, -0.5, len(names) - 0.5, color=FAINT, linewidth=0.3)
        ax.vlines(edges, -0.5, len(names) - 0.5, color=FAINT, linewidth=0.3)
        ax.spines[:].set(visible=True, color=FAINT, linewidth=0.8)  # an empty row is a row
    else:
        squares(ax, np.sqrt(table / table.max()))
        _names_on_all_sides(ax, names)
        _scale(ax, table.max())
        kinds = [(symbol.isalpha(), symbol.islower()) for symbol in symbols]
        for edge in [n - 0.5 for n in range(1, len(kinds)) if kinds[n] != kinds[n - 1]]:
            ax.axhline(edge, color=FAINT, linewidth=0.6)
            ax.axvline(edge, color=FAINT, linewidth=0.6)
    for first, second in framed:
        corner = (symbols.index(second) - 0.9, symbols.index(first) - 0.9)
        ax.add_patch(Rectangle(corner, 1.8, 1.8, fill=False, edgecolor=VERMILION, linewidth=1.6))
    kind = "counts" if counted else "probabilities"
    strong = sorted(used.tolist(), key=lambda ij: -table[ij[0], ij[1]])[:3]
    pairs = ", ".join(f"{names[i]} then {names[j]} {table[i, j]:.3g}" for i, j in strong)
    dark = (table > (0 if counted else 0.05)).sum()
    return Plot(
        fig,
        f"Heat map of {kind}, {len(names)} previous characters down by {len(names)} next ones "
        f"across. {dark} of {table.size} squares "
        f"{'hold a count' if counted else 'are above 0.05'}; the largest are {pairs}.",
    )


def _names_on_all_sides(ax: Axes, names: Sequence[str]) -> None:
    """Name every second row at the left and the others at the right, and so the columns."""
    ax.set_xticks(range(0, len(names), 2), names[::2])
    ax.set_yticks(range(0, len(names), 2), names[::2])
    others = ax.secondary_xaxis("top"), ax.secondary_yaxis("right")
    for side, axis in zip(others, (others[0].xaxis, others[1].yaxis), strict=True):
        axis.set_ticks(range(1, len(names), 2), names[1::2])
        side.spines[:].set_visible(False)
    for side in (ax, *others):
        side.tick_params(length=3, width=0.5, pad=2, color=FAINT)


def _scale(ax: Axes, most: float) -> None:
    """Say above a map of probabilities what its colors mean; they show square roots."""
    bar = ax.inset_axes((0.1, 1.16, 0.8, 0.025))
    squares(bar, np.linspace(0, 1, 48)[None])
    bar.set_aspect("auto")
    marks = [mark for mark in (0, 0.05, 0.25, 0.5, 1) if mark <= most]
    bar.set_xticks([47 * (mark / most) ** 0.5 for mark in marks], [f"{mark:g}" for mark in marks])
    bar.set_yticks([])
    bar.set_title("probability of the next character", loc="center", fontsize=SMALL)
    bar.spines[:].set_visible(False)


def loss_curve(
    curves: dict[float, Sequence[float]], ln_v: float, optimum: float, floor: float | None
) -> Plot:
    """Draw loss (nats per character) against step, and below it how far it is above the optimum.

    Args:
        curves: for each learning rate the losses at steps 1, 2, 3, …
        ln_v, optimum, floor: levels to draw; no floor where nobody knows it.
    """
    ratios = {"height_ratios": [1.15, 1]}
    fig, (ax, below) = panels(5.6, rows=2, sharex=True, gridspec_kw=ratios)
    styles = ((FAINT, 1.6, "-"), (BLUE, 2.2, "-"), (INK, 1.0, "--"))
    for (rate, losses), (color, width, line) in zip(curves.items(), styles, strict=False):
        steps = range(1, len(losses) + 1)
        ax.plot(steps, losses, line, color=color, linewidth=width, label=f"rate {rate:g}")
        above = [loss - optimum for loss in losses]
        below.plot(steps, above, line, color=color, linewidth=width)
    log_ticks(ax, "x")
    log_ticks(below, "x", "y")
    below.set_xlabel("step (logarithmic)")
    below.set_ylabel("above the counts\n(nats, logarithmic)")
    ax.set_ylabel("loss\n(nats per character)")
    ax.axhline(optimum, color=VERMILION, linestyle="--", linewidth=1.1, zorder=3)
    ax.axhline(ln_v, color=GREEN, linestyle="-.", linewidth=1.1, zorder=1)
    ax.set_ylim((optimum if floor is None else floor) - 0.3, ln_v + 0.3)
    for height, words, color in ((optimum, "counts", VERMILION), (ln_v, "ln V", GREEN)):
        words_beside(ax, height, words, color)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, columnspacing=1.5)
    words = ""
    if floor is not None:
        floor_line(ax, floor)
        words = f" The floor, {floor:.2f}, lies far below all of them."
    ends = ", ".join(f"{losses[-1]:.2f} at rate {rate:g}" for rate, losses in curves.items())
    return Plot(
        fig,
        f"Loss against step for {len(curves)} learning rates. All start at ln V = {ln_v:.2f} and "
        f"end at {ends}; the counted optimum is {optimum:.2f}.{words} Below, the same losses less "
        "the optimum, on logarithmic axes: straight falls, one of which crosses another.",
    )


def temperature_curve(
    temperatures: Sequence[float], entropies: Sequence[float], ln_v: float, loss: float
) -> Plot:
    """Draw the mean surprise of a model at its own samples against the temperature.

    Args:
        temperatures: the settings, ascending.
        entropies: nats per character, one for each.
        ln_v: the limit at infinite temperature.
        loss: training loss of the model, which temperature 1 has to meet.
    """
    fig, ax = figure()
    ax.plot(temperatures, entropies, color=BLUE, marker="o", label="samples")
    ax.axhline(ln_v, color=GREEN, linestyle="-.", linewidth=1.1, zorder=1)
    ax.axhline(loss, color=VERMILION, linestyle="--", linewidth=1.1, zorder=1)
    ax.axvline(1, color=VERMILION, linestyle="--", linewidth=1.1, zorder=1)
    ax.set_xlabel("temperature")
    ax.set_ylabel("entropy of samples\n(nats per character)")
    ax.set_xlim(0, max(temperatures) * 1.02)
    ax.set_ylim(0, ln_v * 1.08)
    ax.text(max(temperatures), ln_v + 0.04, "ln V", color=GREEN, ha="right", va="bottom")
    ax.text(max(temperatures), loss - 0.05, "training loss", color=VERMILION, ha="right", va="top")
    return Plot(
        fig,
        f"Entropy of samples against temperature: {entropies[0]:.2f} nats at {temperatures[0]:g}, "
        f"the training loss {loss:.2f} at temperature 1, {entropies[-1]:.2f} at "
        f"{temperatures[-1]:g}, bending towards ln V = {ln_v:.2f}.",
    )


def batch_spread(
    trains: Sequence[float],
    vals: Sequence[float],
    full_train: float,
    full_val: float,
    published: tuple[float, float],
) -> Plot:
    """Draw losses estimated from random batches as dots, over the losses of the whole splits.

    Args:
        trains, vals: one estimate a seed, nats per character.
        full_train, full_val: the losses of the whole splits.
        published: the published pair (train, val), drawn as crosses.
    """
    fig, ax = figure(height=2.6)
    rows = ((1, "train", trains, full_train, BLUE), (0, "val", vals, full_val, VERMILION))
    for (y, name, dots, full, color), cross in zip(rows, published, strict=True):
        ax.plot(dots, [y] * len(dots), "o", color=color, alpha=0.75, label=f"_{name}")
        ax.plot([full, full], [y - 0.3, y + 0.3], "-", color=color, linewidth=1.4)
        ax.plot([cross], [y + 0.18], "x", color=INK, markersize=7)
        ax.annotate("published", (cross, y + 0.18), (-7, 0), textcoords="offset points",
                    fontsize=SMALL, ha="right", va="center")  # fmt: skip
        ax.annotate("whole split", (full, y - 0.3), (4, 0), textcoords="offset points",
                    fontsize=SMALL)  # fmt: skip
    ax.set_yticks([1, 0], ["train", "val"])
    ax.set_ylim(-0.6, 1.6)
    low, high = min(*trains, *vals, *published), max(*trains, *vals, *published)
    spare = 0.35 * (high - low)  # for the word on the left of the leftmost cross
    ax.set_xlim(low - spare, high + spare / 5)
    ax.set_xlabel("loss (nats per character)")
    means = [math.fsum(values) / len(values) for values in (trains, vals)]
    return Plot(
        fig,
        f"Losses from random batches, a dot for each of {len(trains)} seeds: train between "
        f"{min(trains):.3f} and {max(trains):.3f} with mean {means[0]:.3f}, val between "
        f"{min(vals):.3f} and {max(vals):.3f} with mean {means[1]:.3f}; the two clouds overlap. "
        f"Crosses mark the published {published[0]} and {published[1]}.",
    )
