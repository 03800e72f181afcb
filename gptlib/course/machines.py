"""Other machines, played on this one: `python -m gptlib.course.machines NAME COMMAND …`.

One job: `environment`. A processor without AVX-512, one with nothing but what every x86-64 has, and
one that rounds differently, each as the environment variables that make torch, oneDNN, MKL,
OpenBLAS and numpy behave so. A stored output or a test that passes on all of them will pass on a
reader's machine; one that does not hangs on the last digits of this one.
"""

from __future__ import annotations

import os
import subprocess
import sys
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
}  # fmt: skip

#: Those that a notebook has to agree with before it is stored.
GUARDS = ("noise-1", "plainest")


def environment(name: str) -> dict[str, str]:
    """Return this process's environment changed for one of `MACHINES`."""
    changes = dict(MACHINES[name])
    if "PYTHONPATH" in changes and os.environ.get("PYTHONPATH"):
        changes["PYTHONPATH"] += os.pathsep + os.environ["PYTHONPATH"]
    return os.environ | changes


def main(arguments: list[str] | None = None) -> int:
    """Run a command as on another machine and return its exit code."""
    name, *command = sys.argv[1:] if arguments is None else arguments or [""]
    if name not in MACHINES or not command:
        print(f"usage: python -m gptlib.course.machines {'|'.join(MACHINES)} COMMAND …")
        return 2
    return subprocess.run(command, env=environment(name)).returncode


if __name__ == "__main__":
    sys.exit(main())
