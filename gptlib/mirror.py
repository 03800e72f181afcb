"""A second copy of a run on a disk that cannot be trusted, such as Colab's mounted Drive.

One job: `push` a checkpoint to such a folder and `pull` the newest whole one back. A mounted Drive
may drop a file after it was closed, deliver half of it, or take its time, and renaming there is no
single step. So every copy gets a name of its own that is never used again, a list of hashes is
written last, and nothing is believed until it has been read back and hashed.
"""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import warnings
from pathlib import Path

from gptlib import checkpoint, files
from gptlib.errors import CheckpointError, ConfigError

LIST = "mirror.json"
BESIDE = ("config.json", "log.jsonl", "speed.jsonl", "tokenizer/tokenizer.json")


def check_apart(mirror: Path, run_dir: Path) -> None:
    """Refuse a mirror that is lost together with the run.

    Raises:
        ConfigError: it is the run folder, or inside it.
    """
    inside, outer = mirror.absolute().resolve(), run_dir.absolute().resolve()
    if inside == outer or outer in inside.parents:
        raise ConfigError(
            f"the mirror {mirror} is inside the run folder {run_dir}; a copy that is to survive "
            "belongs on another disk"
        )


def push(place: Path, run_dir: Path, mirror: Path, keep: int = 2, tries: int = 3) -> Path | None:
    """Copy a checkpoint, and what a resumed run needs beside it, to `mirror`.

    Args:
        place: the checkpoint's folder. run_dir: the run it belongs to.
        mirror: a folder on the other disk. keep: whole copies to keep there.
        tries: attempts, each under a new name, before giving up with a warning: training goes on,
            and the copies made before are untouched.

    Returns:
        The copy's folder, verified, or None.
    """
    problem = ""
    for _ in range(tries):
        copy = _new_name(mirror, place.name)
        try:
            _copy(place, run_dir, copy)
            _verify(copy)
        except (OSError, CheckpointError) as error:
            problem = str(error)
            shutil.rmtree(copy, ignore_errors=True)
            continue
        for old in _copies(mirror)[:-keep]:
            shutil.rmtree(old, ignore_errors=True)
        return copy
    warnings.warn(f"{place.name} could not be copied to {mirror}: {problem}", stacklevel=2)
    return None


def pull(mirror: Path, run_dir: Path) -> Path | None:
    """Restore the newest whole copy into a run folder that has no whole checkpoint, warning of each
    copy that is damaged.

    Returns:
        The restored checkpoint's folder, or None if the mirror holds no whole copy.

    A checkpoint appears in its place last, in one step and verified, so a restore that was killed
    is made again; what it or an earlier one left half-copied is swept away.

    Raises:
        CheckpointError: the run folder already has a whole checkpoint, to be resumed, or cannot be
            written.
    """
    before = [checkpoint.folder_of(run_dir, step) for step in checkpoint.saved_steps(run_dir)]
    if checkpoint.has_whole(run_dir):
        raise CheckpointError(f"{run_dir} has checkpoints of its own; resume them, or empty it")
    for copy in reversed(_copies(mirror)):
        try:
            place = _restore(copy, run_dir)
        except OSError as error:
            raise CheckpointError(
                f"{copy} could not be restored to {run_dir} ({error}); {files.way_out(error)}, "
                "then try again: the copy is untouched"
            ) from error
        except CheckpointError as error:
            warnings.warn(f"passed over {copy.name}: {error}", stacklevel=2)
            continue
        for half in {*before, *(run_dir / "checkpoints").glob(".step_*")} - {place}:
            shutil.rmtree(half, ignore_errors=True)
        return place
    return None


def _restore(copy: Path, run_dir: Path) -> Path:
    """Put a copy where it came from: the files beside it first, each in one step, then itself."""
    names = _verify(copy)
    with tempfile.TemporaryDirectory(dir=_made(run_dir / "checkpoints"), prefix=".step_") as folder:
        temporary = _made(Path(folder) / "whole")  # with a new folder's permissions
        for name in names:
            if name in BESIDE:
                _made((run_dir / name).parent)
                files.write_atomic(run_dir / name, (copy / name).read_bytes())
            else:
                shutil.copyfile(copy / name, temporary / name)
                files.sync(temporary / name)
        step = checkpoint.verify(temporary)["step"]
        place = checkpoint.folder_of(run_dir, step)
        checkpoint.move_into_place(temporary, place)
    checkpoint.point(run_dir, "latest", step)
    return place


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _copies(mirror: Path) -> list[Path]:
    """Copies in the mirror, whole or not, oldest first."""
    return sorted(p for p in mirror.glob("step_*-*") if p.is_dir())


def _new_name(mirror: Path, name: str) -> Path:
    """A folder name that was never used before, e.g. step_00000500-9f3ac2d1."""
    return mirror / f"{name}-{secrets.token_hex(4)}"


def _copy(place: Path, run_dir: Path, target: Path) -> None:
    sources = {p.name: p for p in place.iterdir()}
    sources |= {name: run_dir / name for name in BESIDE if (run_dir / name).is_file()}
    target.mkdir(parents=True)
    hashes = {}
    for name, source in sources.items():
        (target / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target / name)
        hashes[name] = files.sha256(source)
    (target / LIST).write_text(json.dumps(hashes), encoding="utf-8")


def _verify(copy: Path) -> list[str]:
    """Read a copy back and return its files' names.

    Raises:
        CheckpointError: a file is missing or is not what was sent.
    """
    try:
        hashes = json.loads((copy / LIST).read_bytes())
        for name, expected in hashes.items():
            if name not in BESIDE and name != Path(name).name:
                raise ValueError(f"{name!r} is no file name")
            if files.sha256(copy / name) != expected:
                raise CheckpointError(f"{copy.name}/{name} is not what was written")
        return list(hashes)
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{copy.name} is no whole copy ({error})") from error
