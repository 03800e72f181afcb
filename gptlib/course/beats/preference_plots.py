"""The figures of chapter 9 about preferences: what was bought and paid, and where it came from.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.plotting import COLORS, FAINT, INK, Plot, label_ends, panels


def followed(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Plot:
    """Draw what chosen and rejected stories gained in log-probability while models were trained.

    Args:
        curves: by name, the lines of `preference_measures.followed`: `step`, `chosen` and
            `rejected`, nats a story since the reference.
    """
    fig, axes = panels(6.2, rows=2, sharex=True)
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


def bought_and_paid(rivals: Mapping[str, Mapping], order: Sequence[str]) -> Plot:
    """Draw, for each use of the judge, the share of stories that hold together and how alike the
    stories to one title are.

    Args:
        rivals: the `rivals` of the record `story-preference`. order: their names, from the top.
    """
    fig, (bought, paid) = panels(
        1.2 + 0.42 * len(order), columns=2, sharey=True, width_ratios=[5, 4]
    )
    for row, name in enumerate(order):
        holds, alike = rivals[name]["holds"], rivals[name]["within_self_bleu"]
        color = COLORS[0] if "loss" in rivals[name] else COLORS[1]
        bought.plot(holds["ci95"], [row, row], "-", color=color)
        bought.plot(holds["share"], row, "o", color=color)
        paid.plot(alike["values"], [row] * len(alike["values"]), "|", color=FAINT, markersize=9)
        paid.plot(alike["mean"], row, "o", color=color)
    base = rivals[order[0]]
    bought.axvline(base["holds"]["share"], color=FAINT, linewidth=0.8, zorder=0)
    paid.axvline(base["within_self_bleu"]["mean"], color=FAINT, linewidth=0.8, zorder=0)
    bought.set_yticks(range(len(order)), order)
    bought.set_ylim(len(order) - 0.5, -0.5)
    bought.set_xlabel("hold together\n(share, 95%)")
    paid.set_xlabel("alike within a title\n(self-BLEU)")
    paid.tick_params(left=False)
    for ax in (bought, paid):
        ax.locator_params(axis="x", nbins=4)
    bought.plot([], [], "o-", color=COLORS[0], label="one story is written")
    bought.plot([], [], "o-", color=COLORS[1], label="one of several")
    fig.legend(loc="outside upper right", ncols=2, handletextpad=0.3, labelcolor=INK)
    told = "; ".join(
        f"{name}, {rivals[name]['holds']['share']:.2f} and "
        f"{rivals[name]['within_self_bleu']['mean']:.0f}"
        for name in order
    )
    return Plot(
        fig,
        "For each use of the judge two dots: the share of its stories that hold together, with its "
        f"95% interval, and the self-BLEU of several stories to one title. {told}.",
    )
