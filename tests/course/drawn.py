"""What a reader's eye would trip over in a drawing.

One job: `faults` reads a drawing's SVG and names words that are too small for a phone, leave the
sheet, lie on other words, are crossed by a line or covered by a box, and arrows that end nowhere.
Widths are estimated, 0.6 of its size for a character.
"""

import math
import re
from itertools import pairwise
from typing import NamedTuple
from xml.etree import ElementTree as ET

PHONE = 376  # the pixels that a drawing is wide where a screen has 390
LEAST = 11  # the pixels that a word's size comes to there
CHARACTER = 0.6

SVG = "{http://www.w3.org/2000/svg}"
Point = tuple[float, float]


class Extent(NamedTuple):
    """A mark's extent, and where it stands in the order of drawing."""

    left: float
    top: float
    right: float
    bottom: float
    name: str
    order: int

    def meets(self, other: "Extent", slack: float = 0.5) -> bool:
        return (
            self.left + slack < other.right
            and other.left + slack < self.right
            and self.top + slack < other.bottom
            and other.top + slack < self.bottom
        )

    def holds(self, other: "Extent") -> bool:
        return (
            self.left <= other.left
            and self.top <= other.top
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def edges(self) -> list[tuple[Point, Point]]:
        a, b = (self.left, self.top), (self.right, self.top)
        c, d = (self.right, self.bottom), (self.left, self.bottom)
        return [(a, b), (b, c), (c, d), (d, a)]

    def distance(self, point: Point) -> float:
        """Return how far a point is from the nearest edge."""
        return min(_distance(point, *edge) for edge in self.edges())


def words(svg: str) -> list[Extent]:
    """Return the extent of each line of words, as far as it can be estimated."""
    found = []
    for order, mark in enumerate(ET.fromstring(svg)):
        if mark.tag != SVG + "text":
            continue
        text, size = "".join(mark.itertext()), float(mark.get("font-size"))
        width = CHARACTER * size * len(text)
        left = float(mark.get("x"))
        left -= width * {"start": 0, "middle": 0.5, "end": 1}[mark.get("text-anchor")]
        base = float(mark.get("y"))
        found.append(
            Extent(left, base - 0.75 * size, left + width, base + 0.22 * size, text, order)
        )
    return found


def rows(svg: str) -> list[list[str]]:
    """Return the words of a drawing line by line, each line from left to right."""
    lines: dict[float, list[Extent]] = {}
    for word in words(svg):
        lines.setdefault(round(word.top + word.bottom), []).append(word)
    return [[word.name for word in sorted(line)] for line in lines.values()]


def faults(svg: str) -> list[str]:
    """Name what cannot be read, or leads nowhere."""
    root = ET.fromstring(svg)
    _, _, width, height = map(float, root.get("viewBox").split())
    texts, shapes, lines, tips = words(svg), *_marks(root)
    named = []
    for mark in root.iter():
        size = float(mark.get("font-size", "inf"))
        if size * PHONE / width < LEAST:
            named.append(f"{''.join(mark.itertext())!r} is too small: {size} of {width}")
    for n, text in enumerate(texts):
        if text.left < 0 or text.top < 0 or text.right > width or text.bottom > height:
            named.append(f"{text.name!r} leaves the sheet")
        named += [f"{text.name!r} lies on {t.name!r}" for t in texts[:n] if text.meets(t)]
        under = [shape for shape in shapes if shape.name == "opaque" and shape.holds(text)]
        if any(text.order < s.order and text.meets(s) for s in shapes if s.name == "opaque"):
            named.append(f"{text.name!r} is covered")
        for order, points in lines:
            if any(order < shape.order < text.order for shape in under):
                continue  # a box with these words in it hides that line
            if any(_crosses(text, a, b) for a, b in pairwise(points)):
                named.append(f"a line goes through {text.name!r}")
        for shape in shapes:
            if any(_crosses(text, a, b) for a, b in shape.edges()):
                named.append(f"an edge goes through {text.name!r}")
    for tip in tips:
        if min(place.distance(tip) for place in [*shapes, *texts]) > 6:
            named.append(f"an arrow ends nowhere, at {tip}")
    return sorted(set(named))


def _marks(root: ET.Element) -> tuple[list[Extent], list[tuple[int, list[Point]]], list[Point]]:
    """Return shapes ("opaque" or "open"), lines as points on them, and the tips of arrows."""
    shapes, lines, tips = [], [], []
    for order, mark in enumerate(root):
        kind, get = mark.tag.removeprefix(SVG), lambda key, m=mark: float(m.get(key, 0))
        opaque = mark.get("fill") != "none" and "fill-opacity" not in mark.attrib
        name = "opaque" if opaque else "open"
        if kind == "rect" and order:  # the first one is the sheet
            x, y = get("x"), get("y")
            shapes.append(Extent(x, y, x + get("width"), y + get("height"), name, order))
        elif kind == "circle":
            x, y, r = get("cx"), get("cy"), get("r")
            shapes.append(Extent(x - r, y - r, x + r, y + r, name, order))
        elif kind == "path":
            lines.append((order, _points(mark.get("d"))))
        elif kind == "polygon":
            tips.append(tuple(map(float, mark.get("points").split(",")[0].split())))
    return shapes, lines, tips


def _points(path: str) -> list[Point]:
    """Return points on a path of M, L, Q and C, close to each other where it bends."""
    points: list[Point] = []
    for step, numbers in re.findall(r"([MLQC])([^MLQC]*)", path):
        values = [float(number) for number in numbers.split()]
        ends = list(zip(values[::2], values[1::2], strict=True))
        if step in "ML":
            points += ends
            continue
        control = [points[-1], *ends]
        for n in range(1, 21):
            points.append(_bend(control, n / 20))
    return points


def _bend(control: list[Point], share: float) -> Point:
    """Return a point of a Bézier curve (de Casteljau)."""
    while len(control) > 1:
        control = [
            (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
            for a, b in pairwise(control)
        ]
    return control[0]


def _crosses(box: Extent, start: Point, end: Point) -> bool:
    """Say whether a straight line enters a box made a little smaller (Liang and Barsky)."""
    low, high = 0.0, 1.0
    sides = ((box.left + 1, box.right - 1), (box.top + 1, box.bottom - 1))
    for a, b, (least, most) in zip(start, end, sides, strict=True):
        if a == b:
            if not least < a < most:
                return False
            continue
        one, other = sorted(((least - a) / (b - a), (most - a) / (b - a)))
        low, high = max(low, one), min(high, other)
    return low < high


def _distance(point: Point, start: Point, end: Point) -> float:
    length = math.dist(start, end)
    if not length:
        return math.dist(point, start)
    along = sum((p - a) * (b - a) for p, a, b in zip(point, start, end, strict=True)) / length**2
    along = max(0.0, min(1.0, along))
    return math.dist(point, tuple(a + along * (b - a) for a, b in zip(start, end, strict=True)))
