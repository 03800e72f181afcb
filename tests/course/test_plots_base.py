"""Figures: opaque, with alt text, the same bytes every time, and lines labeled where they end."""

import base64
from itertools import pairwise

import pytest

from gptlib.course.plotting import COLORS, PAPER, Plot, figure, floor_line, label_ends


def two_lines():
    fig, ax = figure()
    ax.plot([0, 1, 2], [3.0, 2.0, 1.000], label="one head")
    ax.plot([0, 1, 2], [3.0, 2.1, 1.001], label="two heads")
    ax.set(xlabel="step", ylabel="loss (nats)")
    floor_line(ax, 0.9)
    label_ends(ax)
    return fig, ax


def test_a_plot_carries_its_alt_text_and_its_width():
    plot = Plot(two_lines()[0], "Both lines fall\n  towards the floor.")
    data, about = plot._repr_mimebundle_()
    assert data["text/plain"] == repr(plot) == "Both lines fall towards the floor."
    assert about["image/png"] == {"alt": plot.alt, "width": plot.width}
    assert base64.b64decode(data["image/png"]) == plot.png
    assert plot.png.startswith(b"\x89PNG") and 500 < plot.width < 800


def test_the_same_figure_has_the_same_bytes():
    assert Plot(two_lines()[0], "Two lines.").png == Plot(two_lines()[0], "Two lines.").png


def test_a_plot_without_alt_text_is_refused():
    with pytest.raises(ValueError, match="needs alt text"):
        Plot(two_lines()[0], "  ")


def test_labels_keep_clear_of_each_other_and_of_the_floor():
    fig, ax = two_lines()
    fig.canvas.draw()
    heights = sorted(note.get_window_extent().y0 for note in ax.texts)
    gaps = [(b - a) * 72 / fig.dpi for a, b in pairwise(heights)]
    assert len(heights) == 3 and min(gaps) > 9


def test_figures_are_opaque_and_lines_have_the_book_s_colors():
    fig, ax = two_lines()
    assert fig.get_facecolor()[3] == 1.0
    assert fig.get_facecolor()[:3] == tuple(int(PAPER[k : k + 2], 16) / 255 for k in (1, 3, 5))
    assert [line.get_color() for line in ax.get_lines()[:2]] == list(COLORS[:2])
    assert ax.get_lines()[2].get_linestyle() == ":" and ax.get_lines()[2].get_color() == "black"
    assert not ax.spines["top"].get_visible() and not ax.spines["right"].get_visible()
