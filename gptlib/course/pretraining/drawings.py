"""The drawings of chapter 6: one step of training, the memory of a card, eight cards.

One job: draw what a step moves, and where it lies meanwhile.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from gptlib.course.drawing import MARGIN, SMALL, WIDTH, Box, Drawing
from gptlib.course.picture import BLUE, FAINT, GREEN, INK, VERMILION, Picture

GPUS = 8

#: The parts of a card's memory, in the order of the bar: (name, color, depth of its tint).
PARTS = {
    "weights": (INK, 0.6),
    "gradients": (INK, 0.25),
    "moments": (BLUE, 0.5),
    "activations": (GREEN, 0.45),
    "logits": (VERMILION, 0.5),
    "overhead": (FAINT, 0.3),
}

#: Which of `gptlib.footprint`'s terms belongs to which part; what is not named here is overhead.
TERMS = {
    "weights, float32": "weights", "copies in half precision": "weights", "gradients": "gradients",
    "optimizer": "moments", "activations": "activations", "logits and loss": "logits",
}  # fmt: skip


def one_step(
    raw: bytes, ids: Sequence[int], stages: Sequence[tuple[str, str, str, str]], names: tuple
) -> Picture:
    """Draw one step of training, from bytes on disk to a moved weight, for two models.

    Args:
        raw: the first bytes of a shard, two for each id. ids: what they spell.
        stages: (stage, note, what it is at the first model, at the second), from the batch down.
        names: what the two models are called.
    """
    d = Drawing()
    cell, n = 58, len(ids)
    left = (WIDTH - n * cell) / 2
    d.text((MARGIN, 18), "a shard on disk, two bytes for each id", size=SMALL, align="start")
    pairs = [[f"{raw[2 * k]:02x} {raw[2 * k + 1]:02x}"] for k in range(n)]
    on_disk = d.strip(left, 34, pairs, cell=(cell, 30), write=str)
    listed = d.strip(left, 94, [[str(k)] for k in ids], cell=(cell, 30), write=str)
    for above, below in zip(on_disk, listed, strict=True):
        d.arrow(above.box.bottom, below.box.top, width=1.2)
    middle, width, y = WIDTH / 2, 200, 166
    last = Box(left, 94, n * cell, 30).bottom
    for column, name in zip((MARGIN, WIDTH - MARGIN), names, strict=True):
        side = "start" if column == MARGIN else "end"
        d.text((column, 148), name, size=SMALL, bold=True, align=side)
    for stage, note, small, large in stages:
        color = {"loss": VERMILION, "gradient": VERMILION, "moved weight": GREEN}.get(stage, INK)
        box = d.box(middle - width / 2, y, width, 56, f"{stage}\n{note}", color=color)
        d.arrow(last, box.top)
        d.text((MARGIN, box.center[1]), small, size=SMALL, align="start")
        d.text((WIDTH - MARGIN, box.center[1]), large, size=SMALL, align="end")
        last, y = box.bottom, y + 84
    told = "; ".join(f"{stage}, {small} and {large}" for stage, _, small, large in stages)
    return d.picture(
        "A diagram from top to bottom. A strip of bytes on disk becomes a strip of ids, two bytes "
        f"for each. An arrow leads down through {len(stages)} boxes, with a number at the left for "
        f"{names[0]} and at the right for {names[1]}: {told}."
    )


def gpu_memory(cards: Mapping[str, tuple[float, Mapping[str, float], str]]) -> Picture:
    """Draw the memory of each card as a bar as wide as the page, filled by what a step needs.

    Args:
        cards: by name: its bytes, the bytes of each term of `gptlib.footprint.Memory`, and a note
            such as its batch.
    """
    d = Drawing()
    for n, (name, (color, depth)) in enumerate(PARTS.items()):
        x, y = MARGIN + n % 3 * 180, 12 + n // 3 * 28
        d.box(x, y, 18, 18, color=color, tint=depth)
        d.text((x + 28, y + 9), name, size=SMALL, align="start")
    y, wide, told = 94, WIDTH - 2 * MARGIN, []
    for card, (room, terms, note) in cards.items():
        parts = dict.fromkeys(PARTS, 0.0)
        for term, size in terms.items():
            parts[TERMS.get(term, "overhead")] += size
        d.text((MARGIN, y), f"{card}, {room / 1e9:g} GB", size=SMALL, bold=True, align="start")
        d.text((WIDTH - MARGIN, y), note, size=SMALL, color=FAINT, align="end")
        at = float(MARGIN)
        for name, (color, depth) in PARTS.items():
            width = wide * parts[name] / room
            if width >= 1:
                d.box(at, y + 14, width, 34, color=color, tint=depth)
            at += width
        d.frame(Box(MARGIN, y + 14, wide, 34), grow=0, width=1.5)
        used = sum(parts.values())
        told.append(f"{card} of {room / 1e9:g} GB, {used / 1e9:.0f} GB used, {note}")
        y += 84
    return d.picture(
        "Bars, one for each card and all equally wide, filled from the left by weights, "
        f"gradients, moments, activations, logits and overhead: {'; '.join(told)}."
    )


def eight_gpus(windows: int = 512) -> Picture:
    """Draw the data flow of one step on eight cards that each hold the whole model.

    Args:
        windows: in the global batch.
    """
    d = Drawing()
    wide, cell = WIDTH - 2 * MARGIN, (WIDTH - 2 * MARGIN) / GPUS
    d.text((MARGIN, 18), f"one batch, {windows} windows", size=SMALL, align="start")
    share = [[str(windows // GPUS)] for _ in range(GPUS)]
    batch = d.strip(MARGIN, 32, share, cell=(cell, 30), write=str)
    gradients = []
    for n, part in enumerate(batch):
        model = d.box(part.box.x + 6, 100, cell - 12, 64, f"{n}", color=BLUE)
        gradient = d.box(part.box.x + 6, 222, cell - 12, 44, f"g_{{{n}}}", color=VERMILION)
        d.arrow(part.box.bottom, model.top)
        d.arrow(model.bottom, gradient.top)
        gradients.append(gradient)
    d.text((WIDTH - MARGIN, 18), "a card holds the whole model", size=SMALL, align="end")
    low = gradients[0].bottom[1] + 30
    for one, other in pairwise(gradients):
        d.arrow(one.right, other.left, color=VERMILION)
    end, start = gradients[-1].at(0.5, 1), gradients[0].at(0.5, 1)
    d.arrow(end, (end[0], low), (start[0], low), start, color=VERMILION)
    d.text((WIDTH / 2, low + 18), "the only message: twice around the ring", size=SMALL)
    same = d.box(MARGIN, low + 62, wide, 54, "the same mean gradient, the same update", color=GREEN)
    for gradient, across in ((gradients[0], 0.2), (gradients[-1], 0.8)):
        start = gradient.at(across, 1)
        d.arrow(start, (start[0], same.y), width=1.2)
    d.text((WIDTH / 2, same.bottom[1] + 20), "eight times, and nobody compares", size=SMALL)
    return d.picture(
        f"A diagram of one step on eight cards. A batch of {windows} windows is cut into eight "
        "parts, one for each card, which holds the whole model and makes a gradient of its part. "
        "The gradients are joined in a ring by arrows, the last leading back to the first: that is "
        "the only message. Below, one wide box: all cards have the same mean gradient and make the "
        "same update."
    )
