"""Chapter 7's drawings of sampling: what a sampler cuts, beams, padding, a draft's guesses.

One job: show on small numbers, which the chapter works out, what a sampler does to a distribution
and what beams, batches and drafts do with tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing, Paint
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

PAD = "·"  # what fills a row up
_STATES = {"kept": BLUE, "ended": GREEN, "cut": FAINT}


def sampler(words: Sequence[str], before: Iterable[float], after: Iterable[float]) -> Picture:
    """Draw what a sampler makes of a distribution: before in outline, after filled.

    Args:
        words: of which one is drawn. before, after: their probabilities; one that is 0 after and
            was not 0 before has been cut.
    """
    d = Drawing()
    before, after = [float(p) for p in before], [float(q) for q in after]
    left, right, high, row = 96, WIDTH - 62, 18, 27
    scale = (right - left) / max(*before, *after)
    told, gone = [], 0.0
    for n, (word, p, q) in enumerate(zip(words, before, after, strict=True)):
        y, cut = 10 + n * row, q == 0 < p
        gone += p if cut else 0.0
        if q > 0:
            d.box(left, y, q * scale, high, color=BLUE, tint=0.45)
        edge = Box(left, y, p * scale, high)
        d.frame(edge, grow=0, width=1.8, color=VERMILION if cut else INK, dashed=cut)
        d.text((left - 8, y + high / 2), word, size=SMALL, align="end")
        d.text(
            (WIDTH - MARGIN, y + high / 2), "cut" if cut else f"{q:.2f}", size=SMALL, align="end",
            color=VERMILION if cut else INK,
        )  # fmt: skip
        told.append(f"{word} {p:.2f}, " + ("cut" if cut else f"then {q:.2f}"))
    y = 10 + len(words) * row + 12
    if gone:
        d.text(
            (left, y), f"cut: {gone:.2f} of the mass", size=SMALL, color=VERMILION, align="start"
        )
    what = f"{gone:.2f} of the mass is cut" if gone else "nothing is cut"
    return d.picture(
        f"Bars of {len(words)} probabilities, before in outline and after filled: "
        f"{'; '.join(told)}. In all, {what}."
    )


class Node(NamedTuple):
    """A word of a beam tree: after which of the level before (None: none), how likely the text is
    up to here, and whether it is "kept", "ended" or "cut"."""

    word: str
    after: int | None
    score: float
    state: str


def beam_tree(levels: Sequence[Sequence[Node]]) -> Picture:
    """Draw a beam search from left to right, a column for each token.

    Args:
        levels: of each step the texts that were looked at, those of one beam side by side.
    """
    d = Drawing()
    wide, high, row = 84, 46, 62
    gap = (WIDTH - 2 * MARGIN - wide) / max(1, len(levels) - 1)
    tallest = max(map(len, levels))
    placed: list[Box] = []
    for column, level in enumerate(levels):
        down = 10 + (tallest - len(level)) * row / 2
        boxes = []
        for n, node in enumerate(level):
            color = _STATES[node.state]
            box = Box(MARGIN + column * gap, down + n * row, wide, high)
            if node.after is not None:
                start, faint = placed[node.after].right, node.state == "cut"
                d.line(start, box.left, color=color, width=1 if faint else 1.8, dashed=faint)
            words = f"{node.word}\n{node.score:.3g}"
            tint = 0.0 if node.state == "cut" else 0.15
            boxes.append(d.box(*box, words, color=color, tint=tint))
        placed = boxes
    y = 10 + tallest * row + 10
    for n, (state, color) in enumerate(_STATES.items()):
        d.box(MARGIN + n * 130, y, 18, 18, color=color, tint=0.0 if state == "cut" else 0.3)
        d.text((MARGIN + n * 130 + 28, y + 9), state, size=SMALL, align="start")
    told = []
    for level in levels[1:]:
        named = (f"{node.word} {node.score:.3g} {node.state}" for node in level)
        told.append(", ".join(named))
    return d.picture(
        f"A tree from left to right that begins with {levels[0][0].word!r}; each word has the "
        f"probability of the text up to it. Step by step: {'; '.join(told)}."
    )


def padding(prompts: Sequence[Sequence[str]]) -> Picture:
    """Draw prompts of different lengths as one batch, padded at the left and at the right.

    Args:
        prompts: their tokens, short words.
    """
    longest = max(map(len, prompts))
    d = Drawing()
    cell, x = (80, 28), MARGIN
    d.text((x, 16), "padded at the left", size=SMALL, bold=True, align="start")
    left = [[PAD] * (longest - len(p)) + list(p) for p in prompts]
    lefts = d.matrix(x, 30, left, cell=cell, write=str, paint=_pads(longest - 1))
    y = lefts.box.y + lefts.box.height
    d.text((x, y + 18), "the next tokens stand in one column;", size=SMALL, align="start")
    d.text((x, y + 40), "a mask has to hide every dot", size=SMALL, align="start")
    y += 76
    d.text((x, y), "padded at the right", size=SMALL, bold=True, align="start")
    right = [list(p) + [PAD] * (longest - len(p)) for p in prompts]
    ends = [len(p) - 1 for p in prompts]
    rights = d.matrix(x, y + 14, right, cell=cell, write=str, paint=_pads(None, ends))
    last = d.matrix(
        WIDTH - MARGIN - cell[0], y + 14, [[p[-1]] for p in prompts], cell=cell, write=str,
        paint=lambda value, i, j: (BLUE, 0.8),
    )  # fmt: skip
    d.arrow(rights.box.right, last.box.left)
    y = rights.box.y + rights.box.height
    d.text((x, y + 18), "no token sees a dot, for all come later;", size=SMALL, align="start")
    d.text((x, y + 40), "the last tokens are read by themselves", size=SMALL, align="start")
    lengths = ", ".join(str(len(p)) for p in prompts)
    return d.picture(
        f"Two tables of the same {len(prompts)} prompts of {lengths} tokens. Padded at the left, "
        "dots stand before the short ones, and all last tokens are in the last column. Padded at "
        "the right, dots stand behind, the last tokens are in different columns, and an arrow "
        "leads from the table to one column that holds them."
    )


def _pads(column: int | None, ends: Sequence[int] = ()) -> Paint:
    """A paint for tokens: padding is faint, and what is read for the next token is blue."""

    def paint(value: str, i: int, j: int) -> tuple[str, float]:
        if value == PAD:
            return INK, 0.0
        newest = j == column or (column is None and j == ends[i])
        return (BLUE, 0.8) if newest else (INK, 0.1)

    return paint


def speculation(
    guesses: Sequence[str], p: Sequence[float], q: Sequence[float], dice: Sequence[float], new: str
) -> Picture:
    """Draw one round of speculation: guesses, how likely model and draft find each, and the first
    that the dice refuse, in whose place a new token is drawn.

    Args:
        guesses: of the draft, in order. p: their probabilities by the model. q: by the draft.
        dice: numbers from 0 to 1, one for each; a guess stays while dice · q < p.
        new: the token that the model writes after the last guess that stays.
    """
    kept = 0
    while kept < len(guesses) and dice[kept] * q[kept] < p[kept]:
        kept += 1
    d = Drawing()
    n, x = len(guesses), 100
    cell = ((WIDTH - MARGIN - x) / (n + 1), 30)
    rows = [
        [*guesses, ""],
        [*(f"{value:.2f}" for value in q), ""],
        [*(f"{value:.2f}" for value in p), ""],
        [*(f"{min(1, a / b):.2f}" for a, b in zip(p, q, strict=True)), ""],
        [*(f"{value:.2f}" for value in dice), ""],
    ]
    names = ["guess", "draft q", "model p", "p / q", "dice"]

    def shade(value: str, i: int, j: int) -> tuple[str, float]:
        if j < kept:
            return GREEN, 0.35 if i in (0, 4) else 0.1
        return (VERMILION, 0.4 if i in (0, 4) else 0.1) if j == kept < n else (INK, 0.0)

    cells = [row[:-1] for row in rows]
    grid = d.matrix(x, 12, cells, cell=cell, write=str, rows=names, paint=shade)
    y = grid.box.y + grid.box.height + 46
    out = [[word] for word in guesses[:kept]] + [[new]]
    strips = d.strip(
        x, y, out, cell=cell, write=str,
        paint=lambda value, group, j: (GREEN, 0.5) if group < kept else (BLUE, 0.6),
    )  # fmt: skip
    d.text((x - 8, y + 15), "text", size=SMALL, align="end")
    for column, strip in enumerate(strips):
        if column < n:
            color = GREEN if column < kept else VERMILION
            d.arrow(grid.cell(4, column).bottom, strip.box.top, color=color)
    thrown = n - kept
    d.text(
        (x, y + 52), f"{kept} of {n} guesses stay, {kept + 1} tokens in one pass", size=SMALL,
        align="start",
    )  # fmt: skip
    return d.picture(
        f"A table of {n} guesses, {', '.join(guesses)}, with the draft's probability, the model's, "
        f"their quotient, 1 at most, and a throw of dice for each. The first {kept} throws are "
        f"below the quotient, and these guesses stay; the other {thrown} are dropped, and the "
        f"model's own {new!r} is written instead. So one pass gives {kept + 1} tokens."
    )
