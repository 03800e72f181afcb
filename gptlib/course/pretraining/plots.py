"""The figures of chapter 6: orders of reading, schedules, logs, what each run reached, HellaSwag.

One job: each function takes a record or plain numbers and returns a finished `Plot` with its alt
text.
"""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    GREEN,
    INK,
    SMALL,
    VERMILION,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    panels,
    power_of_ten,
)
from gptlib.course.records import Record

Curve = Sequence[tuple[float, float]]


def shard_spikes(record: Record) -> Plot:
    """Draw the training loss of `shuffled-shards` at each step, a panel for each order of reading.

    Args:
        record: with `order`, `step` and `loss` in the lines of its log, and in its result, by
            order, `rise`: how much the loss climbs at a border of two blocks.
    """
    orders = ("source order", "shuffled documents")
    borders: Sequence[int] = record.result["borders"]
    fig, axes = panels(4.6, rows=2, sharex=True, sharey=True)
    told = []
    for ax, name, color in zip(axes, orders, COLORS, strict=False):
        lines = [line for line in record.log if line["order"] == name and "loss" in line]
        for border in borders:
            ax.axvline(border, color=FAINT, linewidth=0.8, zorder=1)
        ax.plot(
            [line["step"] for line in lines], [line["loss"] for line in lines], color=color,
            linewidth=0.9,
        )  # fmt: skip
        ax.set_title(name, color=color, fontsize=SMALL, loc="right")
        ax.set_ylabel("loss (nats a token)")
        told.append(f"{name}, {record.result['orders'][name]['rise']:+.2f}")
    axes[-1].set_xlabel("step; a line where another block of text begins")
    return Plot(
        fig,
        "Training loss at each step, in two panels. Mean change of the loss at the borders of "
        f"the blocks, in nats: {'; '.join(told)}.",
    )


def schedules(rates: Mapping[str, Sequence[float]]) -> Plot:
    """Draw the learning rate of each step, as a share of the highest, for each schedule."""
    fig, ax = figure(height=2.8)
    for name, values in rates.items():
        ax.plot(range(1, len(values) + 1), [value / max(values) for value in values], label=name)
    ax.set_ylim(0, 1.08)
    ax.set_xlabel("step")
    ax.set_ylabel("rate (share of the highest)")
    label_ends(ax)
    told = ", ".join(f"{name} ends at {v[-1] / max(v):.0%}" for name, v in rates.items())
    return Plot(
        fig, f"Learning rate over the steps: all climb in a line; {told} of the highest rate."
    )


def faulty_logs(logs: Mapping[str, Sequence[Mapping[str, float]]], floor: float) -> Plot:
    """Draw validation loss and gradient norm of several runs, by the letters they have in the text.

    Args:
        logs: lines with `step`, `val` and `grad_norm`. floor: what no honest loss comes below.
    """
    fig, (above, below) = panels(5.8, rows=2, sharex=True)
    for name, log in logs.items():
        steps = [line["step"] for line in log]
        above.plot(steps, [line["val"] for line in log], label=name)
        below.plot(steps, [max(line["grad_norm"], 1e-3) for line in log], label=name)
    log_ticks(below, "y")
    above.set_ylim(bottom=-0.1)
    above.set_ylabel("validation loss (nats)")
    below.set_ylabel("gradient norm")
    below.set_xlabel("step")
    floor_line(above, floor)
    label_ends(above)
    label_ends(below)
    told = "; ".join(
        f"{name}, from {log[0]['val']:.1f} to {log[-1]['val']:.1f} nats"
        for name, log in logs.items()
    )
    return Plot(fig, f"Validation loss above, gradient norm below, of four runs: {told}.")


def tokens_and_loss(
    curves: Mapping[str, Curve], published: Mapping[str, tuple[float, float]]
) -> Plot:
    """Draw validation loss against tokens read, and where somebody else's runs ended.

    Args:
        curves: (tokens, nats per token) by name. published: (tokens, nats) by name.
    """
    fig, ax = figure(height=3.8)
    for name, curve in curves.items():
        ax.plot(*zip(*curve, strict=True), label=name, marker="o", markersize=3)
    for name, (tokens, loss) in published.items():
        ax.plot(tokens, loss, "x", color=INK, markersize=7)
        ax.annotate(
            name, (tokens, loss), (0, 9), textcoords="offset points", ha="right", fontsize=SMALL
        )
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: power_of_ten(value)))
    ax.set_ylim(2.5, 11.5)
    ax.set_xlabel("tokens read")
    ax.set_ylabel("validation loss (nats per token)")
    for color, (name, curve) in zip(COLORS, curves.items(), strict=False):
        ax.annotate(
            name, curve[-1], (6, 6), textcoords="offset points", color=color, fontsize=SMALL
        )
    told = "; ".join(f"{n}, from {c[0][1]:.1f} to {c[-1][1]:.1f}" for n, c in curves.items())
    others = ", ".join(f"{name} {loss:.2f}" for name, (_, loss) in published.items())
    return Plot(
        fig,
        f"Validation loss against tokens on a logarithmic axis: {told}. Far to the right, crosses "
        f"of published runs: {others}.",
    )


def bars(rungs: Mapping[str, Sequence[tuple[str, float]]], unit: str) -> Plot:
    """Draw ladders of speed: for each, every rung's tokens a second as a multiple of the first's.

    Args:
        rungs: by whose ladder: (what was added, tokens a second), from the bottom up.
        unit: what the axis is called.
    """
    height = 0.9 + sum(0.34 * len(rows) + 0.5 for rows in rungs.values())
    fig, axes = panels(
        height, rows=len(rungs), height_ratios=[len(rows) + 1 for rows in rungs.values()]
    )
    told = []
    for ax, color, (whose, rows) in zip(axes, COLORS, rungs.items(), strict=False):
        times = [rate / rows[0][1] for _, rate in rows]
        ax.barh(range(len(rows)), times, color=color, height=0.62)
        for n, (factor, (_, rate)) in enumerate(zip(times, rows, strict=True)):
            ax.annotate(
                f"{rate:,.0f}", (factor, n), (4, 0), textcoords="offset points", va="center",
                fontsize=SMALL,
            )  # fmt: skip
        ax.set_yticks(range(len(rows)), [what for what, _ in rows])
        ax.invert_yaxis()
        ax.set_xlim(0, max(times) * 1.22)
        ax.set_title(whose, fontsize=SMALL, color=INK, loc="right")
        told.append(f"{whose}, {len(rows)} rungs, {times[-1]:.1f} times as fast at the end")
    axes[-1].set_xlabel(unit)
    return Plot(fig, f"Bars of speed, from the first rung down: {'; '.join(told)}.")


def hellaswag(
    ours: Mapping[str, tuple[float, float, float]], published: Mapping[str, float]
) -> Plot:
    """Draw shares of right endings with their intervals, beside published ones and chance.

    Args:
        ours: name: (share, low, high). published: name: share.
    """
    rows = len(ours) + len(published)
    fig, ax = figure(height=0.9 + 0.42 * rows)
    for n, (share, low, high) in enumerate(ours.values()):
        ax.errorbar(
            100 * share, n, xerr=[[100 * (share - low)], [100 * (high - share)]], fmt="o",
            color=COLORS[0], capsize=3,
        )  # fmt: skip
    for n, share in enumerate(published.values(), len(ours)):
        ax.plot(100 * share, n, "x", color=VERMILION, markersize=7)
    ax.axvline(25, color=FAINT, linewidth=1)
    ax.annotate("chance", (25, 0), (0, 14), textcoords="offset points", ha="center", fontsize=SMALL)
    ax.set_yticks(range(rows), [*ours, *published])
    ax.invert_yaxis()
    ax.set_ylim(rows - 0.5, -0.9)
    ax.set_xlabel("right endings (percent)")
    told = "; ".join(
        f"{n} {100 * s:.1f}%, from {100 * a:.1f} to {100 * b:.1f}" for n, (s, a, b) in ours.items()
    )
    others = ", ".join(f"{name} {100 * share:.1f}%" for name, share in published.items())
    return Plot(fig, f"Right endings. Ours with intervals: {told}. Published: {others}.")


def changes(rows: Mapping[str, Sequence[float]], screened: Mapping[str, float]) -> Plot:
    """Draw what each change saves of the base's bits per byte, seed by seed.

    Args:
        rows: differences to the base by seed, of the changes that were repeated. screened: of those
            that were tried with one seed.
    """
    names = [*rows, *screened]
    fig, ax = figure(height=0.9 + 0.38 * len(names))
    for n, values in enumerate(rows.values()):
        ax.plot(values, [n] * len(values), "o", color=COLORS[0])
        ax.plot([sum(values) / len(values)] * 2, [n - 0.3, n + 0.3], color=COLORS[0])
    for n, value in enumerate(screened.values(), len(rows)):
        ax.plot(value, n, "o", color=GREEN, markerfacecolor="none")
    ax.axvline(0, color=FAINT, linewidth=1)
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.set_xlabel("bits per byte, minus the base's with the same seed")
    told = "; ".join(f"{n}, mean {sum(v) / len(v):+.3f} of {len(v)} seeds" for n, v in rows.items())
    others = ", ".join(f"{n} {v:+.3f}" for n, v in screened.items())
    return Plot(fig, f"Difference to the base: {told}. With one seed: {others or 'none'}.")
