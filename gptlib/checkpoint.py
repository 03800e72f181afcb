"""Checkpoints that survive a crash at any instant and notice any damage.

One job: `save`, `load` and the pointers `latest` and `best` of a run folder. A checkpoint is
written into a temporary folder beside its place, flushed to disk, sealed by a manifest with the
sha256 of every file, and renamed in one step: it is there whole or not at all. Neither
`torch.load` nor safetensors notices a flipped bit, so nothing is read before its hash is verified,
and nothing is ever unpickled. A damaged checkpoint is named and the one before it is used.

    run/checkpoints/step_00000500/{model.safetensors, state.pt, manifest.json}
    run/latest, run/best        files that name a checkpoint, e.g. "step_00000500"
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import safetensors.torch
import torch
from filelock import Timeout
from torch import Tensor

from gptlib import files, parallel
from gptlib.errors import CheckpointError
from gptlib.files import sha256, sync, sync_folder, write_atomic

MODEL, STATE, MANIFEST = "model.safetensors", "state.pt", "manifest.json"
_WRAPPERS = ("_orig_mod.", "module.")  # torch.compile's and DDP's prefixes


@contextmanager
def only_writer(run_dir: Path) -> Iterator[None]:
    """Hold the run folder's lock; the operating system lets go of it when a process dies.

    Raises:
        CheckpointError: another process is writing to this folder, or it cannot be written.
    """
    try:
        with writing(run_dir):
            run_dir.mkdir(parents=True, exist_ok=True)
            lock = files.take_lock(run_dir / ".lock")
    except Timeout as error:
        raise CheckpointError(
            f"another process is training in {run_dir}; wait for it, or choose another folder"
        ) from error
    with lock:
        yield


@contextmanager
def writing(run_dir: Path) -> Iterator[None]:
    """Explain what keeps the lines inside from writing to the run folder.

    Raises:
        CheckpointError: they raised an OSError.
    """
    try:
        yield
    except Timeout:
        raise
    except OSError as error:
        raise CheckpointError(
            f"cannot write in {run_dir} ({error}); {files.way_out(error)}, then resume: what was "
            "saved is untouched"
        ) from error


def folder_of(run_dir: Path, step: int) -> Path:
    return run_dir / "checkpoints" / f"step_{step:08d}"


def plain_weights(
    model: torch.nn.Module, keep: Callable[[str], bool] = lambda name: True
) -> dict[str, Tensor]:
    """The model's state without wrappers' prefixes, on the CPU, whole, shared tensors once.

    `keep` says of a plain name whether it belongs; `load_weights(part=True)` takes such a part.
    """
    again = _second_names(model)
    return {
        _plain(name): parallel.full_tensors(tensor).contiguous()
        for name, tensor in model.state_dict().items()
        if name not in again and keep(_plain(name))
    }


def _second_names(model: torch.nn.Module) -> set[str]:
    """The other names of parameters that have two, such as a tied head's."""
    every = dict(model.named_parameters(remove_duplicate=False))
    return every.keys() - dict(model.named_parameters())


def _plain(name: str) -> str:
    """A tensor's name without the prefixes of wrappers around the whole model."""
    while prefix := next((p for p in _WRAPPERS if name.startswith(p)), ""):
        name = name.removeprefix(prefix)
    return name


def save(run_dir: Path, step: int, weights: dict[str, Tensor], state: dict, about: dict) -> Path:
    """Write the checkpoint of `step` and point `latest` at it.

    Args:
        weights: tensors by name. state: whatever else resuming needs; only types that
            `torch.load(weights_only=True)` accepts. about: JSON for the manifest.

    Returns:
        The checkpoint's folder.
    """
    writers = {MODEL: partial(_write_weights, weights), STATE: partial(torch.save, state)}
    return _write(run_dir, step, writers, about)


def save_weights(run_dir: Path, step: int, weights: dict[str, Tensor], about: dict) -> Path:
    """Write a checkpoint that can be sampled but not trained on: no optimizer, no random state."""
    return _write(run_dir, step, {MODEL: partial(_write_weights, weights)}, about)


def _write_weights(weights: dict[str, Tensor], path: Path) -> None:
    try:  # straight from the tensors, without a copy
        files.as_any_file(path, partial(safetensors.torch.save_file, weights))
    except safetensors.SafetensorError as error:  # how it tells of a full disk
        raise OSError(str(error)) from error


def _write(run_dir: Path, step: int, writers: dict[str, Callable], about: dict) -> Path:
    """Put files and their manifest in place in one step, then move `latest`.

    `writers` fill a file each, given its path: a model that is copied to be saved may not fit.

    Raises:
        CheckpointError: the disk is full or not writable; what was saved before is untouched.
    """
    place = folder_of(run_dir, step)
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        _fill(temporary, step, writers, about)
        move_into_place(temporary, place)
        point(run_dir, "latest", step)
    except (OSError, RuntimeError) as error:  # torch.save raises RuntimeError on a full disk
        shutil.rmtree(temporary, ignore_errors=True)  # a full disk needs the space
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise CheckpointError(
            f"step {step} could not be saved in {run_dir} ({reason}); {files.way_out(error)}, then "
            "resume: the checkpoints before it are untouched"
        ) from error
    reached("latest moved")
    return place


def _fill(folder: Path, step: int, writers: dict[str, Callable], about: dict) -> None:
    """Write the files, and last the manifest that vouches for them, all flushed to disk."""
    reached("folder made")
    hashes = {}
    for name, write in writers.items():
        write(folder / name)
        sync(folder / name)
        hashes[name] = sha256(folder / name)
        reached(f"{name} written")
    manifest = _sealed({**about, "step": step, "sha256": hashes})
    (folder / MANIFEST).write_bytes(manifest)
    sync(folder / MANIFEST)
    reached(f"{MANIFEST} written")
    sync_folder(folder)


def move_into_place(temporary: Path, place: Path) -> None:
    """Rename a finished folder; one that is there from an earlier attempt steps aside."""
    aside = place.with_name(f".{place.name}.old")
    if place.exists():
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(place, aside)
    os.replace(temporary, place)
    reached("folder renamed")
    shutil.rmtree(aside, ignore_errors=True)
    sync_folder(place.parent)


def reached(point: str) -> None:
    """Called by name between the steps of a save. Does nothing; fault tests put a crash here."""


def _sealed(manifest: dict) -> bytes:
    """Canonical JSON of a manifest that also states the hash of itself without that line."""
    seal = hashlib.sha256(_json(manifest)).hexdigest()
    return _json({**manifest, "manifest_sha256": seal})


def _json(value: dict) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def point(run_dir: Path, name: str, step: int) -> None:
    """Make `latest` or `best` name the checkpoint of `step`."""
    write_atomic(run_dir / name, f"{folder_of(run_dir, step).name}\n".encode())


def pointed(run_dir: Path, name: str) -> Path | None:
    """The checkpoint that `latest` or `best` names, or None."""
    try:
        named = (run_dir / name).read_text(errors="replace").strip()
    except PermissionError as error:
        raise files.may_not_read(run_dir, error) from error
    except OSError:
        return None
    return run_dir / "checkpoints" / named


def repair_pointers(run_dir: Path, step: int, best_step: int) -> None:
    """Make `latest` and `best` agree with the checkpoint of `step` that a run resumes from.

    A run killed between a save and its pointers, or resumed from an older checkpoint, may have
    pointers that run ahead or lag behind.
    """
    point(run_dir, "latest", step)
    if best_step in saved_steps(run_dir) and best_step <= step:
        point(run_dir, "best", best_step)
    else:
        (run_dir / "best").unlink(missing_ok=True)


def saved_steps(run_dir: Path) -> list[int]:
    """Steps that have a checkpoint, verified or not, oldest first."""
    try:
        with os.scandir(run_dir / "checkpoints") as entries:
            names = {e.name for e in entries if e.name.startswith("step_") and e.is_dir()}
    except PermissionError as error:
        raise files.may_not_read(run_dir, error) from error
    except OSError:
        return []
    steps = (int(name[5:]) for name in names if name[5:].isdecimal())
    return sorted({step for step in steps if folder_of(run_dir, step).name in names})


def has_whole(run_dir: Path) -> bool:
    """Is there a checkpoint to go on from?

    Raises:
        CheckpointError: only a permission is missing to tell.
    """
    for step in reversed(saved_steps(run_dir)):
        try:
            verify(folder_of(run_dir, step))
            return True
        except CheckpointError as error:
            if isinstance(error.__cause__, PermissionError):
                raise
    return False


def verify(folder: Path) -> dict:
    """Check every file of a checkpoint against its manifest and return the manifest.

    Raises:
        CheckpointError: a file is missing, its bytes are not those that were written, or it may
            not be read.
    """
    try:
        sealed = (folder / MANIFEST).read_bytes()
        manifest = json.loads(sealed)
        del manifest["manifest_sha256"]
        if _sealed(manifest) != sealed:
            raise CheckpointError(f"{folder.name}/{MANIFEST} is damaged: its sha256 is wrong")
        hashes = dict(manifest["sha256"])
        if type(manifest["step"]) is not int or manifest["step"] < 0 or MODEL not in hashes:
            raise ValueError(f"its manifest does not name a step and {MODEL}")
        for name, expected in hashes.items():
            if name != Path(name).name:
                raise ValueError(f"{name!r} is no file name")
            if sha256(folder / name) != expected:
                raise CheckpointError(f"{folder.name}/{name} is damaged: its sha256 is wrong")
    except PermissionError as error:
        raise files.may_not_read(folder, error) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{folder.name} is no whole checkpoint ({type(error).__name__}: {error}); restore it "
            "from a copy, or use one that gptlib saved"
        ) from error
    return manifest


def load_model(folder: Path) -> tuple[dict[str, Tensor], dict]:
    """Return (weights, manifest) of a verified checkpoint.

    Raises:
        CheckpointError: the checkpoint is damaged or foreign.
    """
    manifest = verify(folder)
    try:
        return safetensors.torch.load((folder / MODEL).read_bytes()), manifest
    except Exception as error:  # safetensors has its own kinds for foreign files
        raise CheckpointError(
            f"{folder.name}/{MODEL} cannot be read: {_first_line(error)}; expected safetensors: "
            "was it made by gptlib?"
        ) from error


def load(folder: Path) -> tuple[dict[str, Tensor], dict, dict]:
    """Return (weights, state, manifest) of a verified checkpoint, to train on from it.

    Raises:
        CheckpointError: the checkpoint is damaged, foreign, holds pickled objects, or has only
            the weights.
    """
    weights, manifest = load_model(folder)
    if STATE not in manifest["sha256"]:
        raise CheckpointError(f"{folder.name} has weights but no {STATE}; it can only be sampled")
    try:
        state = torch.load(folder / STATE, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds on foreign files
        raise CheckpointError(
            f"{folder.name}/{STATE} cannot be read: {_first_line(error)}; it expects tensors, "
            "numbers and text, never pickled objects: was it made by gptlib?"
        ) from error
    return weights, state, manifest


def _first_line(error: Exception) -> str:
    """The first sentence of what a library says; torch's next one is how to unpickle anyway."""
    return (str(error).splitlines() or [type(error).__name__])[0].split(". ")[0][:200]


def load_newest(run_dir: Path) -> tuple[dict[str, Tensor], dict, dict] | None:
    """Load the newest checkpoint that is whole, warning of each damaged one that is passed over.

    Returns None where the folder has no checkpoint at all.

    Raises:
        CheckpointError: there are checkpoints, and every one is damaged.
    """
    steps = saved_steps(run_dir)
    problems = []
    for step in reversed(steps):
        try:
            loaded = load(folder_of(run_dir, step))
        except CheckpointError as error:
            if isinstance(error.__cause__, PermissionError):
                raise  # to be mended, not passed over
            problems.append(str(error))
            continue
        for problem in problems:
            warnings.warn(f"passed over: {problem}; using step {step}", stacklevel=2)
        return loaded
    if problems:
        raise CheckpointError(
            f"no checkpoint in {run_dir} is whole: {'; '.join(problems)}; "
            "restore one from a copy, or train into a new folder"
        )
    return None


def load_weights(model: torch.nn.Module, weights: dict[str, Tensor], part: bool = False) -> None:
    """Put weights, or only a `part` of a model's, into it, whatever it is wrapped in.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    own = {_plain(name): tensor for name, tensor in model.state_dict().items()}
    needed = set() if part else own.keys() - {_plain(name) for name in _second_names(model)}
    problems = [f"{name} is missing" for name in own if name in needed - weights.keys()] + [
        f"{name} is {tuple(w.shape)} there and "
        f"{tuple(own[name].shape) if name in own else 'unknown'} here"
        for name, w in weights.items()
        if name not in own or own[name].shape != w.shape
    ]
    if problems:
        raise CheckpointError(f"the checkpoint does not fit the model: {'; '.join(problems[:3])}")
    with torch.no_grad():
        for name, tensor in weights.items():
            own[name].copy_(tensor)


def prune(run_dir: Path, keep_last: int, also: set[int]) -> None:
    """Delete what is no longer needed: all but the last `keep_last` regular checkpoints, those in
    `also`, the newest if it was made in passing, and what a crash left half-written."""
    steps = saved_steps(run_dir)
    regular = [s for s in steps if not _passing(folder_of(run_dir, s))]
    keep = {*regular[-keep_last:], *also, *steps[-1:]}
    for step in set(steps) - keep:
        shutil.rmtree(folder_of(run_dir, step))
    for leftover in (run_dir / "checkpoints").glob(".step_*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _passing(folder: Path) -> bool:
    """Was this checkpoint made because the run was interrupted? An unreadable one counts as no."""
    try:
        return bool(json.loads((folder / MANIFEST).read_bytes()).get("passing"))
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
