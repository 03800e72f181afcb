"""The figures on what is learned last: what a model learns when, and how far back it finds a name.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.plotting import (
    COLORS,
    FAINT,
    INK,
    SMALL,
    Plot,
    figure,
    label_ends,
    log_ticks,
    panels,
)

PROBES = ("spelling", "agreement", "pronoun", "promise")


def probes(points: Sequence[Mapping], floor: float) -> Plot:
    """Draw the four probes against loss as training goes on: accuracy, and log-odds.

    Args:
        points: one a step, with `val` and, for each name in `PROBES`, `accuracy` and `log_ratio`.
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
    for ax in (above, below):
        log_ticks(ax, "x")
    below.invert_xaxis()
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
    ax.annotate("a coin", (1.75, 0.5), (0, 4), textcoords="offset points", ha="center",
                fontsize=SMALL, color=INK)  # fmt: skip
    ax.set_xticks(list(ticks), [label.replace("–", "–\n") for label in ticks.values()])
    ax.set_xlim(-0.45, max(ticks) + 1.3)
    ax.set_ylim(0.2, 1.16)
    ax.set_yticks([0.2, 0.4, 0.6, 0.8, 1.0])
    ax.set_xlabel("distance to the last mention (characters)")
    ax.set_ylabel("accuracy (share of pairs)")
    return Plot(fig, "Accuracy by distance. " + "; ".join(told) + ".")
