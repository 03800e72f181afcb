"""Chapter 4's figures: overfitting, the law, its prediction and its budgets, text that runs out.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.ticker import FuncFormatter

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    INK,
    SMALL,
    Plot,
    figure,
    floor_line,
    label_ends,
    panels,
    power_of_ten,
)
from gptlib.course.scaling.law import Law

Curve = Sequence[tuple[float, float]]


def overfitting(train: Curve, val: Curve, remedies: Mapping[str, Curve], floor: float) -> Plot:
    """Draw one run that learns its text by heart, and what helps.

    Args:
        train, val: (passes, loss) of that run on the text it learns and on text it never sees.
        remedies: validation curves (step, loss) by name, the run itself among them.
        floor: the loss that no model can beat on the validation text.
    """
    fig, (above, below) = panels(6.0, rows=2)
    above.plot(*zip(*train, strict=True), color=COLORS[0], linestyle="--")
    above.plot(*zip(*val, strict=True), color=COLORS[0])
    best = min(val, key=lambda point: point[1])
    above.plot(*best, "o", color=INK, zorder=5)
    middle = train[len(train) // 2]
    for words, place, offset, side, color in (
        ("best", best, (0, 9), "center", INK),
        ("validation", val[-1], (0, 8), "right", COLORS[0]),
        ("train", middle, (-6, -14), "right", COLORS[0]),
    ):
        above.annotate(
            words, place, offset, textcoords="offset points", ha=side, fontsize=SMALL, color=color
        )
    above.set_xlabel("passes over the text")
    above.set_ylabel("loss (nats per character)")
    for name, curve in remedies.items():
        below.plot(*zip(*curve, strict=True), label=name)
    below.set_xlabel("steps")
    below.set_ylabel("validation loss (nats)")
    below.set_ylim(0, max(loss for _, loss in val[1:]) * 1.1)
    floor_line(above, floor)
    floor_line(below, floor)
    label_ends(below)
    ends = "; ".join(
        f"{name} best {min(v for _, v in c):.2f}, last {c[-1][1]:.2f}"
        for name, c in remedies.items()
    )
    return Plot(
        fig,
        f"Above: training loss falls to {train[-1][1]:.2f} while validation loss turns at "
        f"{best[1]:.2f} and rises to {val[-1][1]:.2f}. Below, validation alone: {ends}.",
    )


def straight_line(
    points: Sequence[Mapping], line: Callable, giant: tuple[float, float], floor: float
) -> Plot:
    """Draw the runs on paper that is logarithmic both ways, and where a straight line leads.

    Args:
        points: runs with `params`, `val` and `tokens`.
        line: the loss at (N, R), a product of powers. giant: parameters and loss of a model that
            is as many times larger than the largest as its text is longer. floor: the exact one.
    """
    fig, ax = figure(height=3.8)
    texts = sorted({p["tokens"] for p in points})
    sizes = np.array(sorted({p["params"] for p in points}))
    for color, R in zip(COLORS, texts, strict=False):
        mine = [p for p in points if p["tokens"] == R]
        ax.scatter([p["params"] for p in mine], [p["val"] for p in mine], s=24, color=color)
        ax.plot(sizes, line(sizes, R), color=color)
        top = (sizes[0], line(sizes[0], R))
        ax.annotate(
            f"{R / 1e6:.1f}M read", top, (-4, 0), textcoords="offset points", ha="right",
            va="center", fontsize=SMALL, color=color,
        )  # fmt: skip
    ends = (sizes[-1], giant[0]), (line(sizes[-1], texts[-1]), giant[1])
    ax.plot(*ends, color=COLORS[len(texts) - 1], linestyle="--")
    ax.plot(*giant, "o", color=INK)
    ax.annotate(
        f"the giant, {giant[1]:.2f}", giant, (-8, -2), textcoords="offset points", ha="right",
        va="top", fontsize=SMALL, color=INK,
    )  # fmt: skip
    ax.set_yscale("log")
    ax.set_xscale("log")
    ax.set_ylim(0.75 * giant[1], 2.5)
    ax.set_yticks([0.1, 0.2, 0.5, 1, 2], ["0.1", "0.2", "0.5", "1", "2"])
    ax.set_xlim(sizes[0] / 25, giant[0] * 2)
    ax.set_xticks([1e4, 1e6, 1e8], ["10k", "1M", "100M"])
    ax.minorticks_off()
    ax.set_xlabel("parameters")
    ax.set_ylabel("validation loss (nats per character)")
    floor_line(ax, floor)
    return Plot(
        fig,
        "Both axes logarithmic: the runs lie near three parallel straight lines, one for each "
        f"amount of text. A dashed line goes on from the largest, to a thousand times the size and "
        f"the text, and crosses the floor of {floor:.2f} on its way down to {giant[1]:.2f}.",
    )


def size_and_text(
    points: Sequence[Mapping], law: Law, floor: float, refits: Sequence[Law] = ()
) -> Plot:
    """Draw loss against parameters, a line of the law and its measured dots for each text.

    Args:
        points: runs with `params`, `val` and `tokens`.
        law: what was fitted. floor: the exact one.
        refits: a bootstrap's laws; the middle 80% of them become a band about each line.
    """
    fig, ax = figure(height=3.8)
    texts = sorted({p["tokens"] for p in points})
    sizes = np.array(sorted({p["params"] for p in points}))
    dense = np.geomspace(sizes[0], sizes[-1], 60)
    for color, R in zip(COLORS, texts, strict=False):
        if refits:
            band = np.quantile([one(dense, R) for one in refits], [0.1, 0.9], axis=0)
            ax.fill_between(dense, *band, color=color, alpha=0.25, linewidth=0)
        ax.plot(dense, law(dense, R), color=color, label=f"{R / 1e6:.1f}M read")
        mine = [p for p in points if p["tokens"] == R]
        ax.scatter([p["params"] for p in mine], [p["val"] for p in mine], s=24, color=color)
    ax.axhline(law.E, color=FAINT, linewidth=1)
    ax.annotate(
        f"E of the law, {law.E:.2f}", (sizes[0], law.E), (0, 4), textcoords="offset points",
        fontsize=SMALL, color=INK,
    )  # fmt: skip
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:,.0f}k"))
    ax.set_xlabel("parameters")
    ax.set_ylabel("validation loss (nats per character)")
    floor_line(ax, floor, f"floor, {floor:.2f}")
    label_ends(ax)
    told = "; ".join(
        f"{R / 1e6:.1f}M read, from {max(p['val'] for p in points if p['tokens'] == R):.2f} to "
        f"{min(p['val'] for p in points if p['tokens'] == R):.2f}"
        for R in texts
    )
    return Plot(
        fig,
        f"Loss falls with parameters, on three lines: {told}. The floor is {floor:.2f}, the "
        f"law's E is {law.E:.2f}."
        + (
            " Bands for most of the refits are wide over the smallest model and narrow elsewhere."
            if refits
            else ""
        ),
    )


def prediction(
    fitted: Sequence[float],
    measured: Sequence[float],
    held_out: tuple[float, float, float, float],
) -> Plot:
    """Draw by how much each run misses the law, and the run that the law never saw.

    Args:
        fitted, measured: losses of the runs that made the law.
        held_out: (predicted, low, high, measured) of the other one.
    """
    fig, ax = figure(height=3.6)
    predicted, low, high, found = held_out

    def miss(law: float) -> float:
        return 100 * (found / law - 1)

    ax.axhline(0, color=FAINT, linewidth=0.8)
    misses = [100 * (m / f - 1) for f, m in zip(fitted, measured, strict=True)]
    ax.scatter(fitted, misses, s=24, color=COLORS[0], label="runs of the grid")
    at, ends = miss(predicted), (miss(low), miss(high))
    ax.errorbar(
        predicted, at, yerr=[[max(0, at - min(ends))], [max(0, max(ends) - at)]], fmt="D",
        color=COLORS[1], capsize=3, label="the larger run",
    )  # fmt: skip
    ax.set_xlabel("loss by the law (nats per character)")
    ax.set_ylabel("measured above the law (%)")
    ax.legend(loc="upper left")
    second, worst = sorted(map(abs, misses))[-2:]
    return Plot(
        fig,
        f"By how much the measured loss lies above the law, in percent. One run of the grid is "
        f"{worst:.0f}% off, the others {second:.1f}% at most; the larger run, predicted at "
        f"{predicted:.2f}, came to {found:.2f}, and its interval reaches across zero.",
    )


def budgets(law: Law, flops: Sequence[float]) -> Plot:
    """Draw the law's loss against parameters where the FLOPs are given, and the best of each.

    Args:
        law: what was fitted. flops: budgets, of which a model of N reads flops / (6 N) tokens.
    """
    fig, ax = figure(height=3.8)
    told, sizes = [], np.geomspace(3e3, 2e9, 300)
    for color, F in zip(COLORS, flops, strict=False):
        best = law.best_size(F)
        ax.plot(sizes, law(sizes, F / (6 * sizes)), color=color)
        lowest = law(best, F / (6 * best))
        ax.plot(best, lowest, "o", color=color)
        beyond = sizes[(sizes > best) & (law(sizes, F / (6 * sizes)) > 1.5)][0]
        words = power_of_ten(F) + (" FLOPs" if F == flops[-1] else "")
        ax.annotate(
            words, (beyond, 1.5), (7, 0), textcoords="offset points", va="center",
            fontsize=SMALL, color=color,
        )  # fmt: skip
        told.append(f"{power_of_ten(F)} FLOPs, {lowest:.2f} at {best / 1000:,.0f}k parameters")
    ax.set_xscale("log")
    ax.set_xlim(2e3, 3e9)
    ax.set_ylim(law.E - 0.05, 1.65)
    ax.set_xticks([1e4, 1e6, 1e8], ["10k", "1M", "100M"])
    ax.minorticks_off()
    ax.set_xlabel("parameters")
    ax.set_ylabel("loss by the law (nats per character)")
    floor_line(ax, law.E, "E")
    return Plot(
        fig,
        "Three valleys, one for each budget. In each the loss is high for small models and for "
        f"large ones and lowest between: {'; '.join(told)}.",
    )


def unique_text(points: Sequence[Mapping]) -> Plot:
    """Draw best and last validation loss against parameters, a color for each amount of text.

    Args:
        points: runs with `params`, `characters`, `best_val` and `val`.
    """
    fig, ax = figure(height=4.2)
    texts = sorted({p["characters"] for p in points})
    for color, text in zip(COLORS, texts, strict=False):
        mine = sorted((p for p in points if p["characters"] == text), key=lambda p: p["params"])
        sizes = [p["params"] for p in mine]
        name = f"{text / 1000:,.0f}k characters"
        ax.plot(
            sizes, [p["val"] for p in mine], color=color, linestyle="--", marker="o",
            markerfacecolor="none", linewidth=1,
        )  # fmt: skip
        ax.plot(
            sizes, [p["best_val"] for p in mine], color=color, linestyle="-", marker="o", label=name
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:,.0f}k"))
    ax.set_xlabel("parameters")
    ax.set_ylabel("validation loss (nats per character)")
    label_ends(ax)
    told = "; ".join(
        f"{text / 1000:,.0f}k characters, best "
        f"{min(p['best_val'] for p in points if p['characters'] == text):.2f}, worst last "
        f"{max(p['val'] for p in points if p['characters'] == text):.2f}"
        for text in texts
    )
    return Plot(fig, f"Best (full) and last (hollow) validation loss by parameters: {told}.")
