"""Chapter 3's figures: the build-up, and gradients against depth.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from matplotlib.ticker import FuncFormatter

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    SMALL,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
)


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
        depths: numbers of blocks. norms: a kind of block, and its gradient norm at each depth.
    """
    fig, ax = figure()
    for name, values in norms.items():
        ax.plot(depths, values, marker="o", label=name)
    ax.set_xscale("log", base=2)
    log_ticks(ax, "y")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.set_xlabel("depth (blocks)")
    ax.set_ylabel("gradient norm at the token table")
    label_ends(ax)
    ends = "; ".join(f"{name} from {v[0]:.0e} to {v[-1]:.0e}" for name, v in norms.items())
    return Plot(fig, f"Gradient norm from {depths[0]} to {depths[-1]} blocks: {ends}.")
