"""`gptlib finetune` for a record: a process for each run, and what it took.

One job: `tune`. Given again after an interruption, it goes on with the run that was cut, and a run
that came to its end is not made twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from gptlib import checkpoint
from gptlib.course.pretraining.runs import seconds_and_pauses
from gptlib.errors import DataError
from gptlib.files import read_jsonl, write_atomic


@dataclass(frozen=True)
class Tuned:
    """A finished run of fine-tuning.

    Attributes:
        folder: where it is. config: its settings, as trained. log: its validations, "step" and
            "val", in nats per token, and the losses of its steps.
        best: the lowest validation loss, nats per token. best_step: when it was had.
        old: what the old text costs after it, by the best weights, "loss" in nats per token and
            "bits_per_byte"; None where nobody knows the old text. old_before: what it cost before.
        trained: parameters that learned. seconds: of training.
        megabytes: of its last checkpoint, optimizer and all. memory: at its peak, in MB; None where
            the system does not say.
    """

    folder: Path
    log: list[dict]
    config: dict
    best: float
    best_step: int
    old: dict[str, float] | None
    old_before: dict[str, float] | None
    trained: int
    seconds: float
    megabytes: float
    memory: float | None

    @property
    def vals(self) -> dict[int, float]:
        """Validation losses by step, that of the base first."""
        return {line["step"]: line["val"] for line in self.log if "val" in line}


def tune(base: str | Path, data: str | Path, folder: Path, *flags: str | Path) -> Tuned:
    """Fine-tune in a process of its own, on one thread, and tell what came of it.

    Raises:
        DataError: it did not come to its end; what it said stands on stderr.
    """
    told = folder.with_name(f"{folder.name}.json")
    if not told.exists():
        command = [sys.executable, "-m", "gptlib", "finetune", base, "--data", data, *flags]
        command += ["--out", folder, "--resume", "--threads", "1", "--progress", "none", "--json"]
        printed, memory = _run([str(word) for word in command])
        found = json.loads(printed) | {"memory": memory}
        write_atomic(told, json.dumps(found).encode())
    return _read(folder, json.loads(told.read_text()))


def _run(command: list[str]) -> tuple[str, float | None]:
    """What a command printed, and how much memory it took at its peak, in MB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed, memory = process.stdout.read(), None
    if sys.platform == "win32":
        process.wait()
    else:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
        memory = used.ru_maxrss * unit / 1e6
    if process.returncode:
        raise DataError(f"`{' '.join(command[2:5])}` did not come to its end; see above")
    return printed, memory


def _read(folder: Path, told: dict) -> Tuned:
    """What a finished run left."""
    last = checkpoint.folder_of(folder, max(checkpoint.saved_steps(folder)))
    weights, manifest = checkpoint.load_model(last)
    tuning = manifest.get("tuning") or {}
    rows = tuning.get("new_rows", {})
    trained = sum(t.numel() for name, t in weights.items() if not tuning or name not in rows)
    old = told["old"] or {}
    return Tuned(
        folder, read_jsonl(folder / "log.jsonl"), manifest["train"], told["new"]["after"],
        told["best_step"],
        old.get("after"),
        old.get("before"),
        trained,
        seconds_and_pauses(read_jsonl(folder / "speed.jsonl"))[0],
        sum(file.stat().st_size for file in last.iterdir()) / 1e6,
        told["memory"],
    )  # fmt: skip
