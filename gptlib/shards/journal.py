"""What is finished in a shard folder, and what it was finished with.

One job: `Journal`. The plan says all that decides the files; another plan is refused. Each finished
file is a line, added when the file is on the disk, so a killed process loses what it was writing
and nothing else. The manifest takes its place when all is done.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gptlib.errors import DataError
from gptlib.files import append_line, write_atomic
from gptlib.shards.read import MANIFEST, SPLITS, UNFINISHED, Shard, read_manifest
from gptlib.shards.sources import Place
from gptlib.tokenizers.base import content_hash
from gptlib.versions import package_version

OPTIONAL = ("shuffle_seed", "tokens")  # of a plan, left out where nobody asked for them


@dataclass(frozen=True)
class Part:
    """A stretch of the source that is encoded: see `gptlib.shards.parts`.

    Attributes:
        first: number of its first document in the source. documents, tokens: how many.
        splits: (documents, tokens, bytes of text) of each. place: where it ends in the source.
        last: nothing follows it. sha256: of its file. text_sha256: of the text it was made from.
    """

    number: int
    first: int
    documents: int
    tokens: int
    splits: dict[str, tuple[int, int, int]]
    place: Place | None
    last: bool
    sha256: str
    text_sha256: str

    @property
    def file(self) -> str:
        return f"{self.number:05d}.bin"


class Journal:
    """The finished work of a shard folder, read on opening it and added to.

    Attributes:
        manifest: of a folder that is complete, or None.
        shards: by file, as the manifest and the journal list them. parts: by number.

    Raises:
        DataError: the folder was begun with another plan.
    """

    def __init__(self, folder: Path, plan: dict) -> None:
        self.folder, self.plan = folder, plan
        self.manifest: dict | None = None
        self.shards: dict[str, Shard] = {}
        self.parts: dict[int, Part] = {}
        self._read()

    def add(self, entry: Shard | Part) -> None:
        """List a file that is on the disk."""
        append_line(self.folder / UNFINISHED, _line(entry))

    def seal(self, shards: list[Shard]) -> dict:
        """Write the manifest, which says that the folder is complete.

        Raises:
            DataError: one of the splits is empty.
        """
        shards = sorted(shards, key=lambda s: (SPLITS.index(s.split), len(s.file), s.file))
        for split in SPLITS:
            if not any(shard.split == split for shard in shards):
                documents = sum(shard.documents for shard in shards)
                raise DataError(
                    f"{self.plan['source']['name']} has {documents} documents with text in them, "
                    f"and none of them falls to {split}; give more text, or another val_fraction "
                    "with another folder"
                )
        manifest = {
            **self.plan, "gptlib": package_version(), "shards": [asdict(shard) for shard in shards]
        }  # fmt: skip
        manifest["sha256"] = content_hash(manifest)
        write_atomic(self.folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
        self.close()
        return manifest

    def close(self) -> None:
        """The manifest says it all."""
        (self.folder / UNFINISHED).unlink(missing_ok=True)

    def _read(self) -> None:
        """Take in the manifest and the lines, and begin the list anew with what they say."""
        entries: list[Shard | Part] = []
        if (self.folder / MANIFEST).exists():
            self.manifest = read_manifest(self.folder)
            self._check_plan(self.manifest)
            entries += self.manifest["shards"]
        path = self.folder / UNFINISHED
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        try:
            for i, line in enumerate(lines[:-1]):  # a torn last line does not count
                if i == 0:
                    self._check_plan(json.loads(line))
                else:
                    entries.append(_entry(json.loads(line)))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            pass  # damaged: what follows is made again
        text = "".join(json.dumps(line) + "\n" for line in (self.plan, *map(_line, entries)))
        write_atomic(path, text.encode())
        self.shards = {entry.file: entry for entry in entries if isinstance(entry, Shard)}
        self.parts = {entry.number: entry for entry in entries if isinstance(entry, Part)}

    def _check_plan(self, before: dict) -> None:
        differences = [
            f"{key} was {before.get(key)!r} and is now {self.plan.get(key)!r}"
            for key in dict.fromkeys((*self.plan, *OPTIONAL))
            if before.get(key) != self.plan.get(key)
        ]
        if differences:
            raise DataError(
                f"{self.folder} holds other shards: {'; '.join(differences)}; use the same "
                "settings, or another folder"
            )


def _line(entry: Shard | Part) -> dict:
    return asdict(entry) if isinstance(entry, Shard) else {"part": asdict(entry)}


def _entry(line: dict) -> Shard | Part:
    if "part" not in line:
        return Shard(**line)
    about = line["part"]
    place = about["place"] and (int(about["place"][0]), int(about["place"][1]))
    splits = {split: tuple(map(int, about["splits"][split])) for split in SPLITS}
    return Part(**(about | {"place": place, "splits": splits}))
