"""The figures of chapter 8 that are curves: rates, epochs, directions, what each way forgets.

One job: each function takes plain numbers or a matrix and returns a finished `Plot` with alt text.
"""

from collections.abc import Mapping, Sequence

import torch
from matplotlib.axes import Axes
from torch import Tensor

from gptlib.course.plotting import (
    BLUE,
    COLORS,
    INK,
    SMALL,
    VERMILION,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    panels,
)


def rate(value: float) -> str:
    """Return a learning rate as it is typed: "2e-4" for 0.0002."""
    return f"{value:.0e}".replace("e-0", "e-")


def rates(found: Sequence[Mapping], published: Sequence[tuple[float, float]]) -> Plot:
    """Draw the validation loss after one pass at each rate, ours and the published ones.

    Args:
        found: `places-rates`' `rates`: `lr` and `val` of each. published: (rate, loss).
    """
    fig, ax = figure(height=3.8)
    ours = [(each["lr"], each["val"]) for each in found]
    for name, points, color, line in (
        ("ours", ours, BLUE, "-"),
        ("published", published, INK, "--"),
    ):
        ax.plot(*zip(*points, strict=True), line, label=name, color=color, marker="o", markersize=3)
        ax.plot(*min(points, key=lambda point: point[1]), "o", color=color, markersize=8, zorder=5)
    log_ticks(ax, "x")
    ax.xaxis.set_major_formatter(lambda value, _: rate(value))
    ax.set_xlabel("learning rate")
    ax.set_ylabel("validation loss\n(nats a token)")
    label_ends(ax)
    told = []
    for name, points in (("ours", ours), ("published", published)):
        at, loss = min(points, key=lambda point: point[1])
        told.append(f"{name}, best {loss:.2f} at {rate(at)}, {points[-1][1]:.2f} at the highest")
    return Plot(
        fig,
        "Validation loss after one pass against the learning rate, on a logarithmic axis; a large "
        f"dot marks the lowest. {'; '.join(told)}.",
    )


def epochs(curve: Sequence[Mapping], published: Mapping[str, Sequence[float]]) -> Plot:
    """Draw training and validation loss by epoch at the best rate, ours and the published run's.

    Args:
        curve: `epoch`, `train` and `val` of each. published: `train` and `val`, from epoch 1.
    """
    fig, axes = panels(3.8, columns=2, sharey=True)
    theirs = [
        {"epoch": n, "train": train, "val": val}
        for n, (train, val) in enumerate(
            zip(published["train"], published["val"], strict=True), 1
        )
    ]  # fmt: skip
    told = []
    for ax, name, points in zip(axes, ("ours", "published"), (curve, theirs), strict=True):
        for part, color in (("val", VERMILION), ("train", BLUE)):
            known = [(p["epoch"], p[part]) for p in points]
            ax.plot(*zip(*known, strict=True), color=color, marker="o", markersize=3)
            if part == "val":
                words, at, offset, side = "validation", known[-1], (0, 6), "right"
            else:
                words, at, offset, side = "training", known[2], (-2, -14), "right"
            ax.annotate(
                words, at, offset, textcoords="offset points", ha=side, color=color, fontsize=SMALL
            )
        best = min(points, key=lambda point: point["val"])
        ax.plot(best["epoch"], best["val"], "o", color=VERMILION, markersize=8, zorder=5)
        ax.set_title(name)
        ax.set_xlabel("epoch")
        told.append(
            f"{name}: validation is lowest at epoch {best['epoch']}, {best['val']:.2f}, and ends "
            f"at {points[-1]['val']:.2f}, with {points[-1]['train']:.2f} in training"
        )
    axes[0].set_ylabel("loss (nats a token)")
    return Plot(fig, f"Two panels of loss by epoch. {'; '.join(told)}.")


def shares(change: Tensor, weights: Tensor) -> Plot:
    """Draw how much of the squares of two matrices their first directions hold.

    Args:
        change, weights: (out, in), what training has added to a matrix and the matrix before it.
    """
    fig, ax = figure(height=3.4)
    for name, matrix in (("the change", change), ("the weights", weights)):
        squares = torch.linalg.svdvals(matrix) ** 2
        held = (100 * squares.cumsum(0) / squares.sum()).tolist()
        ax.plot([0, *range(1, len(held) + 1)], [0.0, *held], label=name)
    ax.set_xlabel("directions, the most important first")
    ax.set_ylabel("share of the squares (%)")
    ax.set_ylim(0, 103)
    label_ends(ax)
    return Plot(
        fig,
        "The share of a matrix that its first directions hold, against their number, from 0 to "
        f"{min(change.shape)}. Both curves rise from nothing to all; that of the change is "
        "steep at first and has a long flat end; that of the weights lies below it and "
        "bends little.",
    )


def forgetting(ways: Sequence[Mapping], base: Mapping[str, float]) -> Plot:
    """Draw what each way of tuning gains on the new text against what it loses on the old one.

    Args:
        ways: `name`, `new` and `old` of each; those whose `old` is None are left out. base: the
            same of the model that all began with.
    """
    fig, ax = figure(height=4.2)
    known = sorted((way for way in ways if way["old"] is not None), key=lambda way: way["old"])
    left = min(way["new"] for way in known)
    right = max(way["new"] for way in known)
    span = right - left or 1.0
    for n, way in enumerate(known):
        color = COLORS[0] if way["name"].startswith("full") else COLORS[n % 2 + 1]
        ax.plot(way["new"], way["old"], "o", color=color, markersize=7)
    ax.set_xlim(left - 0.1 * span, right + 0.45 * span)
    floor_line(ax, base["old"], None)
    _name_dots(ax, [(way["name"], way["new"], way["old"]) for way in known])
    ax.annotate(
        "the base", (0.01, base["old"]), xycoords=("axes fraction", "data"), va="bottom",
        fontsize=SMALL,
    )  # fmt: skip
    ax.set_xlabel("loss on new places (nats a token)")
    ax.set_ylabel("on the old text\n(bits a byte)")
    told = "; ".join(f"{way['name']}, {way['new']:.2f} and {way['old']:.2f}" for way in known)
    return Plot(
        fig,
        "A dot for each way of tuning: its loss on new places, in nats a token, to the right, and "
        f"its loss on the old text, in bits a byte, upward. {told}. A dotted line is the base's "
        f"loss on the old text, {base['old']:.2f}; on places it has {base['new']:.2f}, far to the "
        "right of the picture.",
    )


def _name_dots(ax: Axes, dots: Sequence[tuple[str, float, float]]) -> None:
    """Write each dot's name on a side where no other dot and no other name stands.

    Args:
        dots: (name, x, y) of each, in data units; call it after the limits are final.
    """
    ax.figure.canvas.draw()  # the layout, and so the places in points, are known after drawing
    points = ax.transData.transform([(x, y) for _, x, y in dots]) * 72 / ax.figure.dpi
    taken = [(x - 5.0, y - 5.0, x + 5.0, y + 5.0) for x, y in points]
    for (name, new, old), (x, y) in zip(dots, points, strict=True):
        wide, half = 0.6 * SMALL * len(name), 0.6 * SMALL
        sides = {
            ("left", "center"): ((9, 0), (x + 6, y - half, x + 9 + wide, y + half)),
            ("center", "top"): ((0, -8), (x - wide / 2, y - 8 - 2 * half, x + wide / 2, y - 6)),
            ("center", "bottom"): ((0, 8), (x - wide / 2, y + 6, x + wide / 2, y + 8 + 2 * half)),
            ("right", "center"): ((-9, 0), (x - 9 - wide, y - half, x - 6, y + half)),
        }
        free = (side for side, (_, box) in sides.items() if not any(_meet(box, t) for t in taken))
        across, down = next(free, ("left", "center"))
        offset, box = sides[across, down]
        taken.append(box)
        ax.annotate(
            name, (new, old), offset, textcoords="offset points", ha=across, va=down,
            fontsize=SMALL, color=INK,
        )  # fmt: skip


def _meet(one: Sequence[float], other: Sequence[float]) -> bool:
    """Say whether two boxes (left, low, right, high) overlap."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
