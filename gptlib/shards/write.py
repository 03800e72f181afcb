"""Text to shards of token ids: in parallel, and never twice the same work.

One job: `prepare`. Documents go, in the order of the source, into shards of about `shard_bytes` of
text each, so the same source and settings give the same files, byte for byte, whatever the number
of workers and however often the work was killed. A shard is written under a temporary name,
flushed, renamed, and only then listed; a restart reads the source again, but encodes only what is
not listed, or is listed and damaged, or whose text has changed. `open_shards` reads the result.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from filelock import Timeout

from gptlib.corpora import Corpus
from gptlib.corpora.corpus import TRAIN_SHARE
from gptlib.errors import ConfigError, DataError, TokenizerError
from gptlib.files import append_line, has_sha256, take_lock, write_atomic
from gptlib.paths import user_path
from gptlib.shards.deal import Group, deal
from gptlib.shards.read import (
    DTYPES,
    FORMAT,
    MANIFEST,
    SPLITS,
    UNFINISHED,
    Shard,
    ShardedTokens,
    open_shards,
    read_manifest,
)
from gptlib.shards.sources import Document, Source, open_source
from gptlib.tokenizers import END_OF_TEXT
from gptlib.tokenizers.base import Tokenizer, content_hash
from gptlib.versions import package_version

__all__ = ["ShardedTokens", "open_shards", "prepare"]

SHARD_BYTES = 64_000_000  # of text: some 15 million of GPT-2's tokens, a file of 30 MB
AHEAD = 2  # shards that are read while another one is encoded


def prepare(
    source: str | Path | Corpus | Iterable,
    tokenizer: Tokenizer,
    out_dir: str | Path,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    text_field: str = "text",
    separator: str = END_OF_TEXT,
    name: str | None = None,
    revision: str | None = None,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int, int | None, str], None] | None = None,
) -> dict:
    """Encode a source into a shard folder, or finish what was begun there.

    Args:
        source, text_field, separator, name, revision: see `sources.open_source`. To go on
            with an iterable, give one that starts at the beginning again.
        tokenizer: saved beside the shards. A document ends with its `<|endoftext|>` if it has that
            token; text that spells it inside a document stays ordinary text.
        val_fraction: share of the documents that are for validation (default: the split of a
            corpus, else a tenth). One document in every 1 / val_fraction, drawn by `seed`.
        workers: threads that encode (default: one a core). shard_bytes: UTF-8 bytes of text after
            which a shard is full.
        report: called with one line of progress for each shard.
        progress: called at each document with how many are encoded, of about how many (None if the
            source does not tell), and a note of the tokens.

    Returns:
        The manifest: format, source, tokenizer, dtype, settings, and for each shard its file,
        split, tokens, documents, bytes and hashes. It has no times in it.

    Raises:
        DataError: no text; a document that cannot be read or encoded, with its number; no document
            for one of the splits; the folder holds other shards, is in use or cannot be written.
        ConfigError: a fraction that leaves a split without documents, or a size below 1.
    """
    _check_settings(workers, shard_bytes, seed)
    stream = open_source(source, text_field, separator, val_fraction, name, revision)
    plan = {
        "format": FORMAT,
        "source": {"name": stream.name, "revision": stream.revision},
        "tokenizer": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "dtype": next(d for d, ids in DTYPES.items() if tokenizer.vocab_size <= ids),
        "end_of_text": tokenizer.special_tokens.get(END_OF_TEXT),
        "val_fraction": val_fraction,
        "seed": seed,
        "shard_bytes": shard_bytes,
    }
    folder = user_path(out_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with take_lock(folder / ".lock"):
            writer = _Writer(folder, plan, tokenizer, report, progress)
            writer.write_all(stream, workers or os.cpu_count() or 1)
            return writer.seal()
    except Timeout as error:
        raise DataError(
            f"another process is preparing data in {folder}; wait, or choose another folder"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write shards in {folder} ({error}); make room or choose another folder. What "
            "is finished there stays, and the same command goes on from it"
        ) from error


class _Writer:
    """What `prepare` keeps while it works: the plan, and what is finished in the folder."""

    def __init__(
        self,
        folder: Path,
        plan: dict,
        tokenizer: Tokenizer,
        report: Callable | None,
        progress: Callable | None,
    ) -> None:
        self.folder, self.plan, self.tokenizer = folder, plan, tokenizer
        self.report, self.progress = report or (lambda line: None), progress
        self.finished = self._read_finished()
        self.shards: list[Shard] = []
        for pattern in (".*.tmp", "tokenizer/.*.tmp"):
            for left in folder.glob(pattern):  # of a process that was killed while it wrote
                left.unlink(missing_ok=True)
        tokenizer.save(folder / "tokenizer")
        self._began, self._tokens, self._from = time.monotonic(), 0, 0.0
        self._read, self._documents, self._skipped = 0, 0, 0
        self._share: float | None = None

    def write_all(self, stream: Source, workers: int) -> None:
        """Encode every shard that is not finished; reading runs a little ahead of encoding."""
        ending = self._ending(stream)
        watched = replace(stream, read=lambda: self._watch(stream))
        fraction = self.plan["val_fraction"] or 1 - TRAIN_SHARE
        queue: deque[tuple[Group, list[Future]]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            for group in deal(watched, fraction, self.plan["seed"], self.plan["shard_bytes"]):
                if self._is_finished(group):
                    continue
                jobs = [pool.submit(self._encode, batch, ending) for batch in group.batches()]
                queue.append((group, jobs))
                group.texts = []  # the jobs have them
                if len(queue) > AHEAD:
                    self._finish(*queue.popleft())
            while queue:
                self._finish(*queue.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _watch(self, stream: Source) -> Iterator[Document]:
        """The documents of the source, counted."""
        for document in stream.read():
            self._read, self._share = self._read + 1, document.share
            self._tell()
            yield document

    def _tell(self, documents: int = 0, tokens: int = 0) -> None:
        """Say how far it is; so many of a shard that is not finished are encoded."""
        if self.progress:
            about = round(self._read / self._share) - self._skipped if self._share else None
            note = f"{self._tokens + tokens:,} tokens"
            self.progress(self._documents + documents, about, note)

    def _ending(self, stream: Source) -> np.ndarray:
        """Ids that follow every document."""
        if self.plan["end_of_text"] is not None:
            return np.array([self.plan["end_of_text"]], dtype=np.uint32)
        return self.tokenizer.encode_array(stream.ending)

    def _encode(self, batch: list[tuple[int, str]], ending: np.ndarray) -> np.ndarray:
        """Ids of some documents, (N,) in the shard's type. Runs in many threads at once."""
        parts = []
        for number, text in batch:
            try:
                ids = self.tokenizer.encode_array(text)
            except TokenizerError as error:
                raise DataError(f"document {number} of the source: {error}") from error
            if ids.size and int(ids.max()) >= self.plan["vocab_size"]:
                raise DataError(
                    f"document {number} of the source has the token id {int(ids.max())}, but the "
                    f"tokenizer speaks of {self.plan['vocab_size']:,} ids, kept as "
                    f"{self.plan['dtype']}; it does not fit: mend the tokenizer's vocab_size"
                )
            parts += [ids, ending]
        return np.concatenate(parts).astype(np.dtype(self.plan["dtype"]).newbyteorder("<"))

    def _finish(self, group: Group, jobs: list[Future]) -> None:
        """Write a shard and list it, in this order."""
        parts: list[np.ndarray] = []
        for job in jobs:
            parts.append(job.result())
            share = len(parts) / len(jobs)
            self._tell(int(len(group.numbers) * share), sum(map(len, parts)))
        data = np.concatenate(parts)
        raw = data.tobytes()
        shard = Shard(
            group.file, group.split, len(data), len(group.numbers), group.bytes,
            hashlib.sha256(raw).hexdigest(), group.hash.hexdigest(),
        )  # fmt: skip
        write_atomic(self.folder / shard.file, raw)
        append_line(self.folder / UNFINISHED, asdict(shard))
        self.shards.append(shard)
        self._tokens += shard.tokens
        self._documents += shard.documents
        seconds = time.monotonic() - self._began
        line = f"{shard.file}  {shard.tokens:,} tokens  {self._tokens / seconds:,.0f} tokens/s"
        if group.share is not None and group.share > self._from:
            left = seconds * (1 - group.share) / (group.share - self._from)
            line += f"  {left / 60:.1f} min left"
        self.report(line)

    def seal(self) -> dict:
        """Write the manifest, which says that the folder is complete."""
        shards = sorted(self.shards, key=lambda s: (SPLITS.index(s.split), len(s.file), s.file))
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
        (self.folder / UNFINISHED).unlink(missing_ok=True)
        return manifest

    # --- what is finished already -----------------------------------------------------------------

    def _is_finished(self, group: Group) -> bool:
        """Take over a shard of an earlier start if its text and its bytes are the right ones."""
        shard = self.finished.get(group.file)
        if shard is None or shard.text_sha256 != group.hash.hexdigest():
            return False
        if not has_sha256(self.folder / shard.file, shard.sha256):
            return False
        self.shards.append(shard)
        self._began, self._tokens, self._from = time.monotonic(), 0, group.share or 0.0
        self._skipped += shard.documents
        return True

    def _read_finished(self) -> dict[str, Shard]:
        """Shards by file name, from the manifest and from the list of unfinished work."""
        entries: list[Shard] = []
        if (self.folder / MANIFEST).exists():
            manifest = read_manifest(self.folder)
            self._check_plan(manifest)
            entries += manifest["shards"]
        path = self.folder / UNFINISHED
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        try:
            for i, line in enumerate(lines[:-1]):  # a torn last line does not count
                if i == 0:
                    self._check_plan(json.loads(line))
                else:
                    entries.append(Shard(**json.loads(line)))
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass  # damaged: what follows is made again
        plan = json.dumps(self.plan) + "\n"
        kept = [json.dumps(asdict(shard)) + "\n" for shard in entries]
        write_atomic(path, "".join([plan, *kept]).encode())
        return {shard.file: shard for shard in entries}

    def _check_plan(self, before: dict) -> None:
        differences = [
            f"{key} was {before.get(key)!r} and is now {value!r}"
            for key, value in self.plan.items()
            if before.get(key) != value
        ]
        if differences:
            raise DataError(
                f"{self.folder} holds other shards: {'; '.join(differences)}; use the same "
                "settings, or another folder"
            )


def _check_settings(workers: int | None, shard_bytes: int, seed: int) -> None:
    if type(seed) is not int:
        raise ConfigError(f"seed is {seed!r}; it must be a whole number")
    for name, value in (("workers", workers), ("shard_bytes", shard_bytes)):
        if value is not None and (type(value) is not int or value < 1):
            raise ConfigError(f"{name} is {value!r}; it must be a whole number, 1 or more")
