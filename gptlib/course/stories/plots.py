"""The figures of chapter 7 that are curves: what is learned when, and fairy tales by epochs.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.plotting import (
    BLUE,
    COLORS,
    FAINT,
    INK,
    VERMILION,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    panels,
)

#: What is asked of a model, as `gptlib.course.stories.probes.KINDS`, and how a page says it.
PROBES = {
    "name": "whose name?",
    "owner": "who has it?",
    "gone": "given away?",
    "moral": "which plot's moral?",
    "turn": "which of its morals?",
}
SHARES = {"form": "have the form", "names": "keep a name", "holds": "hold together"}


def learned(points: Sequence[Mapping], floor: float) -> Plot:
    """Draw what a model of stories has learned at each step: its loss, its stories, its choices.

    Args:
        points: the lines of `story-learning`'s `steps`: `step`, `loss`, the shares `SHARES`, and
            for each of `PROBES` its `accuracy`.
        floor: the loss that no model can beat.
    """
    fig, axes = panels(8.2, rows=3, sharex=True, height_ratios=[2, 3, 3])
    steps = [point["step"] for point in points]
    axes[0].plot(steps, [point["loss"] for point in points], color=INK, marker="o", markersize=3)
    log_ticks(axes[0], "y")
    axes[0].set_ylim(floor * 0.8, 10)
    axes[0].set_ylabel("loss\n(nats a token)")
    floor_line(axes[0], floor)
    for name, label in SHARES.items():
        shares = [point[name] for point in points]
        axes[1].plot(steps, shares, label=label, marker="o", markersize=3)
    for name, label in PROBES.items():
        shares = [point[name]["accuracy"] for point in points]
        axes[2].plot(steps, shares, label=label, marker="o", markersize=3)
    axes[1].set_ylabel("its own stories\n(share)")
    axes[2].set_ylabel("right of two answers\n(share)")
    axes[2].axhline(0.5, color=FAINT, linewidth=0.8)
    for ax in axes[1:]:
        ax.set_ylim(-0.04, 1.06)
        ax.set_yticks([0, 0.5, 1])
    axes[2].set_xscale("symlog", linthresh=100, linscale=0.5)
    marked = [0, 100, *(step for step in (1000, 7000) if step <= max(steps))]
    axes[2].set_xticks(marked, [f"{step:,}" for step in marked])
    axes[2].set_xticks([], minor=True)
    axes[2].set_xlim(-20, max(steps) * 1.1)
    axes[2].set_xlabel("step")
    for ax in axes[1:]:
        label_ends(ax)
    told = [f"{label} from step {_reached(points, name)}" for name, label in SHARES.items()]
    asked = [f"{label} {points[-1][name]['accuracy']:.2f}" for name, label in PROBES.items()]
    return Plot(
        fig,
        "Three panels against the step of training. The loss falls to "
        f"{points[-1]['loss']:.2f} nats a token. Of the model's own stories, half or more: "
        f"{', '.join(told)}. Right answers of two at the end: {', '.join(asked)}.",
    )


def _reached(points: Sequence[Mapping], name: str) -> str:
    """The first step from which on the share is a half or more."""
    below = [n for n, point in enumerate(points) if point[name] < 0.5]
    first = below[-1] + 1 if below else 0
    return f"{points[first]['step']:,}" if first < len(points) else "none yet"


def fairy_tales(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    published: Sequence[tuple[float, float]] = (),
    training: Sequence[tuple[float, float]] = (),
) -> Plot:
    """Draw loss by epoch, and mark each curve's best.

    Args:
        curves: (epoch, nats a token) by name, such as "from scratch" and "from chapter 6".
        published: the same of somebody else's run, at the epochs of which it is known.
        training: the training loss of one run, a line without a best.
    """
    fig, ax = figure(height=3.8)
    if training:
        ax.plot(*zip(*training, strict=True), label="training", color=INK, linewidth=1.2)
    every = {**curves, **({"published": published} if published else {})}
    for color, (name, curve) in zip([*COLORS[: len(curves)], INK], every.items(), strict=False):
        line = "--" if name == "published" else "-"
        ax.plot(*zip(*curve, strict=True), label=name, color=color, linestyle=line, marker="o",
                markersize=3)  # fmt: skip
        ax.plot(*min(curve, key=lambda point: point[1]), "o", color=color, markersize=8, zorder=5)
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss (nats a token)")
    label_ends(ax)
    told = []
    for name, curve in every.items():
        epoch, best = min(curve, key=lambda point: point[1])
        told.append(f"{name}, best {best:.2f} at epoch {epoch:g}, last {curve[-1][1]:.2f}")
    return Plot(
        fig,
        f"Loss on stories by epoch; a large dot marks the best. {'; '.join(told)}.",
    )


def third_person(place: Mapping) -> Plot:
    """Draw what may stand at one place of a story: by the text, by the grammar, by two models.

    Args:
        place: `example` of the record `story-odds`.
    """
    order = sorted(range(len(place["names"])), key=lambda k: (place["odds"][k] > 0, k))
    names = [place["names"][k] for k in order]
    rows = {
        "the text": [float(name == place["said"]) for name in names],
        "the grammar": [place["odds"][k] for k in order],
        "the model before": [place["before"][k] for k in order],
        "the model after": [place["after"][k] for k in order],
    }
    taken = sum(not odds for odds in place["odds"])
    colors = [VERMILION] * taken + [BLUE] * (len(names) - taken)
    fig, axes = panels(6.4, rows=4, sharex=True)
    for ax, (name, shares) in zip(axes, rows.items(), strict=True):
        ax.bar(range(len(names)), shares, color=colors)
        ax.set_title(name)
        top = 1 if name == "the text" else 1.3 * max(max(row) for row in list(rows.values())[1:])
        ax.set_ylim(0, top)
        ax.set_yticks([0, round(top / 1.3, 2) if top != 1 else 1])
    axes[-1].set_xticks([])
    axes[-1].set_xlabel(f"{taken} people who are there already, and {len(names) - taken} others")
    given = {name: sum(shares[:taken]) for name, shares in rows.items()}
    told = ", ".join(f"{name} {share:.1%}" for name, share in given.items())
    return Plot(
        fig,
        f"Four rows of bars, one for each of {len(names)} names where a third person comes in. "
        f"What each gives to the {taken} names that are taken: {told}.",
    )


def packing(ways: Mapping[str, Mapping[str, float]]) -> Plot:
    """Draw, for each way to fill a window, the loss that training logged and that of stories alone.

    Args:
        ways: the result of `story-packing`: `logged` and `loss` by way.
    """
    fig, ax = figure(height=1.0 + 0.5 * len(ways))
    for n, (logged, loss) in enumerate((way["logged"], way["loss"]) for way in ways.values()):
        ax.plot([logged, loss], [n, n], "-", color=FAINT, linewidth=1, zorder=1)
        ax.plot(logged, n, "o", color=COLORS[0], markerfacecolor="none")
        ax.plot(loss, n, "o", color=COLORS[1])
    ax.plot([], [], "o", color=COLORS[0], markerfacecolor="none", label="what training logs")
    ax.plot([], [], "o", color=COLORS[1], label="new stories, each alone")
    ax.set_yticks(range(len(ways)), list(ways))
    ax.set_ylim(len(ways) - 0.5, -0.5)
    ax.set_xlabel("loss (nats a token)")
    ax.figure.legend(loc="outside upper right", ncols=2, handletextpad=0.1)
    told = "; ".join(
        f"{name}, {way['logged']:.2f} and {way['loss']:.2f}" for name, way in ways.items()
    )
    return Plot(
        fig,
        "For each way to fill a window two dots: the loss that training logs at the end and that "
        f"of new stories read alone, in nats a token. {told}.",
    )
