"""What a folder is, and whether it is what was written there.

One job: `inspect`, which looks at a run, a checkpoint or a folder of shards, compares every file
with its hash, and returns all of it as a dictionary. Nothing is trained, sampled or changed.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors

from gptlib import checkpoint
from gptlib.cli.run_notes import floor_of, part, read_config
from gptlib.errors import CheckpointError, GptlibError
from gptlib.run_log import LOG
from gptlib.runs import read_jsonl, run_folder
from gptlib.shards.read import SPLITS, is_shard_folder, open_shards, read_manifest
from gptlib.tokenizers import Tokenizer, load_tokenizer


def inspect(place: str) -> dict:
    """All that is known of a run folder, a checkpoint, a shard folder or a shipped model.

    Returns:
        `kind` ("run", "checkpoint" or "shards"), `path`, `bytes` on disk, `damage`: a sentence for
        each thing that is not as it was written; and by its kind what it holds.

    Raises:
        CheckpointError: it is none of them, or a permission is missing to tell.
    """
    folder = run_folder(place)
    if (folder / checkpoint.MODEL).is_file() or folder.name.startswith("step_"):
        found = _checkpoint(folder)
    elif checkpoint.saved_steps(folder) or (folder / "config.json").is_file():
        found = _run(folder)
    elif is_shard_folder(folder):
        found = _shards(folder)
    else:
        raise CheckpointError(
            f"{place} holds no run, no checkpoint and no shards; give a folder that `gptlib train` "
            "or `gptlib data prepare` wrote, or stories or tales, the models that ship with gptlib"
        )
    return {"path": place, **found, "bytes": _bytes(folder)}


def _tried(damage: list[str], do: Callable[[], Any]) -> Any:
    """What `do` returns, or None after noting what it refused.

    Raises:
        GptlibError: only a permission is missing.
    """
    try:
        return do()
    except GptlibError as error:
        if isinstance(error.__cause__, PermissionError):
            raise
        damage.append(str(error))
        return None


def _checkpoint(folder: Path) -> dict:
    damage: list[str] = []
    manifest = _tried(damage, lambda: checkpoint.verify(folder)) or {}
    return {
        "kind": "checkpoint",
        "damage": damage,
        **_about(manifest),
        "step": manifest.get("step"),
        "parameters": None if damage else _parameters(folder),
    }


def _run(folder: Path) -> dict:
    damage: list[str] = []
    config = read_config(folder)
    if not config and (folder / "config.json").exists():
        damage.append("config.json is damaged: it is no JSON object")
    names = {name: checkpoint.pointed(folder, name) for name in ("best", "latest")}
    saved, newest = [], {}
    for step in checkpoint.saved_steps(folder):
        place = checkpoint.folder_of(folder, step)
        before = len(damage)
        manifest = _tried(damage, lambda place=place: checkpoint.verify(place))
        called = [name for name, at in names.items() if at == place]
        whole = len(damage) == before
        saved.append({"step": step, "bytes": _bytes(place), "whole": whole, "called": called})
        newest = {**manifest, "place": place} if manifest else newest
    for name, place in names.items():
        if place is not None and not os.path.isdir(place):
            damage.append(f"{name} names {place.name[:40]}, which is not there")
    about = newest or config
    tokenizer = None
    if (folder / "tokenizer").is_dir() or about.get("tokenizer"):
        tokenizer = _tried(damage, lambda: load_tokenizer(folder / "tokenizer"))
    if tokenizer and about.get("tokenizer") not in (None, tokenizer.sha256):
        damage.append("tokenizer is another than the one that the run was trained with")
    log = _losses(_tried(damage, lambda: read_jsonl(folder / LOG)) or [])
    return {
        "kind": "run",
        "damage": damage,
        **_about(about),
        "step": newest.get("step", 0),
        "parameters": _parameters(newest["place"]) if newest else None,
        **log,
        "floor": None if log["best_val"] is None else floor_of(folder, about),
        "tokenizer": _tokenizer(tokenizer) or {"sha256": about.get("tokenizer")},
        "checkpoints": saved,
    }


def _about(manifest: dict) -> dict:
    """What config.json and the manifest of a checkpoint say in the same words."""
    found = {name: part(manifest, name) for name in (
        "model", "train", "data", "note", "runtime", "versions", "tuning",
    )}  # fmt: skip
    found |= {"threads": manifest.get("threads"), "sha256": part(manifest, "sha256")}
    return found | {"tokenizer": {"sha256": manifest.get("tokenizer")}}


def _losses(log: list) -> dict:
    """The best and the latest validation of a log, and how the run ended if it says so."""
    lines = [x for x in log if isinstance(x, dict) and isinstance(x.get("val"), int | float)]
    lines = [x for x in lines if isinstance(x.get("step"), int) and math.isfinite(x["val"])]
    best = min(lines, key=lambda line: line["val"], default={})
    last = lines[-1] if lines else {}
    return {
        "best_val": best.get("val"), "best_step": best.get("step"), "last_val": last.get("val"),
        "last_step": last.get("step"), "stopped_early": last.get("stop") == "patience",
    }  # fmt: skip


def _tokenizer(tokenizer: Tokenizer | None) -> dict | None:
    if tokenizer is None:
        return None
    return {"about": repr(tokenizer), "sha256": tokenizer.sha256}


def _parameters(place: Path) -> int | None:
    """The weights of a checkpoint, counted by what its file says of their shapes."""
    with suppress(safetensors.SafetensorError, OSError):
        with safetensors.safe_open(place / checkpoint.MODEL, "np") as weights:
            return sum(math.prod(weights.get_slice(name).get_shape()) for name in weights.keys())
    return None


def _shards(folder: Path) -> dict:
    damage: list[str] = []
    manifest = _tried(damage, lambda: read_manifest(folder))
    found: dict = {"kind": "shards", "damage": damage}
    if manifest is None:
        return found
    splits = {}
    for split in SPLITS:
        tokens = _tried(damage, lambda split=split: open_shards(folder, split))
        mine = [shard for shard in manifest["shards"] if shard.split == split]
        splits[split] = {
            "tokens": sum(shard.tokens for shard in mine),
            "documents": sum(shard.documents for shard in mine),
            "bytes": sum(shard.bytes for shard in mine),
            "shards": len(mine),
            "sha256": tokens and tokens.sha256,
        }
    tokenizer = _tried(damage, lambda: load_tokenizer(folder))
    if tokenizer and tokenizer.sha256 != manifest["tokenizer"]:
        damage.append("tokenizer is another than the one that the shards were made with")
    return found | {
        "splits": splits, "dtype": manifest["dtype"], "vocab_size": manifest["vocab_size"],
        "source": part(manifest, "source"),
        "tokenizer": _tokenizer(tokenizer) or {"sha256": manifest["tokenizer"]},
    }  # fmt: skip


def _bytes(folder: Path) -> int:
    """What the files of a folder take."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # gone since, as a temporary file is
                total += os.lstat(os.path.join(place, name)).st_size
    return total
