"""Smaller and quicker: what fewer bits do to a row of weights, and what they cost a whole model.

One job: the two figures of that section of chapter 7, and the rows of its table, which the record
`story-bits` holds (`bench/quantize.py`).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from gptlib.course.plotting import BLUE, FAINT, INK, VERMILION, Plot, figure, label_ends, panels
from gptlib.course.records import Record
from gptlib.errors import DataError
from gptlib.quantization import BLOCK, dequantize_int8, quantize_int8, quantize_q4_0
from gptlib.quantization.blocks import dequantize_q4_0


def levels(row: Tensor) -> Plot:
    """Draw a row of weights over the 16 levels of each of its blocks, and what rounding does to it.

    Args:
        row: (n,) weights, n a multiple of 32.
    """
    weight = row.detach()[None]
    four = dequantize_q4_0(quantize_q4_0(weight))[0]
    eight = dequantize_int8(*quantize_int8(weight))[0]
    places, values = list(range(len(row))), weight[0].tolist()
    fig, (above, below) = panels(5.2, rows=2, sharex=True)
    for begin in range(0, len(row), BLOCK):
        block = weight[0, begin : begin + BLOCK]
        largest = float(block[block.abs().argmax()])
        steps = [largest / -8 * code for code in range(-8, 8)]
        above.hlines(steps, begin - 0.4, begin + BLOCK - 0.6, color=FAINT, linewidth=0.7)
    above.plot(places, values, "o", color=INK, markersize=3)
    above.set_ylabel("weight")
    errors = {"4 bits, by block": (four, VERMILION), "8 bits, by row": (eight, BLUE)}
    told = []
    for name, (rounded, color) in errors.items():
        off = (rounded - weight[0]).tolist()
        below.plot(places, off, "o", color=color, markersize=3, label=name)
        told.append(f"{name}, off by up to {max(map(abs, off)):.1g}")
    below.set_ylabel("off by")
    below.set_xlabel("place in the row")
    below.legend(loc="upper left", bbox_to_anchor=(0, 1.25), ncols=2, borderpad=0, handletextpad=0)
    return Plot(
        fig,
        f"Above, {len(row)} weights of one row as dots over horizontal lines, 16 for each block of "
        f"{BLOCK}, which are spaced differently from block to block. Below, by how much rounding "
        f"moves each weight: {'; '.join(told)}.",
    )


def errors(weight: Tensor) -> Plot:
    """Draw how far rounded weights are off against the bits of a code, for rows and for blocks.

    Args:
        weight: (out, in), `in` a multiple of 32.
    """
    fig, ax = figure(height=3.0)
    told = []
    for name, group in (("a scale for each row", weight.size(1)), ("for each block", BLOCK)):
        curve = [(bits, _error(weight.detach(), group, bits)) for bits in range(2, 9)]
        ax.plot(*zip(*curve, strict=True), "o-", label=name.removeprefix("a scale "))
        told.append(f"{name}, {curve[2][1]:.0%} at 4 bits and {curve[-1][1]:.1%} at 8")
    ax.set_yscale("log", base=2)
    ax.set_yticks([2.0**-k for k in range(1, 9, 2)], [f"1/{2**k}" for k in range(1, 9, 2)])
    ax.minorticks_off()
    ax.set_xlabel("bits of a code")
    ax.set_ylabel("error (share of a weight)")
    label_ends(ax)
    return Plot(
        fig,
        "Error against bits, on a scale of powers of two: both lines fall by about half with each "
        f"bit. With {'; '.join(told)}.",
    )


def _error(weight: Tensor, group: int, bits: int) -> float:
    """Root of the mean square error, as a share of the root of the mean square weight."""
    parts = weight.unflatten(1, (-1, group))
    scale = (parts.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)).clamp(min=1e-30)
    off = (parts / scale).round() * scale - parts
    return float(off.square().mean().sqrt() / parts.square().mean().sqrt())


def rows(record: Record, model: str = "stories") -> list[dict[str, Any]]:
    """The table of one model, a row for each form; None where something was not measured.

    Raises:
        DataError: the record does not have the model.
    """
    found = [row for row in record.result["rows"] if row["model"] == model]
    if not found:
        known = sorted({row["model"] for row in record.result["rows"]})
        raise DataError(f"the record has {', '.join(known)}, and not {model!r}; ask for one")
    heads = {
        "form": "form", "MB": "megabytes", "loss, nats": "loss", "parse": "parse",
        "simulator": "simulator", "tokens/s": "tokens_per_s", "times as fast": "faster_by",
    }  # fmt: skip
    return [{head: row[key] for head, key in heads.items()} for row in found]
