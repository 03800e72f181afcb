"""Make a recorded run anew: `python -m gptlib.course.recipes NAME [--out FOLDER]`.

One job: that command. What makes which record stands in `gptlib.course.recorded`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gptlib.course.command import answer
from gptlib.course.recorded import RECIPES, load_record, run_recipe
from gptlib.course.records import save_record

__all__ = ["RECIPES", "load_record", "main", "run_recipe"]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a recorded run anew.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("data/runs"))
    args = parser.parse_args(arguments)
    record = run_recipe(args.name)
    save_record(record, args.out / args.name)
    print(record)


if __name__ == "__main__":
    answer(main)
