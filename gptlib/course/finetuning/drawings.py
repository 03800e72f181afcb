"""The drawings of chapter 8.

One job: draw LoRA to scale, which tokens of a conversation carry loss, and conversations that are
packed into rows.
"""

from collections.abc import Sequence

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing
from gptlib.course.picture import BLUE, COLORS, FAINT, GREEN, INK, VERMILION, Picture

_LETTER = 0.6 * SMALL  # a character's width
_TALL = 190  # pixels of the longer side of W


def lora(shape: Sequence[int], rank: int) -> Picture:
    """Draw the two ways through a layer with LoRA, its matrices to scale.

    Args:
        shape: of W, (out, in); the longer side at most four times the shorter one. rank: at most 8.
    """
    d, (rows, columns) = Drawing(), shape
    scale = _TALL / max(rows, columns)
    high, wide, thin = rows * scale, columns * scale, max(3.0, rank * scale)
    top, low, fork, middle = 20 + high / 2, 20 + high + 40 + high / 2, 90.0, 20 + high + 20
    x = d.box(MARGIN, middle - 17, 44, 34, "x")
    full, narrow = rows * columns, rank * (rows + columns)
    w = d.box(200, top - high / 2, wide, high, color=FAINT, tint=0.35)
    beside = w.x + wide + 16
    for n, words in enumerate((f"W, {rows} × {columns}", f"{full:,} numbers", "frozen")):
        d.text((beside, top - 64 + 22 * n), words, size=SMALL, align="start", bold=n == 0)
    d.arrow(x.right, (fork, middle), (fork, top), w.left)
    a = d.box(160, low - thin / 2, wide, thin, color=BLUE, tint=0.6)
    d.arrow((fork, middle), (fork, low), a.left)
    d.dot((fork, middle))
    d.text((a.x - 20, low - 30), f"A, {rank} × {columns}", size=SMALL, align="start", bold=True)
    waist = Box(a.x + wide + 42, low - 6.5 * rank, 10, 13 * rank)
    for n in range(rank):
        d.dot((waist.center[0], waist.y + 6.5 + 13 * n), color=BLUE)
    around = d.frame(waist, color=FAINT, grow=4, width=1)
    d.arrow(a.right, around.left)
    b = d.box(around.x + around.width + 32, low - high / 2, thin, high, color=BLUE, tint=0.6)
    d.arrow(around.right, b.left)
    for n, words in enumerate((f"B, {rows} × {rank}", "zero at first")):
        d.text((b.x + thin + 12, low - 64 + 22 * n), words, size=SMALL, align="start", bold=n == 0)
    sign = d.operator((478, middle))
    scaled = d.box(sign.center[0] - 44, low - 16, 88, 32, "× α / r")
    d.arrow(b.right, scaled.left)
    d.arrow(scaled.top, sign.bottom)
    d.arrow(w.right, (478, top), sign.top)
    y = d.box(WIDTH - MARGIN - 36, middle - 17, 36, 34, "y")
    d.arrow(sign.right, y.left)
    bottom = low + high / 2 + 18
    d.text((MARGIN, bottom), f"A and B: {narrow:,} numbers, trained", size=SMALL, align="start")
    return d.picture(
        f"An input x goes two ways to the output y. One leads through W, {rows} by {columns}, "
        f"{full:,} numbers that are frozen. The other leads through a flat strip A, {rank} by "
        f"{columns}, a waist of {rank} dots, and a tall strip B, {rows} by {rank}, zero at first; "
        f"what comes out is multiplied by alpha over r. A and B have {narrow:,} numbers, "
        f"{full / narrow:.0f} times fewer than W, and all are drawn to one scale. The results are "
        "added."
    )


def loss_mask(tokens: Sequence[str], asked: Sequence[str | None]) -> Picture:
    """Draw a conversation token by token, and below each what is asked for at its place.

    Args:
        tokens: their texts, at most 40. asked: for each the text of its target, None where the
            loss looks away.
    """
    d, x, y, learned = Drawing(), 62.0, 18.0, 0
    shown = [token.strip() or "⏎" for token in tokens]
    wanted = [None if text is None else text.strip() or "⏎" for text in asked]
    for n, (token, target) in enumerate(zip(shown, wanted, strict=True)):
        width = max(len(token), len(target or "")) * _LETTER + 12
        if n == 0 or x + width > WIDTH - MARGIN:
            x, y = 62.0, y + (82 if n else 0)
            d.text((MARGIN, y + 14), "read", size=SMALL, color=FAINT, align="start")
            d.text((MARGIN, y + 46), "asked", size=SMALL, color=FAINT, align="start")
        mark = token.startswith("<|")
        box = d.box(x, y, width - 4, 28, color=VERMILION if mark else FAINT, tint=0.1)
        d.text(box.center, token, size=SMALL, color=VERMILION if mark else INK)
        if target is not None:
            learned += 1
            below = d.box(x, y + 32, width - 4, 28, color=GREEN, tint=0.4)
            d.text(below.center, target, size=SMALL)
        else:
            d.text((x + width / 2 - 2, y + 46), "–", size=SMALL, color=FAINT)
        x += width
    d.height = y + 64
    first = next(token for token, target in zip(shown, wanted, strict=True) if target is not None)
    last = [target for target in wanted if target is not None][-1]
    return d.picture(
        f"A conversation of {len(tokens)} tokens in a row, {' '.join(shown[:6])} and so on. Below "
        f"{learned} of them stands, in green, the token that is asked for there: the first one "
        f"below {first}, and the last one is {last}. Below all others stands a dash, and they "
        "carry no loss."
    )


def packing(
    lengths: Sequence[tuple[int, int]], rows: Sequence[Sequence[int]], room: int
) -> Picture:
    """Draw conversations as blocks, once with a row for each and once packed.

    Args:
        lengths: tokens of question and of answer of each, at most nine. rows: which of them each
            packed row holds. room: tokens of a packed row.
    """
    d = Drawing()
    longest = max(map(sum, lengths))
    left, high, y = 34.0, 22, 44.0
    scale = (WIDTH - MARGIN - left) / room

    def block(number: int, at: int, y: float) -> int:
        question, answer = lengths[number]
        color = COLORS[number % 3]
        x = left + at * scale
        d.box(x + 1, y, question * scale - 2, high, color=color, tint=0.0)
        box = d.box(x + question * scale, y, answer * scale - 2, high, color=color, tint=0.55)
        d.text(box.center, str(number + 1), size=SMALL)
        return at + question + answer

    d.text((left, 18), f"padded: {len(lengths)} rows of {longest}", bold=True, align="start")
    for number in range(len(lengths)):
        end = left + block(number, 0, y) * scale
        if (rest := left + longest * scale - end) > 4:
            d.frame(Box(end + 1, y, rest - 2, high), color=FAINT, grow=0, width=1, dashed=True)
        y += high + 5
    y += 24
    d.text((left, y), f"packed: {len(rows)} rows of {room}", bold=True, align="start")
    y += 24
    for row in rows:
        at = 0
        for number in row:
            at = block(number, at, y)
        if (room - at) * scale > 4:
            free = Box(left + at * scale + 1, y, (room - at) * scale - 2, high)
            d.frame(free, color=FAINT, grow=0, width=1, dashed=True)
        y += high + 5
    d.height = y
    used = sum(map(sum, lengths))
    return d.picture(
        f"{len(lengths)} conversations as blocks, the question hollow and the answer filled. "
        f"Above, each has a row of its own, as long as the longest, {longest} tokens, and "
        f"{1 - used / (longest * len(lengths)):.0%} of the room is empty. Below, the same blocks "
        f"stand one behind another in {len(rows)} rows of {room} tokens, of which "
        f"{1 - used / (room * len(rows)):.0%} is empty."
    )
