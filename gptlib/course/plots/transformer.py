"""Chapter 3's figures: the build-up, gradients against depth, and what a model learns when.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter

from gptlib.course.plots import COLORS, FAINT, Plot, figure, floor_line, label_ends

PROBES = ("spelling", "agreement", "pronoun", "promise")


def build_up(rungs: Mapping[str, Sequence[float]], floor: float) -> Plot:
    """Draw each rung's distance from the floor, a dot for every seed.

    Args:
        rungs: validation losses by seed, in nats per character, in the order of the build-up.
        floor: the loss that no model can beat on that text.
    """
    fig, ax = figure(6.4, 3.4)
    means = [sum(losses) / len(losses) - floor for losses in rungs.values()]
    ax.plot(range(len(rungs)), means, color=FAINT, linewidth=1, zorder=1)
    for x, (losses, mean) in enumerate(zip(rungs.values(), means, strict=True)):
        ax.scatter([x] * len(losses), [loss - floor for loss in losses], s=22, color=COLORS[0])
        climbs = x + 1 < len(means) and means[x + 1] > mean  # the line leaves upward: write below
        offset = (0, -15) if climbs else (8, 5)
        ax.annotate(
            f"{mean:.2f}", (x, mean), offset, textcoords="offset points", fontsize=9,
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
        depths: numbers of blocks. norms: a kind of block, and its gradient norm at each depth.
    """
    fig, ax = figure(6.4, 3.4)
    for name, values in norms.items():
        ax.plot(depths, values, marker="o", label=name)
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("depth (blocks)")
    ax.set_ylabel("gradient norm at the token table")
    label_ends(ax)
    ends = "; ".join(f"{name} from {v[0]:.0e} to {v[-1]:.0e}" for name, v in norms.items())
    return Plot(fig, f"Gradient norm from {depths[0]} to {depths[-1]} blocks: {ends}.")


def probes(points: Sequence[Mapping], floor: float) -> Plot:
    """Draw the four probes against loss as training goes on: accuracy, and log-odds.

    Args:
        points: one a step, with `val` and, for each name in `PROBES`, `accuracy` and `log_ratio`.
        floor: the loss that no model can beat on the validation text.
    """
    fig, (left, right) = figure(6.8, 3.4, 1, 2)
    distance = [point["val"] - floor for point in points]
    for name in PROBES:
        style = {"label": name, "marker": "o", "markersize": 3}
        left.plot(distance, [point[name]["accuracy"] for point in points], **style)
        right.plot(distance, [point[name]["log_ratio"] for point in points], **style)
    left.axhline(0.5, color=FAINT, linewidth=0.8)
    right.axhline(0, color=FAINT, linewidth=0.8)
    left.set_ylabel("accuracy (share of pairs)")
    right.set_ylabel("log p(right) − log p(wrong), nats")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
        ax.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: ""))
        ax.set_xlabel("loss − floor (nats per character)")
    right.legend(loc="upper left")
    last = ", ".join(f"{name} {points[-1][name]['accuracy']:.2f}" for name in PROBES)
    return Plot(
        fig,
        "Four probes as the loss comes down to the floor, accuracy on the left and log-odds on "
        f"the right. Accuracy at the end: {last}.",
    )


def accuracy_by_distance(groups: Mapping[str, tuple[float, int]]) -> Plot:
    """Draw a model's accuracy on two-choice probes grouped by how far back the cue stands.

    Args:
        groups: a label such as "40–80" (characters), the accuracy, and the number of probes.
    """
    fig, ax = figure(6.4, 3.0)
    values = [accuracy for accuracy, _ in groups.values()]
    errors = [(a * (1 - a) / n) ** 0.5 for a, n in groups.values()]
    ax.errorbar(range(len(groups)), values, errors, marker="o", capsize=3)
    ax.axhline(0.5, color=FAINT, linewidth=0.8)
    ax.annotate("a coin", (0, 0.5), (4, 4), textcoords="offset points", fontsize=9, color=FAINT)
    ax.set_xticks(range(len(groups)), groups)
    ax.set_ylim(0.4, 1.03)
    ax.set_xlabel("distance between name and pronoun (characters)")
    ax.set_ylabel("accuracy (share of pairs)")
    told = ", ".join(f"{a:.2f} at {name}" for name, (a, _) in groups.items())
    return Plot(fig, f"Accuracy of the pronoun by its distance from the name: {told}.")
