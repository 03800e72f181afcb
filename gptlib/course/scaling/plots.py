"""Chapter 4's figures: overfitting, the law and its prediction, text that runs out.

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
)

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


def size_and_text(
    points: Sequence[Mapping], law: Callable, floor: float, E: float, by: str = "tokens"
) -> Plot:
    """Draw loss against parameters, a line of the law and its measured dots for each text.

    Args:
        points: runs with `params`, `val` and the amount of text under the key `by`.
        law: the loss at (N, R). floor: the exact one. E: what the law takes for it.
    """
    fig, ax = figure(height=3.6)
    texts = sorted({p[by] for p in points})
    sizes = np.array(sorted({p["params"] for p in points}))
    dense = np.geomspace(sizes[0], sizes[-1], 60)
    for color, R in zip(COLORS, texts, strict=False):
        ax.plot(dense, law(dense, R), color=color, label=f"{R / 1e6:.1f}M read")
        mine = [p for p in points if p[by] == R]
        ax.scatter([p["params"] for p in mine], [p["val"] for p in mine], s=24, color=color)
    ax.axhline(E, color=FAINT, linewidth=1)
    ax.annotate(
        "E of the law", (sizes[0], E), (0, 4), textcoords="offset points", fontsize=SMALL, color=INK
    )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x / 1000:,.0f}k"))
    ax.set_xlabel("parameters")
    ax.set_ylabel("validation loss (nats per character)")
    floor_line(ax, floor)
    label_ends(ax)
    told = "; ".join(
        f"{R / 1e6:.1f}M read, from {max(p['val'] for p in points if p[by] == R):.2f} to "
        f"{min(p['val'] for p in points if p[by] == R):.2f}"
        for R in texts
    )
    return Plot(
        fig,
        f"Loss falls with parameters, on three lines: {told}. The floor is {floor:.2f}, the "
        f"law's E is {E:.2f}.",
    )


def prediction(
    fitted: Sequence[float],
    measured: Sequence[float],
    held_out: tuple[float, float, float, float],
) -> Plot:
    """Draw what the law says against what the runs gave, and the run that it never saw.

    Args:
        fitted, measured: losses of the runs that made the law.
        held_out: (predicted, low, high, measured) of the other one.
    """
    fig, ax = figure(5.0, 4.2)
    predicted, low, high, found = held_out
    edges = [min(*fitted, *measured, low, found) - 0.05, max(*fitted, *measured) + 0.05]
    ax.plot(edges, edges, color=FAINT, linewidth=0.8)
    ax.scatter(fitted, measured, s=24, color=COLORS[0], label="runs of the grid")
    ax.errorbar(
        predicted, found, xerr=[[max(0, predicted - low)], [max(0, high - predicted)]], fmt="D",
        color=COLORS[1], capsize=3, label="the larger run",
    )  # fmt: skip
    ax.set_xlabel("loss by the law (nats per character)")
    ax.set_ylabel("loss measured")
    ax.legend(loc="upper left")
    worst = max(abs(f - m) for f, m in zip(fitted, measured, strict=True))
    return Plot(
        fig,
        f"Measured against fitted loss: the grid's runs lie within {worst:.2f} of the diagonal; "
        f"the larger run was predicted at {predicted:.2f}, between {low:.2f} and {high:.2f}, and "
        f"came to {found:.2f}.",
    )


def unique_text(points: Sequence[Mapping]) -> Plot:
    """Draw best and last validation loss against parameters, a color for each amount of text.

    Args:
        points: runs with `params`, `characters`, `best_val` and `val`.
    """
    fig, ax = figure(height=3.6)
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
