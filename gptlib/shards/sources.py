"""Where the documents of a token data set come from: one reader for each form of text.

One job: `open_source`, which turns a corpus, a file, a folder or any iterable into a stream of
documents in a fixed order, one of them in memory at a time. Blank documents are left out, and lines
end in "\\n" in all others, whatever form they come in. A document of a file has a place, from which
a later reader goes on. How each form of file is read stands in `gptlib.shards.forms`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shlex
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from gptlib.corpora import Corpus, load_corpus
from gptlib.corpora.corpus import TRAIN_SHARE
from gptlib.corpora.downloads import Entry, read_registry
from gptlib.corpora.hub_files import HubFiles
from gptlib.corpora.text_file import check_permission, plain_lines
from gptlib.errors import ConfigError, DataError
from gptlib.files import sha256
from gptlib.paths import user_path
from gptlib.shards.forms import (
    has_separator,
    json_lines,
    opened,
    parquet_rows,
    text_documents,
    text_of,
)
from gptlib.tokenizers import END_OF_TEXT

SEPARATOR = "\n\n"  # ends a document where the tokenizer has no token for that
KINDS = (".txt", ".jsonl", ".parquet")
ALIASES = {".ndjson": ".jsonl"}  # another name for the same
READERS = {".jsonl": json_lines, ".parquet": parquet_rows}  # any other file is text
HUB_VALIDATION = 0.005  # of a large data set, in which a tenth would be wasted

#: Where a document ends: the file, counted from 0, and the bytes or rows of it that are read.
Place = tuple[int, int]


@dataclass(frozen=True)
class Document:
    """A text; the split that its source puts it in, or None; how much of the source is read; and
    the place after it, in a source of files."""

    text: str
    split: str | None = None
    share: float | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Source:
    """A stream of documents and what it is.

    Attributes:
        name: without a path, so that it says nothing of the machine.
        revision: pins what was read: a sha256, a commit or a version; None if nobody said.
        ending: text that ends each document where the tokenizer has no end-of-text token.
        read: a function that returns the documents, from the first on (None) or after a place.
        places: its documents have places. remote: it is brought here file by file.
        val_fraction: the share for validation where nobody asks for another; None: see `prepare`.
        let_go: told when what lies before a place is not needed any more; None is all of it.
    """

    name: str
    revision: str | None
    ending: str
    read: Callable[[Place | None], Iterator[Document]]
    places: bool = False
    remote: bool = False
    val_fraction: float | None = None
    let_go: Callable[[Place | None], object] | None = None

    def documents(self, start: Place | None = None) -> Iterator[Document]:
        """Yield every document that is not blank, its lines ended by "\\n".

        Args:
            start: the place of a document; those after it are read, and nothing before.

        Raises:
            DataError: what the readers say, or that the source broke off (a file, a network).
        """
        number = 0
        try:
            for document in self.read(start):
                if document.text.strip():
                    yield replace(document, text=plain_lines(document.text))
                    number += 1
        except OSError as error:
            raise DataError(
                f"{self.name} broke off after {number:,} documents ({error}); what is made of them "
                "stays: begin the same again when the source is back"
            ) from error

    def characters(self) -> set[str]:
        """Every character that a tokenizer of characters must know to encode the documents."""
        return set(self.ending).union(*(set(document.text) for document in self.documents()))


def open_source(
    source: str | Path | Corpus | Iterable,
    field: str = "text",
    separator: str = END_OF_TEXT,
    val_fraction: float | None = None,
    name: str | None = None,
    revision: str | None = None,
    scratch: Path | None = None,
) -> Source:
    """Return the documents of a source.

    Args:
        source: a `Corpus` or its name; the name of a data set on a hub, such as "fineweb-edu"; a
            path: `.jsonl` (or `.ndjson`), `.parquet`, text, or a folder of files of one of these
            kinds, read in the order of their names; or an iterable of strings or of dicts, such as
            a `datasets` stream.
        field: where a line, a row or a dict has its text.
        separator: what stands between the documents of a text file. A file without it is one
            document, whose last part is for validation, as `load_corpus` cuts it.
        val_fraction: the share of that last part (default: the corpus's own split).
        name, revision: what to call the source; a file has its own name and sha256.
        scratch: where the files of a hub wait to be read (default: a temporary folder).

    Raises:
        ConfigError: a `val_fraction` that leaves one of the splits empty.
        DataError: nothing there, or not of the form that its name says. What is wrong inside is
            said when it is reached.
    """
    _check_fraction(val_fraction)
    if isinstance(source, Corpus):
        return _from_corpus(source, val_fraction, revision)
    if isinstance(source, str | Path):
        known = read_registry().get(source) if isinstance(source, str) else None
        if known is not None and known.kind == "hub":
            return _from_hub(known, field, scratch)
        if source == "" or known is not None:
            return _from_corpus(load_corpus(source), val_fraction, revision)
        path = user_path(source)
        files = _files(path)
        if (
            len(files) == 1
            and _kind(files[0]) not in KINDS[1:]
            and not has_separator(files[0], separator)
        ):
            return _from_corpus(load_corpus(files[0]), val_fraction, revision)

        def read(start: Place | None) -> Iterator[Document]:
            first, offset = start or (0, 0)
            for i, file in enumerate(files[first:], first):
                yield from _documents_of(file, i, len(files), field, separator, offset)
                offset = 0

        return Source(
            name or path.resolve().name, revision or _fingerprint(files), SEPARATOR, read, True
        )
    if isinstance(source, bytes | dict) or not isinstance(source, Iterable):
        raise DataError(
            f"the source is of type {type(source).__name__}; give the name of a corpus, a path, or "
            "an iterable of strings or of dicts"
        )

    def items(start: Place | None) -> Iterator[Document]:
        total = len(source) if isinstance(source, Sized) else None
        for i, item in enumerate(source):
            text = item if isinstance(item, str) else text_of(item, field, f"item {i}")
            yield Document(text, share=(i + 1) / total if total else None)

    return Source(name or type(source).__name__, revision, SEPARATOR, items)


@functools.cache
def share_of(fraction: float) -> Fraction:
    """The simplest ratio that says the same: 0.1 is 1/10 and not what its float stands for."""
    return Fraction(fraction).limit_denominator(10**6)


def _check_fraction(value: float | None) -> None:
    number = isinstance(value, int | float) and 0 < value < 1
    if value is not None and not (number and 0 < share_of(value) < 1):
        raise ConfigError(
            f"val_fraction is {value!r}; it must lie between 0 and 1, such as 0.1: without "
            "validation nobody knows whether the model has learned anything"
        )


def _from_corpus(corpus: Corpus, val_fraction: float | None, revision: str | None) -> Source:
    """A corpus keeps its own split, of which its floor and the published figures speak."""
    train, val = corpus.train_documents, corpus.val_documents
    if not train:
        cut = int((1 - val_fraction if val_fraction else TRAIN_SHARE) * len(corpus.text))
        train, val = (corpus.text[:cut],), (corpus.text[cut:],)
    own_split = val_fraction is None or len(train) == 1

    def read(start: Place | None) -> Iterator[Document]:
        total = len(train) + len(val)
        for i, text in enumerate([*train, *val]):
            split = "train" if i < len(train) else "val"
            yield Document(text, split if own_split else None, (i + 1) / total)

    return Source(corpus.name, revision or corpus.sha256, corpus.separator, read)


def _from_hub(entry: Entry, field: str, scratch: Path | None) -> Source:
    """The parquet files of a data set, each brought here while the one before it is read."""
    folder = None
    if scratch is None:
        folder = tempfile.TemporaryDirectory()  # gone with the source
        scratch = Path(folder.name)
    files = HubFiles(entry, scratch)

    def read(start: Place | None) -> Iterator[Document]:
        first, offset = start or (0, 0)
        with contextlib.closing(files.paths(first)) as paths:
            for i, path in paths:
                yield from _documents_of(path, i, len(entry.parts), field, "", offset)
                offset = 0
                if folder:
                    files.let_go(i + 1)

    return Source(
        entry.name, entry.revision, SEPARATOR, read, True, True, HUB_VALIDATION,
        lambda place: files.let_go(len(entry.parts) if place is None else place[0]),
    )  # fmt: skip


def _documents_of(
    path: Path, number: int, files: int, field: str, separator: str, start: int
) -> Iterator[Document]:
    """The documents of file `number` of so many, after a place in it."""
    reader = READERS.get(_kind(path), text_documents)
    for text, share, place in reader(path, separator if reader is text_documents else field, start):
        yield Document(text, share=(number + share) / files, place=(number, place))


def _files(path: Path) -> list[Path]:
    """The files at a path: itself, or those of one kind in a folder."""
    if not os.path.isdir(path):  # unlike Path.is_dir, no error where a name is too long
        if not os.path.exists(path):
            load_corpus(path)  # says what is wrong with the name
        if _kind(path) == ".json":
            raise DataError(
                f"{path.name} is JSON as a whole, and documents are read from one object a line: "
                "if that is how it is written, let its name end in .jsonl; if it is one list, "
                f"`jq -c '.[]' {shlex.quote(path.name)} > documents.jsonl` makes lines of it"
            )
        return [path]
    check_permission(path)
    found = {
        kind: files
        for kind in (*KINDS, ".json")
        if (files := sorted(file for file in path.iterdir() if _kind(file) == kind))
    }
    if len(found) > 1:
        counts = " and ".join(f"{len(files)} {kind}" for kind, files in found.items())
        raise DataError(
            f"{path} has files of several kinds, {counts}, and one kind is read at a time; give "
            "one file, or a folder of one kind"
        )
    if ".json" in found:
        return _files(found[".json"][0])  # says how to make lines of it
    if found:
        return next(iter(found.values()))
    raise DataError(f"{path} has no {', '.join(KINDS)} in it; give a file, or a folder of them")


def _kind(path: Path) -> str:
    """What a file's name says of its form, in small letters."""
    suffix = path.suffix.lower()
    return ALIASES.get(suffix, suffix)


def _fingerprint(files: list[Path]) -> str:
    """Hex sha256 of a file, or of the hashes of several."""
    hashes = []
    for path in files:
        with opened(path):  # or says why not
            hashes.append(sha256(path))
    return hashes[0] if len(files) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()
