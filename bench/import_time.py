"""How long imports take, each in a fresh process, and what gptlib's brings with it.

    python bench/import_time.py [--repeats 5]

Each process imports torch, then the contender, and times both itself, so that starting Python is
in neither; contenders take turns. transformers' GPT-2 stands beside gptlib for comparison. Python's
own `-X importtime`, in further processes, says what part of gptlib's import is not torch's (it
slows imports down, so only the proportion counts). If gptlib imported one of the heavy packages
that only some of its functions need, this would end with an error.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys

from timing import arguments, report

STATEMENTS = {
    "gptlib": "import gptlib",
    "transformers": "from transformers import GPT2LMHeadModel",
}
HEAVY = ("transformers", "matplotlib", "sklearn", "pandas", "pyarrow", "datasets", "peft")


def run(program: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def import_seconds(statement: str) -> tuple[float, float]:
    """Seconds that torch takes, and then the statement."""
    clock = "time.perf_counter()"
    program = f"import time; a = {clock}; import torch; b = {clock}; {statement}; c = {clock}"
    first, second = run(f"{program}; print(b - a, c - b)").stdout.split()
    return float(first), float(second)


def heavy_modules() -> list[str]:
    """The heavy packages that `import gptlib` brings in."""
    return run(f"import sys, gptlib; print(*{{*{HEAVY}}} & {{*sys.modules}})").stdout.split()


def import_tree() -> dict[str, float]:
    """Seconds of every module that `import gptlib` imports, with what each imports itself."""
    lines = run("import gptlib", "-X", "importtime").stderr
    found = re.findall(r"^import time: +\d+ \| +(\d+) \| +(\S+)$", lines, re.M)
    return {name: int(microseconds) / 1e6 for microseconds, name in found}


def beyond_torch(tree: dict[str, float]) -> float:
    """Seconds of gptlib's import that are not torch's."""
    return tree["gptlib"] - tree["torch"]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    if heavy := heavy_modules():
        raise SystemExit(f"import gptlib also imports {', '.join(heavy)}")
    for statement in STATEMENTS.values():
        import_seconds(statement)  # the first one reads the disk
    seconds: dict[str, list] = {name: [] for name in STATEMENTS}
    trees = []
    for _ in range(args.repeats):
        for name, statement in STATEMENTS.items():
            seconds[name].append(import_seconds(statement))
        trees.append(import_tree())
    rows = [
        {
            "import": name,
            "seconds": statistics.median(map(sum, pairs)),
            "beyond_torch": statistics.median(beyond for _, beyond in pairs),
        }
        for name, pairs in seconds.items()
    ]
    part = statistics.median(beyond_torch(tree) / tree["gptlib"] for tree in trees)
    report("import_time", rows, args.out, gptlib_part_beyond_torch=part, not_imported=HEAVY)


if __name__ == "__main__":
    main()
