"""How long imports take, each in a fresh process, and what gptlib's brings with it.

    python bench/import_time.py [--repeats 5]

The statement is timed inside the process, so that starting Python is not in it; contenders take
turns. Importing transformers' GPT-2 stands beside gptlib's for comparison. Python's own
`-X importtime`, in further processes, says what part of gptlib's import is not torch's (it slows
imports down, so only the proportion counts). If gptlib imported one of the heavy packages that only
some of its functions need, this would end with an error.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys

from timing import arguments, report

STATEMENTS = {
    "numpy": "import numpy",
    "torch": "import torch",
    "gptlib": "import gptlib",
    "transformers": "from transformers import GPT2LMHeadModel",
}
HEAVY = ("transformers", "matplotlib", "sklearn", "pandas", "pyarrow", "datasets", "peft", "pooch")


def run(program: str, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, *options, "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True)


def import_seconds(statement: str) -> float:
    program = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
    return float(run(program).stdout)


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
    seconds: dict[str, list[float]] = {name: [] for name in STATEMENTS}
    trees = []
    for _ in range(args.repeats):
        for name, statement in STATEMENTS.items():
            seconds[name].append(import_seconds(statement))
        trees.append(import_tree())
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    ratio = statistics.median(beyond_torch(tree) / tree["gptlib"] for tree in trees)
    rows = [
        {"import": name, "seconds": s, "over_torch": s - medians["torch"]}
        for name, s in medians.items()
    ]
    report("import_time", rows, args.out, gptlib_beyond_torch=ratio, not_imported=HEAVY)


if __name__ == "__main__":
    main()
