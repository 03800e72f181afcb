"""What each form of a text file holds: documents, with the place where each ends.

One job: the readers of `.jsonl`, `.parquet` and text, all of one shape: (path, what to look for,
where to begin) to (text, share of the file that is read, place after it). A place is a number of
bytes, or of rows in parquet; a reader that begins there goes on as if it had never stopped.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path

from gptlib.corpora.text_file import plain_lines
from gptlib.errors import DataError
from gptlib.tokenizers import END_OF_TEXT

LINE = b"\n"
Read = Iterator[tuple[str, float, int]]


def opened(path: Path) -> BufferedReader:
    """The file, open to be read, or the reason why not."""
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); check its permissions") from (
            error
        )


def has_separator(path: Path, separator: str) -> bool:
    """Say whether a text file is cut into documents."""
    try:
        mark = separator.encode()
    except UnicodeEncodeError:
        mark = b""  # half a character, which no UTF-8 file has in it
    if not mark:
        raise DataError(
            f"the separator is {separator!r}; expected the text that stands between documents, "
            f"such as {END_OF_TEXT!r}"
        )
    with opened(path) as file:
        if file.seek(0, 2) == 0:
            return False
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
            return raw.find(mark) >= 0


def text_documents(path: Path, separator: str, start: int = 0) -> Read:
    """Documents between separators, without the line ends around them; `start` is in bytes."""
    mark = separator.encode()
    with opened(path) as file:
        if file.seek(0, 2) == 0:
            return
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as raw:
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
                start = end + len(mark)
                yield plain_lines(text).strip("\n"), end / len(raw), start


def json_lines(path: Path, field: str, start: int = 0) -> Read:
    """The texts in `field`, one object a line; `start` is in bytes."""
    size, place = max(1, path.stat().st_size), start

    def where() -> str:  # counted when it is needed: nothing before `start` is read for it
        with opened(path) as before:
            return f"{path.name}, line {before.read(place).count(LINE) + 1}"

    with opened(path) as file:
        file.seek(start)
        for line in file:
            if line.strip():
                try:
                    item = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise DataError(
                        f"{where()} is not JSON ({error}); expected one object a line, such as "
                        f'{{"{field}": "..."}}'
                    ) from error
                text = text_of(item, field, where)
                place += len(line)
                yield text, place / size, place
            else:
                place += len(line)


def parquet_rows(path: Path, field: str, start: int = 0) -> Read:
    """The texts in the column `field`; `start` is in rows, and groups of rows before are skipped.

    Raises:
        DataError: no pyarrow, no such column, a row without text, a damaged file.
    """
    try:
        import pyarrow
        from pyarrow.parquet import ParquetFile
    except ImportError as error:
        raise DataError(
            "reading parquet needs pyarrow: pip install pyarrow, or write the text as jsonl"
        ) from error
    with opened(path) as file:
        try:
            table = ParquetFile(file)
            if field not in table.schema_arrow.names:
                raise DataError(
                    f"{path.name} has no column {field!r}, only "
                    f"{', '.join(table.schema_arrow.names)}; say which one has the text"
                )
            first, groups = 0, list(range(table.num_row_groups))
            while groups and first + table.metadata.row_group(groups[0]).num_rows <= start:
                first += table.metadata.row_group(groups.pop(0)).num_rows
            number = first
            for batch in table.iter_batches(columns=[field], row_groups=groups, batch_size=1024):
                for text in batch.column(0).to_pylist():
                    number += 1
                    if number <= start:
                        continue
                    item = text_of({field: text}, field, f"{path.name}, row {number}")
                    yield item, number / table.metadata.num_rows, number
        except (pyarrow.ArrowException, OSError) as error:
            raise DataError(
                f"{path.name} is damaged or no parquet file ({str(error).splitlines()[0]}); "
                "copy it again from where it came"
            ) from error


def text_of(item: object, field: str, where: str | Callable[[], str]) -> str:
    """The text in a field of a line, a row or a dict, or the reason why there is none."""
    text = item.get(field) if hasattr(item, "get") else None
    if not isinstance(text, str):
        found = f"keys {', '.join(map(str, item))[:80]}" if isinstance(item, dict) else item
        found = f"{field} of type {type(text).__name__}" if text is not None else found
        place = where() if callable(where) else where
        raise DataError(
            f"{place} has no text in {field!r} (found {str(found)[:100]}); "
            "say which field has the text, or mend the data"
        )
    return text
