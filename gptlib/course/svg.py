"""A matplotlib figure as SVG that stands in a page: small, in the page's colors and its type.

One job: `page_svg`. Text stays text, colors become the style sheet's (`gptlib.course.picture`),
names are unique to the picture, so that many can stand in one page, and nothing says when or with
what it was made: the same figure gives the same characters.
"""

import hashlib
import io
import re
from itertools import count
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from gptlib.course.picture import INK, themed

#: The gid of an artist whose edges lie on pixels, as those of the squares of a map.
CRISP = "crisp"

_SVG, _LINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}href"
_FONT = "var(--figure-font, 'DejaVu Sans', Verdana, sans-serif)"
_PIXELS = 100 / 72  # of a screen, a point
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def page_svg(fig: Figure) -> str:
    """Draw a figure, cut to what is on it, as one `<svg>` element of 100 pixels an inch."""
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "gptlib"}):
        fig.savefig(drawn, format="svg", bbox_inches="tight", pad_inches=0.05, metadata=_METADATA)
    digest = hashlib.sha256(drawn.getvalue().encode()).hexdigest()[:8]
    root = ElementTree.fromstring(drawn.getvalue())
    _rename(root, f"p{digest}")
    _, _, width, height = (float(number) for number in root.attrib["viewBox"].split())
    root.attrib = {}
    _shorten(root, digits=1)
    root.attrib = {
        "xmlns": _SVG[1:-1],
        "width": f"{width * _PIXELS:.0f}",
        "height": f"{height * _PIXELS:.0f}",
        "viewBox": f"0 0 {_short(width, 1)} {_short(height, 1)}",
        "style": f"font-family: {_FONT}; fill: {themed(INK)}; stroke-linejoin: round",
    }
    ElementTree.indent(root, "")
    return ElementTree.tostring(root, encoding="unicode")


def _rename(root: ElementTree.Element, prefix: str) -> None:
    """Name what others point to, in the order of the picture, and nothing else."""
    pointing = [(node, key) for node in root.iter() for key in (_LINK, "clip-path")]
    pointing = [(node, key) for node, key in pointing if key in node.attrib]
    used = {re.findall(r"#([^)]*)", node.attrib[key])[0] for node, key in pointing}
    number = count()
    names = {
        node.get("id"): f"{prefix}-{next(number)}" for node in root.iter() if node.get("id") in used
    }
    for node, key in pointing:
        value = re.sub(r"#([^)]*)", lambda found: f"#{names[found[1]]}", node.attrib.pop(key))
        node.set("href" if key == _LINK else key, value)
    for node in root.iter():
        name = node.attrib.pop("id", None)
        if name in names:
            node.set("id", names[name])
        elif name == CRISP:
            node.set("shape-rendering", "crispEdges")


def _shorten(node: ElementTree.Element, digits: int) -> None:
    """Say the same in fewer characters, inside an element: groups, numbers, paths, styles."""
    node.tag = node.tag.removeprefix(_SVG)
    # A marker is a few points wide and drawn once: its curves keep a digit more.
    digits += node.tag == "defs"
    inside = []
    for child in node:
        _shorten(child, digits)
        bare = child.tag == "g" and not child.attrib
        empty = child.tag in ("g", "defs") and not len(child)
        empty |= child.tag in ("style", "metadata") or child.get("style") == "fill: none"
        inside += [] if empty else list(child) if bare else [child]
    node[:] = inside
    for key, value in list(node.attrib.items()):
        if key in ("x", "y", "width", "height"):
            node.set(key, _short(float(value), digits))
        elif key == "d":
            node.set(key, _path(value, digits))
        elif key == "style":
            node.set(key, _style(value, node.tag))
        elif key == "transform":
            value = "" if value.startswith("rotate(-0 ") else value
            node.set(key, re.sub(r"-?\d+\.\d+", lambda n: _short(float(n[0]), digits), value))
        if not node.get(key):
            del node.attrib[key]


def _short(value: float, digits: int) -> str:
    text = f"{round(value, digits) + 0:.{digits}f}".rstrip("0").rstrip(".")
    return re.sub(r"^(-?)0\.", r"\1.", text) if text not in ("-0", "") else "0"


def _path(data: str, digits: int) -> str:
    """Say a path in steps from point to point; the points are rounded, so that no error adds up."""
    said, before, at, start = [], "", (0.0, 0.0), (0.0, 0.0)
    for letter, numbers in re.findall(r"([MLQCz])([^MLQCz]*)", data):
        values = [round(float(number), digits) for number in numbers.split()]
        points = list(zip(values[::2], values[1::2], strict=True))
        steps = [part - at[n % 2] for n, part in enumerate(values)]
        if letter == "M":
            command, start = "m" if said else "M", points[0]
        elif letter == "z":
            command, points = "z", [start]
        elif letter == "L" and 0 in (round(steps[0], digits), round(steps[1], digits)):
            flat = round(steps[1], digits) == 0
            command, steps = ("h", steps[:1]) if flat else ("v", steps[1:])
        else:
            command = letter.lower()
        words = re.sub(r" (?=-)", "", " ".join(_short(step, digits) for step in steps))
        joint = "" if command != before else "" if words.startswith("-") else " "
        said.append((command if command != before else joint) + words)
        before, at = command if command not in "Mmz" else "", points[-1]
    return "".join(said)


def _style(style: str, tag: str) -> str:
    """Give a style's colors to the page, and leave out what the whole picture has."""
    kept = []
    for key, value in (part.split(": ", 1) for part in style.split("; ")):
        if key in ("fill", "stroke") and value.startswith("#"):
            value = themed(INK if value == "#000000" else value.upper())
        elif key.endswith("opacity"):
            value = f"{float(value):.3g}"
        inherited = key == "font-family" or (tag in ("text", "tspan") and value == themed(INK))
        if not inherited and (key, value) not in _DEFAULTS:
            kept.append(f"{key}: {value}")
    return "; ".join(kept)


_DEFAULTS = {("stroke-dashoffset", "0"), ("text-anchor", "start"), ("stroke-width", "1")}
