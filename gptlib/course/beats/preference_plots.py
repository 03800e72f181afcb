"""The figures of chapter 9 about preferences: what was bought and paid, and where it came from.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

import statistics
from collections.abc import Mapping, Sequence

from gptlib.course.plotting import COLORS, FAINT, INK, Plot, label_ends, panels


def followed(rivals: Sequence[Mapping]) -> Plot:
    """Draw what chosen and rejected stories gained in log-probability while models were trained.

    Args:
        rivals: those of the record `story-preference`; drawn is the mean over the seeds of each
            that was trained, `chosen` and `rejected` by `step`.
    """
    fig, axes = panels(6.6, rows=2, sharex=True)
    curves = {
        rival["name"]: [_mean(lines) for lines in zip(*rival["followed"], strict=True)]
        for rival in rivals
        if "followed" in rival
    }
    for ax, side in zip(axes, ("chosen", "rejected"), strict=True):
        for name, lines in curves.items():
            gained = [line[side] for line in lines]
            ax.plot([line["step"] for line in lines], gained, label=name, marker="o", markersize=3)
        ax.axhline(0, color=FAINT, linewidth=0.8)
        ax.set_ylabel(f"{side} stories\n(nats gained)")
    axes[-1].set_xlabel("step")
    low = min(ax.get_ylim()[0] for ax in axes)
    high = max(ax.get_ylim()[1] for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)  # one scale, or the fall of one cannot be seen beside the other's
        label_ends(ax)
    told = "; ".join(
        f"{name}, chosen {lines[-1]['chosen']:+.0f} and rejected {lines[-1]['rejected']:+.0f}"
        for name, lines in curves.items()
    )
    return Plot(
        fig,
        "Two panels against the step of training, on one scale: the log-probability that chosen "
        "and that rejected stories gained since the reference, in nats a story. At the end: "
        f"{told}.",
    )


def _mean(lines: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """What one step was in several seeds, as one."""
    return {key: statistics.fmean(line[key] for line in lines) for key in lines[0]}


def bought_and_paid(rivals: Sequence[Mapping]) -> Plot:
    """Draw, for each use of the judge, the share of stories that hold together and how alike the
    stories to one title are.

    Args:
        rivals: those of the record `story-preference`; the first is the base.
    """
    fig, (bought, paid) = panels(
        1.2 + 0.42 * len(rivals), columns=2, sharey=True, width_ratios=[5, 4]
    )
    for row, rival in enumerate(rivals):
        holds, alike = rival["holds"], rival["within_self_bleu"]
        color = COLORS[0] if "loss" in rival else COLORS[1]
        bought.plot(holds["ci95"], [row, row], "-", color=color)
        bought.plot(holds["share"], row, "o", color=color)
        paid.plot(alike["values"], [row] * len(alike["values"]), "|", color=FAINT, markersize=9)
        paid.plot(alike["mean"], row, "o", color=color)
    base = rivals[0]
    bought.axvline(base["holds"]["share"], color=FAINT, linewidth=0.8, zorder=0)
    paid.axvline(base["within_self_bleu"]["mean"], color=FAINT, linewidth=0.8, zorder=0)
    bought.set_yticks(range(len(rivals)), [rival["name"] for rival in rivals])
    bought.set_ylim(len(rivals) - 0.5, -0.5)
    bought.set_xlabel("hold together\n(share, 95%)")
    paid.set_xlabel("alike within a title\n(self-BLEU)")
    paid.tick_params(left=False)
    for ax in (bought, paid):
        ax.locator_params(axis="x", nbins=4)
    bought.plot([], [], "o-", color=COLORS[0], label="one story is written")
    bought.plot([], [], "o-", color=COLORS[1], label="one of several")
    fig.legend(loc="outside upper right", ncols=2, handletextpad=0.3, labelcolor=INK)
    told = "; ".join(
        f"{rival['name']}, {rival['holds']['share']:.2f} and "
        f"{rival['within_self_bleu']['mean']:.0f}"
        for rival in rivals
    )
    return Plot(
        fig,
        "For each use of the judge two dots: the share of its stories that hold together, with its "
        f"95% interval, and the self-BLEU of several stories to one title. {told}.",
    )
