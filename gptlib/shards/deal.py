"""Which document goes into which shard.

One job: `deal`. The place of a document depends on the order of the source, on its size and on the
seed, and on nothing that happens later, so any shard can be made again without the others.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from gptlib.shards.read import SPLITS
from gptlib.shards.sources import Source, share_of

BATCH_BYTES = 250_000  # of text that a thread encodes at a time


def in_validation(number: int, fraction: float, seed: int) -> bool:
    """Say whether document `number` is for validation: one in each run of about 1 / fraction.

    The runs lie side by side, so that the share is exact to one document; which document of a run
    is drawn depends on `seed` and on the number of the run only.
    """
    share = share_of(fraction)
    run = number * share.numerator // share.denominator
    first = -(-run * share.denominator // share.numerator)
    after = -(-(run + 1) * share.denominator // share.numerator)
    draw = hashlib.sha256(f"{seed} {run}".encode()).digest()
    return number - first == int.from_bytes(draw[:8], "little") % (after - first)


@dataclass
class Group:
    """The documents of one shard, whose place is fixed before any of them is encoded."""

    split: str
    index: int
    texts: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)  # of the documents in the source
    bytes: int = 0
    share: float | None = None
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def file(self) -> str:
        return f"{self.split}_{self.index:05d}.bin"

    def add(self, number: int, text: str, share: float | None) -> None:
        raw = text.encode("utf-8", "surrogatepass")
        self.hash.update(len(raw).to_bytes(8, "little") + raw)
        self.texts.append(text)
        self.numbers.append(number)
        self.bytes += len(raw)
        self.share = share

    def batches(self) -> Iterator[list[tuple[int, str]]]:
        batch, size = [], 0
        for number, text in zip(self.numbers, self.texts, strict=True):
            batch.append((number, text))
            size += len(text)
            if size >= BATCH_BYTES:
                yield batch
                batch, size = [], 0
        if batch:
            yield batch


def deal(stream: Source, fraction: float, seed: int, limit: int) -> Iterator[Group]:
    """Deal documents to shards by their order, their split and their size."""
    filling: dict[str, Group] = {}
    counts = dict.fromkeys(SPLITS, 0)
    for number, document in enumerate(stream.documents()):
        split = document.split or SPLITS[in_validation(number, fraction, seed)]
        if split not in filling:
            filling[split] = Group(split, counts[split])
            counts[split] += 1
        filling[split].add(number, document.text, document.share)
        if filling[split].bytes >= limit:
            yield filling.pop(split)
    yield from filling.values()
