"""Token shards on disk, read as one long array that is never in memory whole.

One job: `open_shards`. A shard folder is what `gptlib.shards.prepare` wrote: files of token ids
(little-endian uint16 or uint32, nothing else in them), `manifest.json`, which lists them with their
sha256, and the tokenizer. The shards of a split, in the manifest's order, are one stream.

    data/{manifest.json, train_00000.bin, train_00001.bin, val_00000.bin, tokenizer/}
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from gptlib.errors import DataError
from gptlib.files import has_sha256, may_not_read
from gptlib.paths import user_path
from gptlib.tokenizers.base import Tokenizer, content_hash, shorten

MANIFEST, UNFINISHED, FORMAT = "manifest.json", "unfinished.jsonl", "gptlib shards 1"
SPLITS = ("train", "val")
DTYPES = {"uint16": 2**16, "uint32": 2**32}  # how many ids each can tell apart
OPEN_FILES = 128  # memory maps that are kept; more would run out of file handles


@dataclass(frozen=True)
class Shard:
    """One file of a manifest.

    Attributes:
        tokens, documents: how many. bytes: of the text, in UTF-8. sha256: of the file.
        text_sha256: of the documents that it was made from.
    """

    file: str
    split: str
    tokens: int
    documents: int
    bytes: int
    sha256: str
    text_sha256: str

    def __post_init__(self) -> None:
        counts = (self.tokens, self.documents, self.bytes)
        names = (self.file, self.sha256, self.text_sha256)
        if not all(type(n) is int and n >= 0 for n in counts):
            raise ValueError("a count is no whole number")
        if not all(type(name) is str for name in names) or self.split not in SPLITS:
            raise ValueError("a name is no text")
        if not self.file or "\0" in self.file or Path(self.file).name != self.file:
            raise ValueError(f"{self.file!r} is no file name")
        if self.tokens and not self.bytes:
            raise ValueError(f"{self.file} has tokens and no text")
        self.file.encode()  # raises ValueError: half a character is no file name


class ShardedTokens:
    """The token ids of one split, as a 1-D array over files; `open_shards` makes one.

    `tokens[3]`, `tokens[a:b]` and `tokens[array of positions]` return numpy values of its `dtype`,
    reading only what is asked for; `np.asarray(tokens)` reads it all.

    Attributes:
        dtype: of the ids. vocab_size: every id is smaller. tokenizer: sha256 of the tokenizer.
        sha256: fingerprint of all ids, from the manifest. bytes: of the text, in UTF-8.
    """

    ndim = 1

    def __init__(self, folder: Path, shards: list[Shard], about: dict) -> None:
        self.folder, self.shards = folder, shards
        self.dtype = np.dtype(about["dtype"]).newbyteorder("<")
        self.vocab_size, self.tokenizer = about["vocab_size"], about["tokenizer"]
        self.bytes = sum(shard.bytes for shard in shards)
        self.sha256 = content_hash(
            {"dtype": about["dtype"], "shards": [[s.tokens, s.sha256] for s in shards]}
        )
        self._ends = np.cumsum([shard.tokens for shard in shards], dtype=np.int64)
        self._map = functools.lru_cache(maxsize=OPEN_FILES)(self._open)

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __repr__(self) -> str:
        return f"ShardedTokens({len(self):,} tokens in {len(self.shards)} shards, {self.dtype})"

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(dtype or self.dtype)

    @overload
    def __getitem__(self, key: int) -> np.integer: ...

    @overload
    def __getitem__(self, key: slice | ArrayLike) -> np.ndarray: ...

    def __getitem__(self, key: slice | ArrayLike) -> np.ndarray | np.integer:
        """Ids at a position, in a slice, or at an array of positions (any shape, same shape back).

        Raises:
            DataError: a position outside, an index of another kind, or a file that is no longer
                what it was when the shards were opened.
        """
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            ids = self._slice(start, stop) if step == 1 else self._gather(np.arange(*(
                start, stop, step
            )))  # fmt: skip
        else:
            try:
                at = np.asarray(key)
            except (ValueError, TypeError, OverflowError):
                at = np.asarray(None)  # rows of different lengths, or nothing like a number
            if at.dtype.kind not in "iu" and at.size:
                raise DataError(f"a position is {shorten(key)}; give whole numbers or a slice")
            ids = self._gather(at.astype(np.int64).ravel()).reshape(at.shape)
        if ids.size and int(ids.max()) >= self.vocab_size:
            raise DataError(
                f"{self.folder} has the token id {int(ids.max())}, but its vocabulary ends at "
                f"{self.vocab_size - 1}: a shard is damaged; open_shards(verify=True) says which"
            )
        return ids if ids.ndim else ids[()]

    def _slice(self, start: int, stop: int) -> np.ndarray:
        parts = [np.empty(0, self.dtype)]
        while start < stop:
            shard, first = self._place(start)
            end = min(stop, int(self._ends[shard]))
            parts.append(self._map(shard)[start - first : end - first])
            start = end
        return np.concatenate(parts)

    def _gather(self, at: np.ndarray) -> np.ndarray:
        n = len(self)
        at = np.where(at < 0, at + n, at)
        if at.size and not (0 <= at.min() and at.max() < n):
            raise DataError(f"a position is {at.max()}, outside the {n:,} tokens of the split")
        ids = np.empty(at.shape, self.dtype)
        shards = np.searchsorted(self._ends, at, side="right")
        order = np.argsort(shards, kind="stable")
        present, first = np.unique(shards[order], return_index=True)
        for shard, rows in zip(present, np.split(order, first[1:]), strict=False):
            start = self._ends[shard] - self.shards[shard].tokens
            ids[rows] = self._map(int(shard))[at[rows] - start]
        return ids

    def _place(self, position: int) -> tuple[int, int]:
        """The shard that has a position, and where that shard begins."""
        shard = int(np.searchsorted(self._ends, position, side="right"))
        return shard, int(self._ends[shard]) - self.shards[shard].tokens

    def _open(self, shard: int) -> np.ndarray:
        path, tokens = self.folder / self.shards[shard].file, self.shards[shard].tokens
        check_size(path, tokens, self.dtype)  # reading past the end of a map kills the process
        try:
            return np.asarray(np.memmap(path, self.dtype, "r", shape=(tokens,)))
        except (OSError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); check its permissions") from error


def open_shards(
    folder: str | Path, split: str, tokenizer: Tokenizer | None = None, verify: bool = True
) -> ShardedTokens:
    """Return the tokens of one split of a shard folder.

    Args:
        split: "train" or "val".
        tokenizer: the one that the model uses; refused if the shards were made with another.
        verify: read every shard once and compare its sha256 (about a second for a gigabyte). With
            False only sizes are compared, and a billion tokens are open at once.

    Raises:
        DataError: no manifest, or a damaged one; a shard that is missing, of the wrong size or
            damaged; shards of another tokenizer; no such split.
    """
    folder = user_path(folder)
    manifest = read_manifest(folder)
    if split not in SPLITS:
        raise DataError(f"split is {split!r}; a shard folder has {' and '.join(SPLITS)}")
    if tokenizer is not None and tokenizer.sha256 != manifest["tokenizer"]:
        raise DataError(
            f"{folder} was made with another tokenizer: its sha256 begins "
            f"{manifest['tokenizer'][:8]}, this one's {tokenizer.sha256[:8]}; use "
            f"load_tokenizer({str(folder)!r}), or prepare the data again"
        )
    shards = [shard for shard in manifest["shards"] if shard.split == split]
    if not sum(shard.tokens for shard in shards):
        raise DataError(f"{folder} has no tokens for {split}; prepare the data again")
    for shard in shards:
        check_size(folder / shard.file, shard.tokens, np.dtype(manifest["dtype"]))
        if verify and not has_sha256(folder / shard.file, shard.sha256):
            raise DataError(
                f"{folder / shard.file} is damaged: its sha256 is not the one in the manifest; "
                "run prepare again, which makes only that shard anew"
            )
    return ShardedTokens(folder, shards, manifest)


def is_shard_folder(path: str | Path) -> bool:
    """Say whether a path is a folder that `prepare` wrote, or is writing."""
    return any(os.path.isfile(user_path(path) / name) for name in (MANIFEST, UNFINISHED))


def read_manifest(folder: Path) -> dict:
    """Return a manifest, its shards as `Shard` objects, or say why it cannot be believed."""
    path = folder / MANIFEST
    if not os.path.isfile(path):  # unlike Path.is_file, no error where a name is too long
        why = f"no {MANIFEST} in it" if os.path.isdir(folder) else "no such folder"
        if os.path.isfile(folder / UNFINISHED):
            why = "it is not finished: run the same prepare again, it goes on where it stopped"
        raise DataError(
            f"{str(folder)[:200]} is no shard folder ({why}); `gptlib data prepare` makes one"
        )
    try:
        manifest = json.loads(path.read_bytes())
        stated = manifest.pop("sha256")
        if manifest["format"] != FORMAT:
            raise DataError(
                f"{path} has the format {str(manifest['format'])[:40]!r}; this version of gptlib "
                f"reads {FORMAT!r}: prepare the data again"
            )
        if content_hash(manifest) != stated:
            raise ValueError("its sha256 is not the one that it states")
        manifest["shards"] = [Shard(**entry) for entry in manifest["shards"]]
        vocab_size, dtype = manifest["vocab_size"], manifest["dtype"]
        if dtype not in DTYPES or type(vocab_size) is not int or vocab_size < 1:
            raise ValueError(f"dtype {dtype!r} or vocab_size {vocab_size!r} cannot be")
        if not isinstance(manifest["tokenizer"], str):
            raise ValueError("it names no tokenizer")
    except PermissionError as error:
        raise may_not_read(path.parent, error) from error
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged or was not written by gptlib ({str(error)[:100]}); "
            "copy it again from where it came, or prepare the data again in an empty folder"
        ) from error
    if vocab_size > DTYPES[dtype]:
        raise DataError(
            f"{path} keeps a vocabulary of {vocab_size:,} ids as {dtype}, which holds "
            f"{DTYPES[dtype]:,}: larger ids overflowed; prepare the data again"
        )
    return manifest


def check_size(path: Path, tokens: int, dtype: np.dtype) -> None:
    """Refuse a shard that is not there or has not the size that its manifest says."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DataError(
            f"{path} is in the manifest but cannot be found ({error.strerror}); copy it again, or "
            "run prepare again, which makes only what is missing"
        ) from error
    if size % dtype.itemsize:
        raise DataError(
            f"{path} has {size:,} bytes, no multiple of {dtype.itemsize}, the size of {dtype}: it "
            "is cut short; run prepare again, which makes only that shard anew"
        )
    if size != tokens * dtype.itemsize:
        raise DataError(
            f"{path} has {size // dtype.itemsize:,} tokens, the manifest says {tokens:,}; "
            "run prepare again, which makes only that shard anew"
        )
