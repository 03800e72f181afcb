"""`gptlib plot`: the losses and the learning rate of runs, as a picture."""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gptlib.cli.arguments import path
from gptlib.cli.run_notes import floor_of
from gptlib.errors import ConfigError, DataError
from gptlib.files import way_out
from gptlib.run_log import LOG
from gptlib.runs import read_jsonl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HELP = """\
Draw the losses of one or several runs, finished or not: of validation as lines
with dots, of training faint behind them, the floor of a text that has one, and
the learning rate below. Losses are in nats per token.

  gptlib plot runs/mine --out loss.svg
  gptlib plot runs/a runs/b --x tokens --out loss.png"""

KINDS = (".svg", ".png", ".pdf")
#: No date and no version, so that the same runs give the same bytes.
NO_DATE = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument(
        "runs", type=path, nargs="+", metavar="RUN",
        help="run folders; their names label the lines",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=path, required=True, metavar="FILE",
        help="where the picture goes; its ending says which kind: .svg, .png or .pdf",
    )  # fmt: skip
    parser.add_argument(
        "--x", choices=["steps", "tokens"], default="steps",
        help="what the runs are compared by: updates, or tokens read (default steps)",
    )  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """What is drawn of one run: pairs (x, y) of training, validation and the learning rate."""

    label: str
    train: list[tuple[float, float]]
    val: list[tuple[float, float]]
    lr: list[tuple[float, float]]
    floor: float | None


def run(args: argparse.Namespace) -> int:
    if args.out.suffix.lower() not in KINDS:
        raise ConfigError(
            f"--out is {args.out}, which ends in {args.out.suffix or 'nothing'}; a picture is "
            f"written as {', '.join(KINDS[:-1])} or {KINDS[-1]}"
        )
    labels = _labels(args.runs)
    runs = [_read(*pair, args.x) for pair in zip(args.runs, labels, strict=True)]
    import matplotlib

    with matplotlib.rc_context({"svg.hashsalt": "gptlib", "text.parse_math": False}):
        _save(draw(runs, args.x), args.out)  # a $ in a folder's name is no formula
    for drawn in runs:
        if drawn.val:
            _, best = min((y, x) for x, y in drawn.val)
            print(
                f"{drawn.label}: best validation {min(y for _, y in drawn.val):.4f} at "
                f"{best:,.0f} {args.x}, last {drawn.val[-1][1]:.4f} at {drawn.val[-1][0]:,.0f}"
            )
    return 0


def _save(fig: Figure, out: Path) -> None:
    kind = out.suffix.lower()[1:]
    try:
        fig.savefig(out, format=kind, dpi=200, bbox_inches="tight", metadata=NO_DATE[kind])
    except OSError as error:
        raise ConfigError(
            f"{out} cannot be written ({error.strerror}); {way_out(error)}"
        ) from error


def _labels(folders: list[Path]) -> list[str]:
    """The folders' names, with as much of the path before them as tells them apart."""
    parts = [folder.absolute().resolve().parts for folder in folders]
    for n in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-n:]) for part in parts]
        if len(set(labels)) == len(set(parts)):
            break
    return [f"./{label}" if label.startswith("_") else label for label in labels]  # _ is no label


def _read(folder: Path, label: str, x: str) -> Curves:
    """The curves of a run folder.

    Raises:
        DataError: it has no log, nothing in its log, or lines that are not a run's.
    """
    if not os.path.isfile(folder / LOG):  # unlike Path.is_file, no error where a name is too long
        why = f"no {LOG} in it" if os.path.isdir(folder) else "no such folder"
        raise DataError(
            f"{str(folder)[:200]} is no run folder ({why}); give one that `gptlib train` wrote"
        )
    log = read_jsonl(folder / LOG)
    if not log:
        raise DataError(f"the log of {folder} is empty; train the run for a step or more")
    for number, line in enumerate(log, 1):
        if not isinstance(line, dict) or "step" not in line or not all(
            _is_number(line[key]) for key in ("step", "loss", "val", "lr", "tokens") if key in line
        ):  # fmt: skip
            raise DataError(
                f"line {number} of {folder / LOG} is no line of a run; expected a step and "
                "numbers: restore the file from a copy"
            )
    each = 1.0 if x == "steps" else _tokens_a_step(folder, log)

    def pairs(key: str) -> list[tuple[float, float]]:
        return [(line["step"] * each, line[key]) for line in log if key in line]

    drawn = Curves(label, pairs("loss"), pairs("val"), pairs("lr"), floor_of(folder))
    if not any(math.isfinite(y) for _, y in drawn.train + drawn.val):
        raise DataError(f"the log of {folder} has no losses; train the run for a step or more")
    return drawn


def _is_number(value: object) -> bool:
    whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62
    return whole or isinstance(value, float)


def _tokens_a_step(folder: Path, log: list[dict]) -> float:
    line = next((line for line in reversed(log) if line.get("tokens") and line["step"]), None)
    if line is None:
        raise DataError(
            f"the log of {folder} does not say how many tokens it read; compare it by --x steps"
        )
    return line["tokens"] / line["step"]


def draw(runs: list[Curves], x: str) -> Figure:
    """The figure: losses above, learning rates in a small panel below."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    from gptlib.course.plotting import COLORS, INK, SMALL, floor_line, label_ends, panels

    fig, (top, below) = panels(4.4, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    colors = (*COLORS, INK)
    for number, drawn in enumerate(runs):
        look = {"color": colors[number % 4], "linestyle": ("-", "--", "-.")[number // 4 % 3]}
        faint = {"alpha": 0.25, "linewidth": 0.8, "zorder": 1}
        top.plot(*_columns(drawn.train), color=look["color"], **faint)
        mark = "o" if len(drawn.val) < 40 else ""
        top.plot(
            *_columns(drawn.val or drawn.train[-1:]), label=drawn.label, marker=mark, markersize=3,
            **look,
        )  # fmt: skip
        below.plot(*_columns(drawn.lr), linewidth=1.2, **look)
    floors = sorted({drawn.floor for drawn in runs if drawn.floor is not None})
    for floor in floors:
        floor_line(top, floor, "floor" if floor == floors[0] else None)
    values = [y for drawn in runs for _, y in drawn.val + drawn.train if math.isfinite(y)]
    low, high = min([*values, *floors]), max(values)
    room = 0.05 * (high - low or 1)
    top.set_ylim(low - room, high + room)
    top.set_ylabel("loss (nats per token)")
    below.set_ylim(bottom=0)
    below.set_ylabel("rate", fontsize=SMALL)
    below.set_xlabel("updates" if x == "steps" else "tokens read")
    below.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    below.xaxis.set_major_formatter(FuncFormatter(_short))
    below.yaxis.set_major_locator(MaxNLocator(2))
    below.yaxis.set_major_formatter(FuncFormatter(_short))
    label_ends(top)
    return fig


def _columns(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def _short(number: float, _: object = None) -> str:
    """12500000 as 12.5M."""
    for size, name in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(number) >= size:
            return f"{number / (1e3 if name == 'k' else size):g}{name}"
    return f"{number:g}"
