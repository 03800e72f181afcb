"""The drawings of chapter 3.

One job: draw where torch puts numbers, and how the parts of a GPT fit together.
"""

from typing import Any

import torch
from torch import Tensor

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing
from gptlib.course.picture import BLUE, FAINT, GREEN, VERMILION, Picture
from gptlib.model_config import GPTConfig

HEADS = (BLUE, VERMILION)  # the color of each of the two heads that `heads_in_memory` draws
H, D = len(HEADS), 2


def heads_in_memory(word: str = "fox") -> Picture:
    """Draw in which order two heads of two channels count the numbers of a word's letters.

    Args:
        word: T letters, a token each; 3 fill the page.
    """
    stored = torch.arange(len(word) * H * D)  # the numbers' places in memory
    by_view = stored.view(H, len(word), D)
    turned = stored.view(len(word), H, D).transpose(0, 1)  # (H, T, D)
    d = Drawing()
    end = _counted(
        d, 20, word, by_view, "view(B, H, T, D)", f"as they lie, {by_view[0].numel()} a head"
    )
    _counted(d, end + 40, word, turned, "view(B, T, H, D).transpose(1, 2)", "cut, then turned")
    letters = ", ".join(word)
    return d.picture(
        f"Two diagrams. Each has a strip of {len(stored)} numbers as they lie in memory, the "
        f"channels of {letters} one letter after the other, and lines from pairs of them to a "
        "second strip, in the order in which the heads count. With view alone the lines run "
        "straight down: head 1 gets channels of both heads, and in head 2 the places of "
        "early letters hold later ones, which are framed. With transpose the lines cross: each "
        "head gets its own channels of every letter, in order, and nothing is framed."
    )


def _counted(d: Drawing, y: float, word: str, order: Tensor, title: str, note: str) -> float:
    """Draw memory and, below it, the order (H, T, D) in which heads count; return where it ends."""
    T = len(word)

    def name(place: int) -> str:
        return f"{word[place // (H * D)]}_{{{place % (H * D) + 1}}}"

    def owner(place: int, group: int = 0, column: int = 0) -> tuple[str, float]:
        return HEADS[place // D % H], 0.8

    def strip(y: float, pairs: list[list[int]], together: int) -> list:
        """Draw pairs in groups of so many, as wide as the page."""
        narrow, groups = 12, len(pairs) // together
        cells = WIDTH - 2 * MARGIN - len(pairs) * D * cell[0]
        wide = (cells - (len(pairs) - groups) * narrow) / (groups - 1)
        gaps = [narrow if n % together else wide for n in range(1, len(pairs))]
        drawn = d.strip(MARGIN, y, pairs, gaps=gaps, cell=cell, write=name, paint=owner)
        return [grid.box for grid in drawn]

    cell = (38, 30)
    d.text((MARGIN, y), title, bold=True, align="start")
    d.text((WIDTH - MARGIN, y), note, size=SMALL, color=FAINT, align="end")
    pairs = torch.arange(T * H * D).view(-1, D).tolist()
    counted = order.reshape(-1, D).tolist()
    memory = strip(y + 58, pairs, H)
    heads = strip(y + 156, counted, T)
    for letter, first, last in zip(word, memory[::H], memory[H - 1 :: H], strict=True):
        d.bracket(first.at(0, -0.1), last.at(1, -0.1), letter, color=FAINT, up=True)
    for n, (pair, box) in enumerate(zip(counted, heads, strict=True)):
        place, start = n % T, memory[pairs.index(pair)].bottom
        d.text((box.center[0], box.bottom[1] + 18), f"place {place + 1}", size=SMALL, color=FAINT)
        if pair[0] // (H * D) > place:  # a letter that has yet to come
            box = d.frame(box, grow=3.5)
        d.curve(start, box.top, color=owner(pair[0])[0], head=True)
    low = heads[0].bottom[1] + 32
    for h, color in enumerate(HEADS):
        start, end = heads[h * T].x, heads[h * T + T - 1].right[0]
        d.bracket((start, low), (end, low), f"head {h + 1}", color=color)
    return low + 34


def gpt(config: GPTConfig) -> Picture:
    """Draw a GPT-2 from ids to logits, with the shape of what goes from part to part."""
    d, stream, left = Drawing(), 160, 240

    def on_stream(y: float, height: float, words: str, **style: Any) -> Box:
        return d.box(stream - 70, y, 140, height, words, **style)

    def shape(y: float) -> None:
        d.text((stream - 14, y), "(B, T, C)", size=SMALL, color=FAINT, align="end")

    ids = on_stream(10, 34, "ids", shape="(B, T)")
    table = on_stream(68, 54, "token table\n(V, C)", color=GREEN)
    position = d.box(left, 124, 250, 54, "position table\n(block_size, C)")
    block = d.frame(
        Box(36, 200, WIDTH - 36 - MARGIN, 350), color=FAINT, grow=0, width=1.5, dashed=True
    )
    norm = on_stream(578, 34, "layer norm")
    head = on_stream(642, 54, "tied head\n(C, V)", color=GREEN)
    logits = on_stream(726, 34, "logits", shape="(B, T, V)")

    # The residual stream, and what is added to it.
    d.arrow(ids.bottom, table.top)
    d.line(table.bottom, norm.top, width=4)
    added = [position]
    for y, height, words, color in (
        (220, 80, "attention\nq, k, v  (B, H, T, D)\nweights  (B, H, T, T)", BLUE),
        (388, 58, "feed-forward\nwidened to (B, T, 4C)", VERMILION),
    ):
        reads = d.box(left, y, 250, 34, "layer norm")
        layer = d.box(left, y + 54, 250, height, words, color=color)
        d.arrow((stream, reads.left[1]), reads.left)
        d.arrow(reads.bottom, layer.top)
        added.append(layer)
    for part in added:
        plus = d.operator((stream, part.left[1]))
        d.arrow(part.left, plus.right)
        shape(plus.bottom[1] + 18)
    for line, words in enumerate(("residual", "stream")):
        d.text((stream - 14, 232 + 22 * line), words, size=SMALL, align="end")
    d.text(
        (block.x + block.width - 12, block.bottom[1] - 18),
        f"a block, {config.n_layer} times", size=SMALL, align="end",
    )  # fmt: skip

    # Out of the stream, by the table that led into it.
    d.arrow(norm.bottom, head.top)
    d.arrow(head.bottom, logits.top)
    d.arrow(
        table.left, (18, table.left[1]), (18, head.left[1]), head.left, color=GREEN, dashed=True
    )
    for line, words in enumerate(
        (
            "B texts of T tokens",
            f"T ≤ block_size = {config.block_size}",
            f"C = {config.n_embd} channels",
            f"H = {config.n_head} heads of D = {config.head_size}",
            f"V = {config.vocab_size:,} symbols",
        )
    ):
        d.text((left + 90, 588 + 26 * line), words, size=SMALL, color=FAINT, align="start")
    return d.picture(
        "A diagram of a GPT. A thick vertical line, the residual stream of shape (B, T, C), starts "
        "at the token table, which turns ids (B, T) into vectors; the position table is added to "
        f"it. Inside a frame, a block that comes {config.n_layer} times, two branches leave the "
        "line and are added back to it: layer norm and attention, then layer norm and "
        "feed-forward, which widens to (B, T, 4C). A last layer norm and the head lead to logits "
        "(B, T, V). A dashed line ties the head to the token table."
    )


def two_stacks(slope: float, blocks: int = 3) -> Picture:
    """Draw how a gradient comes down through blocks that replace their input, or add to it.

    Args:
        slope: of one block, the factor that it passes on. blocks: 3 or 4 fill the page.
    """
    d, block, step, top = Drawing(), (104, 40), 104, 92
    columns = ((150, False, "without +"), (396, True, "with +"))
    for x, adds, name in columns:
        d.text((x, 18), name, bold=True)
        loss = d.box(x - 52, 38, 104, 32, "loss", tint=0.05)
        last, left = loss.bottom, 1.0
        for n in range(blocks):
            y = top + n * step
            factor = 1 + slope if adds else slope
            if adds:
                plus = d.operator((x, y + 16))
                d.line(last, plus.top, color=VERMILION, width=_breadth(left))
                f = d.box(x + 40, y + 26, 90, block[1], f"× {slope:g}", color=BLUE)
                d.arrow(plus.right, (f.center[0], plus.right[1]), f.top, color=VERMILION, width=1)
                end = (x, y + step - 24)
                d.line(plus.bottom, end, color=VERMILION, width=_breadth(left))
                d.line(f.bottom, (f.center[0], end[1]), end, color=VERMILION, width=1)
                d.dot(end, color=VERMILION)
                last = end
            else:
                f = d.box(x - 52, y + 20, *block, f"× {slope:g}", color=BLUE)
                d.arrow(last, f.top, color=VERMILION, width=_breadth(left))
                last = f.bottom
            left *= factor
            told = f"{left:.2f}" if adds else _short(left)
            d.text((x - 66, y + step - 12), told, size=SMALL, color=VERMILION, align="end")
        low = top + blocks * step + 16
        table = d.box(x - 80, low, 160, 34, "token table", color=GREEN)
        d.arrow(last, table.top, color=VERMILION, width=_breadth(left))
    alone, added = slope**blocks, (1 + slope) ** blocks
    return d.picture(
        f"Two stacks of {blocks} blocks, through which a gradient comes down from the loss to the "
        f"token table. On the left each block multiplies it by {slope:g}, and the line that leads "
        f"down gets thin: {_short(alone)} arrives. On the right a line goes around each block and "
        f"what the block adds joins it below: the line stays broad, and {added:.2f} arrives."
    )


def _breadth(gradient: float) -> float:
    return 0.8 + 5 * min(gradient, 1.3)


def _short(value: float) -> str:
    """Write a small number with all its zeros, which are the point."""
    return f"{value:.6f}".rstrip("0")
