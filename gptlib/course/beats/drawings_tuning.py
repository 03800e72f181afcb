"""The drawings of chapter 9 about tuning: NF4's levels, memory of an 8B model, DPO's two stories.

One job: each function takes the chapter's own numbers and returns a finished `Picture`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from torch import Tensor

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing
from gptlib.course.picture import BLUE, COLORS, FAINT, GREEN, INK, VERMILION, Picture

_END = 1.35  # of the axis, in units of the outermost level
_PARTS = {
    "weights": ("base", "one matrix in full", "copies in half precision"),
    "what learns": ("adapter", "gradients", "optimizer"),
    "a row of text, and the rest": ("activations", "logits and loss", "overhead"),
}


def levels_under_the_bell(levels: Tensor) -> Picture:
    """Draw sixteen levels under the distribution that they were made for, and as many equal steps.

    Args:
        levels: (16,) from -1 to 1, lowest first.
    """
    d, middle, low, high = Drawing(), WIDTH / 2, 176.0, 150.0
    across = (WIDTH / 2 - MARGIN) / _END
    outermost = 1.848  # standard deviations from the middle, where the last quantile was put

    def at(x: float) -> float:
        return middle + x * across

    def bell(x: float) -> float:
        return low - high * math.exp(-((outermost * x) ** 2) / 2)

    for level in levels.tolist():
        d.line((at(level), low), (at(level), bell(level)), color=BLUE, width=1.4)
    points = [(at(x), bell(x)) for x in (_END * (n / 40 - 1) for n in range(81))]
    d.line(*points, color=INK)
    d.line((at(-_END), low), (at(_END), low), color=FAINT, width=1.2)
    for x in (-1, 0, 1):
        d.text((at(x), low + 16), f"{x}".replace("-", "−"), size=SMALL, color=FAINT)
    d.text((MARGIN, 20), "NF4: an equal share", size=SMALL, color=BLUE, align="start")
    d.text((MARGIN, 40), "between neighbors", size=SMALL, color=BLUE, align="start")
    for n in range(15):
        x = at((n - 7) / 7)
        d.line((x, low + 34), (x, low + 52), color=VERMILION, width=1.4)
    d.text((middle, low + 68), "equal steps", size=SMALL, color=VERMILION)
    d.height = low + 78
    told = ", ".join(f"{level + 0:.2f}".replace("-", "−") for level in levels.tolist())
    return d.picture(
        "A bell curve of weights, whose middle is 0. Under it stand NF4's sixteen levels as "
        f"upright lines, close together in the middle and far apart at the ends: {told}. Below, "
        "for comparison, fifteen marks at equal distances."
    )


def memory_bars(terms: Mapping[str, Mapping[str, float]], cards: Mapping[str, float]) -> Picture:
    """Draw what three ways to tune a model keep in memory, and how much some cards have.

    Args:
        terms: for each way the bytes of `tuning_memory`'s terms. cards: bytes by name, in rising
            order; at most four.
    """
    d, left = Drawing(), 124.0
    most = max(sum(parts.values()) for parts in terms.values())
    scale = (WIDTH - MARGIN - left) / most
    x = float(MARGIN)
    for (name, _), color in zip(_PARTS.items(), COLORS, strict=True):
        d.box(x, 8, 18, 18, color=color, tint=0.5)
        word = d.text((x + 24, 17), name, size=SMALL, align="start")
        x = word.x + word.width + 14
    top = 44 + 22 * len(cards) + 8
    bottom = top + 46 * len(terms)
    for n, (card, memory) in enumerate(cards.items()):
        place, y = left + memory * scale, 44 + 22 * n
        d.line((place, y - 8), (place, bottom), color=FAINT, width=1.4, dashed=True)
        words = f"{card}, {memory / 1e9:.0f} GB"
        d.text((place + 6, y), words, size=SMALL, color=FAINT, align="start")
    told = []
    for row, (way, parts) in enumerate(terms.items()):
        y, x = top + 46 * row, left
        total = sum(parts.values())
        d.text((left - 10, y + 9), way, size=SMALL, align="end", bold=True)
        d.text((left - 10, y + 28), f"{total / 1e9:.0f} GB", size=SMALL, align="end")
        for names, color in zip(_PARTS.values(), COLORS, strict=True):
            width = sum(parts.get(name, 0.0) for name in names) * scale
            if width:
                d.box(x, y, width, 34, color=color, tint=0.5)
            x += width
        told.append(f"{way} {total / 1e9:.0f}")
    d.height = bottom
    has = ", ".join(f"{card} {memory / 1e9:.0f}" for card, memory in cards.items())
    return d.picture(
        f"A bar for each way to tune, in gigabytes: {', '.join(told)}; its parts are the weights, "
        f"what learns, and a row of text with the rest. Dashed lines show what cards have: {has}."
    )


def two_stories(now: Sequence[float], before: Sequence[float], beta: float) -> Picture:
    """Draw what DPO looks at: what each of two stories has gained, and what the loss makes of it.

    Args:
        now, before: log-probabilities of the chosen story and of the rejected one.
    """
    d, wide = Drawing(), 236.0
    title = d.box(WIDTH / 2 - 70, 10, 140, 34, "one title")
    gained, boxes = [a - b for a, b in zip(now, before, strict=True)], []
    sides = (("chosen", MARGIN, GREEN), ("rejected", WIDTH - MARGIN - wide, VERMILION))
    for n, (name, x, color) in enumerate(sides):
        lines = f"{name}\nnow {_signed(now[n])}\nbefore {_signed(before[n])}"
        box = d.box(x, 84, wide, 84, lines, color=color)
        d.arrow(title.bottom, (WIDTH / 2, 64), (box.top[0], 64), box.top, color=FAINT)
        boxes.append(box)
    margin = beta * (gained[0] - gained[1])
    loss = math.log1p(math.exp(-margin))
    below = []
    for n, box in enumerate(boxes):
        words = f"gained {_signed(gained[n])}"
        below.append(d.text((box.bottom[0], 190), words, size=SMALL, bold=True))
    last = d.box(WIDTH / 2 - 170, 240, 340, 62, f"margin {_signed(margin)}\nβ times the difference")
    for place in below:
        x = place.x + place.width / 2
        d.arrow((x, 202), (x, last.y), color=FAINT)
    d.arrow(last.bottom, (WIDTH / 2, 328), color=INK)
    d.text((WIDTH / 2, 340), f"loss = −ln σ(margin) = {loss:.2f}", size=SMALL)
    return d.picture(
        f"Two stories to one title. The chosen one has log-probability {_signed(now[0])}, before "
        f"{_signed(before[0])}, so it gained {_signed(gained[0])}; the rejected one gained "
        f"{_signed(gained[1])}. β = {beta:g} times the difference is the margin, "
        f"{_signed(margin)}, and the loss is {loss:.2f}."
    )


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if value < 0 else f"{value:+.1f}"
