"""The drawings of chapter 5.

One job: draw the tokens that the chapter made; what is computed here are steps that it explains.
"""

from collections.abc import Mapping, Sequence

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Drawing
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

LETTER = 11  # the width of a letter in a box of text
CELL = 27  # the width of a letter's cell in a tree


def visible(text: str) -> str:
    """Return a text with its blanks made visible, and half characters as one box each."""
    return text.replace(" ", "·").replace("\n", "↵").replace("\ufffd", "▯")


def merge_tree(rows: Sequence[Sequence[str]], merges: Sequence[tuple[str, str]]) -> Picture:
    """Draw words as rows of letters, and over them the merges that join them, by number.

    Args:
        rows: words to draw, row by row; a row of 19 letters fills the page.
        merges: pairs of texts in the order in which they were learned.
    """
    number_of = {pair: n + 1 for n, pair in enumerate(merges)}
    d, y, level = Drawing(), 0.0, 40
    for row in rows:
        base = y + level * max(_height(word, number_of) for word in row) + 30
        x = (WIDTH - CELL * sum(map(len, row)) - 22 * (len(row) - 1)) / 2
        for word in row:
            paint = _painted(word, number_of)
            d.matrix(x, base, [list(map(visible, word))], cell=(CELL, 30), paint=paint)
            _grow(d, word, number_of, x, base, level)
            x += CELL * len(word) + 22
        y = base + 34
    drawn = [word for row in rows for word in row]
    told = "; ".join(
        f"{visible(word)} ends as {' + '.join(visible(t) for t, *_ in _parts(word, number_of))}"
        for word in drawn
    )
    learned = ", ".join(f"{n} {visible(a)} + {visible(b)}" for (a, b), n in number_of.items())
    return d.picture(
        f"Words as rows of letters, with merges above them as branches that meet. The merges, in "
        f"the order of learning: {learned}. {told}."
    )


def _parts(word: str, number_of: Mapping[tuple[str, str], int]) -> list[tuple]:
    """The trees that merging leaves of a word: (text, number, left, right, start)."""
    parts: list[tuple] = [(letter, 0, None, None, n) for n, letter in enumerate(word)]
    while True:
        pairs = [
            (number_of[parts[i][0], parts[i + 1][0]], i)
            for i in range(len(parts) - 1)
            if (parts[i][0], parts[i + 1][0]) in number_of
        ]
        if not pairs:
            return parts
        number, i = min(pairs)
        left, right = parts[i], parts[i + 1]
        parts[i : i + 2] = [(left[0] + right[0], number, left, right, left[4])]


def _depth(part: tuple | None) -> int:
    return 1 + max(_depth(part[2]), _depth(part[3])) if part and part[1] else 0


def _height(word: str, number_of: Mapping[tuple[str, str], int]) -> int:
    return max(map(_depth, _parts(word, number_of)))


def _painted(word: str, number_of: Mapping[tuple[str, str], int]):
    merged = {
        start + n
        for text, number, _, _, start in _parts(word, number_of)
        for n in range(len(text))
        if number
    }
    return lambda value, row, column: (BLUE, 0.35 if column in merged else 0.0)


def _grow(
    d: Drawing, word: str, number_of: Mapping[tuple[str, str], int], x: float, y: float, level: int
) -> None:
    """Draw a word's trees upward from its row of letters at height y."""

    def node(part: tuple) -> tuple[float, float]:
        if not part[1]:
            return x + CELL * (part[4] + 0.5), y
        ends = [node(part[2]), node(part[3])]
        center = (ends[0][0] + ends[1][0]) / 2
        top = y - level * _depth(part)
        color = BLUE if _depth(part) == 1 else VERMILION
        for across, height in ends:
            d.line((across, height), (across, top + 6), (center, top + 6), color=color)
        d.dot((center, top + 6), color=color)
        number = (center - 6, top - 6)  # to the left of the line that goes on upward
        d.text(number, str(part[1]), size=SMALL, color=color, align="end", bold=True)
        return center, top

    for part in _parts(word, number_of):
        if part[1]:
            node(part)


#: What each alternative of the cutting expression takes, in the order in which they are tried.
ALTERNATIVES = (
    ("'(?:[sdmt]|ll|ve|re)", "an English ending", VERMILION),
    (" ?\\p{L}++", "letters", BLUE),
    (" ?\\p{N}++", "digits", GREEN),
    (" ?[^\\s\\p{L}\\p{N}]++", "other symbols", INK),
    ("\\s++$|\\s+(?!\\S)|\\s", "white space left", FAINT),
)


def cutting(pieces: Sequence[tuple[str, int]]) -> Picture:
    """Draw the pieces of a text, each in the color of the alternative that cut it.

    Args:
        pieces: (text, number of its alternative in `ALTERNATIVES`).
    """
    d = Drawing()
    x, y = float(MARGIN), 10.0
    for text, kind in pieces:
        shown = visible(text)
        width = LETTER * len(shown) + 12
        if x + width > WIDTH - MARGIN:
            x, y = float(MARGIN), y + 44
        d.box(x, y, width, 34, color=ALTERNATIVES[kind][2], tint=0.22)
        d.text((x + width / 2, y + 17), shown, size=SMALL)
        x += width + 6
    y += 62
    for n, (expression, takes, color) in enumerate(ALTERNATIVES):
        d.box(MARGIN, y, 26, 26, color=color, tint=0.22)
        d.text((MARGIN + 13, y + 13), str(n + 1), size=SMALL)
        d.text((48, y + 13), visible(expression), size=SMALL, align="start")
        d.text((WIDTH - MARGIN, y + 13), takes, size=SMALL, color=FAINT, align="end")
        y += 38
    told = ", ".join(f"{visible(text)} by {kind + 1}" for text, kind in pieces)
    return d.picture(
        f"A text cut into pieces, each in the color of the alternative that took it: {told}. "
        "Below, the five kinds of alternative in the order in which they are tried: "
        + ", ".join(f"{n + 1} {takes}" for n, (_, takes, _) in enumerate(ALTERNATIVES))
        + "."
    )


def sisters(cuts: Mapping[str, Sequence[Sequence[str]]], names: Sequence[str]) -> Picture:
    """Draw sentences cut by several vocabularies, a box a token.

    Args:
        cuts: the sentence's language -> for each vocabulary, the pieces.
        names: of the vocabularies, in that order.
    """
    d, y = Drawing(), 12.0
    colors = (BLUE, VERMILION, GREEN)
    for language, ways in cuts.items():
        d.text((MARGIN, y + 8), language, align="start", bold=True)
        y += 26
        for name, pieces, color in zip(names, ways, colors, strict=False):
            d.text((WIDTH - MARGIN, y + 8), f"{name}: {len(pieces)}", size=SMALL, color=color,
                   align="end")  # fmt: skip
            y += 24
            x = float(MARGIN)
            for n, piece in enumerate(pieces):
                shown = visible(piece)
                width = LETTER * len(shown) + 6
                if x + width > WIDTH - MARGIN:
                    x, y = float(MARGIN), y + 34
                d.box(x, y, width, 28, color=color, tint=0.3 if n % 2 else 0.1)
                d.text((x + width / 2, y + 14), shown, size=SMALL)
                x += width + 2
            y += 38
        y += 8
    told = ". ".join(
        f"{language}: "
        + ", ".join(f"{len(p)} tokens by {n}" for n, p in zip(names, ways, strict=False))
        for language, ways in cuts.items()
    )
    return d.picture(f"Sentences as rows of boxes, one box for each token. {told}.")
