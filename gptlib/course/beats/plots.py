"""The figures of chapter 9 about tuning: validation by learning rate.

One job: each function takes plain numbers and returns a finished `Plot` with its alt text.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.plotting import COLORS, Plot, label_ends, panels


def by_rate(rates: Sequence[Mapping]) -> Plot:
    """Draw training and held-out loss by epoch, for each learning rate.

    Args:
        rates: those of the record `beats-qlora`, each with `rate` and `epochs`.
    """
    fig, axes = panels(5.2, rows=2, sharex=True)
    told = []
    for n, run in enumerate(rates):
        epochs, name = run["epochs"], f"rate {run['rate']:g}"
        color = COLORS[1 - n % 2]
        for ax, key in zip(axes, ("train", "held_out"), strict=True):
            lines = [line for line in epochs if line[key] is not None]
            ax.plot([line["epoch"] for line in lines], [line[key] for line in lines],
                    color=color, label=name)  # fmt: skip
        best = min(epochs, key=lambda line: line["held_out"])
        axes[1].plot(best["epoch"], best["held_out"], "o", color=color)
        told.append(
            f"{name}: held out {epochs[0]['held_out']:.2f} at first, {best['held_out']:.2f} at "
            f"best after epoch {best['epoch']}, {epochs[-1]['held_out']:.2f} at the end, while "
            f"training reached {epochs[-1]['train']:.2f}"
        )
    for ax, what in zip(axes, ("trained on", "held out"), strict=True):
        ax.set_ylabel(f"{what}\n(nats per token)")
        label_ends(ax)
    axes[-1].set_xlabel("epoch")
    return Plot(
        fig,
        "Two panels against the epoch: above the loss on the pairs that were trained on, below on "
        f"pairs of other stories. {'; '.join(told)}.",
    )
