"""Recorded runs: what was run, on what, and what came of it.

One job: `Record`, and how one is made, read and written. A number in the book is there because a
record under `data/runs/` says so; `gptlib.course.recipes` makes a record anew.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from gptlib.errors import DataError
from gptlib.files import read_jsonl, write_atomic
from gptlib.versions import package_version


@dataclass(frozen=True)
class Record:
    """A recorded run.

    Attributes:
        name: its folder under `data/runs`. command: what makes it anew.
        config: every setting. hardware, versions: of the machine that ran it.
        result: the numbers, by name. samples: dicts with `prompt`, `text` and what else is known.
        log, speed: the lines of `log.jsonl` and `speed.jsonl`, empty where there are none.
    """

    name: str
    command: str
    config: dict
    hardware: dict
    versions: dict
    result: dict
    samples: list[dict] = field(default_factory=list)
    log: list[dict] = field(default_factory=list)
    speed: list[dict] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"Record({self.name}: {', '.join(self.result)})"


def read_record(folder: Path) -> Record:
    """Read the record in a folder.

    Raises:
        DataError: there is none, or it is damaged.
    """
    log, speed = (read_jsonl(folder / f"{part}.jsonl") for part in ("log", "speed"))
    path = folder / "record.json"
    try:
        return Record(**json.loads(path.read_text(encoding="utf-8")), log=log, speed=speed)
    except FileNotFoundError as error:
        raise DataError(
            f"{folder} holds no record; give a folder with a record.json in it"
        ) from error
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read or is no record ({str(error)[:100]}); copy it again, or make "
            "it anew with the command that the costs page names"
        ) from error


def save_record(record: Record, folder: Path) -> None:
    """Write a record: `record.json`, and the logs where there are any."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {k: v for k, v in vars(record).items() if k not in ("log", "speed")}
    text = json.dumps(about, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    write_atomic(folder / "record.json", text.encode())
    for part in ("log", "speed"):
        lines = getattr(record, part)
        if lines:
            text = "".join(json.dumps(line) + "\n" for line in lines)
            write_atomic(folder / f"{part}.jsonl", text.encode())


def make_record(
    name: str,
    config: dict,
    result: dict,
    command: str | None = None,
    samples: Sequence[dict] = (),
    log: Sequence[dict] = (),
    speed: Sequence[dict] = (),
) -> Record:
    """Fill in what every record says of its machine and its command."""
    hardware, versions = this_machine()
    command = command or f"python -m gptlib.course.recipes {name}"
    logs = list(samples), list(log), list(speed)
    return Record(name, command, config, hardware, versions, result, *logs)


def spread(values: list[float]) -> dict:
    """Mean and standard deviation over seeds, beside the values themselves."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"values": values, "mean": statistics.fmean(values), "sd": sd}


def this_machine() -> tuple[dict, dict]:
    """Return (hardware, versions) of the machine that this runs on; no names of hosts or users."""
    cuda = torch.cuda.is_available()
    hardware = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
    }
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "gptlib": package_version(),
    }
    return hardware, versions


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
