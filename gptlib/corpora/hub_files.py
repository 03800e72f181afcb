"""The files of a data set on a hub, one after the other, each with the right sha256.

One job: `HubFiles`. A data set is a list of files at one commit, with their sizes and hashes, in
the registry. While one is read, the next is downloaded; a download that breaks off or is killed
goes on where it was. A file that the cache folder has already is read there, and stays.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from gptlib.corpora.downloads import Entry, bring, find_cached
from gptlib.errors import DataError
from gptlib.files import has_sha256


class HubFiles:
    """Brings the files of a registered data set into `folder`, one ahead of the reader."""

    def __init__(self, entry: Entry, folder: Path) -> None:
        self.folder = folder
        self.entries = [
            Entry(
                entry.name, "part", entry.about, entry.licence, f"{entry.name}/{file}", size,
                sha256, entry.url + file, tuple(mirror + file for mirror in entry.mirrors),
            )
            for file, size, sha256 in entry.parts
        ]  # fmt: skip

    def paths(self, first: int = 0) -> Generator[tuple[int, Path]]:
        """Yield the number and the path of each file, from `first` on.

        Raises:
            DataError: no address has a file, or the folder cannot be written.
        """
        stop = threading.Event()
        pool = ThreadPoolExecutor(1)
        try:
            coming = pool.submit(self._bring, first, stop, False)
            for i in range(first, len(self.entries)):
                path = coming.result()
                if i + 1 < len(self.entries):
                    coming = pool.submit(self._bring, i + 1, stop, True)
                yield i, path
        finally:
            stop.set()  # what has come of the next file stays, for another time
            pool.shutdown(cancel_futures=True)

    def let_go(self, before: int) -> None:
        """Remove what was downloaded of the files before that number."""
        for entry in self.entries[:before]:
            for path in (self._place(entry), self._unfinished(entry)):
                path.unlink(missing_ok=True)
        if before >= len(self.entries):
            with contextlib.suppress(OSError):
                self.folder.rmdir()

    def _place(self, entry: Entry) -> Path:
        return self.folder / Path(entry.file).name

    def _unfinished(self, entry: Entry) -> Path:
        return self.folder / (Path(entry.file).name + ".unfinished")

    def _bring(self, number: int, stop: threading.Event, quiet: bool) -> Path:
        entry = self.entries[number]
        path, unfinished = self._place(entry), self._unfinished(entry)
        if has_sha256(path, entry.sha256):
            return path
        with contextlib.suppress(DataError):  # no cache folder on this machine
            if found := find_cached(entry):
                return found
        self.folder.mkdir(parents=True, exist_ok=True)
        if failures := bring(entry, unfinished, quiet, stop.is_set):
            raise DataError(
                f"could not download {entry.file} ({entry.bytes:,} bytes): {'; '.join(failures)}. "
                "What is made of the files before it stays, and the same command goes on from it. "
                f"Without a network, put the file into GPTLIB_DATA as {entry.file}"
            )
        os.replace(unfinished, path)
        return path
