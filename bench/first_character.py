"""How soon `gptlib sample tales` writes its first character, and how many a second after it.

    python bench/first_character.py [--threads 1] [--repeats 7]

The command runs in a fresh process, whose output is read as it comes; in turns with it, a process
imports torch and ends. `beyond_torch` is the first character's time less that one's, to be under a
second; `characters_per_s` counts from the first character to the last, to be above 500 on one
thread. Every repeat writes another tale, by its seed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from timing import arguments, report

COMMAND = ("-m", "gptlib", "sample", "tales", "--seed")


def process(threads: int, *options: str) -> subprocess.Popen:
    """Python with these options, its output unbuffered on this side."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "PYTHONUTF8": "1"}
    command = [sys.executable, *options]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, bufsize=0)


def torch_seconds(threads: int) -> float:
    """Seconds of a process that only imports torch, starting Python included."""
    began = time.perf_counter()
    process(threads, "-c", "import torch").wait()
    return time.perf_counter() - began


def sample_seconds(threads: int, seed: int) -> tuple[float, float, int]:
    """(seconds to the first character, from it to the last one, characters) of one tale."""
    began = time.perf_counter()
    written = process(threads, *COMMAND, str(seed))
    data = written.stdout.read(1)
    first = last = time.perf_counter()
    while more := written.stdout.read(65536):
        if more != b"\n":  # the end of the command's output, not of the tale
            last = time.perf_counter()
        data += more
    if written.wait() or not data.strip():
        raise SystemExit(f"gptlib sample ended with {written.returncode} and wrote {len(data)} B")
    return first - began, last - first, len(data.decode().rstrip("\n"))


def main() -> None:
    parser = arguments(__doc__)
    parser.set_defaults(threads=1)
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    torch_seconds(args.threads)  # the first one reads the disk
    imports, found = [], []
    for seed in range(args.repeats):
        imports.append(torch_seconds(args.threads))
        found.append(sample_seconds(args.threads, seed))
    torch = statistics.median(imports)
    first = statistics.median(seconds for seconds, _, _ in found)
    rates = [(characters - 1) / seconds for _, seconds, characters in found if characters > 1]
    rows = [
        {
            "torch_import_s": torch,
            "first_character_s": first,
            "beyond_torch": first - torch,
            "characters_per_s": statistics.median(rates),
            "characters": sum(characters for _, _, characters in found),
        }
    ]
    report("first_character", rows, args.out, command="gptlib sample tales", threads=args.threads)


if __name__ == "__main__":
    main()
