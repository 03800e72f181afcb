"""Figures: opaque, with alt text, the same characters every time, lines labeled where they end."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from gptlib.course.picture import INK, themed
from gptlib.course.plotting import (
    COLORS,
    PAPER,
    Plot,
    figure,
    floor_line,
    label_ends,
    log_ticks,
    power_of_ten,
)
from gptlib.course.squares import squares


def two_lines():
    fig, ax = figure()
    ax.plot([0, 1, 2], [3.0, 2.0, 1.000], label="one head")
    ax.plot([0, 1, 2], [3.0, 2.1, 1.001], label="two heads")
    ax.set(xlabel="step", ylabel="loss (nats)")
    floor_line(ax, 0.9)
    label_ends(ax)
    return fig, ax


def test_a_plot_carries_its_alt_text():
    plot = Plot(two_lines()[0], "Both lines fall\n  towards “the floor”.")
    data, about = plot._repr_mimebundle_()
    assert data["text/plain"] == repr(plot) == "Both lines fall towards “the floor”."
    assert about["image/svg+xml"] == {"alt": plot.alt}
    picture = ElementTree.fromstring(data["image/svg+xml"])
    assert picture.get("role") == "img" and picture.get("aria-label") == plot.alt
    assert 500 < int(picture.get("width")) <= 570


def test_the_same_figure_has_the_same_characters():
    assert Plot(two_lines()[0], "Two lines.").svg == Plot(two_lines()[0], "Two lines.").svg


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
    assert ax.get_lines()[2].get_linestyle() == ":" and ax.get_lines()[2].get_color() == INK
    assert not ax.spines["top"].get_visible() and not ax.spines["right"].get_visible()


def ink(svg: str, color: str) -> list[float]:
    """The opacities, ascending, in which a picture's squares use a color."""
    found = re.findall(re.escape(f"fill: {themed(color)}") + r"(?:; opacity: ([\d.]+))?\"", svg)
    return sorted(float(opacity or 1) for opacity in found)


def test_a_map_is_ink_on_the_page_s_paper():
    fig, ax = figure()
    squares(ax, [[0, 1 / 3], [2 / 3, 1]])
    svg = Plot(fig, "Four squares.").svg
    assert ink(svg, COLORS[0]) == [0.5, 1] and ink(svg, INK) == [0.6]
    fig, ax = figure()
    squares(ax, [[0, -0.5], [1, 0.01]], two_sided=True)
    svg = Plot(fig, "Four squares.").svg
    assert ink(svg, COLORS[0]) == [0.5] and ink(svg, COLORS[1]) == [1]


def test_a_map_has_row_0_at_the_top_and_joins_equal_neighbors():
    _, ax = figure()
    squares(ax, [[1, 1, 0], [0, 0, 1]], two_sided=True)
    (patch,) = ax.patches
    corners = {tuple(corner) for corner in patch.get_path().vertices.tolist()}
    assert corners == {
        (-0.5, -0.5), (1.5, -0.5), (1.5, 0.5), (-0.5, 0.5),
        (2.5, 0.5), (2.5, 1.5), (1.5, 1.5),
    }  # fmt: skip
    assert ax.get_ylim() == (1.5, -0.5)


def test_powers_of_ten_are_text_that_any_font_has():
    said = [power_of_ten(10.0**k) for k in (-12, -3, 0, 3, 6)]
    assert said == ["10⁻¹²", "0.001", "1", "1000", "10⁶"]
    fig, ax = figure()
    ax.plot([1, 2, 8], [1e-9, 1e-3, 1])
    log_ticks(ax, "x", "y")
    shown = re.findall(r">([^<>\s]+)</text>", Plot(fig, "A line.").svg)
    assert {"1", "2", "5", "10⁻⁸", "0.01"} <= set(shown) and not {"3", "0.02"} & set(shown)
