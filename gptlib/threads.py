"""How torch's threads wait for one another, and how many there are to begin with.

One job: `prepare`, which must run before torch is imported: its OpenMP library reads the
environment once, when it is loaded. Left alone, a thread that is done with its share of an
operation spins until the others are, for milliseconds. On an idle machine that is the fastest way.
When another process needs a core, the one that spins takes the time of the one that is waited for,
and a step on two threads lasts ten times as long as on one. So threads spin for a few microseconds
and then sleep. On an idle machine that costs a small model some of what the second thread brings,
which `bench/threads.py` measures. No sum depends on how threads wait.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: Turns of GNU OpenMP's waiting loop before a thread sleeps; 300,000 where nobody says. With 300,
#: two threads beside a busy process are a fifth slower than one alone would be, with 1,000 a third;
#: with 100, an idle machine pays more and a busy one gains nothing.
SPINS = 200

# If one of these is set, its owner has decided how threads wait, or how many there are.
WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")
COUNTING = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_THREAD_LIMIT")


def prepare() -> None:
    """Set what `settings` says for this process and its children, if torch is not loaded yet."""
    if "torch" not in sys.modules:
        os.environ.update(settings(os.environ))


def settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add to `environ`: nothing that its owner has decided.

    The number of threads is left to torch, one a core that this process may run on, but where a
    container has less time than that: torch does not know of quotas, and threads that were stopped
    in the middle of an operation are waited for.
    """
    found = {}
    if not any(name in environ for name in WAITING):
        found["GOMP_SPINCOUNT"] = str(SPINS)
    quota = cpu_quota()
    if quota and quota < _cores() and not any(name in environ for name in COUNTING):
        found["OMP_NUM_THREADS"] = str(max(1, int(quota)))
    return found


def cpu_quota(root: Path = Path("/")) -> float | None:
    """How many cores' time this process's control groups grant it, None where there is no limit.

    Args:
        root: where `sys/fs/cgroup` and `proc/self/cgroup` are.
    """
    limits = []
    for group in _groups(root):
        try:
            if (group / "cpu.max").is_file():  # cgroup 2: "max 100000" or "150000 100000"
                quota, period = (group / "cpu.max").read_text().split()
            else:
                quota, period = (
                    (group / f"cpu.cfs_{k}_us").read_text() for k in ("quota", "period")
                )
            limits.append(float(quota) / float(period))
        except (OSError, ValueError, ZeroDivisionError):  # "max", or no such file
            continue
    return min((limit for limit in limits if limit > 0), default=None)


def _groups(root: Path) -> list[Path]:
    """The folders of this process's control groups, and of those that hold them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        for mount in ("unified", "") if not controllers else ("cpu", controllers):
            top = root / "sys/fs/cgroup" / mount
            inside = top / path.lstrip("/")
            found += [inside, *(p for p in inside.parents if p == top or top in p.parents)]
    return found


def _cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
