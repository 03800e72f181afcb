"""The figures on what is learned last: what a model learns when, and how far back it finds a name.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    SMALL,
    Plot,
    figure,
    label_ends,
    log_ticks,
    panels,
)

PROBES = ("spelling", "agreement", "pronoun", "promise")
STRETCH = (4500, 6500)  # the steps between which pronoun and promise arrive


def probes(points: Sequence[Mapping], floor: float) -> Plot:
    """Draw the four probes against loss as training goes on: accuracy, and log-odds.

    The stretch in which two abilities arrive at once, from step 4,500 to 6,500, is shaded.

    Args:
        points: one a `step`, with `val` and, for each name in `PROBES`, `accuracy` and `log_ratio`.
        floor: the loss that no model can beat on the validation text.
    """
    fig, (above, below) = panels(6.0, rows=2, sharex=True)
    distance = [point["val"] - floor for point in points]
    for name in PROBES:
        style = {"label": name, "marker": "o", "markersize": 3}
        above.plot(distance, [point[name]["accuracy"] for point in points], **style)
        below.plot(distance, [point[name]["log_ratio"] for point in points], **style)
    above.axhline(0.5, color=FAINT, linewidth=0.8)
    below.axhline(0, color=FAINT, linewidth=0.8)
    above.set_ylabel("accuracy (share of pairs)")
    below.set_ylabel("log p(right) − log p(wrong), nats")
    stretch = [point["val"] - floor for point in points if point["step"] in STRETCH]
    for ax in (above, below):
        log_ticks(ax, "x")
        if len(stretch) == 2:
            ax.axvspan(*stretch, color=FAINT, alpha=0.25, linewidth=0)
    if len(stretch) == 2:
        for at, step, side in zip(stretch, STRETCH, ("right", "left"), strict=True):
            words = f"step {step:,}" if side == "right" else f"{step:,}"
            above.annotate(words, (at, 1.0), (0, 10), xycoords=("data", "data"),
                           textcoords="offset points", ha=side, fontsize=SMALL)  # fmt: skip
        above.set_ylim(top=1.1)
    below.invert_xaxis()
    for n, name in enumerate(PROBES):
        rise = next(
            (x for x, point in zip(distance, points, strict=True) if point[name]["accuracy"] > 0.6),
            distance[-1],
        )
        early = n < 2  # the first two are named on the left of their rise, the others on the right
        at = rise if early else min(rise, stretch[-1]) if stretch else rise
        above.annotate(
            name, (at, (0.8, 0.68, 0.72, 0.63)[n]), ((-24, -8, 16, 16)[n], 0),
            textcoords="offset points", ha="right" if early else "left",
            color=above.get_lines()[n].get_color(), fontsize=SMALL,
        )  # fmt: skip
    above.set_yticks([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])
    below.set_xlabel("loss − floor (nats per character)")
    label_ends(below)
    last = ", ".join(f"{name} {points[-1][name]['accuracy']:.2f}" for name in PROBES)
    return Plot(
        fig,
        "Four probes as the loss comes down to the floor, accuracy above and log-odds "
        f"below. Accuracy at the end: {last}.",
    )


def _share(accuracy: float) -> str:
    """An accuracy in words that the last digits of a training run do not change."""
    if accuracy > 0.9:
        return "nearly always right"
    return "within 0.25 of a coin's 0.5" if accuracy > 0.25 else "wrong"


def accuracy_by_distance(models: Mapping[str, Mapping[str, Sequence[tuple]]]) -> Plot:
    """Draw models' accuracy on two-choice probes by how far back the cue stands.

    Args:
        models: for each model and each question, a list of (range of distances such as "60–105",
            accuracy, number of probes), from near to far.
    """
    fig, ax = figure(height=3.6)
    ticks: dict[float, str] = {}
    told = []
    for color, (model, questions) in zip(COLORS, models.items(), strict=False):
        left, end = 0.0, (0.0, 0.0)
        for question, groups in questions.items():
            at = [left + i for i in range(len(groups))]
            left += len(groups) + 0.5  # a gap between questions: no line joins unlike things
            labels, shares, counts = zip(*groups, strict=True)
            end = at[-1], shares[-1]
            ticks |= dict(zip(at, labels, strict=True))
            errors = [(a * (1 - a) / n) ** 0.5 for a, n in zip(shares, counts, strict=True)]
            ax.errorbar(at, shares, errors, fmt="o-", capsize=3, color=color, linewidth=1.4)
            if color == COLORS[0]:
                ax.annotate(question, (sum(at) / len(at), 1.08), ha="center", fontsize=SMALL)
            said = ", ".join(f"{_share(a)} at {far}" for far, a in zip(labels, shares, strict=True))
            told.append(f"{model}, {question}: {said}")
        ax.annotate(model, end, (8, -3), textcoords="offset points",
                    color=color, fontsize=SMALL, annotation_clip=False)  # fmt: skip
    ax.axhline(0.5, color=FAINT, linewidth=0.8)
    ax.set_xticks(list(ticks), [label.replace("–", "–\n") for label in ticks.values()])
    ax.set_xlim(-0.45, max(ticks) + 1.3)
    ax.set_ylim(0.2, 1.16)
    ax.set_yticks([0.25, 0.5, 0.75, 1.0], ["0.25", "a coin", "0.75", "1.00"])
    ax.set_xlabel("distance to the last mention (characters)")
    ax.set_ylabel("accuracy (share of pairs)")
    return Plot(fig, "Accuracy by distance. " + "; ".join(told) + ".")
