"""`gptlib plot`: the losses and the learning rate of runs, as a picture."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

from gptlib.checkpoint import pointed
from gptlib.cli.arguments import name_or_path, path
from gptlib.cli.run_notes import floor_of, read_config
from gptlib.errors import ConfigError, DataError
from gptlib.files import way_out
from gptlib.paths import user_path
from gptlib.run_log import LOG
from gptlib.runs import read_jsonl

HELP = """\
Draw the losses of one or several runs, finished or not: of validation as lines
with dots, of training faint behind them, the floor of a text that has one, and
the learning rate below. Losses are in nats per token.

  gptlib plot runs/mine --out loss.svg
  gptlib plot runs/a runs/b --x tokens --out loss.png"""

KINDS = (".svg", ".png", ".pdf")
AXES = {"step": "step", "steps": "step", "tokens": "tokens"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument(
        "runs", type=name_or_path, nargs="+", metavar="RUN",
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
    folders = [user_path(folder) for folder in args.runs]
    labels = _labels(folders)
    runs = [_read(*pair, args.x) for pair in zip(folders, labels, strict=True)]
    fig = draw(runs, args.x)
    kind = args.out.suffix.lower()[1:]
    try:
        fig.savefig(args.out, format=kind, dpi=200, bbox_inches="tight", metadata=_QUIET[kind])
    except OSError as error:
        raise ConfigError(
            f"{args.out} cannot be written ({error.strerror}); {way_out(error)}"
        ) from error
    for drawn in runs:
        print(_said(drawn, args.x))
    return 0


#: No date and no version, so that the same runs give the same bytes.
_QUIET = {"svg": {"Date": None, "Creator": None}, "png": {"Software": None},
          "pdf": {"CreationDate": None, "Creator": None, "Producer": None}}  # fmt: skip


def _labels(folders: list[Path]) -> list[str]:
    """The folders' names, with as much of the path before them as tells them apart."""
    parts = [folder.absolute().resolve().parts for folder in folders]
    for n in range(1, max(map(len, parts)) + 1):
        labels = ["/".join(part[-n:]) for part in parts]
        if len(set(labels)) == len(set(parts)):
            break
    return labels


def _read(folder: Path, label: str, x: str) -> Curves:
    """The curves of a run folder.

    Raises:
        DataError: it has no log, nothing in its log, or lines that are not a run's.
    """
    if not (folder / LOG).is_file():
        why = f"no {LOG} in it" if folder.is_dir() else "no such folder"
        raise DataError(f"{folder} is no run folder ({why}); give one that `gptlib train` wrote")
    log = read_jsonl(folder / LOG)
    if not log:
        raise DataError(f"the log of {folder} is empty; train the run for a step or more")
    for number, line in enumerate(log, 1):
        known = isinstance(line, dict) and isinstance(line.get("step"), int)
        if not known or not all(
            isinstance(line.get(key, 0), int | float) for key in ("loss", "val", "lr", "tokens")
        ):
            raise DataError(
                f"line {number} of {folder / LOG} is no line of a run; expected a step and "
                "numbers: restore the file from a copy"
            )
    each = 1.0 if x == "steps" else _tokens_a_step(folder, log)

    def pairs(key: str) -> list[tuple[float, float]]:
        return [(line["step"] * each, line[key]) for line in log if key in line]

    return Curves(label, pairs("loss"), pairs("val"), pairs("lr"), floor_of(folder))


def _tokens_a_step(folder: Path, log: list[dict]) -> float:
    line = next((line for line in reversed(log) if line.get("tokens") and line["step"]), None)
    if line is None:
        raise DataError(
            f"the log of {folder} does not say how many tokens it read; compare it by --x steps"
        )
    return line["tokens"] / line["step"]


def draw(runs: list[Curves], x: str):
    """The figure: losses above, learning rates in a small panel below."""
    import matplotlib
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    from gptlib.course.plotting import COLORS, FAINT, INK, figure, floor_line, label_ends

    matplotlib.rcParams["svg.hashsalt"] = "gptlib"
    fig, (top, below) = figure(
        6.4, 4.6, rows=2, sharex=True, gridspec_kw={"height_ratios": [3, 1]}
    )
    colors = (*COLORS, INK)
    for number, drawn in enumerate(runs):
        look = {"color": colors[number % 4], "linestyle": ("-", "--", "-.")[number // 4 % 3]}
        top.plot(*_columns(drawn.train), color=look["color"], alpha=0.25, linewidth=0.8, zorder=1)
        mark = "o" if len(drawn.val) < 40 else ""
        top.plot(*_columns(drawn.val), label=drawn.label, marker=mark, markersize=3, **look)
        below.plot(*_columns(drawn.lr), linewidth=1.2, **look)
    floors = sorted({drawn.floor for drawn in runs if drawn.floor is not None})
    for floor in floors:
        floor_line(top, floor, "floor" if floor == floors[0] else None)
    values = [y for drawn in runs for _, y in drawn.val + drawn.train if math.isfinite(y)]
    low, high = min([*values, *floors]), max(values)
    top.set_ylim(low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1))
    top.set_ylabel("loss, nats per token")
    below.set_ylabel("learning rate", fontsize=10)
    below.set_ylim(bottom=0)
    below.set_xlabel("updates" if x == "steps" else "tokens read")
    below.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    below.xaxis.set_major_formatter(FuncFormatter(_short if x == "tokens" else _whole))
    below.yaxis.set_major_locator(MaxNLocator(2))
    below.tick_params(colors=FAINT, labelsize=9)
    if len(runs) > 1 or floors:
        label_ends(top)
    else:
        top.set_title(runs[0].label)
    return fig
