"""Shards of the parts of a source: documents in the order of their keys, wherever they came from.

One job: `gather`. The keys of all documents are cut into as many even ranges as there are to be
shards, and a shard takes the documents of one range out of every part. With keys that a seed draws,
every shard is a sample of the whole source, in random order; the result is the source sorted by
key, however it was cut into parts. One shard is in memory at a time.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import numpy as np

from gptlib.files import has_sha256, write_atomic
from gptlib.shards.journal import Journal, Part
from gptlib.shards.meter import Meter
from gptlib.shards.parts import ENTRY, FOLDER
from gptlib.shards.read import SPLITS, Shard


def gather(journal: Journal, parts: list[Part], dtype: np.dtype, meter: Meter) -> list[Shard]:
    """Write the shards that the folder lacks; returns them all."""
    shards = []
    for split in SPLITS:
        count = -(-sum(part.splits[split][2] for part in parts) // journal.plan["shard_bytes"])
        shuffled = "shuffle_seed" in journal.plan
        end = 2**64 if shuffled else sum(part.documents for part in parts)
        for index in range(count):
            low, high = index * end // count, (index + 1) * end // count
            entries, ids = _range(journal.folder / FOLDER, parts, split, low, high, dtype)
            if not len(entries):
                continue
            shard = Shard(
                f"{split}_{index:05d}.bin", split, len(ids), len(entries),
                int(entries["bytes"].sum()), hashlib.sha256(ids.tobytes()).hexdigest(),
                hashlib.sha256(entries["text"].tobytes()).hexdigest(),
            )  # fmt: skip
            shards.append(shard)
            path = journal.folder / shard.file
            if journal.shards.get(shard.file) == shard and has_sha256(path, shard.sha256):
                continue
            write_atomic(path, ids.tobytes())
            journal.add(shard)
            meter.report(
                f"{shard.file}  {shard.tokens:,} tokens of {shard.documents:,} documents"
                f"  {index + 1} of {count}"
            )
    return shards


def _range(
    folder: Path, parts: list[Part], split: str, low: int, high: int, dtype: np.dtype
) -> tuple[np.ndarray, np.ndarray]:
    """The documents with keys in [low, high), sorted: their entries, and their ids."""
    rows, pieces = [np.zeros(0, ENTRY)], []
    for part in parts:
        entries, ids = _open(folder / part.file, part, split, dtype)
        first, after = (
            int(np.searchsorted(entries["key"], np.uint64(bound))) if bound < 2**64
            else len(entries)
            for bound in (low, high)
        )  # fmt: skip
        mine = np.array(entries[first:after])
        begin = int(entries["end"][first - 1]) if first else 0
        ends = [int(end) - begin for end in mine["end"]]
        here = np.array(ids[begin : begin + (ends[-1] if ends else 0)])  # no part stays open
        rows.append(mine)
        pieces += [here[a:b] for a, b in itertools.pairwise([0, *ends])]
    found = np.concatenate(rows)
    order = np.argsort(found["key"], kind="stable")
    chosen = [pieces[i] for i in order.tolist()]
    return found[order], np.concatenate(chosen) if chosen else np.zeros(0, dtype)


def _open(path: Path, part: Part, split: str, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """What a part's file holds of a split, read only where it is looked at."""
    raw = np.memmap(path, np.uint8, "r")
    at = 0
    for name in SPLITS:
        documents, tokens, _ = part.splits[name]
        middle = at + documents * ENTRY.itemsize
        end = middle + tokens * dtype.itemsize
        if name == split:
            return np.asarray(raw[at:middle]).view(ENTRY), np.asarray(raw[middle:end]).view(dtype)
        at = end
    raise AssertionError(split)
