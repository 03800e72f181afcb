"""Text to shards of token ids: in parallel, and never twice the same work.

One job: `prepare`. The same source and settings give the same files, byte for byte, whatever the
number of workers and however often the work was killed. A file is written under a temporary name,
flushed, renamed, and only then listed. `open_shards` reads the result. There are two ways to it:

- Documents go, in the order of the source, into shards of about `shard_bytes` of text each. A
  restart reads the source again, but encodes only what is not listed, or is listed and damaged, or
  whose text has changed.
- Where documents are shuffled, where their tokens are limited, and where the source lies on a hub,
  the source is first encoded in parts (`gptlib.shards.parts`), from which shards are gathered
  (`gptlib.shards.gather`). A restart begins where the last part ends. Until the shards are there
  the parts are too, so that the disk must hold both: 40 GB for 10 billion of GPT-2's tokens.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from filelock import Timeout

from gptlib.corpora import Corpus
from gptlib.corpora.corpus import TRAIN_SHARE
from gptlib.errors import ConfigError, DataError
from gptlib.files import has_sha256, take_lock, write_atomic
from gptlib.paths import user_path
from gptlib.shards.deal import Group, deal
from gptlib.shards.encode import Encoder
from gptlib.shards.gather import gather
from gptlib.shards.journal import Journal
from gptlib.shards.meter import Meter
from gptlib.shards.parts import FOLDER, PartWriter
from gptlib.shards.read import DTYPES, FORMAT, MANIFEST, Shard, ShardedTokens, open_shards
from gptlib.shards.sources import Source, open_source
from gptlib.tokenizers import END_OF_TEXT
from gptlib.tokenizers.base import Tokenizer

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
    tokens: int | None = None,
    shuffle_seed: int | None = None,
    workers: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    text_field: str = "text",
    separator: str = END_OF_TEXT,
    name: str | None = None,
    revision: str | None = None,
    report: Callable[[str], object] | None = None,
    progress: Callable[[int, int | None, str], None] | None = None,
) -> dict:
    """Encode a source into a shard folder, or finish what was begun there.

    Derived in chapter 6, *What does a shard look like from inside?*

    Args:
        source, text_field, separator, name, revision: see `sources.open_source`. To go on
            with an iterable, give one that starts at the beginning again.
        tokenizer: saved beside the shards. A document ends with its `<|endoftext|>` if it has that
            token; text that spells it inside a document stays ordinary text.
        val_fraction: share of the documents that are for validation (default: the split of a
            corpus, 0.005 of a hub, else a tenth). One document in every 1 / val_fraction, drawn by
            `seed`.
        tokens: stop at the end of the document with which there are so many, those for validation
            included (default: all of the source).
        shuffle_seed: put the documents in an order that this number draws, over all shards
            (default: the order of the source).
        workers: threads that encode (default: one a core). shard_bytes: UTF-8 bytes of text after
            which a shard is full.
        report: called with one line of progress for each shard.
        progress: called at each document with how many are encoded, of about how many (None if the
            source does not tell), and a note of the tokens.

    Returns:
        The manifest: format, source, tokenizer, dtype, settings, and for each shard its file,
        split, tokens, documents, bytes and hashes. It has no times in it.

    Raises:
        DataError: no text; a hub that cannot be reached; a document that cannot be read or encoded,
            with its number; no document for one of the splits; the folder holds other shards, is in
            use or cannot be written.
        ConfigError: a fraction that leaves a split without documents, or a size below 1.
    """
    for name_of, value, least in (
        ("seed", seed, None), ("workers", workers, 1), ("shard_bytes", shard_bytes, 1),
        ("tokens", tokens, 1), ("shuffle_seed", shuffle_seed, 0),
    ):  # fmt: skip
        _check_whole(name_of, value, least)
    folder = user_path(out_dir)
    stream = open_source(
        source, text_field, separator, val_fraction, name, revision, folder / "download"
    )
    plan = {
        "format": FORMAT,
        "source": {"name": stream.name, "revision": stream.revision},
        "tokenizer": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "dtype": next(d for d, ids in DTYPES.items() if tokenizer.vocab_size <= ids),
        "end_of_text": tokenizer.special_tokens.get(END_OF_TEXT),
        "val_fraction": stream.val_fraction if val_fraction is None else val_fraction,
        "seed": seed,
        "shard_bytes": shard_bytes,
    }
    asked = {"tokens": tokens, "shuffle_seed": shuffle_seed}
    plan |= {key: value for key, value in asked.items() if value is not None}
    meter = Meter(report, progress, tokens)
    in_order = tokens is None and shuffle_seed is None and not stream.remote
    make = _in_order if in_order else _by_parts
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with take_lock(folder / ".lock"):
            journal = Journal(folder, plan)
            for pattern in (".*.tmp", "tokenizer/.*.tmp"):
                for left in folder.glob(pattern):  # of a process that was killed while it wrote
                    left.unlink(missing_ok=True)
            tokenizer.save(folder / "tokenizer")
            encoder = Encoder(tokenizer, plan, stream.ending)
            return make(journal, stream, encoder, meter, workers or os.cpu_count() or 1)
    except Timeout as error:
        raise DataError(
            f"another process is preparing data in {folder}; wait, or choose another folder"
        ) from error
    except OSError as error:
        raise DataError(
            f"cannot write shards in {folder} ({error}); make room or choose another folder. What "
            "is finished there stays, and the same command goes on from it"
        ) from error


def _by_parts(
    journal: Journal, stream: Source, encoder: Encoder, meter: Meter, workers: int
) -> dict:
    """Encode the source in parts, then gather shards of them."""
    parts = journal.folder / FOLDER
    manifest = journal.manifest
    whole = manifest is not None and all(
        has_sha256(journal.folder / shard.file, shard.sha256) for shard in manifest["shards"]
    )
    if whole and stream.revision:  # nothing can have changed
        journal.close()
    else:
        fraction = journal.plan["val_fraction"] or 1 - TRAIN_SHARE
        limit = journal.plan.get("tokens")
        writer = PartWriter(journal, stream, encoder, meter, fraction, limit)
        shards = gather(journal, writer.write_all(workers), encoder.dtype, meter)
        journal.seal(shards)
    shutil.rmtree(parts, ignore_errors=True)
    if stream.let_go:
        stream.let_go(None)
    return json.loads((journal.folder / MANIFEST).read_bytes())


def _in_order(
    journal: Journal, stream: Source, encoder: Encoder, meter: Meter, workers: int
) -> dict:
    """Encode every shard that is not finished; reading runs a little ahead of encoding."""
    writer = _Writer(journal, encoder, meter)
    watched = replace(stream, read=lambda start: meter.watch(stream.read(start)))
    fraction = journal.plan["val_fraction"] or 1 - TRAIN_SHARE
    queue: deque[tuple[Group, list[Future]]] = deque()
    pool = ThreadPoolExecutor(workers)
    try:
        for group in deal(watched, fraction, journal.plan["seed"], journal.plan["shard_bytes"]):
            if writer.is_finished(group):
                continue
            jobs = [pool.submit(encoder, batch) for batch in group.batches()]
            queue.append((group, jobs))
            group.texts = []  # the jobs have them
            if len(queue) > AHEAD:
                writer.finish(*queue.popleft())
        while queue:
            writer.finish(*queue.popleft())
    finally:
        pool.shutdown(cancel_futures=True)
    return journal.seal(writer.shards)


class _Writer:
    """Writes shards in the order of the source, or takes over those of an earlier start."""

    def __init__(self, journal: Journal, encoder: Encoder, meter: Meter) -> None:
        self.journal, self.encoder, self.meter = journal, encoder, meter
        self.shards: list[Shard] = []

    def finish(self, group: Group, jobs: list[Future]) -> None:
        """Write a shard and list it, in this order."""
        parts: list[np.ndarray] = []
        for job in jobs:
            parts.append(job.result()[0])
            share = len(parts) / len(jobs)
            self.meter.tell(int(len(group.numbers) * share), sum(map(len, parts)))
        data = np.concatenate(parts)
        raw = data.tobytes()
        shard = Shard(
            group.file, group.split, len(data), len(group.numbers), group.bytes,
            hashlib.sha256(raw).hexdigest(), group.hash.hexdigest(),
        )  # fmt: skip
        write_atomic(self.journal.folder / shard.file, raw)
        self.journal.add(shard)
        self.shards.append(shard)
        self.meter.finish(shard.file, shard.documents, shard.tokens, group.share)

    def is_finished(self, group: Group) -> bool:
        """Take over a shard of an earlier start if its text and its bytes are the right ones."""
        shard = self.journal.shards.get(group.file)
        if shard is None or shard.text_sha256 != group.hash.hexdigest():
            return False
        if not has_sha256(self.journal.folder / shard.file, shard.sha256):
            return False
        self.shards.append(shard)
        self.meter.skip(shard.documents, shard.tokens, group.share)
        return True


def _check_whole(name: str, value: object, least: int | None) -> None:
    """`seed` is any whole number; the others may be None, and have a least value."""
    if least is None:
        if type(value) is not int:
            raise ConfigError(f"{name} is {value!r}; it must be a whole number")
    elif value is not None and (type(value) is not int or value < least):
        raise ConfigError(f"{name} is {value!r}; it must be a whole number, {least} or more")
