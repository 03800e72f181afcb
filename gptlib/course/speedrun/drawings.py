"""The drawings of the interlude on the speedrun.

One job: draw where the dozen changes sit, arrows that turn, arrows that are cut to one length, what
Muon does to a circle, in which order zeros wake up, where rounded numbers can stand, and how two
changes meet.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing
from gptlib.course.drawing.ink import words_width
from gptlib.course.drawing.places import Point
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

TURN = 2 * math.pi

#: Where each of the ablation's changes sits in a training run, from the text to the weights.
DOZEN = {
    "batches": {"no-replacement": "each window once", "larger-batch": "24 windows for 12"},
    "attention": {"rotary": "positions turn", "qk-norm": "one length for all"},
    "feed-forward": {"relu2": "squares for GELU"},
    "head": {
        "untied-head": "a matrix of its own",
        "zero-init": "begins at zero",
        "softcap": "logits below 15",
    },
    "optimizer": {
        "muon": "sees whole matrices",
        "ends": "rate falls to zero",
        "wsd": "level, then a line",
    },
    "all products": {"bfloat16": "8 binary digits"},
}


def _oval(
    d: Drawing, at: Point, axes: tuple[float, float], tilt: float = 0.0, **style: Any
) -> None:
    """Draw an ellipse of two half axes, the first one tilted by so many radians."""
    d.line(*(_on(at, axes, tilt, TURN * n / 72) for n in range(73)), **style)


def _on(at: Point, axes: tuple[float, float], tilt: float, angle: float) -> Point:
    """A point of an ellipse; upward is positive, as on paper."""
    a, b = axes[0] * math.cos(angle), axes[1] * math.sin(angle)
    x, y = a * math.cos(tilt) - b * math.sin(tilt), a * math.sin(tilt) + b * math.cos(tilt)
    return at[0] + x, at[1] - y


def _hand(
    d: Drawing, at: Point, length: float, angle: float, name: str, color: str, size: float = SMALL
) -> None:
    """Draw an arrow from a center, with its name at the tip."""
    d.arrow(at, _on(at, (length, length), 0, angle), color=color, width=2.4)
    across = length + 5 + words_width(name, size) / 2
    d.text(_on(at, (across, length + 12), 0, angle), name, size=size, color=color)


def clocks(query: float, key: float, speed: float, places: Sequence[tuple[int, int]]) -> Picture:
    """Draw a query and a key of two channels, turned by their places.

    Args:
        query, key: their angles at place 0, in radians. speed: radians that a place turns by.
        places: (place of the query, place of the key) of each panel; 3 fill the page.
    """
    d, radius = Drawing(), 66
    cell = (WIDTH - 2 * MARGIN) / len(places)
    told = []
    for n, (m, k) in enumerate(places):
        at = (MARGIN + (n + 0.5) * cell, 128)
        start, turn = key + k * speed, (query - key + (m - k) * speed) % TURN
        if turn > TURN / 2:  # the shorter way round
            start, turn = start + turn, TURN - turn
        between = round(math.degrees(turn))
        arc = [_on(at, (22, 22), 0, start + turn * n / 12) for n in range(13)]
        d.line(*arc, color=GREEN, width=3)
        d.text((at[0], 18), f"q at {m}, k at {k}", size=SMALL, bold=True)
        _oval(d, at, (radius, radius), color=FAINT, width=1.2)
        _hand(d, at, radius, query + m * speed, "q", VERMILION)
        _hand(d, at, radius, key + k * speed, "k", BLUE)
        d.text((at[0], at[1] + radius + 42), f"distance {m - k}", size=SMALL)
        d.text((at[0], at[1] + radius + 68), f"{between}° apart", size=SMALL, color=GREEN)
        told.append(f"query at {m} and key at {k}, distance {m - k}: {between} degrees apart")
    return d.picture(
        "Circles with two arrows each, a query and a key, turned by their places. "
        f"{'; '.join(told)}. Where the distance is the same, so is the angle between the arrows, "
        "though both have moved on."
    )


def one_length(angles: Sequence[float], lengths: Sequence[float]) -> Picture:
    """Draw arrows of several lengths, and the same arrows at one length.

    Args:
        angles: in radians. lengths: of the arrows before, at most 1.
    """
    d, reach, radius, y = Drawing(), 124, 84, 142
    left, right = (WIDTH / 4 - 10, y), (3 * WIDTH / 4, y)
    d.text((left[0], 20), "as they come", size=SMALL, bold=True)
    d.text((right[0], 20), "after QK-norm", size=SMALL, bold=True)
    _oval(d, right, (radius, radius), color=FAINT, width=1.2)
    for n, (angle, length) in enumerate(zip(angles, lengths, strict=True), 1):
        color = (VERMILION, BLUE, GREEN, INK)[(n - 1) % 4]
        _hand(d, left, reach * length, angle, f"q_{{{n}}}", color)
        _hand(d, right, radius, angle, f"q_{{{n}}}", color)
    d.text((right[0], y + radius + 46), "one length, √D", size=SMALL, color=FAINT)
    spread = max(lengths) / min(lengths)
    return d.picture(
        f"Left, {len(angles)} arrows from one point, the longest {spread:.0f} times as long as the "
        "shortest. Right, the same arrows in the same directions, all of which end on one circle."
    )


def ellipse(sigmas: Sequence[float], after: Sequence[float], tilt: float) -> Picture:
    """Draw two directions in a circle, what a gradient makes of both, and what Muon wants instead.

    Args:
        sigmas: the gradient's two singular values, the larger first. after: the same, as Muon
            wants them. tilt: of the first direction, in radians.
    """
    d, unit, y = Drawing(), 74, 130
    cell = (WIDTH - 2 * MARGIN) / 3
    panels = (
        ("two directions", (1.0, 1.0), ("p", "r")),
        ("the gradient", sigmas, [f"{s:g}" for s in sigmas]),
        ("what Muon wants", after, [f"{s:g}" for s in after]),
    )
    for n, (name, axes, names) in enumerate(panels):
        at = (MARGIN + (n + 0.5) * cell, y)
        d.text((at[0], 20), name, size=SMALL, bold=True)
        half = (unit * axes[0] / max(axes), unit * axes[1] / max(axes))
        if half[0] != half[1]:
            _oval(d, at, (unit, unit), color=FAINT, width=1, dashed=True)
        _oval(d, at, half, tilt, color=FAINT if n == 0 else INK, width=1.6)
        for angle, reach, word, color in zip(
            (tilt, tilt + TURN / 4), half, names, (VERMILION, BLUE), strict=True
        ):
            d.line(at, _on(at, (reach, reach), 0, angle), color=color, width=3)
            d.text(_on(at, (unit + 17, unit + 17), 0, angle), word, size=SMALL, color=color)
    d.height = y + unit
    return d.picture(
        "Three closed curves, in each two radii at a right angle. A circle with the directions p "
        f"and r; the ellipse that the gradient makes of it, whose half axes along them are "
        f"{sigmas[0]:g} and {sigmas[1]:g}, so thin that the second hardly shows; and what Muon "
        f"wants instead, the same two directions, now {after[0]:g} and {after[1]:g} long."
    )


def waking(moves: Sequence[Mapping[str, bool]]) -> Picture:
    """Draw which matrices of a GPT that starts with zeros have a slope, step by step.

    Args:
        moves: for each step, of the chapter's four kinds of matrix, which have one.
    """
    d, wide, tall = Drawing(), 150, 46
    cell = (WIDTH - 2 * MARGIN) / len(moves)
    kinds = ("head", "last of a sublayer", "first of a sublayer", "token table")
    notes = ("zero", "zero", "random", "random")
    short = ("head", "last", "first", "token table")
    told = []
    for n, found in enumerate(moves):
        x = MARGIN + n * cell + (cell - wide) / 2
        d.text((x + wide / 2, 18), f"step {n + 1}", bold=True)
        boxes = []
        for row, (kind, name, note) in enumerate(zip(kinds, short, notes, strict=True)):
            color = GREEN if found[kind] else FAINT
            inset = 44 if row in (1, 2) else 0
            box = d.box(x + inset, 44 + row * 86, wide - inset, tall, f"{name}\n{note}",
                        color=color, tint=0.25 if found[kind] else 0.05)  # fmt: skip
            boxes.append((box, found[kind]))
        (head, _), (last, one), (first, two), (table, three) = boxes
        stream = x + 18
        d.line((stream, head.bottom[1]), (stream, table.y), width=4,
               color=GREEN if three else FAINT)  # fmt: skip
        lane, color = last.y - 20, GREEN if one else FAINT
        d.arrow((stream, lane), (last.center[0], lane), last.top, color=color)
        d.arrow(last.bottom, first.top, color=GREEN if two else FAINT)
        awake = [kind for kind in kinds if found[kind]]
        told.append(f"step {n + 1}: {', '.join(awake)}")
    return d.picture(
        "The same four boxes for each step: the head above, the token table below, joined by the "
        "residual stream, and beside the stream a sublayer's last and first matrix. A box is green "
        f"when its matrix has a slope. {'; '.join(told)}."
    )


def dozen() -> Picture:
    """Draw a training run from top to bottom, and at each of its parts the changes made to it."""
    d, y, above = Drawing(), 10.0, None
    colors = dict.fromkeys(DOZEN, BLUE) | {"batches": GREEN, "optimizer": VERMILION}
    for place, changes in DOZEN.items():
        color = colors[place]
        tall = max(44, 30 * len(changes))
        if place == "all products":
            color = FAINT
        box = d.box(MARGIN, y, 150, tall, place, color=color)
        if above and place != "all products":
            d.arrow(above.bottom, box.top)
        for n, (name, meaning) in enumerate(changes.items()):
            at = y + tall * (n + 0.5) / len(changes)
            d.text((178, at), name, size=SMALL, bold=True, color=color, align="start")
            d.text((340, at), meaning, size=SMALL, align="start")
        y, above = y + tall + 24, box
    told = "; ".join(f"{place}: {', '.join(changes)}" for place, changes in DOZEN.items())
    return d.picture(f"A training run from top to bottom, and what is changed where. {told}.")


def number_line(grid: Sequence[float], rounded: Mapping[float, float]) -> Picture:
    """Draw the numbers that a format has, and where numbers between them go.

    Args:
        grid: neighbors, in order. rounded: what becomes of numbers between them.
    """
    d, y = Drawing(), 112.0
    low, high = min(grid), max(grid)

    def across(x: float) -> float:
        return 50 + (WIDTH - 100) * (x - low) / (high - low)

    d.line((across(low), y), (across(high), y), color=FAINT)
    for x in grid:
        d.dot((across(x), y))
        d.text((across(x), y + 26), f"{x:.3f}" if x % 1 else f"{x:g}", size=SMALL)
    told = []
    for x, goes in rounded.items():
        d.text((across(x), 26), f"{x:g}", size=SMALL, color=VERMILION)
        tip = (across(goes) + math.copysign(3, x - goes), y - 7)
        d.arrow((across(x), 42), (across(x), y - 40), tip, color=VERMILION)
        told.append(f"{x:g} becomes {goes:g}")
    return d.picture(
        f"A line with a dot for each number that exists: {', '.join(f'{x:.4g}' for x in grid)}. "
        f"Arrows lead from numbers between them to the nearest: {'; '.join(told)}."
    )


def _saves(nats: float) -> str:
    return f"saves {round(nats, 2) + 0:.2f}".replace("-", "−")  # + 0 makes −0 a 0


def square(names: tuple[str, str], losses: tuple[float, float, float, float]) -> Picture:
    """Draw the four runs that two changes make, and the four ways to add one change.

    Args:
        names: of the changes a and b. losses: with neither, a, b, both.
    """
    d, wide, tall = Drawing(), 150, 54
    neither, a, b, both = losses
    left, middle, right = MARGIN, (WIDTH - wide) / 2, WIDTH - MARGIN - wide
    boxes = [
        d.box(x, y, wide, tall, f"{name}\n{loss:.2f} nats", color=color)
        for x, y, name, loss, color in (
            (left, 136, "neither", neither, FAINT), (middle, 40, names[0], a, BLUE),
            (middle, 232, names[1], b, VERMILION), (right, 136, "both", both, GREEN),
        )
    ]  # fmt: skip
    start, up, down, end = boxes
    for x, word in ((start.right[0] - 20, "alone"), (end.x + 20, "last")):
        d.text((x, 16), word, size=SMALL, bold=True)
    for box, first, then, color, other in (
        (up, neither - a, a - both, BLUE, VERMILION), (down, neither - b, b - both, VERMILION, BLUE)
    ):  # fmt: skip
        edge = start.top if box is up else start.bottom
        d.arrow(edge, (edge[0], box.center[1]), box.left, color=color)
        out = end.top if box is up else end.bottom
        d.arrow(box.right, (out[0], box.center[1]), out, color=other)
        beside = box.center[1] + (-16 if box is up else 18)
        d.text((box.x - 62, beside), _saves(first), size=SMALL, color=color)
        d.text((box.right[0] + 62, beside), _saves(then), size=SMALL, color=other)
    d.arrow(start.right, end.left, color=FAINT, dashed=True)
    d.text((WIDTH / 2, start.center[1] - 16), f"together {neither - both:.2f}", size=SMALL)
    return d.picture(
        f"Four runs at the corners of a square: neither {neither:.2f} nats, {names[0]} {a:.2f}, "
        f"{names[1]} {b:.2f}, both {both:.2f}. On the left the first change is added: {names[0]} "
        f"saves {neither - a:.2f} alone, {names[1]} {neither - b:.2f}. On the right the second: "
        f"{names[1]} saves {a - both:.2f} last, {names[0]} {b - both:.2f}. Together "
        f"{neither - both:.2f}."
    )
