"""The drawings of chapter 4.

One job: draw parameters, uses of a weight, bytes and budgets as areas, to one scale each.
"""

import math
from collections.abc import Callable, Mapping

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture
from gptlib.model_config import GPTConfig


def matrices(config: GPTConfig) -> Picture:
    """Draw the matrices of a GPT, all to one scale.

    Args:
        config: the model, with few symbols, since its tables are drawn as high as they have rows.
    """
    C, layers, d = config.n_embd, config.n_layer, Drawing()
    side = (WIDTH - 2 * MARGIN - 50) / 7  # of a square of C × C
    d.text((MARGIN, 18), "once", bold=True, align="start")
    tables, low = 0, 0.0
    for x, name, rows in (
        (MARGIN, "tokens, and head", config.vocab_size),
        (MARGIN + 3 * side + 50, "positions", config.block_size),
    ):
        box = d.box(x, 38, side, rows * side / C, color=GREEN, tint=0.5)
        d.text((x + side + 12, 46), name, size=SMALL, align="start")
        d.text((x + side + 12, 70), f"{rows} × {C}", size=SMALL, color=FAINT, align="start")
        tables, low = tables + rows * C, max(low, box.bottom[1], 80)
    y = low + 32
    d.text((MARGIN, y), f"in each of {layers} blocks", bold=True, align="start")
    y += 20
    right, below = WIDTH - MARGIN - 4 * side, y + side + 14
    for box, name, color in (
        (Box(MARGIN, y, 3 * side, side), "q, k, v", BLUE),
        (Box(MARGIN, below, side, side), "out", BLUE),
        (Box(right, y, 4 * side, side), "widen", VERMILION),
        (Box(right, below, side, 4 * side), "narrow", VERMILION),
    ):
        d.box(*box, color=color, tint=0.35)
        d.text(box.center, name, size=SMALL)
    block = 12 * C * C
    at = below + side + 34
    for name, count, color in (
        ("attention, 4C²", block / 3, BLUE),
        ("feed-forward, 8C²", 2 * block / 3, VERMILION),
        (f"{layers} blocks", layers * block, INK),
        ("tables, once", tables, GREEN),
    ):
        d.text((MARGIN, at), name, size=SMALL, color=color, align="start")
        d.text((right - 20, at), f"{count / 1e6:.1f}M", size=SMALL, color=color, align="end")
        at += 30
    return d.picture(
        "Rectangles to one scale, a unit of area for each parameter. Two flat ones are the tables "
        f"of {config.vocab_size} tokens and {config.block_size} positions. Below, what each of "
        f"{layers} blocks has: a matrix for queries, keys and values, three squares wide; one "
        "square that leads out of attention; and two of four squares each, which widen and narrow. "
        f"The blocks hold {layers * block / (tables + layers * block):.0%} of these parameters."
    )


def three_uses() -> Picture:
    """Draw the three products in which a training step uses a matrix."""
    d, y, wide = Drawing(), 44.0, 134
    colors = {"x": INK, "y": INK, "W": BLUE, "slope of W": GREEN}
    for name, left, right, out, note in (
        ("forward", "x", "W", "y", "goes on up"),
        ("back, to the input", "slope of y", "W^{T}", "slope of x", "goes on down"),
        ("back, to the weights", "x^{T}", "slope of y", "slope of W", "makes the step"),
    ):
        d.text((MARGIN, y - 22), name, size=SMALL, bold=True, align="start")
        d.text((WIDTH - MARGIN, y - 22), note, size=SMALL, color=FAINT, align="end")
        boxes = [
            d.box(x, y, wide, 44, part, color=colors.get(part.removesuffix("^{T}"), VERMILION))
            for x, part in ((MARGIN, left), (MARGIN + 166, right), (350, out))
        ]
        d.text((MARGIN + wide + 16, boxes[0].center[1]), "×")
        d.arrow(boxes[1].right, boxes[2].left)
        d.text((WIDTH - MARGIN, boxes[2].center[1]), "2N", bold=True, align="end")
        y += 98
    d.line((WIDTH - 70, y - 42), (WIDTH - MARGIN, y - 42), color=FAINT)
    d.text((WIDTH - MARGIN, y - 22), "6N", bold=True, align="end")
    d.text((WIDTH - 84, y - 22), "FLOPs a token", size=SMALL, color=FAINT, align="end")
    return d.picture(
        "Three products, one below the other. Forward: the input x times the matrix W is the "
        "output y. Back to the input: the slope of y times W transposed is the slope of x. Back to "
        "the weights: x transposed times the slope of y is the slope of W. Each costs 2N "
        "operations a token, together 6N."
    )


def tiles(parameters: float, names: Mapping[str, int], kept: float) -> Picture:
    """Draw the memory of a training step in tiles that each hold a number for each parameter.

    Args:
        parameters: of the model. names: what belongs to them, and how many numbers a parameter.
        kept: numbers that one step leaves behind.
    """
    d, gap, many = Drawing(), 4, 14
    size = (WIDTH - 2 * MARGIN - gap * (many - 1)) / many
    own, left = sum(names.values()), round(kept / parameters)

    def rows(y: float, count: int, color: str) -> float:
        """Draw so many tiles, and return where the last row ends."""
        for n in range(count):
            x, down = MARGIN + n % many * (size + gap), n // many * (size + gap)
            d.box(x, y + down, size, size, color=color, tint=0.45)
        return y + -(-count // many) * (size + gap)

    told = ", ".join(names)
    d.text((MARGIN, 16), "one tile: a float for each parameter,", size=SMALL, align="start")
    d.text((WIDTH - MARGIN, 16), f"{4 * parameters / 1e6:.0f} MB", size=SMALL, align="end")
    y = rows(62, own, BLUE) + 32
    d.text((MARGIN, 46), told, size=SMALL, color=BLUE, align="start")
    d.text(
        (MARGIN, y - 16),
        "activations, left behind by one step",
        size=SMALL,
        color=GREEN,
        align="start",
    )
    rows(y, left, GREEN)
    return d.picture(
        f"Equal tiles, each of which holds one number for each parameter. {own} belong to the "
        f"parameters: {told}. Below them stand {left} more, in rows of {many}: what one step "
        "leaves behind for the way back."
    )


def one_budget(law: Callable[[float, float], float], flops: float, best: float) -> Picture:
    """Draw three ways to spend a budget as rectangles of one area, size by text.

    Args:
        law: (N, R) -> loss. flops: the budget. best: the size that gets the lowest loss for it.
    """
    d, base, side, x = Drawing(), 282.0, 88.0, 56.0
    told = []
    for share, color in ((2.5, INK), (1.0, GREEN), (0.4, INK)):
        N = best * share
        R = flops / (6 * N)
        tall, wide = side * share, side / share
        box = d.box(x, base - tall, wide, tall, color=color, tint=0.3)
        d.text((box.center[0], base + 18), f"R {_short(R)}", size=SMALL)
        d.text((box.center[0], box.y - 14), f"N {_short(N)}", size=SMALL)
        d.text((box.center[0], base + 48), f"{law(N, R):.2f} nats", size=SMALL, bold=True)
        told.append(f"{_short(N)} parameters that read {_short(R)} tokens, {law(N, R):.2f} nats")
        x += wide + 62
    d.line((MARGIN, base), (WIDTH - MARGIN, base), color=FAINT)
    d.text((WIDTH - MARGIN, 18), "high: parameters, N", size=SMALL, color=FAINT, align="end")
    d.text((WIDTH - MARGIN, 44), "wide: tokens read, R", size=SMALL, color=FAINT, align="end")
    d.text((WIDTH - MARGIN, 70), "area: N · R = F / 6", size=SMALL, color=FAINT, align="end")
    return d.picture(
        "Three rectangles of one area, as high as the model has parameters and as wide as it reads "
        f"tokens: one high and narrow, one square, one low and wide. {'; '.join(told)}. The square "
        "one is the best by the law."
    )


def _short(value: float) -> str:
    """Write a large number with its unit: 71k, 3.6M, 1.2B."""
    for unit, name in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= unit:
            digits = max(0, 1 - int(math.log10(value / unit)))
            return f"{value / unit:.{digits}f}{name}"
    return f"{value:.0f}"
