"""The drawings of the interlude on the speedrun.

One job: draw arrows that turn, arrows that are cut to one length, what Muon does to a circle, and
in which order zeros wake up.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing
from gptlib.course.drawing.ink import words_width
from gptlib.course.drawing.places import Point
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

TURN = 2 * math.pi


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


def _hand(d: Drawing, at: Point, length: float, angle: float, name: str, color: str) -> None:
    """Draw an arrow from a center, with its name at the tip."""
    d.arrow(at, _on(at, (length, length), 0, angle), color=color, width=2.4)
    across = length + 5 + words_width(name, SMALL) / 2
    d.text(_on(at, (across, length + 12), 0, angle), name, size=SMALL, color=color)


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
    """Draw a circle of directions, what a gradient makes of it, and what Muon makes of that.

    Args:
        sigmas: the gradient's two singular values, the larger one 1. after: the same, after
            Muon's polynomial. tilt: of the first axis, in radians.
    """
    d, unit, y = Drawing(), 74, 130
    cell = (WIDTH - 2 * MARGIN) / 3
    panels = (
        ("directions", (1.0, 1.0), 0.0, FAINT),
        ("the gradient", sigmas, tilt, VERMILION),
        ("after Muon", after, tilt, GREEN),
    )
    for n, (name, axes, angle, color) in enumerate(panels):
        at = (MARGIN + (n + 0.5) * cell, y)
        d.text((at[0], 20), name, size=SMALL, bold=True)
        if n:
            _oval(d, at, (unit, unit), color=FAINT, width=1, dashed=True)
        half = (unit * axes[0], unit * axes[1])
        _oval(d, at, half, angle, color=color, width=2.4)
        if n:
            d.line(at, _on(at, half, angle, 0), color=color, width=2.4)
            d.line(at, _on(at, half, angle, TURN / 4), color=color, width=2.4)
            d.text((at[0], y + unit + 42), f"{axes[0]:.2f} and {axes[1]:.2f}", size=SMALL)
        else:
            d.text((at[0], y + unit + 42), "1 and 1", size=SMALL)
    return d.picture(
        "Three closed curves. A circle of directions; the ellipse that the gradient makes of it, "
        f"with half axes of {sigmas[0]:.2f} and {sigmas[1]:.2f}, so thin that the second direction "
        "hardly moves; and what Muon makes of the ellipse, with the same axes, now "
        f"{after[0]:.2f} and {after[1]:.2f} long, nearly a circle again."
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
