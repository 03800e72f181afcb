"""The fault table, R1 to R6, at full length; the test run does the same in small.

    python bench/faults.py [--kills 200] [--damages 1000]

Writes `data/runs/faults/record.json`. One thread; some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "tests" / "faults"), str(ROOT / "tests")]

import campaign  # noqa: E402
import test_damage  # noqa: E402

from gptlib.course.records import make_record, save_record  # noqa: E402


def killed(kills: int) -> dict:
    script = ROOT / "tests" / "faults" / "campaign.py"
    done = subprocess.run(
        [sys.executable, str(script), str(kills), "1"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def damaged(n: int) -> dict:
    """Damage one file of the newest of three checkpoints n times."""
    rng = random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        run_dir = Path(folder) / "run"
        for step in (2, 4, 6):
            weights = {"a": torch.randn(64, 64), "b": torch.randn(64)}
            test_damage.checkpoint.save(run_dir, step, weights, {"step": step}, {"note": "x"})
        found = sum(test_damage.noticed(run_dir, rng) for _ in range(n))
    return {"damages": n, "noticed_named_and_passed_over": found}


def tests_pass(pattern: str) -> dict:
    """Run the tests of one row; their number is the row's count."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", pattern, "tests"],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return {"tests": done.stdout.strip().splitlines()[-1].split(" in ")[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--out", type=Path, default=ROOT / "data" / "runs" / "faults")
    args = parser.parse_args()
    torch.set_num_threads(1)
    kills = killed(args.kills)
    result = {
        "R1_killed": kills,
        "R2_damaged": damaged(args.damages),
        "R3_disk": tests_pass(
            "full_disk_says or any_step_of_a_save or is_a_neighbor or vanished_folder "
            "or cannot_be_made"
        ),
        "R4_signals": tests_pass("signal_ends"),
        "R5_two_writers": tests_pass("second_writer"),
        "R6_log": {"kills": kills["kills"], "false_lines": kills["logs_with_a_false_line"]},
    }
    for name, counts in result.items():
        print(name, counts)
    config = {"kills": args.kills, "damages": args.damages, "steps": campaign.STEPS}
    command = "python bench/faults.py"
    save_record(make_record("faults", config, result, command=command), args.out)


if __name__ == "__main__":
    main()
