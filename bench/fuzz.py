"""Spoiled input by the thousand: does anything but gptlib's own errors come out?

    python bench/fuzz.py [--cases 10000] [--door checkpoint]

The properties are those of `tests/faults/doors.py`, which the tests try 150 times each. A case that
breaks one ends the program, with hypothesis's shortest way to it. Writes `bench/results/fuzz.json`.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from timing import report

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "faults"))

import doors  # noqa: E402


def cases(door: str, n: int, number: int, world: doors.World) -> dict:
    """Try one door n times; returns a row of the table."""
    answers: collections.Counter = collections.Counter()

    @seed(number)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def one(data) -> None:
        answers[doors.DOORS[door](data, world)] += 1

    began = time.perf_counter()
    one()
    return {
        "door": door,
        "cases": answers.total(),
        "refused": answers[doors.REFUSED],
        "accepted": answers[doors.ACCEPTED],
        "foreign_errors": 0,  # the first one would have ended the program
        "seconds": time.perf_counter() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--door", choices=doors.DOORS, help="one of them instead of all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("bench/results"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        world = doors.World(Path(folder))
        names = [args.door] if args.door else list(doors.DOORS)
        rows = {door: cases(door, args.cases, args.seed, world) for door in names}
    before = args.out / "fuzz.json"
    if before.is_file():  # the doors that were left out this time stay as they were
        rows = {row["door"]: row for row in json.loads(before.read_text())["rows"]} | rows
    report("fuzz", list(rows.values()), args.out)


if __name__ == "__main__":
    main()
