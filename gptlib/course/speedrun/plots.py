"""The speedrun's figures: rates, schedules, pairs of seeds, diagonals, Muon, gains, races.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    INK,
    SMALL,
    Plot,
    figure,
    label_ends,
    log_ticks,
    panels,
)
from gptlib.course.squares import squares

Losses = Mapping[float, float]


def rates(curves: Mapping[str, Losses], usual: float) -> Plot:
    """Draw loss against learning rate, a line for each name, the lowest point of each marked.

    Args:
        curves: losses by rate, by name. usual: the rate that everybody starts from.
    """
    fig, ax = figure()
    for color, (name, losses) in zip(COLORS, curves.items(), strict=False):
        ax.plot(list(losses), list(losses.values()), "o-", color=color, label=name)
        best = min(losses, key=losses.__getitem__)
        ax.plot(best, losses[best], "o", color=color, markersize=10, markerfacecolor="none")
    ax.axvline(usual, color=FAINT, linewidth=0.8)
    ax.annotate(
        "usual", (usual, 0), (4, 5), ("data", "axes fraction"), "offset points", fontsize=SMALL
    )  # fmt: skip
    ax.set_xscale("log")
    ax.set_xticks(sorted({rate for losses in curves.values() for rate in losses}))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.minorticks_off()
    ax.set_xlabel("learning rate at its highest")
    ax.set_ylabel("validation loss (nats per character)")
    label_ends(ax)
    told = "; ".join(
        f"{name} {losses[usual]:.2f} at the usual rate and {min(losses.values()):.2f} at its best, "
        f"{min(losses, key=losses.__getitem__):g}"
        for name, losses in curves.items()
    )
    return Plot(fig, f"Loss against learning rate: {told}.")


def schedules(shapes: Mapping[str, Sequence[float]]) -> Plot:
    """Draw learning rates over a run, as shares of the highest; a label says the mean.

    The highest line has its name to the right, the lowest to the left, and all between at its end.
    """
    fig, ax = figure(height=3.6)
    order = sorted(shapes, key=lambda name: np.mean(shapes[name]))
    for name, shares in shapes.items():
        way = np.linspace(0, 1, len(shares))
        (line,) = ax.plot(way, shares)
        at = int(0.6 * (len(shares) - 1))
        place, offset, side = (way[at], shares[at]), (8, 4), "left"
        if name == order[0]:
            offset, side = (-8, -8), "right"
        elif name != order[-1]:
            place, offset = (way[-1], shares[-1]), (6, 0)
        words = f"{name}, mean {np.mean(shares):.2f}"
        ax.annotate(
            words.replace(", ", ",\n") if place[0] == way[-1] else words, place, offset,
            textcoords="offset points", ha=side, va="center", fontsize=SMALL,
            color=line.get_color(),
        )  # fmt: skip
    ax.set_xlabel("share of the steps")
    ax.set_ylabel("share of the highest rate")
    told = "; ".join(f"{name} {np.mean(shares):.2f}" for name, shares in shapes.items())
    return Plot(
        fig, f"Three schedules of the learning rate; their means, in shares of the peak: {told}."
    )


def pairs(before: Sequence[float], after: Sequence[float], names: tuple[str, str]) -> Plot:
    """Draw the losses of two settings joined by seed, and beside them the differences.

    Args:
        before, after: losses in the order of the seeds. names: what the two settings are called.
    """
    fig, (left, right) = panels(3.4, columns=2, gridspec_kw={"width_ratios": [1.6, 1]})
    for a, b in zip(before, after, strict=True):
        left.plot([0, 1], [a, b], "o-", color=COLORS[0], linewidth=1.2)
    left.set_xlim(-0.4, 1.4)
    left.set_xticks([0, 1], names)
    left.set_ylabel("validation loss (nats per character)")
    gaps = np.subtract(after, before)
    low, high = left.get_ylim()
    right.plot(np.zeros(len(gaps)), gaps, "o", color=COLORS[1])
    right.axhline(0, color=INK, linewidth=0.8)
    right.set_ylim(gaps.mean() - (high - low) / 2, gaps.mean() + (high - low) / 2)  # same scale
    right.set_xticks([0], ["difference"])
    return Plot(
        fig,
        f"Left: losses of {len(gaps)} seeds, between {min(before):.2f} and {max(before):.2f} with "
        f"{names[0]}, between {min(after):.2f} and {max(after):.2f} with {names[1]}; the lines "
        "that join the two losses of a seed are nearly parallel. Right: the differences, between "
        f"{gaps.min():.3f} and {gaps.max():.3f}.",
    )


def diagonals(scores: Mapping[str, np.ndarray]) -> Plot:
    """Draw query-key scores (T, T) of one word at all places, a panel for each way to say where."""
    fig, axes = panels(2.9, columns=len(scores))
    for ax, (name, table) in zip(axes, scores.items(), strict=True):
        edge = np.abs(table).max()
        squares(ax, table / edge, two_sided=True)
        ax.set_title(name)
        ax.set_xlabel("place of the key")
    axes[0].set_ylabel("place of the query")
    apart = {
        name: max(np.ptp(np.diagonal(table, k)) for k in range(-4, 5))
        for name, table in scores.items()
    }
    told = "; ".join(
        f"{name}, scores of one gap differ by {gap:.2f}" for name, gap in apart.items()
    )
    return Plot(fig, f"Scores of one query and one key at every pair of places: {told}.")


def lifted(
    values: Sequence[Sequence[float]], before: Sequence[float], after: Sequence[float]
) -> Plot:
    """Draw what Newton-Schulz does to single values, and to a gradient's singular values.

    Args:
        values: for each step, from 0, where a grid of numbers from 0 to 1 has got to.
        before, after: singular values, largest first, of an update before and after.
    """
    fig, (above, below) = panels(6.0, rows=2)
    for step, ends in enumerate(values):
        if step in (1, 3, 5):
            (line,) = above.plot(values[0], ends)
            peak = int(np.argmax(np.asarray(ends) > 0.9 * max(ends)))
            above.annotate(
                f"{step} steps" if step == 5 else f"{step}", (values[0][peak], max(ends)), (0, 5),
                textcoords="offset points", ha="center", color=line.get_color(), fontsize=SMALL,
            )  # fmt: skip
    above.plot(values[0], values[0], "--", color=FAINT, linewidth=1)
    log_ticks(above, "x")
    above.set_xlabel("singular value going in")
    above.set_ylabel("coming out")
    for words, sizes in (("before", np.divide(before, before[0])), ("after", np.asarray(after))):
        (line,) = below.plot(np.arange(1, len(sizes) + 1), sizes)
        middle = len(sizes) // 2
        below.annotate(
            words, (middle + 1, sizes[middle]), (0, 8), textcoords="offset points", ha="left",
            color=line.get_color(), fontsize=SMALL,
        )  # fmt: skip
    log_ticks(below, "y")
    below.set_ylim(1e-6, 3)
    below.set_xlabel("singular value, largest first")
    below.set_ylabel("size (before: largest is 1)")
    lifted_values = [end for value, end in zip(values[0], values[-1], strict=True) if value > 0.01]
    return Plot(
        fig,
        f"Above: five steps lift every value above 0.01 to between {min(lifted_values):.2f} and "
        f"{max(lifted_values):.2f}. Below: of a gradient's {len(before)} singular values "
        f"{sum(s > before[0] / 10 for s in before)} are more than a tenth of the largest before "
        f"the steps, {sum(s > after[0] / 10 for s in after)} after them.",
    )


def gains(rows: Sequence[tuple[str, Sequence[float], Sequence[float]]]) -> Plot:
    """Draw what each change saves when it is added alone, and when it is left out last.

    Args:
        rows: (name, nats saved by seed when added to the tuned baseline, nats saved by seed in the
            company of all others); either may be empty.
    """
    fig, ax = figure(height=1.2 + 0.34 * len(rows))
    places = np.arange(len(rows))[::-1]
    looks = (
        ("alone", COLORS[0], 0.17, [alone for _, alone, _ in rows]),
        ("last", COLORS[1], -0.17, [last for _, _, last in rows]),
    )
    for y in places[:-1]:
        ax.axhline(y - 0.5, color=FAINT, linewidth=0.4, alpha=0.5)
    for label, color, shift, columns in looks:
        for y, saved in zip(places, columns, strict=True):
            if saved:
                ax.plot(saved, [y + shift] * len(saved), "o", color=color,
                        markersize=3.5, alpha=0.55)  # fmt: skip
                ax.plot(np.mean(saved), y + shift, "|", color=color, markersize=11,
                        markeredgewidth=2)  # fmt: skip
                if label:
                    ax.annotate(
                        label, (min(saved), y + shift), (-6, 0), textcoords="offset points",
                        ha="right", va="center", color=color, fontsize=SMALL,
                    )  # fmt: skip
                label = ""
    ax.axvline(0, color=INK, linewidth=0.8)
    ax.set_yticks(places, [name for name, *_ in rows])
    ax.set_xlabel("saved (nats per character; left of the line: lost)")
    told = "; ".join(
        f"{name} {np.mean(alone):+.3f} alone" + (f", {np.mean(last):+.3f} last" if last else "")
        for name, alone, last in rows
        if alone
    )
    return Plot(fig, f"Nats saved by each change, added alone and added last: {told}.")


def progress(curves: Mapping[str, Sequence[tuple[float, float]]], unit: str) -> Plot:
    """Draw validation loss on the way of several runs against tokens, or seconds.

    Args:
        curves: (unit read or passed, loss) by name. unit: the axis' words.
    """
    fig, ax = figure()
    for name, curve in curves.items():
        ax.plot(*zip(*curve, strict=True), "o-", label=name)
    ax.set_xlabel(unit)
    ax.set_ylabel("validation loss (nats per character)")
    label_ends(ax)
    told = "; ".join(f"{name} ends at {curve[-1][1]:.2f}" for name, curve in curves.items())
    return Plot(fig, f"Validation loss against {unit}: {told}.")


def race(seconds: Mapping[str, tuple[float, float]]) -> Plot:
    """Draw how long whole commands take, and how much of it their steps.

    Args:
        seconds: of the steps, and of the whole command, by name.
    """
    fig, ax = figure(height=0.9 + 0.5 * len(seconds))
    places = np.arange(len(seconds))
    steps, whole = (np.array([pair[n] for pair in seconds.values()]) for n in (0, 1))
    ax.barh(places, steps, color=COLORS[0], height=0.6, label="its steps")
    ax.barh(places, whole - steps, left=steps, color=COLORS[1], height=0.6, label="all else")
    for y, total in zip(places, whole, strict=True):
        ax.annotate(
            f"{total:.0f} s", (total, y), (4, 0), textcoords="offset points", va="center",
            fontsize=SMALL,
        )  # fmt: skip
    ax.set_yticks(places, list(seconds))
    ax.invert_yaxis()
    ax.set_xlim(0, whole.max() * 1.15)
    ax.set_xlabel("seconds of the whole command")
    ax.legend(loc="lower right")
    told = "; ".join(
        f"{name} {total:.0f}, {part:.0f} of them steps" for name, (part, total) in seconds.items()
    )
    return Plot(fig, f"Bars of seconds that whole commands take: {told}.")
