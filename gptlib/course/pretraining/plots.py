"""Chapter 6's figures: what the order of the shards does to the loss.

One job: each function takes a record or plain numbers and returns a finished `Plot` with its alt
text.
"""

from collections.abc import Sequence

from gptlib.course.plotting import COLORS, FAINT, Plot, label_ends, panels
from gptlib.course.records import Record


def shard_spikes(record: Record) -> Plot:
    """Draw the training loss of `shuffled-shards` at each step, a panel for each order of reading.

    Args:
        record: with `order`, `step` and `loss` in the lines of its log, and in its result, by
            order, `rise`: how much the loss climbs at a border of two blocks.
    """
    orders = ("source order", "shuffled documents")
    borders: Sequence[int] = record.result["borders"]
    fig, axes = panels(4.6, rows=2, sharex=True, sharey=True)
    told = []
    for ax, name, color in zip(axes, orders, COLORS, strict=False):
        lines = [line for line in record.log if line["order"] == name and "loss" in line]
        for border in borders:
            ax.axvline(border, color=FAINT, linewidth=0.8, zorder=1)
        ax.plot(
            [line["step"] for line in lines], [line["loss"] for line in lines], color=color,
            linewidth=0.9, label=name.replace(" ", "\n"),
        )  # fmt: skip
        ax.set_ylabel("loss (nats a token)")
        told.append(f"{name}, {record.result['orders'][name]['rise']:+.2f}")
    axes[-1].set_xlabel("step; a line where another block of text begins")
    for ax in axes:
        label_ends(ax)
    return Plot(
        fig,
        "Training loss at each step, in two panels. Mean change of the loss at the borders of "
        f"the blocks, in nats: {'; '.join(told)}.",
    )
