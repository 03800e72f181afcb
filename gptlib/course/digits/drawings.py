"""The drawings of the interlude on digits.

One job: draw how a picture becomes scores, what one push sets off, and the way of the blame.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing, Grid, by_value, number
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

SIDE = 8  # a picture's rows and columns
PIXEL = 18.5  # of a picture beside others: two lines of words do not touch


def _image(
    d: Drawing, x: float, y: float, pixels: np.ndarray, most: float, votes: bool = True
) -> Grid:
    """Draw 64 numbers as a picture: ink, or votes, orange above zero and blue below.

    No words stand in its cells, so they may be deeper than others; of votes the square root lets
    the eye see small ones beside large ones.
    """

    def paint(value: float, row: int, column: int) -> tuple[str, float]:
        share = abs(value) / most
        return (BLUE if value < 0 else VERMILION, 1.7 * share**0.5) if votes else (INK, 1.5 * share)

    rows = pixels.reshape(SIDE, SIDE).tolist()
    return d.matrix(x, y, rows, cell=(PIXEL, PIXEL), paint=paint, write=lambda _: "")


def picture_to_scores(picture: ArrayLike) -> Picture:
    """Draw a picture, the row that it becomes, and the product that gives its scores.

    Args:
        picture: 64 numbers from 0 to 1.
    """
    d, pixels = Drawing(), np.asarray(picture, float).reshape(SIDE, SIDE)
    ink, cell, colors = by_value(1, above=INK), 18, (GREEN, VERMILION)

    def blank(_: object) -> str:
        return ""

    image = d.matrix(190, 14, pixels.tolist(), cell=(cell, cell), paint=ink, write=blank)
    for n, words in enumerate(("8 rows of 8,", "0 is paper,", "1 is ink")):
        d.text((image.box.x + image.box.width + 22, 40 + 26 * n), words, size=SMALL,
               color=FAINT, align="start")  # fmt: skip
    width = (WIDTH - 2 * MARGIN) / pixels.size
    low = image.box.bottom[1] + 52
    strip = d.matrix(
        MARGIN, low, [pixels.ravel().tolist()], cell=(width, 26), paint=ink, write=blank
    )
    d.text((WIDTH - MARGIN, low - 16), "x (1, 64)", size=SMALL, align="end")
    for n, color in enumerate(colors):
        d.frame(image.row(n), color=color, grow=-1)
        first, last = strip.cell(0, SIDE * n), strip.cell(0, SIDE * n + SIDE - 1)
        place = Box(first.x, low, last.x + last.width - first.x, first.height)
        place = d.frame(place, color=color, grow=0)
        start = image.row(n).left
        d.arrow(start, (place.center[0], start[1]), place.top, color=color)

    # Ten templates as the columns of W, above the scores that they give.
    x, digits = 112, [*range(10)]
    table = d.matrix(x, low + 66, [digits], cell=(34, 84), write=str, paint=lambda *_: (BLUE, 0.3))
    scores = d.matrix(
        x, table.box.bottom[1] + 30, [digits], cell=(34, 28), write=lambda n: f"z_{{{n}}}"
    )
    d.arrow((table.box.center[0], low + 26), table.box.top)
    d.text((table.box.center[0] + 14, low + 48), "×", align="start")
    for n in digits:
        d.arrow(table.column(n).bottom, scores.column(n).top, width=1.2)
    for grid, name, shape in ((table, "templates", "W (64, 10)"), (scores, "scores", "z (1, 10)")):
        d.text((x - 10, grid.box.center[1]), name, size=SMALL, align="end")
        d.text((x + 346, grid.box.center[1]), shape, size=SMALL, align="start")
    return d.picture(
        "A picture of eight rows of eight cells. Its rows, of which the first two are framed, are "
        "laid one behind the other into a strip of 64 cells, x of shape (1, 64). The strip is "
        "multiplied with W, of shape (64, 10), which holds a template in each column, and ten "
        "scores come out, z of shape (1, 10)."
    )


def one_push(pixel: float, blame: float, push: float = 0.01) -> Picture:
    """Draw what a push on one weight sets off, up to the loss.

    Args:
        pixel: the ink that the weight meets, x. blame: of the score that it is part of, p − y.
    """
    d, y, wide = Drawing(), 56, 132
    xs = (MARGIN, (WIDTH - wide) / 2, WIDTH - MARGIN - wide)
    moved = (push, push * pixel, push * pixel * blame)
    boxes = [
        d.box(x, y, wide, 54, f"{name}\n{note}", color=color)
        for x, name, note, color in zip(
            xs, ("weight", "score", "loss"), ("w_{cj}", "z_{j}", "ℓ"), (BLUE, INK, VERMILION),
            strict=True,
        )
    ]  # fmt: skip
    for (a, b), factor, name in zip(
        pairwise(boxes), (pixel, blame), ("x_{c}", "p_{j} − y_{j}"), strict=True
    ):
        d.arrow(a.right, b.left, width=2.5)
        middle = (a.right[0] + b.x) / 2
        d.text((middle, y - 32), name, size=SMALL)
        d.text((middle, y - 8), f"× {_short(factor)}", size=SMALL)
    for box, by in zip(boxes, moved, strict=True):
        base = box.bottom[1] + 20
        d.text((box.center[0], base), _signed(by), size=SMALL, bold=True)
    low = boxes[0].bottom[1] + 42
    tip = d.bracket((boxes[0].center[0], low), (boxes[2].center[0], low))
    slope = moved[2] / push
    d.text((tip[0], tip[1] + 14), f"slope: {_short(pixel)} × {_short(blame)} = {_short(slope)}",
           size=SMALL)  # fmt: skip
    return d.picture(
        "Three boxes in a row, joined by arrows: a weight, a score, the loss. The first arrow "
        f"multiplies a push by the pixel, {_short(pixel)}, the second by the blame of the score, "
        f"{_short(blame)}. A push of {push:g} on the weight moves the score by "
        f"{_signed(moved[1])} and the loss by {_signed(moved[2])}. The slope of the whole way is "
        f"the product, {_short(slope)}."
    )


def _short(value: float) -> str:
    """Up to three decimals: two would not multiply out."""
    return f"{value:.3f}".rstrip("0").rstrip(".").replace("-", "−")


def _signed(change: float) -> str:
    return f"{change:+.4f}".replace("-", "−")


def path_of_blame(sizes: Sequence[int]) -> Picture:
    """Draw the way forward through two layers, and the way of the blame back.

    Args:
        sizes: C, U and V: the numbers in a picture, the hidden units, the digits.
    """
    C, U, V = sizes
    d, y, step, wide, left, right = Drawing(), 40.0, 92, 118, MARGIN, 216
    d.text((left + wide / 2, 18), "forward", bold=True)
    d.text((right + wide / 2, 18), "back", bold=True, color=VERMILION)

    def box(x: float, row: int, words: str, color: str, wide: float = wide) -> Box:
        return d.box(x, y + row * step, wide, 50, words, color=color)

    forward = [
        box(left, 0, f"x\n(B, {C})", BLUE),
        box(left, 1, f"sums\n(B, {U})", BLUE),
        box(left, 2, f"h\n(B, {U})", BLUE),
        box(left, 3, f"z\n(B, {V})", BLUE),
        box(left, 4, "loss\none number", VERMILION),
    ]
    ways = ("× W_{1} + b_{1}", "tanh", "× W_{2} + b_{2}", "softmax, −ln")
    for above, below, way in zip(forward, forward[1:], ways, strict=False):
        d.arrow(above.bottom, below.top)
        d.text((above.center[0] + 12, below.y - 21), way, size=SMALL, align="start")

    # Back along the same way, and out to each table.
    da = box(right, 1, f"da\n(B, {U})", VERMILION)
    dz = box(right, 3, f"dz\n(B, {V})", VERMILION)
    loss = forward[-1]
    d.arrow(loss.right, (dz.center[0], loss.center[1]), dz.bottom, color=VERMILION, width=2.5)
    d.arrow(dz.top, da.bottom, color=VERMILION, width=2.5)
    for at, words in (
        (dz.bottom[1] + 22, "p − y"), (dz.y - 22, "× W_{2}ᵀ"), (da.bottom[1] + 22, "× (1 − h²)")
    ):  # fmt: skip
        d.text((dz.center[0] + 14, at), words, size=SMALL, color=VERMILION, align="start")
    for blame, source, row, words in (
        (dz, forward[2], 3, "hᵀ dz\nslope of W_{2}"), (da, forward[0], 1, "xᵀ da\nslope of W_{1}")
    ):  # fmt: skip
        slope = box(WIDTH - MARGIN - 150, row, words, GREEN, 150)
        d.arrow(blame.right, slope.left, color=GREEN)
        lane = source.center[1]
        d.arrow(source.right, (slope.center[0], lane), slope.top, color=BLUE, dashed=True)
    return d.picture(
        "Two columns. Down the left one, the way forward: pictures x, the sums of the first layer, "
        "h after tanh, scores z, the loss. Up the middle, the way back: from the loss to dz, which "
        "is p − y, and through W2 lying on its side and the slope of tanh to da. At the "
        "right, in green, the slopes: of W2 from h and dz, of W1 from x and da. Dashed lines bring "
        "x and h over from the way forward."
    )


def two_votes(picture: ArrayLike, templates: ArrayLike, digits: Sequence[int]) -> Picture:
    """Draw what a picture's pixels say for two digits: picture times template, summed.

    Args:
        picture: 64 numbers from 0 to 1. templates: (64, 10). digits: the two that are compared.
    """
    pixels, columns = np.asarray(picture, float).ravel(), np.asarray(templates, float)
    d, told = Drawing(), []
    size, y, room = PIXEL * SIDE, 40.0, 54
    gap = (WIDTH - 2 * MARGIN - room - 3 * size) / 2
    xs = [MARGIN + n * (size + gap) for n in range(3)]
    products = [pixels * columns[:, digit] for digit in digits]
    deepest = max(abs(product).max() for product in products)
    end = WIDTH - MARGIN
    for x, name in zip(xs, ("picture", "template", "products"), strict=True):
        d.text((x + size / 2, 20), name, size=SMALL, color=FAINT)
    d.text((end, 20), "sum", size=SMALL, color=FAINT, align="end")
    for digit, product in zip(digits, products, strict=True):
        template = columns[:, digit]
        _image(d, xs[0], y, pixels, 1, votes=False)
        _image(d, xs[1], y, template, abs(template).max())
        grid = _image(d, xs[2], y, product, deepest)
        for n, row in enumerate(product.reshape(SIDE, SIDE).sum(axis=1)):
            at = (end, grid.row(n).center[1])
            d.text(at, f"{row:.2f}".replace("-", "−"), size=SMALL, align="end")
        middle = y + size / 2
        d.text((xs[1] - gap / 2, middle), "×")
        d.text((xs[2] - gap / 2, middle), "=")
        d.text((xs[1] + size / 2, y + size + 20), f"of the {digit}", size=SMALL, bold=True)
        total = f"sum {number(product.sum())}"
        d.text((end, y + size + 20), total, size=SMALL, bold=True, align="end")
        told.append(f"for the {digit} they sum to {number(product.sum())}")
        y += size + 56
    return d.picture(
        "Two rows of three squares of 64 cells: a picture, a template, and the picture times the "
        "template, cell by cell. Orange is positive and speaks for the digit, blue is negative. "
        "Beside each row of the last square stands its sum, and all of them are added up: "
        f"{' and '.join(told)}."
    )
