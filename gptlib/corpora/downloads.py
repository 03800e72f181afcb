"""Files that gptlib knows by name, fetched once and checked every time.

One job: `fetch`. The registry is `data/corpora.toml`. A file that lies in the cache folder is used
if its sha256 is right; otherwise each address is tried in turn. What arrives is written beside the
cache under a temporary name, hashed, and only then moved to its final name, so a file under its
final name was whole when it was put there. What came of a model before the program was killed is
kept, and the next call goes on from there; other files are small and begin anew. Nothing is written
when the cache already has the file, so a read-only cache folder will do.

Environment:
    GPTLIB_DATA: the cache folder. Without it: the user's cache folder, wherever the system has it.
    GPTLIB_MIRROR: an address that is asked before all others, e.g. `http://10.0.0.5:8000/`; the
        registry's `file` is appended to it. It serves a class from one machine.
"""

import contextlib
import difflib
import os
import tempfile
import tomllib
import warnings
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gptlib.corpora.http_file import PART, reason, receive
from gptlib.errors import DataError
from gptlib.files import sha256, take_lock
from gptlib.paths import user_path
from gptlib.resources import data_path


@dataclass(frozen=True)
class Entry:
    """One line of the registry: what a file is, where it comes from, and its fingerprint."""

    name: str
    kind: str  # "embedded", "text", "tokenizer", "dataset" or "model"
    about: str
    licence: str
    file: str = ""  # name in the cache folder; empty for what needs no file
    bytes: int = 0  # of the file; 0 where only its hash is known
    sha256: str = ""
    url: str = ""
    mirrors: tuple[str, ...] = ()


def read_registry(path: str | Path | None = None) -> dict[str, Entry]:
    """Read the registry at `path`, or the one that ships with gptlib.

    Raises:
        DataError: the file is missing or is not a registry.
    """
    path = Path(path) if path else data_path("corpora.toml")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        return {name: Entry(name=name, **fields) for name, fields in table.items()}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, TypeError) as error:
        raise DataError(
            f"{path.name} is not a registry of corpora ({error}); "
            "compare it with the data/corpora.toml that ships with gptlib"
        ) from error


def cache_folder() -> Path:
    """Return the folder where downloads are kept: GPTLIB_DATA, or the user's cache folder.

    Raises:
        DataError: this user has no home folder, and GPTLIB_DATA is not set.
    """
    if chosen := os.environ.get("GPTLIB_DATA"):
        return user_path(chosen)
    import platformdirs

    with contextlib.suppress(RuntimeError):
        if (folder := Path(platformdirs.user_cache_dir("gptlib"))).is_absolute():
            return folder
    raise DataError(
        "this machine knows no home folder for you, so there is no place for downloads; set "
        "GPTLIB_DATA to a folder that can be written, or that has the file"
    )


def find_cached(entry: Entry) -> Path | None:
    """Return the file of `entry` if the cache folder has it with the right sha256, else None."""
    return next((path for path in _places(entry) if _sha256(path) == entry.sha256), None)


def fetch(name: str, registry: str | Path | None = None) -> Path:
    """Return the path of a registered file, downloading it if the cache folder does not have it.

    Args:
        name: a name in the registry that stands for a file, e.g. "shakespeare".
        registry: a registry other than the one that ships with gptlib.

    A file in the cache with a wrong sha256 is named in a warning and fetched again; the damaged
    one is kept beside it with ".damaged" after its name, since it may be somebody's own.

    Raises:
        DataError: no such name; no address gave the right file; the cache cannot be written.
    """
    entries = read_registry(registry)
    if name not in entries:
        raise DataError(unknown_name(name, entries))
    entry = entries[name]
    if not entry.file:
        raise DataError(
            f"{name!r} is made on this machine, so there is nothing to download; "
            f"load_corpus({name!r}) gives its text"
        )
    if found := find_cached(entry):
        return found
    for path in _places(entry):
        if os.path.isfile(path):  # unlike Path.is_file, no error where a folder is closed to us
            if not os.access(path, os.R_OK):
                warnings.warn(
                    f"{path} cannot be read (Permission denied); downloading it again, since what "
                    "it holds is not known: check its permissions",
                    stacklevel=2,
                )
                continue
            warnings.warn(
                f"{path} is damaged or another file: its sha256 begins {_sha256(path)[:8]}, "
                f"that of {name} {entry.sha256[:8]}; downloading it again",
                stacklevel=2,
            )
    return _download(entry)


def unknown_name(name: str, names: Iterable[str]) -> str:
    """Return the message for a name that is not among `names`, with the nearest one that is."""
    names = sorted(names)
    near = difflib.get_close_matches(name[:100], names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else "use one of these"
    shown = repr(name if len(name) <= 100 else name[:97] + "...")
    return f"{shown} is not a name that gptlib knows; it knows {', '.join(names)}: {hint}"


def _places(entry: Entry) -> list[Path]:
    """Where the file may lie: under its name in the registry, or straight in the cache folder."""
    folder = cache_folder()
    return list(dict.fromkeys([folder / entry.file, folder / Path(entry.file).name]))


def _sha256(path: Path) -> str:
    """Return the hex sha256 of a file, or "" where there is none to read."""
    with contextlib.suppress(OSError):
        return sha256(path)
    return ""


def _addresses(entry: Entry) -> list[str]:
    own = os.environ.get("GPTLIB_MIRROR")
    return ([own.rstrip("/") + "/" + entry.file] if own else []) + [entry.url, *entry.mirrors]


@contextlib.contextmanager
def _receiving(entry: Entry, target: Path) -> Generator[Path]:
    """Where a file is received: in a folder that is gone afterwards, or for a model in a file that
    stays until it is whole, and that one process writes at a time."""
    if entry.kind == "model":
        part = target.with_name(target.name + PART)
        with take_lock(target.with_name(target.name + ".lock"), -1):
            yield part
        return
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".download-") as folder:
        yield Path(folder) / target.name


def _download(entry: Entry) -> Path:
    """Fetch the file of `entry` into the cache folder from the first address that has it."""
    target = cache_folder() / entry.file
    by_hand = f"put the file there as {target}, or set GPTLIB_DATA to a folder that has it"
    size = f" ({entry.bytes:,} bytes)" if entry.bytes else ""
    failures = []
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _receiving(entry, target) as got:
            if entry.kind == "model" and (found := find_cached(entry)):
                return found  # another process was faster
            for url in _addresses(entry):
                try:
                    receive(url, got, entry.bytes, entry.sha256)
                except Exception as error:  # whatever an address does wrong, the next is tried
                    failures.append(f"{urlsplit(url).netloc or url}: {reason(error)}")
                    continue
                if _sha256(target) not in ("", entry.sha256):
                    with contextlib.suppress(FileNotFoundError):  # another process was faster
                        os.replace(target, target.with_name(target.name + ".damaged"))
                os.replace(got, target)
                return target
    except OSError as error:
        raise DataError(
            f"cannot write {entry.name} into the cache folder ({error}); "
            "set GPTLIB_DATA to a folder that can be written, or that has the file"
        ) from error
    raise DataError(
        f"could not download {entry.name}{size}: {'; '.join(failures)}. "
        f"Without a network, {by_hand}"
    )
