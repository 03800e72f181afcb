"""A run that was killed and a run that was not, in one picture.

One job: `resumed` takes two logs and returns a finished `Plot` with its alt text.
"""

from collections.abc import Sequence

from gptlib.course.plotting import COLORS, FAINT, SMALL, Plot, figure


def resumed(whole: Sequence[dict], again: Sequence[dict], killed: int, saved: int) -> Plot:
    """Draw the training loss of both runs over each other.

    Args:
        whole, again: `Run.log` of the run that was left alone and of the one that was resumed.
        killed, saved: the step at which the second died, and the step that it went on from.
    """
    fig, ax = figure()
    lines = []
    for log in (whole, again):
        points = [(line["step"], line["loss"]) for line in log if "loss" in line]
        lines.append(points)
    ax.plot(*zip(*lines[0], strict=True), color=COLORS[0], linewidth=5, alpha=0.35)
    ax.plot(*zip(*lines[1], strict=True), color=COLORS[1], linewidth=1.2)
    top = max(loss for _, loss in lines[0])
    for step, words, side in ((saved, "goes on\nfrom here", "right"), (killed, "killed", "left")):
        ax.axvline(step, color=FAINT, linewidth=0.8)
        gap = -4 if side == "right" else 4
        ax.annotate(
            words,
            (step, top),
            (gap, 0),
            textcoords="offset points",
            ha=side,
            va="top",
            fontsize=SMALL,
        )
    middle = (top + min(loss for _, loss in lines[0])) / 2
    falling = next(point for point in lines[0] if point[1] <= middle)
    ax.annotate("left alone", falling, (10, 0), textcoords="offset points",
                color=COLORS[0], fontsize=SMALL)  # fmt: skip
    ax.annotate("killed and resumed", (0.99, 0.5), xycoords="axes fraction",
                ha="right", color=COLORS[1], fontsize=SMALL)  # fmt: skip
    ax.set_xlabel("step")
    ax.set_ylabel("training loss (nats per character)")
    apart = max(abs(a[1] - b[1]) for a, b in zip(*lines, strict=True))
    same = "equal at every step" if apart == 0 else f"up to {apart:.1g} nats apart"
    return Plot(
        fig,
        f"Training loss of a run that was left alone and of one that was killed at step {killed} "
        f"and resumed from step {saved}: {same}.",
    )
