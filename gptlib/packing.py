"""Whole stories in every window, none cut at a window's end.

One job: `PackedBatches`. Windows that begin at a story run on into the next and cut it; here each
is filled with stories that fit together, by best-fit decreasing (Johnson 1974; for language models
Ding et al. 2024): the longest story that is left goes where it leaves the least room. What still
stays empty is padding. The loss counts neither that nor the first token of a story, which nothing
before it could tell.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from gptlib.batches import Batches, Tokens, document_starts, place_in_epoch
from gptlib.errors import ConfigError, DataError


def best_fit(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Put things of these lengths, none above `room`, into as few boxes of `room` as best-fit
    decreasing finds; returns the places in `lengths` of what each box holds."""
    boxes: list[list[int]] = []
    open_boxes: dict[int, list[int]] = {}  # by the room that is left
    left: list[int] = []  # the keys, sorted
    for thing in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        at = bisect.bisect_left(left, lengths[thing])
        if at < len(left):
            space = left[at]
            box = open_boxes[space].pop()
            if not open_boxes[space]:
                del open_boxes[left.pop(at)]
        else:
            space, box = room, len(boxes)
            boxes.append([])
        boxes[box].append(thing)
        space -= lengths[thing]
        if space and space not in open_boxes:
            bisect.insort(left, space)
        if space:
            open_boxes.setdefault(space, []).append(box)
    return boxes


class PackedBatches(Batches):
    """Batches of windows that hold whole stories, one behind another.

    Args:
        tokens: 1-D ids of stories, one after another, such as `corpus.encode(tokenizer)[0]`.
        separator: the ids that every story begins with, such as `tokenizer.encode("<|start|>")`.
        batch_size, block_size: as in `TokenBatches`.
        end: the id that a story ends with; what stands between it and the next story is left out.
        seed: another seed, another order of the windows, which is a new one in every epoch.

    Attributes:
        windows: of an epoch. stories: in them.
        cropped: the share of the stories' tokens that is lost, since a story is longer than a
            window. padded: the share of the windows' room that is empty.

    Raises:
        DataError: no story begins in the text. ConfigError: a size below 1.
    """

    def __init__(
        self,
        tokens: Tokens | Sequence[int],
        separator: Sequence[int],
        batch_size: int,
        block_size: int,
        end: int | None = None,
        seed: int = 0,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("block_size", block_size)):
            if type(value) is not int or value < 1:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number >= 1")
        self.batch_size, self.block_size, self.seed = batch_size, block_size, seed
        self.tokens_per_step = batch_size * block_size
        self._ids = ids = np.asarray(tokens, dtype=np.int64)
        self._begin = document_starts(ids, separator)
        if not len(self._begin):
            raise DataError(
                f"no story begins in the text: the separator {list(separator)} stands nowhere; "
                "give the ids that every story begins with"
            )
        self._stop = np.append(self._begin[1:], len(ids))  # after its last token
        if end is not None:
            ends = np.append(np.flatnonzero(ids == end), len(ids))
            self._stop = np.minimum(self._stop, ends[np.searchsorted(ends, self._begin)] + 1)
        lengths = self._stop - self._begin
        kept = np.minimum(lengths, block_size)
        self._windows = best_fit(kept.tolist(), block_size)
        self.windows, self.stories = len(self._windows), len(lengths)
        self.cropped = 1 - float(kept.sum() / lengths.sum())
        self.padded = 1 - float(kept.sum() / (self.windows * block_size))
        told = hashlib.sha256(f"packed {block_size} {end} {list(separator)} ".encode())
        told.update(ids.astype("<i8").tobytes())
        self.sha256 = told.hexdigest()

    def window(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and targets (T,) of a window. A story's last token has no target, unless the
        story was cropped there; nor has padding, whose id is 0."""
        x = np.zeros(self.block_size, dtype=np.int64)
        y = np.full(self.block_size, -1, dtype=np.int64)
        at = 0
        for story in self._windows[number]:
            begin, stop = self._begin[story], self._stop[story]
            n = min(stop - begin, self.block_size)
            x[at : at + n] = self._ids[begin : begin + n]
            follow = self._ids[begin + 1 : min(begin + n + 1, stop)]
            y[at : at + len(follow)] = follow
            at += n
        return x, y

    def batch(
        self, step: int, rank: int = 0, world_size: int = 1, micro: int = 0, accumulate: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Return inputs and targets, each (rows, T) int64 on the CPU; see `TokenBatches.batch`."""
        rows = self.rows(world_size, accumulate)
        first = step * self.batch_size + (micro * world_size + rank) * rows
        numbers = (place_in_epoch(n, self.windows, self.seed) for n in range(first, first + rows))
        pairs = [self.window(number) for number in numbers]
        x, y = (torch.from_numpy(np.stack(part)) for part in zip(*pairs, strict=True))
        return x, y
