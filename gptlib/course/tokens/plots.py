"""The figures of chapter 5.

One job: draw what the chapter computed or recorded; nothing is computed here.
"""

from collections.abc import Sequence

from gptlib.course.plotting import (
    BLUE,
    GREEN,
    INK,
    VERMILION,
    Plot,
    figure,
    log_ticks,
    panels,
)


def sweep(
    sizes: Sequence[int],
    bytes_per_token: Sequence[float],
    nats_per_token: Sequence[float],
    bits_per_byte: Sequence[float],
    alt: str,
) -> Plot:
    """Vocabulary against bytes per token, nats per token and bits per byte, in three panels."""
    fig, axes = panels(6.6, rows=3, sharex=True)
    rows = (
        (bytes_per_token, "bytes per token", BLUE),
        (nats_per_token, "nats per token", VERMILION),
        (bits_per_byte, "bits per byte", GREEN),
    )
    for ax, (values, label, color) in zip(axes, rows, strict=True):
        ax.plot(sizes, values, marker="o", color=color)
        ax.set_xscale("log", base=2)
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes], rotation=30)
        ax.minorticks_off()
        ax.set_ylabel(label)
        ax.set_ylim(0, 1.15 * max(values))
    axes[-1].set_xlabel("V, ids in the vocabulary")
    return Plot(fig, alt)


def unread(seen: Sequence[int], alike: Sequence[float], alt: str) -> Plot:
    """How often an id was read, against how its embedding points.

    Args:
        seen: times that training read each id. alike: cosine of its row with the mean of the rows
            that were never read.
    """
    fig, ax = figure(height=3.6)
    read = [(n, a) for n, a in zip(seen, alike, strict=True) if n]
    never = [a for n, a in zip(seen, alike, strict=True) if not n]
    ax.plot([n for n, _ in read], [a for _, a in read], "o", color=BLUE, markersize=3, alpha=0.6)
    ax.plot([0.4] * len(never), never, "o", color=VERMILION, markersize=3, alpha=0.6)
    log_ticks(ax, "x")
    ax.set_xticks([0.4, 1, 10, 100, 1000, 10_000], ["never", "1", "10", "100", "1,000", "10,000"])
    ax.minorticks_off()
    ax.set_xlabel("times that training read the id")
    ax.set_ylabel("cosine with the unread")
    ax.axhline(0, color=INK, linewidth=0.6, zorder=0)
    return Plot(fig, alt)
