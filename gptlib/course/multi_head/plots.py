"""Chapter 3's figures: the build-up, gradients against depth, heads, a bend, two ways downhill.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter
from torch import Tensor

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    INK,
    SMALL,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    panels,
)
from gptlib.course.squares import squares

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def build_up(rungs: Mapping[str, Sequence[float]], floor: float) -> Plot:
    """Draw each rung's distance from the floor, a dot for every seed.

    Args:
        rungs: validation losses by seed, in nats per character, in the order of the build-up.
        floor: the loss that no model can beat on that text.
    """
    fig, ax = figure()
    means = [sum(losses) / len(losses) - floor for losses in rungs.values()]
    ax.plot(range(len(rungs)), means, color=FAINT, linewidth=1, zorder=1)
    for x, (losses, mean) in enumerate(zip(rungs.values(), means, strict=True)):
        ax.scatter([x] * len(losses), [loss - floor for loss in losses], s=22, color=COLORS[0])
        climbs = x + 1 < len(means) and means[x + 1] > mean  # the line leaves upward: write below
        offset = (0, -15) if climbs else (8, 5)
        ax.annotate(
            f"{mean:.2f}", (x, mean), offset, textcoords="offset points", fontsize=SMALL,
            ha="center" if climbs else "left",
        )  # fmt: skip
    names = [name.replace(" ", "\n").replace("-", "-\n") for name in rungs]
    ax.set_xticks(range(len(rungs)), names)
    ax.set_xlim(-0.3, len(rungs) - 0.4)
    ax.set_ylim(0, max(means) * 1.12)
    ax.set_ylabel("loss − floor (nats per character)")
    floor_line(ax, 0)
    steps = ", ".join(f"{name} {mean:.2f}" for name, mean in zip(rungs, means, strict=True))
    return Plot(fig, f"Distance of the validation loss from the floor at each rung: {steps}.")


def gradient_by_depth(depths: Sequence[int], norms: Mapping[str, Sequence[float]]) -> Plot:
    """Draw the size of the gradient that reaches the token table, log-log, a line per kind.

    Args:
        depths: numbers of blocks. norms: a kind of block, and its gradient norm at each depth, or
            at the first few.
    """
    fig, ax = figure()
    for name, values in norms.items():
        ax.plot(depths[: len(values)], values, marker="o", label=name)
    ax.set_xscale("log", base=2)
    log_ticks(ax, "y")
    # Over many powers of ten 1 and 0.001 would stand beside 10⁻⁶: write all of them as powers.
    ax.yaxis.set_major_formatter(
        FuncFormatter(lambda y, _: "10" + f"{np.log10(y):.0f}".translate(_RAISED))
    )
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("depth (blocks)")
    ax.set_ylabel("gradient norm at the token table")
    label_ends(ax)
    ends = "; ".join(
        f"{name} from {v[0]:.0e} to {v[-1]:.0e} at {depths[len(v) - 1]}"
        for name, v in norms.items()
    )
    return Plot(fig, f"Gradient norm by blocks, from {depths[0]}: {ends}.")


def heads_back(weights: Tensor) -> Plot:
    """Draw how far back each head looks: a row a head, a column a distance, ink the weight.

    Args:
        weights: (H, T), mean weights of the last of T places on each of them; rows sum to 1.
    """
    H, T = weights.shape
    fig, ax = figure(height=2.9)
    squares(ax, weights.detach())
    ax.set_xticks(range(T), [str(T - 1 - place) for place in range(T)])
    ax.set_yticks(range(H), [f"head {h + 1}" for h in range(H)])
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.set_xlabel("how many characters back (0: itself)")
    told = ", ".join(
        f"head {h + 1} most at {T - 1 - int(row.argmax())}" for h, row in enumerate(weights)
    )
    return Plot(
        fig,
        f"A grid of {H} heads and {T} distances, squares by the weight: {told} characters back; "
        "hardly anything goes farther than two.",
    )


def bend(x: Sequence[float], y: Sequence[float], channels: Mapping[str, Sequence[float]]) -> Plot:
    """Draw GELU and, below, what channels that bend at 0 and at 1 make of a count from 0 to 2.

    Args:
        x, y: points of the curve. channels: name -> values over an even grid from -0.5 to 2.5; the
            last of them is what the others make, and is marked at 0, 1 and 2.
    """
    fig, (above, below) = panels(5.6, rows=2)
    above.axhline(0, color=FAINT, linewidth=0.8)
    above.plot(x, y)
    low = int(np.argmin(y))
    above.annotate(
        f"lowest: −{-y[low]:.2f}", (x[low], y[low]), (0, 42), textcoords="offset points",
        ha="right", fontsize=SMALL, arrowprops={"arrowstyle": "-", "color": FAINT},
    )  # fmt: skip
    above.set_xlabel("x")
    above.set_ylabel("GELU(x)")
    below.axhline(0, color=FAINT, linewidth=0.8)
    grids = {name: np.linspace(-0.5, 2.5, len(values)) for name, values in channels.items()}
    for name, values in channels.items():
        below.plot(grids[name], values, label=name)
    counts, last = [0, 1, 2], list(channels)[-1]
    marked = np.interp(counts, grids[last], np.asarray(channels[last]))
    below.scatter(counts, marked, color=COLORS[len(channels) - 1], s=36, zorder=3)
    below.set_xticks(counts)
    below.set_xlabel("negations")
    below.set_ylabel("channel")
    label_ends(below)
    return Plot(
        fig,
        "Above: GELU, which is near 0 far to the left, dips a little below 0, and rises like x on "
        "the right. Below, against the number of negations: one channel rises from 0 on, one from "
        "1 on, and the first minus twice the second is a roof, 0 at 0, 1 at 1, and 0 again at 2.",
    )


def two_ways(paths: Mapping[str, Sequence[Sequence[float]]]) -> Plot:
    """Draw the ways of two weights from (1, 1) toward (0, 0), a dot every ten steps.

    Args:
        paths: optimizer -> the places (steep weight, flat weight) after each step.
    """
    fig, ax = figure(height=3.9)
    for name, places in paths.items():
        way = np.asarray([(1.0, 1.0), *places])
        (line,) = ax.plot(*way.T, label=name)
        ax.scatter(*way[10::10].T, color=line.get_color(), s=20)
    ax.scatter([0], [0], marker="*", color=INK, s=110, clip_on=False, zorder=3)
    ax.annotate(
        "lowest point", (0, 0), (12, 0), textcoords="offset points", va="center", fontsize=SMALL
    )
    for name, at, offset, side in (
        ("start", (1, 1), (4, 8), "right"),
        ("descent", (0.5, 1), (0, 8), "center"),
        ("AdamW", (0.6, 0.6), (10, -6), "left"),
    ):
        color = INK if name == "start" else COLORS[list(paths).index(name)]
        ax.annotate(
            name, at, offset, textcoords="offset points", ha=side, color=color, fontsize=SMALL
        )
    ax.set_xlim(-0.06, 1.06)
    ax.set_ylim(-0.06, 1.14)
    ax.set_xlabel("steep weight, curvature 100")
    ax.set_ylabel("flat weight, curvature 0.01")
    ends = "; ".join(f"{name} at {p[-1][0]:.2f} and {p[-1][1]:.2f}" for name, p in paths.items())
    return Plot(
        fig,
        "Two weights on their way from 1 and 1 toward 0 and 0. Descent leaps to the edge in one "
        "step and then hardly moves along it; AdamW comes down the diagonal. After "
        f"{len(places)} steps: {ends}.",
    )
