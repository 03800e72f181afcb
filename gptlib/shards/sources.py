"""Where the documents of a token data set come from: one reader for each form of text.

One job: `open_source`, which turns a corpus, a file, a folder or any iterable into a stream of
documents in a fixed order, one of them in memory at a time. Blank documents are left out, and lines
end in "\\n" in all others, whatever form they come in.
"""

from __future__ import annotations

import functools
import hashlib
import json
import mmap
import os
import shlex
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass, replace
from fractions import Fraction
from io import BufferedReader
from pathlib import Path

from gptlib.corpora import Corpus, load_corpus
from gptlib.corpora.corpus import TRAIN_SHARE, check_permission, plain_lines
from gptlib.corpora.downloads import read_registry
from gptlib.errors import ConfigError, DataError
from gptlib.files import sha256
from gptlib.paths import user_path
from gptlib.tokenizers import END_OF_TEXT

SEPARATOR = "\n\n"  # ends a document where the tokenizer has no token for that
KINDS = (".txt", ".jsonl", ".parquet")
ALIASES = {".ndjson": ".jsonl"}  # another name for the same


@dataclass(frozen=True)
class Document:
    """A text; the split that its source puts it in, or None; and how much of the source is read."""

    text: str
    split: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Source:
    """A stream of documents and what it is.

    Attributes:
        name: without a path, so that it says nothing of the machine.
        revision: pins what was read: a sha256, a commit or a version; None if nobody said.
        ending: text that ends each document where the tokenizer has no end-of-text token.
        read: a function that returns the documents, from the first on.
    """

    name: str
    revision: str | None
    ending: str
    read: Callable[[], Iterator[Document]]

    def documents(self) -> Iterator[Document]:
        """Yield every document that is not blank, its lines ended by "\\n".

        Raises:
            DataError: what the readers say, or that the source broke off (a file, a network).
        """
        number = 0
        try:
            for document in self.read():
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
) -> Source:
    """Return the documents of a source.

    Args:
        source: a `Corpus` or its name; a path: `.jsonl` (or `.ndjson`), `.parquet`, text, or a
            folder of files of one of these kinds, read in the order of their names; or an iterable
            of strings or of dicts, such as a `datasets` stream.
        field: where a line, a row or a dict has its text.
        separator: what stands between the documents of a text file. A file without it is one
            document, whose last part is for validation, as `load_corpus` cuts it.
        val_fraction: the share of that last part (default: the corpus's own split).
        name, revision: what to call the source; a file has its own name and sha256.

    Raises:
        ConfigError: a `val_fraction` that leaves one of the splits empty.
        DataError: nothing there, or not of the form that its name says. What is wrong inside is
            said when it is reached.
    """
    _check_fraction(val_fraction)
    if isinstance(source, Corpus):
        return _from_corpus(source, val_fraction, revision)
    if isinstance(source, str | Path):
        if source == "" or source in read_registry():
            return _from_corpus(load_corpus(source), val_fraction, revision)
        path = user_path(source)
        files = _files(path)
        if len(files) == 1 and _kind(files[0]) not in KINDS[1:] and not _has(files[0], separator):
            return _from_corpus(load_corpus(files[0]), val_fraction, revision)
        readers = {".jsonl": _json_lines, ".parquet": _parquet}

        def read() -> Iterator[Document]:
            for i, file in enumerate(files):
                reader = readers.get(_kind(file), _text)
                for text, share in reader(file, separator if reader is _text else field):
                    yield Document(text, share=(i + share) / len(files))

        return Source(name or path.resolve().name, revision or _fingerprint(files), SEPARATOR, read)
    if isinstance(source, bytes | dict) or not isinstance(source, Iterable):
        raise DataError(
            f"the source is of type {type(source).__name__}; give the name of a corpus, a path, or "
            "an iterable of strings or of dicts"
        )

    def items() -> Iterator[Document]:
        total = len(source) if isinstance(source, Sized) else None
        for i, item in enumerate(source):
            text = item if isinstance(item, str) else _field(item, field, f"item {i}")
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
    ending = corpus.grammar.separator if corpus.grammar else ""
    if not train:
        cut = int((1 - val_fraction if val_fraction else TRAIN_SHARE) * len(corpus.text))
        train, val = (corpus.text[:cut],), (corpus.text[cut:],)
    own_split = val_fraction is None or len(train) == 1

    def read() -> Iterator[Document]:
        total = len(train) + len(val)
        for i, text in enumerate([*train, *val]):
            split = "train" if i < len(train) else "val"
            yield Document(text, split if own_split else None, (i + 1) / total)

    return Source(corpus.name, revision or corpus.sha256, ending, read)


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
        with _opened(path):  # or says why not
            hashes.append(sha256(path))
    return hashes[0] if len(files) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest()


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from (
            error
        )


def _has(path: Path, separator: str) -> bool:
    try:
        mark = separator.encode()
    except UnicodeEncodeError:
        mark = b""  # half a character, which no UTF-8 file has in it
    if not mark:
        raise DataError(
            f"the separator is {separator!r}; expected the text that stands between documents, "
            f"such as {END_OF_TEXT!r}"
        )
    with _opened(path) as file:
        if file.seek(0, 2) == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return raw.find(mark) >= 0


def _text(path: Path, separator: str) -> Iterator[tuple[str, float]]:
    """Documents between separators, without the line ends around them."""
    mark = separator.encode()
    with _opened(path) as file:
        if file.seek(0, 2) == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            start = 0
            while start <= len(raw):
                end = raw.find(mark, start)
                end = len(raw) if end < 0 else end
                try:
                    text = raw[start:end].decode("utf-8-sig" if start == 0 else "utf-8")
                except UnicodeDecodeError as error:
                    raise DataError(
                        f"{path} is not UTF-8: byte 0x{raw[start + error.start]:02x} at offset "
                        f"{start + error.start:,}; save it as UTF-8"
                    ) from error
                yield plain_lines(text).strip("\n"), end / len(raw)
                start = end + len(mark)


def _json_lines(path: Path, field: str) -> Iterator[tuple[str, float]]:
    size, read = max(1, path.stat().st_size), 0
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            read += len(line)
            if not line.strip():
                continue
            where = f"{path.name}, line {number}"
            try:
                item = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise DataError(
                    f"{where} is not JSON ({error}); expected one object a line, such as "
                    f'{{"{field}": "..."}}'
                ) from error
            yield _field(item, field, where), read / size


def _parquet(path: Path, field: str) -> Iterator[tuple[str, float]]:
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(
            "reading parquet needs pyarrow: pip install pyarrow, or write the text as jsonl"
        ) from error
    number = 0
    with _opened(path) as file:
        try:
            table = ParquetFile(file)
            if field not in table.schema_arrow.names:
                raise DataError(
                    f"{path.name} has no column {field!r}, only "
                    f"{', '.join(table.schema_arrow.names)}; say which one has the text"
                )
            for batch in table.iter_batches(columns=[field], batch_size=1024):
                for text in batch.column(0).to_pylist():
                    number += 1
                    item = _field({field: text}, field, f"{path.name}, row {number}")
                    yield item, number / table.metadata.num_rows
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(
                f"{path.name} is damaged or no parquet file ({str(error).splitlines()[0]}); "
                "copy it again from where it came"
            ) from error


def _field(item: object, field: str, where: str) -> str:
    text = item.get(field) if hasattr(item, "get") else None
    if not isinstance(text, str):
        found = f"keys {', '.join(map(str, item))[:80]}" if isinstance(item, dict) else item
        found = f"{field} of type {type(text).__name__}" if text is not None else found
        raise DataError(
            f"{where} has no text in {field!r} (found {str(found)[:100]}); "
            "say which field has the text, or mend the data"
        )
    return text
