"""The drawings of chapter 2.

One job: draw the arrays that the chapter made; what is computed here are steps that it explains.
"""

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing, Grid, by_value, number
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, PAPER, VERMILION, Picture


def scores_and_weights(words: Sequence[str], scores: Tensor) -> Picture:
    """Draw scores (T, T) and, beside them, the weights that softmax makes of each row.

    Args:
        words: T of them, 6 fill the page. scores: 0, or minus infinity where a word must not look.
    """

    def may_look(_: float, row: int, column: int) -> tuple[str, float]:
        return BLUE, 0.3 if scores[row, column].isfinite() else 0.0

    def share(weight: float) -> str:
        return str(Fraction(weight).limit_denominator(999))

    d, y, cell = Drawing(), 60, (38, 30)
    weights = scores.softmax(-1).tolist()
    left = d.matrix(58, y, scores.tolist(), cell=cell, paint=may_look, rows=words, columns=words)
    right = d.matrix(
        WIDTH - MARGIN - left.box.width, y, weights,
        cell=cell, paint=by_value(), write=share, columns=words,
    )  # fmt: skip
    d.text((left.box.center[0], 20), "scores", bold=True)
    d.text((right.box.center[0], 20), "weights, by softmax", bold=True)
    (start, height), (end, _) = left.box.right, right.box.left
    d.arrow((start + 6, height), (end - 6, height))
    return d.picture(
        f"Two squares of cells, a row and a column for each word of “{' '.join(words)}”. In the "
        "left one the scores are 0 on and below the diagonal and minus infinity above it. In the "
        "right one each row shares 1 equally among the cells up to the diagonal: 1 in the first "
        f"row, {share(weights[-1][0])} in each cell of the last. Above the diagonal stands 0."
    )


def one_query(words: Sequence[str], x: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Picture:
    """Draw how the last word's query meets every key, and what comes back.

    Args:
        words: T of them, 6 fill the page. x: (T, 3), the channels person, thing and is Ada.
        q, k: (T, 2). v: (T, 1), each word's share of a name.
    """
    scores = q[-1] @ k.T  # (T,)
    weights = scores.softmax(-1)
    products = weights[:, None] * v
    d, left, height, names = Drawing(), 100, 28, 92

    def cells(y: float, values: Tensor, color: str, *, rows: Sequence[str] = ()) -> Grid:
        """Draw values (T, channels), or one row of a square, a column for each word."""
        paint = by_value(values.max().item(), above=color, below=PAPER)
        table = values.reshape(len(words), -1).T.tolist()
        grid = d.matrix(left, y, table, cell=(56, height), paint=paint, rows=rows)
        n = len(words)
        shape = f"({n}, {values.size(1)})" if values.dim() > 1 else f"(1, {n})"
        d.text((left + 346, grid.row(-1).center[1]), shape, size=SMALL, color=FAINT, align="start")
        return grid

    for place, word in enumerate(words):
        asks = place == len(words) - 1
        d.text((left + 56 * place + 28, 20), word, bold=asks, color=VERMILION if asks else INK)
    inputs = cells(38, x, FAINT, rows=("person", "thing", "is Ada"))

    # What the last word asks, to the right of what it is; every word's key, below it.
    paint = by_value(q[-1].max().item(), VERMILION, PAPER)
    query = d.matrix(486, 38, q[-1:].T.tolist(), cell=(64, height), paint=paint)
    asked = inputs.cell(0, -1).at(1, 1)
    d.arrow(asked, query.box.left, color=VERMILION)
    d.text((asked[0] + 22, asked[1] - 16), "W_{Q}", color=VERMILION)
    d.text((query.box.center[0], 20), "query", size=SMALL, color=VERMILION)
    keys = cells(inputs.box.bottom[1] + 38, k, BLUE)
    d.text((names, keys.box.center[1]), "keys", size=SMALL, color=BLUE, align="end")
    d.text((names, keys.box.y - 20), "W_{K}", color=BLUE, align="end")

    # Where they meet, and what the meeting is worth.
    meeting = keys.box.bottom[1] + 22
    score = cells(meeting + 22, scores, FAINT, rows=["scores"])
    centers = [keys.column(place).center[0] for place in range(len(words))]
    for place, center in enumerate(centers):
        d.arrow(inputs.column(place).bottom, (center, keys.box.y), color=BLUE)
        d.arrow((center, keys.box.bottom[1]), (center, score.box.y), color=BLUE)
    corner = (query.box.center[0], meeting)
    d.line(query.box.bottom, corner, (centers[0], meeting), color=VERMILION)
    for center in centers:
        d.dot((center, meeting), color=VERMILION)
    d.text((names, meeting), "q · k", size=SMALL, color=VERMILION, align="end")
    softmax = d.box(left, score.box.bottom[1] + 12, score.box.width, 32, "softmax", tint=0.05)
    weight = cells(softmax.bottom[1] + 18, weights, FAINT, rows=["weights"])

    # Weights times values, and their sum.
    value = cells(weight.box.bottom[1] + 26, v, GREEN)
    d.text((names, value.box.center[1]), "values", size=SMALL, color=GREEN, align="end")
    product = cells(value.box.bottom[1] + 26, products, GREEN, rows=["products"])
    for center in centers:
        d.line((center, score.box.bottom[1]), (center, softmax.y))
        d.arrow((center, softmax.bottom[1]), (center, weight.box.y))
        d.text((center, weight.box.bottom[1] + 13), "×", size=SMALL, color=FAINT)
        d.text((center, value.box.bottom[1] + 13), "=", size=SMALL, color=FAINT)
    start, end = (inputs.row(-1).left[1], value.box.left[1])
    d.arrow((28, start), (14, start), (14, end), (28, end), color=GREEN)
    d.text((22, softmax.center[1]), "W_{V}", color=GREEN, align="start")
    _, bottom = product.box.bottom
    tip = d.bracket((left, bottom + 4), (left + product.box.width, bottom + 4))
    total = products.sum().item()
    out = d.matrix(tip[0] - 33, tip[1], [[total]], cell=(66, 30), paint=by_value(1, GREEN))
    d.text((names, out.box.center[1]), "output", size=SMALL, align="end")

    def told(row: Tensor) -> str:
        return ", ".join(number(value) for value in row.tolist())

    return d.picture(
        f"A diagram over the words “{' '.join(words)}”. The query of “{words[-1]}” is "
        f"({told(q[-1])}). It meets the key of every word, and the scores are {told(scores)}. "
        f"Softmax makes of them the weights {told(weights)}. The values are {told(v[:, 0])}; "
        f"weight times value, summed over the words, is the output, {number(total)}."
    )


def any_order(texts: Sequence[Sequence[str]], weights: Sequence[Tensor]) -> Picture:
    """Draw what the last word takes from each word before it, for texts of the same words.

    Args:
        texts: T words each, 5 or 6 fill the page. weights: for each text (T,), the last word's.
    """
    d, y, gap = Drawing(), 20.0, 12
    for words, shares in zip(texts, weights, strict=True):
        wide = (WIDTH - 2 * MARGIN - gap * (len(words) - 1)) / len(words)
        boxes = []
        for n, (word, share) in enumerate(zip(words, shares.tolist(), strict=True)):
            x = MARGIN + n * (wide + gap)
            boxes.append(d.box(x, y, wide, 54, f"{word}\n{number(share)}", color=BLUE, tint=share))
        low = y + 108
        out = d.box(WIDTH / 2 - 110, low, 220, 34, f"what {words[-1]} gets", color=VERMILION)
        for n, (box, share) in enumerate(zip(boxes, shares.tolist(), strict=True)):
            end = (out.x + out.width * (n + 0.5) / len(boxes), out.y)
            d.curve(box.bottom, end, color=BLUE, width=1 + 8 * share)
        y = low + 60
    firsts = " and ".join(f"“{' '.join(words)}”" for words in texts)
    return d.picture(
        f"Two rows of words, {firsts}. From each word a line leads down to one box, what the last "
        "word gets, and is as broad as the word's weight. Both names have broad lines and equal "
        "numbers in both rows, the other words thin ones: the rows differ in order alone, and the "
        "sums do not differ."
    )


def one_head(text: str, place: int, sizes: tuple[int, int, int, int, int]) -> Picture:
    """Draw a model of one head from ids to scores, and under it what each place has to name.

    Args:
        text: the characters of a window and one more, 9 fill the page. place: the place to be
            marked. sizes: B, T, C, D and V.
    """
    B, T, C, D, V = sizes
    d, left, wide, cell = Drawing(), 124.0, 320.0, 40.0
    beside = left + wide + 12
    read, named = list(text[:-1].replace(" ", "␣")), list(text[1:].replace(" ", "␣"))

    def window(y: float, letters: Sequence[str], name: str) -> Grid:
        def paint(_: str, row: int, column: int) -> tuple[str, float]:
            return (VERMILION, 0.8) if column == place else (BLUE, 0.15)

        grid = d.matrix(left, y, [letters], cell=(cell, 32), paint=paint)
        d.text((left - 12, grid.box.center[1]), name, size=SMALL, align="end")
        return grid

    def note(y: float, words: str) -> None:
        d.text((beside, y), words, size=SMALL, color=FAINT, align="start")

    ids = window(34, read, "reads")
    d.text((ids.column(place).center[0], 18), f"place {place}", size=SMALL, color=VERMILION)
    note(ids.box.center[1], "(B, T)")
    x = d.box(left, 100, wide, 54, "embeddings\ntoken + position", color=BLUE)
    note(x.center[1], "(B, T, C)")
    third = (wide - 2 * 12) / 3
    boxes = [
        d.box(left + n * (third + 12), 188, third, 34, name, color=color)
        for n, (name, color) in enumerate([("q", VERMILION), ("k", BLUE), ("v", GREEN)])
    ]
    note(boxes[0].center[1], "(B, T, D)")
    weigh = d.box(left, 256, 2 * third + 12, 34, "weigh", color=INK)
    note(weigh.center[1], "(B, T, T)")
    summed = d.box(left, 324, wide, 34, "weights @ v", color=GREEN)
    note(summed.center[1], "(B, T, D)")
    out = d.box(left, 392, wide, 34, "out", color=INK)
    note(out.center[1], "(B, T, V)")
    names = window(476, named, "to name")
    note(names.box.center[1], "(B, T)")

    for n in range(len(read)):
        center = ids.cell(0, n).center[0]
        d.arrow((center, ids.box.bottom[1]), (center, x.y), color=FAINT)
    for box in boxes:
        d.arrow((box.center[0], x.bottom[1]), box.top)
    for box in boxes[:2]:
        d.arrow(box.bottom, (box.center[0], weigh.y))
    d.arrow(weigh.bottom, (weigh.center[0], summed.y))
    d.arrow(boxes[2].bottom, (boxes[2].center[0], summed.y))
    d.arrow(summed.bottom, out.top)
    for n in range(len(named)):
        center = names.cell(0, n).center[0]
        d.arrow((center, out.bottom[1]), (center, names.box.y), color=FAINT)
    d.text((left + wide / 2, 530), f"{T} losses for each of {B} windows", size=SMALL)
    return d.picture(
        "A diagram from top to bottom. A window of characters, of which the first are "
        f"“{' '.join(read)}”, becomes embeddings, token plus position, {C} numbers for each place. "
        f"From these come q, k and v, {D} numbers each. q and k go into a box weigh, whose weights "
        f"are a square of {T} by {T}; the weights times v give {D} numbers, and a box out makes "
        f"{V} scores of them at each place. Under it stands what each place has to name: the same "
        f"window, one character on. Place {place} is marked in both: it reads “{read[place]}”, has "
        f"to name “{named[place]}”."
    )
