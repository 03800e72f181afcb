"""Marks as SVG: words, rectangles, circles and lines, each a line of text.

One job: one function for each kind of element. All colors go through `themed`, coordinates are
written with two digits at most, and nothing has an id, so pictures can share a page.
"""

import math
import re
from html import escape

from gptlib.course.drawing.places import Box, Point
from gptlib.course.picture import PAPER, themed

SMALL = 16.5  # the least size of words in a picture 560 pixels wide: 11 pixels on a phone

HEAD, _HALF = 10, 4.5  # length and half width of an arrow's head
_ROUND = 8  # the radius of a line's corners
_RAISED = re.compile(r"([_^])\{([^}]*)\}")


def words_width(words: str, size: float) -> float:
    """Return about how wide words are: no font is asked, a character counts 0.6 of its size."""
    return 0.6 * size * len(_RAISED.sub(r"\2", words))


def words(at: Point, text: str, size: float, color: str, align: str, bold: bool) -> str:
    """Return one line of words whose middle height is `at`."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{_n(at[0])}" y="{_n(at[1] + 0.36 * size)}" font-size="{_n(size)}" '
        f'text-anchor="{align}" fill="{themed(color)}"{weight}>{_spans(text)}</text>'
    )


def _spans(text: str) -> str:
    """Turn `W_{Q}` into spans of SVG, each of which says how far the line goes down or up."""
    plain, *rest = _RAISED.split(text)
    out, height = [escape(plain)], 0
    for sign, raised, after in zip(rest[::3], rest[1::3], rest[2::3], strict=True):
        level = 4 if sign == "_" else -6
        out.append(f'<tspan dy="{level - height}" font-size="{SMALL}">{escape(raised)}</tspan>')
        height = level
        if after:
            out.append(f'<tspan dy="{-height}">{escape(after)}</tspan>')
            height = 0
    return "".join(out)


def rectangle(box: Box, fill: str, tint: float, edge: str, width: float, corner: float) -> str:
    """Return a rectangle on paper of its own, filled with so much (0 to 1) of a color."""
    place = _place(box, corner)
    return (
        f'<rect {place} fill="{themed(PAPER)}"/>'
        f'<rect {place} fill="{themed(fill)}" fill-opacity="{_n(tint)}" '
        f'stroke="{themed(edge)}" stroke-width="{_n(width)}"/>'
    )


def frame(box: Box, edge: str, width: float, dashed: bool) -> str:
    """Return an empty rectangle, through which one sees what was drawn before."""
    return (
        f'<rect {_place(box, 6)} fill="none" stroke="{themed(edge)}" '
        f'stroke-width="{_n(width)}"{_dashes(dashed)}/>'
    )


def _place(box: Box, corner: float) -> str:
    place = " ".join(f'{name}="{_n(value)}"' for name, value in box._asdict().items())
    return place + (f' rx="{_n(corner)}"' if corner else "")


def circle(box: Box, fill: str, edge: str) -> str:
    """Return a circle that fills a square."""
    x, y = box.center
    return (
        f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(box.width / 2)}" fill="{themed(fill)}" '
        f'stroke="{themed(edge)}" stroke-width="1.5"/>'
    )


def line(points: tuple[Point, ...], color: str, width: float, dashed: bool, head: bool) -> str:
    """Return a line through points with round corners; a head ends exactly at the last one."""
    before, last = points[-2:]
    corners = [
        f"L {_p(_toward(corner, a, _ROUND))} Q {_p(corner)} {_p(_toward(corner, b, _ROUND))}"
        for a, corner, b in zip(points, points[1:], points[2:], strict=False)
    ]
    end = _toward(last, before, HEAD - 1) if head else last
    path = " ".join([f"M {_p(points[0])}", *corners, f"L {_p(end)}"])
    return _path(path, color, width, dashed) + (_head(before, last, color) if head else "")


def curve(start: Point, end: Point, color: str, width: float, dashed: bool, head: bool) -> str:
    """Return an S from one height to another, upright at both ends."""
    (x0, y0), (x1, y1) = start, end
    stop = y1 - math.copysign(HEAD - 1, y1 - y0) if head else y1
    middle = (y0 + stop) / 2
    path = f"M {_p(start)} C {_p((x0, middle))} {_p((x1, middle))} {_p((x1, stop))}"
    return _path(path, color, width, dashed) + (_head((x1, y0), end, color) if head else "")


def _path(d: str, color: str, width: float, dashed: bool) -> str:
    return (
        f'<path d="{d}" fill="none" stroke="{themed(color)}" stroke-width="{_n(width)}"'
        f"{_dashes(dashed)}/>"
    )


def _head(before: Point, tip: Point, color: str) -> str:
    x, y = _toward(tip, before, HEAD)
    dx, dy = (_HALF / HEAD * (a - b) for a, b in zip((x, y), tip, strict=True))
    corners = ", ".join(_p(point) for point in (tip, (x - dy, y + dx), (x + dy, y - dx)))
    return f'<polygon points="{corners}" fill="{themed(color)}"/>'


def _dashes(dashed: bool) -> str:
    return ' stroke-dasharray="5 4"' if dashed else ""


def _n(value: float) -> str:
    return f"{round(value, 2) + 0:g}"  # + 0 makes −0 a 0


def _p(point: Point) -> str:
    return f"{_n(point[0])} {_n(point[1])}"


def _toward(start: Point, end: Point, pixels: float) -> Point:
    """Return the point so many pixels from `start` on the way to `end`, the middle at most."""
    length = math.dist(start, end)
    share = min(pixels / length, 0.5) if length else 0
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])
