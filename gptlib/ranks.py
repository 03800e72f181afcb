"""Which of how many processes this is, as torchrun tells each of them.

One job: `from_environment`, which refuses variables that do not go together. They are often left
behind by an earlier job, or set by hand and not all.
"""

from __future__ import annotations

import os

from gptlib.errors import DeviceError

COUNTS = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
MEETING = ("MASTER_ADDR", "MASTER_PORT")  # where several processes find each other
WAY_OUT = "start the processes with torchrun, or unset " + ", ".join(COUNTS)


def from_environment() -> tuple[int, int, int]:
    """(rank, number of processes, place on this machine); (0, 1, 0) outside a job.

    Raises:
        DeviceError: a variable is no number, or others that belong to it are missing.
    """
    numbers = {name: _number(name) for name in COUNTS}
    rank, size, local = numbers.values()
    if size is None and rank is not None:
        raise DeviceError(f"RANK is {rank}, and WORLD_SIZE is not set; {WAY_OUT}")
    size, local = size or 1, local or 0
    if size > 1 and rank is None:
        raise DeviceError(f"WORLD_SIZE is {size}, and RANK is not set; {WAY_OUT}")
    if (rank or 0) >= size:
        raise DeviceError(
            f"RANK is {rank} and WORLD_SIZE is {size}; expected a rank from 0 to {size - 1}; "
            f"{WAY_OUT}"
        )
    return rank or 0, size, local


def check_meeting() -> None:
    """Refuse to look for other processes where nobody said where they are.

    Raises:
        DeviceError: MASTER_ADDR or MASTER_PORT is missing or empty, or the port is no number.
    """
    for name in MEETING:
        given = os.environ.get(name, "")
        if not given or (name == "MASTER_PORT" and not given.isdecimal()):
            raise DeviceError(
                f"WORLD_SIZE is {os.environ.get('WORLD_SIZE')}, and {name} is {given!r}; {WAY_OUT}"
            )


def minutes_to_wait() -> float:
    """How long a process waits for the others, from GPTLIB_TIMEOUT_MINUTES; 10 unless set.

    Raises:
        DeviceError: it is no positive number.
    """
    given = os.environ.get("GPTLIB_TIMEOUT_MINUTES", "10")
    try:
        minutes = float(given)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < 1e6:
        raise DeviceError(f"GPTLIB_TIMEOUT_MINUTES is {given!r}; expected a number of minutes")
    return minutes


def _number(name: str) -> int | None:
    """A variable's whole number, or None where it is not set."""
    given = os.environ.get(name)
    if given is None:
        return None
    least = 1 if name == "WORLD_SIZE" else 0
    if not (given.isascii() and given.isdecimal()) or int(given[:9]) < least:
        raise DeviceError(
            f"{name} is {given!r}; expected a whole number of at least {least}; {WAY_OUT}"
        )
    return int(given)
