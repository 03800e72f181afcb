"""A figure's SVG: what a page can hold many of, color and set in its own type."""

import re
from xml.etree import ElementTree

import pytest

from gptlib.course.picture import VARIABLES
from gptlib.course.plotting import figure
from gptlib.course.svg import _path, page_svg


def drawn(title: str = "An “a” & <b>") -> str:
    fig, ax = figure()
    ax.plot([0, 1, 2], [3.0, 2.0, 1.0], "o-", label="one")
    ax.plot([0, 1, 2], [2.0, 2.0, 1.5], "s--", color="black")
    ax.set_title(title)
    return page_svg(fig)


def test_it_is_one_element_without_a_date_or_a_sheet_of_its_own():
    svg = drawn()
    assert svg.startswith("<svg ") and svg.endswith("</svg>") and svg.count("<svg") == 1
    for word in ("<?xml", "DOCTYPE", "<style", "metadata", "atplotlib", "xlink", "<!--"):
        assert word not in svg
    assert ElementTree.fromstring(svg).get("viewBox").startswith("0 0 ")


def test_text_stays_text_in_the_page_s_type():
    svg = drawn()
    assert ">An “a” &amp; &lt;b&gt;</text>" in svg
    assert svg.count("font-family") == 1 and "font-family: var(--figure-font, " in svg


def test_every_color_is_the_page_s():
    colors = set(re.findall(r"(?:fill|stroke): ([^;\"]+)", drawn()))
    names = {re.match(r"var\((--figure-\w+), #\w{6}\)|none", color)[1] for color in colors}
    assert names - {None} <= set(VARIABLES.values()) and len(names) >= 4


def names_of(svg: str) -> tuple[set[str], set[str]]:
    return set(re.findall(r'\bid="([^"]+)"', svg)), set(re.findall(r"[\"(]#([\w-]+)", svg))


def test_two_pictures_in_one_page_share_no_name():
    (own, used), (other, _) = names_of(drawn()), names_of(drawn("Another"))
    assert own == used and len(own) >= 4, "only what is pointed to has a name"
    assert not own & other


def test_numbers_are_short():
    svg = re.sub(r"<defs>.*?</defs>", "", drawn(), flags=re.S)
    decimals = re.findall(r"\.(\d+)", " ".join(re.findall(r' (?:d|x|y)="([^"]+)"', svg)))
    assert len(decimals) > 50 and set(map(len, decimals)) == {1}
    assert len(drawn()) < 8000


def points(path: str) -> list[tuple[float, float]]:
    """The points of a path made of steps, as `_path` writes it."""
    at, start, found = (0.0, 0.0), (0.0, 0.0), []
    for letter, words in re.findall(r"([MmlhvczQqC])([^A-Za-z]*)", path):
        values = [float(n) for n in re.findall(r"-?(?:\d+\.\d+|\.\d+|\d+)", words)]
        if letter == "z":
            at = start
        elif letter in "hv":
            for value in values:
                at = (at[0] + value, at[1]) if letter == "h" else (at[0], at[1] + value)
                found.append(at)
        else:
            size = {"c": 6}.get(letter, 2)
            for k in range(0, len(values), size):
                step, begin = values[k : k + size], (0.0, 0.0) if letter == "M" else at
                for x, y in zip(step[::2], step[1::2], strict=True):
                    at = (begin[0] + x, begin[1] + y)
                    found.append(at)
            start = at if letter in "Mm" else start
    return found


@pytest.mark.parametrize(
    ("data", "short"),
    [
        ("M 0 10.04 \nL 5 10.04 \nL 5 20 \nL 6.5 20.5 \nL 0.54 1 \n", "M0 10h5v10l1.5 .5-6-19.5"),
        ("M 1 1 \nL 2 1 \nL 2 2 \nz\nM 4 4 \nL 5 5 \n", "M1 1h1v1zm3 3l1 1"),
        ("M 0 0 \nC 1 0 2 1 2 2 \nC 2 3 1 4 0 4 \n", "M0 0c1 0 2 1 2 2 0 1-1 2-2 2"),
    ],
)
def test_a_path_in_steps_goes_through_the_same_points(data, short):
    assert _path(data, 1) == short
    numbers = [round(float(n), 1) for n in re.findall(r"-?[\d.]+", data)]
    expected = list(zip(numbers[::2], numbers[1::2], strict=True))
    assert points(short) == [pytest.approx(point) for point in expected]


def test_errors_of_rounding_do_not_add_up():
    data = "M 0 0 \n" + "".join(f"L {0.04 * n} {n} \n" for n in range(1, 1001))
    assert points(_path(data, 1))[-1] == pytest.approx((40.0, 1000.0))
