"""The drawings of chapter 1.

One job: draw a table as roads between letters, a text's price, the heights of a loss, and what one
step pushes.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing, by_value, number
from gptlib.course.drawing.places import Point
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

MARKS = {" ": "␣", "\n": "↵"}
NODE = 12  # half the width of the circle around a letter


def bill(came: str, what_came: Tensor) -> Picture:
    """Draw how the probability of a text shrinks and its price grows, letter by letter.

    Args:
        came: the letters that came; 8 are a page's height. what_came: (letters,), what the table
            gave each.
    """
    d = Drawing()
    left, wide, row = 116, 262, 36
    for x, name, side in (
        (MARGIN + 8, "came", "start"),
        (left, "probability of all so far", "start"),
        (WIDTH - 80, "price", "end"),
        (WIDTH - MARGIN, "sum", "end"),
    ):
        d.text((x, 18), name, size=SMALL, color=FAINT, align=side)
    product, total, y = 1.0, 0.0, 36.0
    for letter, p in zip(came, what_came.tolist(), strict=True):
        price, before = abs(math.log(p)), product
        product, total = product * p, total + price
        middle, fork = y + 13, p < 1
        d.text((MARGIN + 14, middle), MARKS.get(letter, letter), bold=True)
        d.text((left - 12, middle), f"× {number(p)}", size=SMALL, align="end")
        if fork:
            d.frame(Box(left, y, wide * before, 26), color=FAINT, grow=0, width=1.4, dashed=True)
        d.box(left, y, wide * product, 26, color=BLUE, tint=0.5)
        shade = VERMILION if fork else FAINT
        d.text((WIDTH - 80, middle), f"{price:.2f}", size=SMALL, color=shade, align="end")
        d.text((WIDTH - MARGIN, middle), f"{total:.2f}", size=SMALL, align="end")
        y += row
    d.text((left, y + 6), f"{product:.3f} is left,", size=SMALL, color=BLUE, align="start")
    d.text((WIDTH - MARGIN, y + 6), "and this was paid", size=SMALL, align="end")
    shown = "".join(MARKS.get(letter, letter) for letter in came)
    return d.picture(
        f"A row for each letter of “{shown}”, with a bar as long as the probability of all letters "
        "so far. A letter that was certain leaves the bar as it is and costs 0. At a fork the bar "
        f"is cut, the dashed rest is lost, and the letter has a price. In the end {product:.3f} of "
        f"the bar is left, and the prices have summed to {total:.2f} nats."
    )


def roads(probabilities: Tensor, symbols: Sequence[str], around: str, word: str) -> Picture:
    """Draw a table as roads from letter to letter, as broad as they are probable.

    Args:
        probabilities: (V, V). symbols: V of them. around: all of them but one, clockwise from the
            top; the one left out stands in the middle. word: letters whose roads are colored.
    """
    d, radius = Drawing(), 212
    middle = (WIDTH / 2, radius + NODE + MARGIN)
    places: dict[str, Point] = dict.fromkeys(symbols, middle)
    for n, symbol in enumerate(around):
        angle = 2 * math.pi * n / len(around)
        places[symbol] = (
            middle[0] + radius * math.sin(angle),
            middle[1] - radius * math.cos(angle),
        )
    walked = set(pairwise(word))
    table = probabilities.nan_to_num().tolist()
    for i, here in enumerate(symbols):
        for j, there in enumerate(symbols):
            if not table[i][j]:
                continue
            start, end = _between(places[here], places[there])
            color = VERMILION if (here, there) in walked else FAINT
            d.arrow(start, end, color=color, width=_breadth(table[i][j]))
    for symbol, place in places.items():
        color = VERMILION if symbol in word else INK
        d.operator(place, MARKS.get(symbol, symbol), color=color)
    low = middle[1] + radius + 44
    for x, share, name in ((90, 1 / 8, "1 in 8"), (230, 1 / 2, "1 in 2"), (370, 1, "certain")):
        d.line((x, low), (x + 36, low), color=FAINT, width=_breadth(share))
        d.text((x + 46, low), name, size=SMALL, color=FAINT, align="start")
    routes = " ".join(MARKS.get(letter, letter) for letter in word)
    return d.picture(
        f"{len(symbols)} circles, one for each symbol, the space in the middle and the others "
        "around it. An arrow leads from a symbol to each that may follow it, and is as broad as "
        "that is probable: broad arrows along the words, thin ones from the space to the first "
        f"letters of five words. The arrows along {routes} are colored: each is a road that exists."
    )


def _breadth(probability: float) -> float:
    """How broad a road is, in pixels."""
    return 1 + 4 * probability


def _between(start: Point, end: Point) -> tuple[Point, Point]:
    """Shorten the way between two circles' centers to that between their rims."""
    share = (NODE + 2) / math.dist(start, end)
    dx, dy = share * (end[0] - start[0]), share * (end[1] - start[1])
    return (start[0] + dx, start[1] + dy), (end[0] - dx, end[1] - dy)


def heights(ln_v: float, unigram: float, optimum: float, val: float, floor: float) -> Picture:
    """Draw the heights that a loss is held against, as a column cut where they are.

    Args:
        ln_v: no opinion. unigram: how common each character is. optimum, val: the counts of pairs
            on their own text, and smoothed on other text.
        floor: what the author pays. All in nats per character; optimum and val are drawn as one.
    """
    d, left, wide, top, nat = Drawing(), 82, 226, 26, 74
    y = {value: top + nat * (ln_v - value) for value in (ln_v, unigram, optimum, floor, 0.0)}
    parts = (
        (ln_v, unigram, "which are common", FAINT),
        (unigram, optimum, "the last letter", BLUE),
        (optimum, floor, "a longer memory could", VERMILION),
        (floor, 0.0, "the author’s dice", GREEN),
    )
    for high, low, words, color in parts:
        d.box(left, y[high], wide, y[low] - y[high], words, color=color, tint=0.18)
    for value, words in (
        (ln_v, "ln V: no opinion"),
        (unigram, "one row for all"),
        (optimum, "the counts: the optimum,"),
        (floor, "the floor: the true odds"),
        (0.0, "nothing left to guess"),
    ):
        d.text((left - 12, y[value]), f"{value:.3f}" if value else "0", size=SMALL, align="end")
        d.text((left + wide + 14, y[value]), words, size=SMALL, align="start")
    beside = (left + wide + 14, y[optimum] + 22)
    d.text(beside, f"and {val:.3f} on new text", size=SMALL, color=FAINT, align="start")
    return d.picture(
        f"A column of losses, cut in four. Its top is ln V, {ln_v:.3f}, where a model without an "
        f"opinion stands. Knowing how common each character is brings it to {unigram:.3f}, and "
        f"one letter of the past to {optimum:.3f}, where the counts stand, {val:.3f} on new text. "
        f"The floor, where the author stands, is at {floor:.3f}: what lies between it and the "
        "counts a longer memory could save, and what lies below it nobody."
    )


def pushes(symbols: Sequence[str], said: Tensor, came: str) -> Picture:
    """Draw how far a step at rate 1 moves each logit of a row.

    Args:
        symbols: V of them; 5 fill the page. said: (V,), what the row gave each. came: the symbol
            that did come.
    """
    d, left, cell, unit = Drawing(), 132, (66, 30), 120
    p = said.tolist()
    y = [1.0 if symbol == came else 0.0 for symbol in symbols]
    names = [MARKS.get(symbol, symbol) for symbol in symbols]
    top = d.matrix(
        left, 36, [p, y], cell=cell, paint=by_value(1), write=_exact,
        rows=["said, p", "came, y"], columns=names,
    )  # fmt: skip
    up = unit * max(b - a for a, b in zip(p, y, strict=True))
    base = top.box.bottom[1] + 42 + up
    d.line((left - 10, base), (left + top.box.width + 10, base), color=FAINT)
    d.text((left - 18, base), "push, y − p", size=SMALL, align="end")
    for n, (a, b) in enumerate(zip(p, y, strict=True)):
        x, push = top.column(n).center[0], b - a
        color = GREEN if push > 0 else VERMILION
        tip = base - unit * push
        if a or b:
            d.arrow((x, base), (x, tip), color=color, width=5)
            d.text((x, tip + (-12 if push > 0 else 12)), _signed(push), size=SMALL, color=color)
    d.text((left + top.box.width + 16, base), "sum: 0", size=SMALL, color=FAINT, align="start")
    return d.picture(
        "A small table with two rows: what the row said of each letter, p, and what came, y. Below "
        f"it an arrow for each letter, y − p. That of “{came}” points up, "
        f"{_signed(1 - p[list(symbols).index(came)])}; all others point down, each by what the row "
        "had given that letter. Together they sum to zero."
    )


def _exact(share: float) -> str:
    """Write a share with two digits, or with three where eighths need them."""
    return number(share) if share == round(share, 2) else f"{share:.3f}"


def _signed(push: float) -> str:
    return ("+" if push > 0 else "−") + _exact(abs(push))
