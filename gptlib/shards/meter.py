"""How far a preparation is: a line for each finished file, and a count in between.

One job: `Meter`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator

from gptlib.shards.sources import Document


class Meter:
    """Counts what is read and encoded, and tells it.

    Args:
        report: called with one line for each finished file. progress: called at each document with
            how many are encoded, of about how many (None if nobody knows), and a note.
        limit: tokens after which the work ends, or None.
    """

    def __init__(
        self,
        report: Callable[[str], object] | None,
        progress: Callable[[int, int | None, str], None] | None,
        limit: int | None = None,
    ) -> None:
        self.report, self._progress, self._limit = report or (lambda line: None), progress, limit
        self._began, self._from = time.monotonic(), 0.0
        self._tokens = self._documents = self._read = self._skipped = self._held = 0
        self._share: float | None = None

    def watch(self, documents: Iterable[Document]) -> Iterator[Document]:
        """The documents, counted as they are read."""
        for document in documents:
            self._read, self._share = self._read + 1, document.share
            self.tell()
            yield document

    def tell(self, documents: int = 0, tokens: int = 0) -> None:
        """Say how far it is; so many of a file that is not finished are encoded."""
        if self._progress:
            about = round(self._read / self._share) - self._skipped if self._share else None
            note = f"{self._tokens + tokens:,} tokens"
            self._progress(self._documents + documents, None if self._limit else about, note)

    def finish(self, file: str, documents: int, tokens: int, share: float | None) -> None:
        """A file is on the disk; so much of the source is read for it."""
        self._tokens += tokens
        self._documents += documents
        seconds = time.monotonic() - self._began
        line = f"{file}  {tokens:,} tokens  {self._tokens / seconds:,.0f} tokens/s"
        if self._limit:
            share = max(share or 0.0, (self._held + self._tokens) / self._limit)
        if share is not None and share > self._from:
            left = seconds * max(0.0, 1 - share) / (share - self._from)
            line += f"  {left / 60:.1f} min left"
        self.report(line)

    def skip(self, documents: int, tokens: int, share: float | None) -> None:
        """A file is there from an earlier start; the rate is counted from here on."""
        self._held += tokens + self._tokens
        self._began, self._tokens = time.monotonic(), 0
        self._from = self._held / self._limit if self._limit else share or 0.0
        self._skipped += documents
