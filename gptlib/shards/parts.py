"""A source in parts: encoded in its order, each part kept until the shards are made of them.

One job: `write_parts`. A part is a stretch of the source with about as much text as a shard. Its
file holds, for each split, the documents sorted by a key, drawn from the shuffle seed and the
document's number, and their token ids in that order, so that `gptlib.shards.gather` finds those of
one shard in one piece. A part notes where it ends in the source: a restart begins there, and reads
nothing before.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import deque
from collections.abc import Container, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from gptlib.files import has_sha256, write_atomic
from gptlib.shards.deal import Group, in_validation
from gptlib.shards.encode import Encoder
from gptlib.shards.journal import Journal, Part
from gptlib.shards.meter import Meter
from gptlib.shards.read import SPLITS
from gptlib.shards.sources import Document, Place, Source

FOLDER = "parts"
AHEAD = 2  # parts that are read while another one is encoded
#: One document of a part: its key, a hash of its text, where its ids end, bytes of its text.
ENTRY = np.dtype([("key", "<u8"), ("text", "<u8"), ("end", "<u8"), ("bytes", "<u8")])

Encoded = tuple[np.ndarray, np.ndarray, list[tuple[int, int]]]


def sort_key(number: int, shuffle_seed: int | None) -> int:
    """Where document `number` of the source stands among all: a 64-bit number that the seed draws,
    or, without a seed, the number itself."""
    if shuffle_seed is None:
        return number
    draw = hashlib.sha256(f"shuffle {shuffle_seed} {number}".encode()).digest()
    return int.from_bytes(draw[:8], "little")


@dataclass
class Bundle(Group):
    """The documents of one part; `split` says nothing here, `splits` has one for each of them."""

    splits: list[str] = field(default_factory=list)
    place: Place | None = None
    last: bool = False


def bundles(
    documents: Iterable[Document],
    index: int,
    first: int,
    limit: int,
    fraction: float,
    seed: int,
    there: Container[int],
) -> Iterator[Bundle]:
    """Cut a source into bundles of `limit` bytes, from number `index` on; ends before one that is
    there already.

    Args:
        first: number of the first document. fraction, seed: draw those for validation.
    """
    bundle = None
    for number, document in enumerate(documents, first):
        if bundle and bundle.bytes >= limit:
            index += 1
            yield bundle
            bundle = None
            if index in there:
                return
        bundle = bundle or Bundle("part", index)
        bundle.add(number, document.text, document.share)
        bundle.splits.append(document.split or SPLITS[in_validation(number, fraction, seed)])
        bundle.place = document.place
    if bundle:
        bundle.last = True
        yield bundle


class PartWriter:
    """Writes the parts of a source that a folder lacks.

    Args:
        fraction: share of the documents for validation. limit: tokens after which the source is
            read no further, or None.
    """

    def __init__(
        self,
        journal: Journal,
        source: Source,
        encoder: Encoder,
        meter: Meter,
        fraction: float,
        limit: int | None,
    ) -> None:
        self.journal, self.source, self.encoder, self.meter = journal, source, encoder, meter
        self.fraction, self.limit = fraction, limit
        self.seed, self.shuffle_seed = journal.plan["seed"], journal.plan.get("shuffle_seed")
        self.folder: Path = journal.folder / FOLDER
        self.folder.mkdir(exist_ok=True)
        for left in self.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)
        self.whole = {
            number: part
            for number, part in journal.parts.items()
            if has_sha256(self.folder / part.file, part.sha256)
        }
        self.parts: dict[int, Part] = {}

    def write_all(self, workers: int) -> list[Part]:
        """Encode every part that is not there; returns them all, in the order of the source."""
        queue: deque[tuple[Bundle, list[Future[Encoded]]]] = deque()
        pool = ThreadPoolExecutor(workers)
        try:
            with contextlib.closing(self._missing()) as missing:
                for bundle in missing:
                    jobs = [pool.submit(self._encode, batch) for batch in bundle.batches()]
                    queue.append((bundle, jobs))
                    bundle.texts = []  # the jobs have them
                    if len(queue) > AHEAD and self._finish(*queue.popleft()):
                        break
                else:
                    while queue and not self._finish(*queue.popleft()):
                        pass
        finally:
            pool.shutdown(cancel_futures=True)
        end = min((number for number, part in self.parts.items() if part.last), default=-1)
        return [self.parts[number] for number in range(end + 1)]

    def _missing(self) -> Generator[Bundle]:
        """The parts that are not there, with their texts."""
        index, first, place = 0, 0, None
        known, there = self.journal.parts, self.whole if self.source.places else ()
        while True:
            while index in there:
                part = self._take(self.whole[index], None)
                if part.last:
                    return
                index, first, place = index + 1, part.first + part.documents, part.place
            documents = self.meter.watch(self.source.documents(place))
            bundle = None
            for bundle in bundles(
                documents, index, first, self.journal.plan["shard_bytes"], self.fraction,
                self.seed, there,
            ):  # fmt: skip
                old = known.get(bundle.index)
                if old and old.text_sha256 != bundle.hash.hexdigest():
                    known = {}  # the source has changed from here on
                    self.whole.clear()
                if bundle.index in self.whole:
                    if self._take(self.whole[bundle.index], bundle.share).last:
                        return
                    continue
                yield bundle
            if bundle is None or bundle.last:
                return
            index, first, place = bundle.index + 1, bundle.numbers[-1] + 1, bundle.place

    def _take(self, part: Part, share: float | None) -> Part:
        self.parts[part.number] = part
        self.meter.skip(part.documents, part.tokens, share)
        return part

    def _encode(self, batch: list[tuple[int, str]]) -> Encoded:
        """Ids, lengths, and for each document a hash and the bytes of its text."""
        about = []
        for _, text in batch:
            raw = text.encode("utf-8", "surrogatepass")
            digest = hashlib.blake2b(raw, digest_size=8).digest()
            about.append((int.from_bytes(digest, "little"), len(raw)))
        return *self.encoder(batch), about

    def _finish(self, bundle: Bundle, jobs: list[Future[Encoded]]) -> bool:
        """Write a part and list it, in this order; says whether it is the last one."""
        ids: list[np.ndarray] = []
        lengths: list[np.ndarray] = []
        about: list[tuple[int, int]] = []
        for job in jobs:
            found, length, texts = job.result()
            ids.append(found)
            lengths.append(length)
            about += texts
            self.meter.tell(sum(map(len, lengths)), sum(map(len, ids)))
        length = np.concatenate(lengths)
        before = sum(part.tokens for number, part in self.parts.items() if number < bundle.index)
        kept, last = len(length), bundle.last
        if self.limit is not None:
            kept = int(np.searchsorted(before + np.cumsum(length), self.limit)) + 1
            last = last or kept <= len(length)
            kept = min(kept, len(length))
        data, splits = self._packed(bundle, np.concatenate(ids), length, about, kept)
        part = Part(
            bundle.index, bundle.numbers[0], kept, int(length[:kept].sum()), splits, bundle.place,
            last, hashlib.sha256(data).hexdigest(), bundle.hash.hexdigest(),
        )  # fmt: skip
        write_atomic(self.folder / part.file, data)
        self.journal.add(part)
        self.parts[part.number] = part
        if bundle.place and self.source.let_go:
            self.source.let_go(bundle.place)
        self.meter.finish(f"part {part.number}", kept, part.tokens, bundle.share)
        return last

    def _packed(
        self, bundle: Bundle, ids: np.ndarray, lengths: np.ndarray, about: list, kept: int
    ) -> tuple[bytes, dict]:
        """The file of a part: for each split its entries, then its ids, both sorted by key."""
        ends = np.cumsum(lengths)
        rows = np.zeros(kept, ENTRY)
        rows["key"] = [sort_key(number, self.shuffle_seed) for number in bundle.numbers[:kept]]
        rows["text"], rows["bytes"] = zip(*about[:kept], strict=True)
        raw, splits = [], {}
        for split in SPLITS:
            mine = [i for i in range(kept) if bundle.splits[i] == split]
            mine.sort(key=lambda i: (int(rows["key"][i]), i))
            entries = rows[mine]
            entries["end"] = np.cumsum(lengths[mine])
            pieces = [ids[ends[i] - lengths[i] : ends[i]] for i in mine]
            raw += [entries.tobytes(), *(piece.tobytes() for piece in pieces)]
            splits[split] = (len(mine), int(lengths[mine].sum()), int(entries["bytes"].sum()))
        return b"".join(raw), splits
