"""Other machines, played on this one: `python -m book.machines NAMES COMMAND …`.

One job: `environment`. A processor without AVX-512, one with nothing but what every x86-64 has,
some that round differently, each as the environment variables that make torch, oneDNN, MKL,
OpenBLAS and numpy behave so; one with two threads, and one with neither a home nor an alphabet. A
stored output or a test that passes on all of them will pass on a reader's machine; one that does
not hangs on the last digits of this one. NAMES is a name, several with commas between them, or
`all`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

NOISE = Path(__file__).with_name("noise")

_PLAIN_NUMPY = "AVX2 FMA3 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"

#: name: the variables that make a command run as on that machine.
MACHINES = {
    "avx2": {
        "ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2", "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": _PLAIN_NUMPY.removeprefix("AVX2 FMA3 "),
    },
    "plainest": {
        "ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "OPENBLAS_CORETYPE": "Nehalem",
        "NPY_DISABLE_CPU_FEATURES": _PLAIN_NUMPY,
    },
    **{
        f"noise-{seed}": {
            "GPTLIB_ROUNDING_NOISE": str(seed), "OPENBLAS_CORETYPE": "Sandybridge",
            "PYTHONPATH": str(NOISE),
        }
        for seed in (1, 2, 3)
    },
    "two-threads": {"GPTLIB_TEST_THREADS": "2", "OMP_WAIT_POLICY": "passive"},
    "bare": {
        "HOME": "/proc/nonexistent", "LANG": "C", "LC_ALL": "C", "TERM": "dumb",
    },
    "here": {},
}  # fmt: skip

#: Those that a notebook has to agree with before it is stored.
GUARDS = ("noise-1", "plainest")


def environment(name: str) -> dict[str, str]:
    """Return this process's environment changed for one of `MACHINES`."""
    changes, quiet = dict(MACHINES[name]), dict(os.environ)
    quiet.pop("GPTLIB_ROUNDING_NOISE", None)  # one kind of noise at a time, or none
    paths = [p for p in quiet.pop("PYTHONPATH", "").split(os.pathsep) if p not in ("", str(NOISE))]
    if paths or "PYTHONPATH" in changes:
        first = [changes["PYTHONPATH"]] if "PYTHONPATH" in changes else []
        changes["PYTHONPATH"] = os.pathsep.join(first + paths)
    return quiet | changes


def main(arguments: list[str] | None = None) -> int:
    """Run a command as on other machines, one after another; return 1 if it failed on any."""
    names, *command = sys.argv[1:] if arguments is None else arguments or [""]
    chosen = list(MACHINES) if names == "all" else names.split(",")
    if not set(chosen) <= set(MACHINES) or not command:
        print(f"usage: python -m book.machines all|{'|'.join(MACHINES)} COMMAND …")
        return 2
    codes = {}
    for name in chosen:
        print(f"== as on the machine {name}", flush=True)
        began = time.perf_counter()
        codes[name] = subprocess.run(command, env=environment(name)).returncode
        minutes = (time.perf_counter() - began) / 60
        print(f"== {name}: exit code {codes[name]} after {minutes:.1f} minutes", flush=True)
    failed = [name for name, code in codes.items() if code]
    print(f"== failed on: {', '.join(failed)}" if failed else "== the same everywhere", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
