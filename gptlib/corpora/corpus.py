"""The texts that models are trained on, each split into a training and a validation part.

One job: `load_corpus`. An embedded corpus is made by a grammar (`gptlib.grammar`), whose entropy is
known; a registered one is downloaded once and checked every time (`gptlib.corpora.downloads`);
anything else is the path of the reader's own UTF-8 file, of stories (`gptlib.corpora.titled`), or
of places (`gptlib.corpora.locations`).

How an embedded corpus is counted: its text is document, separator, document, separator, and so on,
with a separator after the last one too. The separator never occurs inside a document, so document
and separator together can be read in one way only: the separator counts as characters and costs
no nats of its own. Then `entropy` is E[H(document)] / E[characters of document + separator], and
`val_floor` is the surprisal of the validation documents / all characters of `.val`.
"""

import contextlib
import functools
import hashlib
import os
import shlex
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from gptlib.corpora import locations, titled
from gptlib.corpora.downloads import Entry, fetch, find_cached, read_registry, unknown_name
from gptlib.corpora.text_file import check_permission, read_text
from gptlib.errors import DataError
from gptlib.grammar import Grammar, sample_corpus
from gptlib.grammar.grammar import SEPARATOR
from gptlib.paths import user_path
from gptlib.places import marks as places
from gptlib.stories.marks import END, START, TITLE, TITLE_END, genre_token, special_tokens

TRAIN_SHARE = 0.9
OF_STORIES = (".jsonl", ".ndjson")
OF_DOCUMENTS = (".json", ".parquet")  # many texts, not one
EMBEDDED_SIZE = 1_000_000  # characters


class Encoder(Protocol):
    """What `Corpus.encode` needs of a tokenizer."""

    def encode(self, text: str) -> list[int]: ...


@dataclass(frozen=True)
class Corpus:
    """A text and its split; `text == train + val`.

    Attributes:
        name: its name in the registry, or the name of the reader's file.
        licence: under which terms it may be used.
        text: all of it, lines ended by "\\n".
        train, val: the first part and the rest.
        entropy: nats per character of the source that made it, or None where nobody knows.
        train_documents, val_documents: the documents of an embedded corpus, of stories or of
            places, without separators; empty for others.
        separator: the text that stands after each of them, or "".
        marks: the marks of its stories or places, each of which is to be one id; empty for other
            texts.
    """

    name: str
    licence: str
    text: str
    train: str
    val: str
    entropy: float | None = None
    train_documents: tuple[str, ...] = ()
    val_documents: tuple[str, ...] = ()
    grammar: Grammar | None = None
    separator: str = ""
    marks: tuple[str, ...] = ()

    @functools.cached_property
    def sha256(self) -> str:
        """Hex sha256 of `text` in UTF-8."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @functools.cached_property
    def val_floor(self) -> float | None:
        """Exact surprisal of `val` under the grammar that made it, nats per character, or None.

        No model can expect to go below it on that text, whatever it has learned: see the module's
        docstring for how separators count. Worked out when first asked for, by parsing the text.

        Derived in chapter 1, *How low could any model go?*
        """
        if self.grammar is None:
            return None
        return -sum(map(self.grammar.score, self.val_documents)) / len(self.val)

    def encode(self, tokenizer: Encoder) -> tuple[Tensor, Tensor]:
        """Token ids of `train` and of `val`, each 1-D int64."""
        train, val = (torch.tensor(tokenizer.encode(text)) for text in (self.train, self.val))
        return train, val

    def __repr__(self) -> str:
        return f"Corpus({self.name}, {len(self.train):,} + {len(self.val):,} characters)"


@dataclass(frozen=True)
class CorpusInfo:
    """One line of `gptlib data list`; `state` is "embedded", "in cache", "to download" or, for
    what is prepared file by file, "on a hub"."""

    name: str
    kind: str
    about: str
    licence: str
    bytes: int
    state: str


def load_corpus(
    name_or_path: str | Path,
    size: int | None = None,
    seed: int = 0,
    registry: str | Path | None = None,
) -> Corpus:
    """Load a corpus by name, or from a UTF-8 file of the reader's own.

    Args:
        name_or_path: a name of the registry ("tales", "stories", "places", "shakespeare"), or a
            path. A name wins over a file of that name; "./tales" or a Path means the file. A
            `.jsonl` file, a folder of `.txt` files and a text with marks are stories: see
            `gptlib.corpora.titled`. A text with `<LOC>` is places: see `gptlib.corpora.locations`.
        size: embedded corpora: documents are drawn until there are so many characters (default a
            million). Others: only the first `size` characters, of stories and places about so many
            in whole ones (default all).
        seed: which sample of an embedded corpus; no use to the others.
        registry: a registry other than the one that ships with gptlib.

    The first 90% train: of the documents of an embedded corpus, of the characters of any other. Of
    stories and places every tenth validates, unless their records name the split. A byte-order mark
    is dropped, and "\\r\\n" and "\\r" become "\\n".

    Raises:
        DataError: no such name or file; a folder without texts; not UTF-8; empty or blank; too
            short to split; a size that cannot be had; a malformed story or place; a file of
            documents, such as .parquet; a download that failed (see
            `gptlib.corpora.downloads.fetch`).
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise DataError(f"size is {size!r}; expected a whole number of characters, at least 1")
    entries = read_registry(registry)
    entry = entries.get(name_or_path) if isinstance(name_or_path, str) else None
    if entry is not None and os.path.exists(name_or_path):
        warnings.warn(
            f"{name_or_path} is the corpus that gptlib knows by that name; the file or folder of "
            f"that name here is ./{name_or_path}",
            stacklevel=2,
        )
    if entry is None:
        path = _existing(name_or_path, entries)
        if path.suffix.lower() in OF_DOCUMENTS:
            raise DataError(
                f"{path.name} holds documents, and a corpus is one text; `gptlib data prepare "
                f"{shlex.quote(str(name_or_path))} --out FOLDER` makes shards of them, which "
                "`gptlib train --corpus FOLDER` reads. If it is a text, let its name end in .txt"
            )
        licence = "the reader's own file; its terms are not known to gptlib"
        if path.is_dir() or path.suffix.lower() in OF_STORIES:
            return _of_stories(path, licence, size)
        return _from_file(path, path.name, licence, size)
    if entry.kind == "embedded":
        return _embedded(entry, EMBEDDED_SIZE if size is None else size, seed)
    if entry.kind == "text":
        return _from_file(fetch(entry.name, registry), entry.name, entry.licence, size)
    if entry.kind == "hub":
        fetch(entry.name, registry)  # says how it is read
    raise DataError(
        f"{entry.name!r} is a {entry.kind}, not a corpus; corpora are {', '.join(_texts(entries))}"
    )


def list_corpora(registry: str | Path | None = None) -> list[CorpusInfo]:
    """Return what the registry knows and whether it is at hand, in the registry's order."""
    return [
        CorpusInfo(entry.name, entry.kind, entry.about, entry.licence, entry.bytes, _state(entry))
        for entry in read_registry(registry).values()
    ]


def _state(entry: Entry) -> str:
    if entry.kind in ("embedded", "hub"):
        return {"embedded": "embedded", "hub": "on a hub"}[entry.kind]
    with contextlib.suppress(DataError):  # no cache folder, until GPTLIB_DATA names one
        return "in cache" if find_cached(entry) else "to download"
    return "to download"


def _texts(entries: dict[str, Entry]) -> list[str]:
    return [entry.name for entry in entries.values() if entry.kind in ("embedded", "text")]


def _existing(name_or_path: str | Path, entries: dict[str, Entry]) -> Path:
    if not isinstance(name_or_path, str | Path) or name_or_path == "":
        raise DataError(
            f"{name_or_path!r} is neither a corpus nor a path; "
            f"expected one of {', '.join(_texts(entries))}, or the path of a text file"
        )
    path = user_path(name_or_path)
    try:
        there, folder = path.exists(), path.is_dir()
    except (OSError, ValueError):  # a name too long for the disk, or with a null byte
        there, folder = False, False
    if folder:
        check_permission(path)
        if not (path / "manifest.json").exists() and titled.text_files(path):
            return path
        raise DataError(
            f"{path} is a folder; give the path of one UTF-8 text file, of a folder with stories, "
            "a .txt file each, or of token shards: a folder with the manifest.json that `gptlib "
            "data prepare` wrote"
        )
    if not there:
        check_permission(path)
        raise DataError(f"no such file, and {unknown_name(str(name_or_path), _texts(entries))}")
    return path


def _from_file(path: Path, name: str, licence: str, size: int | None) -> Corpus:
    text = read_text(path)
    if titled.is_marked(text):
        return _of_stories(path, licence, size)
    if locations.is_located(text):
        return _of_locations(path, licence, size)
    if size is not None and size > len(text):
        raise DataError(_too_much(size, name, len(text)))
    text = text[:size]
    if not text.strip():
        raise DataError(
            f"{name} has no text in it, {len(text)} blank characters; expected UTF-8 text to learn "
            "from: check the file, or give another"
        )
    cut = int(TRAIN_SHARE * len(text))
    if cut == 0:
        raise DataError(f"{name} has {len(text)} character; it takes 2 to have both splits")
    return Corpus(name, licence, text, text[:cut], text[cut:])


def _of_stories(path: Path, licence: str, size: int | None) -> Corpus:
    stories = titled.read_stories(path)
    documents = titled.deal(stories)
    if size is not None:
        _check_size(size, path.name, documents)
        documents = titled.deal(stories, size)
    marks = (START, TITLE, TITLE_END, END, *map(genre_token, titled.genres_of(stories)))
    return _joined(path.name, licence, *documents, SEPARATOR, marks)


def _of_locations(path: Path, licence: str, size: int | None) -> Corpus:
    blocks = locations.read_locations(path)
    documents = locations.deal(blocks)
    if size is not None:
        _check_size(size, path.name, documents)
        documents = locations.deal(blocks, size)
    marks = (places.LOC, places.LOC_END, *locations.tokens_of(blocks))
    return _joined(path.name, licence, *documents, SEPARATOR, marks)


def _check_size(size: int, name: str, documents: tuple[list[str], list[str]]) -> None:
    total = sum(map(titled.characters, documents))
    if size > total:
        raise DataError(_too_much(size, name, total))


def _too_much(size: int, name: str, found: int) -> str:
    return f"size is {size:,}, but {name} has {found:,} characters; ask for at most that many"


def _joined(
    name: str, licence: str, train: list[str], val: list[str], separator: str,
    marks: tuple[str, ...], grammar: Grammar | None = None,
) -> Corpus:  # fmt: skip
    """The corpus of documents, with the separator after each."""
    first, rest = ("".join(text + separator for text in part) for part in (train, val))
    return Corpus(
        name, licence, first + rest, first, rest, grammar.rate if grammar else None, tuple(train),
        tuple(val), grammar, separator, marks,
    )  # fmt: skip


def _embedded(entry: Entry, size: int, seed: int) -> Corpus:
    grammar = Grammar.load(entry.name)
    documents = [document.text for document in sample_corpus(grammar, size, seed)]
    cut = int(TRAIN_SHARE * len(documents))
    if cut == 0:
        raise DataError(
            f"size={size:,} makes {len(documents)} document of {entry.name}, too few to have a "
            f"validation part; a document has about {grammar.mean_length:,.0f} characters"
        )
    marks: list[str] = []
    if documents[0].startswith(START):
        marks = special_tokens(entry.name)
    elif documents[0].startswith(places.LOC):
        marks = places.special_tokens()
    return _joined(
        entry.name, entry.licence, documents[:cut], documents[cut:], grammar.separator,
        tuple(marks), grammar,
    )  # fmt: skip
