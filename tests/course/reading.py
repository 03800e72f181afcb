"""What a reader's eye would trip over in a figure.

One job: `faults` measures a drawn figure: text too small for a phone, text on text, a legend on
the data.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

PHONE = 376  # the pixels that a figure is wide where a screen has 390
LEAST = 11  # the pixels that a text's size comes to there


def faults(fig: Figure, width: int) -> list[str]:
    """Name what cannot be read.

    Args:
        fig: a figure whose picture was made. width: of its picture, in screen pixels.
    """
    FigureCanvasAgg(fig).draw()
    hidden = {label for ax in fig.axes for label in _hidden(ax)}
    texts = [
        text
        for text in fig.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]
    pixels = {text: text.get_fontsize() / 72 * 100 * min(1, PHONE / width) for text in texts}
    small = [
        f"{text.get_text()!r} has {size:.1f} pixels on a phone"
        for text, size in pixels.items()
        if size < LEAST
    ]
    boxes = [(text.get_text(), text.get_window_extent().padded(-1)) for text in texts]
    crossed = [
        f"{one!r} lies on {other!r}"
        for n, (one, box) in enumerate(boxes)
        for other, below in boxes[:n]
        if box.overlaps(below)
    ]
    return small + crossed + [fault for ax in fig.axes for fault in _legend_faults(ax)]


def _hidden(ax: Axes) -> Iterator[Text]:
    """Yield the labels of ticks outside their axis, which matplotlib keeps and does not draw."""
    for axis in (ax.xaxis, ax.yaxis):
        place = axis.get_transform().transform
        low, high = sorted(place(np.asarray(axis.get_view_interval())))
        for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
            if not (ax.axison and low - 1e-9 <= place(tick.get_loc()) <= high + 1e-9):
                yield from (tick.label1, tick.label2)


def _legend_faults(ax: Axes) -> list[str]:
    if ax.get_legend() is None:
        return []
    box = ax.get_legend().get_window_extent()
    on = []
    for line in ax.get_lines():
        path = line.get_transform().transform(np.column_stack(line.get_data()).astype(float))
        dense = [np.linspace(a, b, 20) for a, b in pairwise(path)] or [path]
        if box.count_contains(np.concatenate(dense)):
            on.append(f"the legend lies on the line {line.get_label()!r}")
    return on
