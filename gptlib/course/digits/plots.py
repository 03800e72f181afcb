"""The figures of chapter 0: pictures, nudges, descents, templates, confusions, calibration.

One job: each function draws one figure and returns it as a `Plot` with its alt text, whose numbers
come from the data that was drawn.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
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
    label_ends,
    log_ticks,
    panels,
)
from gptlib.course.squares import numbered, squares

_STYLES = ((BLUE, "-"), (VERMILION, "-"), (GREEN, "-"), (FAINT, "--"))


def _picture(ax: Axes, pixels: ArrayLike, most: float, two_sided: bool = False) -> None:
    """Draw C pixels, of which the strongest could be `most`, as a square without axes."""
    side = round(np.size(pixels) ** 0.5)
    squares(ax, np.reshape(pixels, (side, side)) / most, two_sided, None if two_sided else INK)
    _frame(ax)


def _frame(ax: Axes) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set(visible=True, color=FAINT, linewidth=0.5)


def pictures(one: ArrayLike, others: Iterable[ArrayLike], labels: Sequence[int]) -> Plot:
    """Draw one picture with its numbers written in, and others under their labels.

    Args:
        one: (64,), ink from 0 to 16. others: (N, 64) of the same. labels: what the others show.
    """
    fig, (left, right) = panels(2.6, columns=2, gridspec_kw={"width_ratios": [1.05, 1.2]})
    rows = np.asarray(one, dtype=int).reshape(8, 8)
    numbered(left, rows / 16, rows.astype(str), INK)
    _frame(left)
    right.axis("off")
    for n, (pixels, label) in enumerate(zip(others, labels, strict=True)):
        row, column = divmod(n, 4)
        place = right.inset_axes((0.255 * column, 0.68 - 0.34 * row, 0.235, 0.25))
        _picture(place, pixels, 16)
        place.set_title(str(label), fontsize=SMALL, loc="center", pad=2)
    return Plot(
        fig,
        "Left, one picture as the machine has it: eight rows of eight numbers from 0, paper, to "
        f"16, ink, of which {int((np.asarray(one) > 0).sum())} are not 0; an 8 so narrow that "
        f"its loops are gray, not white. Right, pictures labeled {', '.join(map(str, labels))}.",
    )


def nudge_errors(nudges: Sequence[float], errors: Mapping[str, Sequence[float]]) -> Plot:
    """Draw the relative error of a nudged slope against the size of the nudge, log-log."""
    fig, ax = figure(height=3.6)
    for (name, values), (color, line) in zip(errors.items(), _STYLES, strict=False):
        ax.plot(nudges, values, line, color=color, marker="o", markersize=4, label=name)
    log_ticks(ax, "x", "y")
    ax.set_ylim(1e-11, 5)
    ax.set_xlabel("nudge ε, in units of the weight")
    ax.set_ylabel("error of the slope, as a share of it")
    label_ends(ax)
    names = ", ".join(errors)
    return Plot(  # where each turns hangs on the processor's last digits
        fig, f"Error of a nudged slope against the nudge, each curve a V or a U: {names}."
    )


def descents(curves: Mapping[float, Sequence[float]], start: float) -> Plot:
    """Draw the loss in nats against the step, both axes logarithmic, a line for each rate."""
    fig, ax = figure()
    for (rate, losses), (color, line) in zip(curves.items(), _STYLES, strict=False):
        steps = range(1, len(losses) + 1)
        ax.plot(steps, losses, line, color=color, label=f"rate {rate:g}")
    ax.axhline(start, color=FAINT, linewidth=0.8, linestyle="-.", zorder=1)
    ax.annotate(
        "ln 10", (1.0, start), (6, 0), ("axes fraction", "data"), "offset points",
        va="center", color=INK, fontsize=SMALL, annotation_clip=False,
    )  # fmt: skip
    log_ticks(ax, "x", "y")
    ax.set_xlabel("just before step … (logarithmic)")
    ax.set_ylabel("loss (nats per picture, logarithmic)")
    label_ends(ax)
    ends = ", ".join(
        f"at rate {rate:g} to {_end(losses, start)}" for rate, losses in curves.items()
    )
    return Plot(fig, f"Loss against step for {len(curves)} rates, from {start:.2f}: {ends}.")


def bowls(paths: Mapping[float, Sequence[float]], words: Sequence[str]) -> Plot:
    """Draw a descent in the bowl w²/2 for each learning rate, side by side.

    Args:
        paths: a rate, and where w stood before each step and at the end. words: what it does.
    """
    fig, axes = panels(4.4, rows=2, columns=2, sharex=True, sharey=True)
    edge = 1.12 * max(abs(w) for path in paths.values() for w in path)
    w = np.linspace(-edge, edge, 121)
    for ax, (rate, path), word in zip(axes, paths.items(), words, strict=True):
        ax.plot(w, w**2 / 2, color=FAINT, linewidth=1.2)
        at = np.asarray(path)
        ax.plot(at, at**2 / 2, color=BLUE, linewidth=1.2, marker="o", markersize=4)
        ax.plot(at[:1], at[:1] ** 2 / 2, "o", color=VERMILION, markersize=7)
        ax.set_title(f"rate {rate:g}: {word}", fontsize=SMALL)
    for ax in axes[2:]:
        ax.set_xlabel("weight w")
    for ax in axes[::2]:
        ax.set_ylabel("loss w²/2")
    told = "; ".join(
        f"at rate {rate:g} it {word}, from {path[0]:g} by {path[1]:.2f} to {path[-1]:.2f}"
        for (rate, path), word in zip(paths.items(), words, strict=True)
    )
    return Plot(fig, f"The same bowl four times, with {len(path) - 1} steps of one weight: {told}.")


def _end(losses: Sequence[float], start: float) -> str:
    """Where a descent ends, as far as no processor changes it: a wild one has no digits."""
    climb = " after a climb" if max(losses) > 1.1 * start else ""
    return f"{losses[-1]:.1g}{climb}" if losses[-1] < start else f"above its start{climb}"


def templates(w: ArrayLike) -> Plot:
    """Draw the ten columns of a weight matrix (64, 10) as pictures: blue pulls down, orange up."""
    w = np.asarray(w)
    fig, axes = panels(2.6, rows=2, columns=5)
    most = abs(w).max()
    for digit, ax in enumerate(axes):
        _picture(ax, w[:, digit], most, two_sided=True)
        ax.set_title(str(digit), loc="center", fontsize=SMALL, pad=3)
    note = f"deepest: ±{most:.1f} points of score for a full pixel"
    axes[7].set_xlabel(note, fontsize=SMALL, labelpad=6)
    middle = w.reshape(8, 8, 10)[3:5, 3:5].mean(axis=(0, 1))
    return Plot(
        fig,
        "Ten templates of 8 by 8 weights. Orange, ink that speaks for the digit; blue, ink that "
        f"speaks against it; the strongest weight is {most:.1f}. The middle of the 0 is blue "
        f"({middle[0]:.1f} on average), that of the 1 orange ({middle[1]:+.1f}).",
    )


def confusions(table: ArrayLike, pairs: Sequence[tuple]) -> Plot:
    """Draw who was taken for whom, and some of the pictures.

    Args:
        table: (10, 10) counts, a row for each true digit, a column for each answer.
        pairs: eight (pixels, true digit, answer, confidence).
    """
    table = np.asarray(table)
    fig, (above, below) = panels(6.4, rows=2, gridspec_kw={"height_ratios": [1.15, 1]})
    off = table * (1 - np.eye(10, dtype=int))
    words = np.where(off > 0, off.astype(str), np.where(table > 0, "·", ""))
    numbered(above, off / off.max(), words)
    above.set_xticks(range(10))
    above.set_yticks(range(10))
    above.tick_params(length=0)
    above.set_xlabel("answer")
    above.set_ylabel("true digit")
    below.axis("off")
    for n, (pixels, true, answer, sure) in enumerate(pairs):
        row, column = divmod(n, 4)
        place = below.inset_axes((0.25 * column, 0.57 - 0.54 * row, 0.25, 0.33))
        _picture(place, pixels, np.max(pixels))
        place.set_title(f"{true}, read as {answer}", fontsize=SMALL, loc="center", pad=3)
        place.set_xlabel(f"{sure:.2f} sure", fontsize=SMALL, labelpad=2)
    worst = sorted(np.argwhere(off > 0).tolist(), key=lambda ij: -off[ij[0], ij[1]])[:3]
    told = ", ".join(f"{i} taken for {j} {off[i, j]} times" for i, j in worst)
    return Plot(
        fig,
        f"Above, a table of {off.sum()} errors among {table.sum()} pictures, true digit down and "
        f"answer across; most often {told}. Below, eight of the misread pictures.",
    )


def reliability(groups: Mapping[str, Sequence[Mapping]]) -> Plot:
    """Draw accuracy against confidence, a line for each kind of test.

    Args:
        groups: a label, and for each group of answers `count`, `confidence`, `accuracy`.
    """
    fig, ax = figure(5.0, 4.2)
    ax.plot([0.3, 1], [0.3, 1], color=FAINT, linewidth=1, linestyle="--", zorder=1)
    for (name, rows), (color, line) in zip(groups.items(), _STYLES, strict=False):
        sure = [row["confidence"] for row in rows]
        right = [row["accuracy"] for row in rows]
        error = [(a * (1 - a) / row["count"]) ** 0.5 for a, row in zip(right, rows, strict=True)]
        ax.errorbar(
            sure, right, error, linestyle=line, color=color, marker="o", capsize=2, label=name
        )
    ax.text(0.39, 0.415, "as sure as right", rotation=38, color=INK, fontsize=SMALL, ha="center")
    ax.set_xlabel("confidence (mean of the group)")
    ax.set_ylabel("accuracy (share right)")
    ax.legend(loc="upper left")
    widest = {
        name: max(rows, key=lambda row: abs(row["confidence"] - row["accuracy"]))
        for name, rows in groups.items()
    }
    told = "; ".join(
        f"{name}, farthest from the diagonal at confidence {row['confidence']:.2f}, where "
        f"{row['accuracy']:.2f} are right"
        for name, row in widest.items()
    )
    return Plot(fig, f"Accuracy against confidence in {len(groups)} tests: {told}.")


def errors_by_size(sizes: Sequence[int], errors: Mapping[str, Sequence[Sequence[float]]]) -> Plot:
    """Draw the share of errors against the number of training pictures, a dot for every seed."""
    fig, ax = figure()
    for (name, runs), (color, line) in zip(errors.items(), _STYLES, strict=False):
        means = [100 * float(np.mean(values)) for values in runs]
        ax.plot(sizes, means, line, color=color, label=name)
        for size, values in zip(sizes, runs, strict=True):
            ax.plot([size] * len(values), [100 * v for v in values], "o", color=color, markersize=4)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.set_yticks([5, 10, 20], ["5", "10", "20"])
    ax.minorticks_off()
    ax.set_xlabel("training pictures (logarithmic)")
    ax.set_ylabel("errors (%, logarithmic)")
    label_ends(ax)
    told = "; ".join(
        f"{name} from {100 * np.mean(runs[0]):.1f} to {100 * np.mean(runs[-1]):.1f} percent"
        for name, runs in errors.items()
    )
    return Plot(fig, f"Errors against the number of training pictures: {told}.")
