"""Files that are there whole or not at all, also on disks that offer less than a disk should.

One job: files of which a kill or a bad disk leaves no half unnoticed: `write_atomic`, `sha256`,
lines of JSON that are added one at a time, and the steps these are made of. Network mounts (SMB,
some NFS and FUSE) may refuse to flush a folder or to set permissions; then the file is written all
the same, and where that leaves less safety it is said, once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock

from gptlib.errors import CheckpointError, DataError

#: What a system answers where a disk does not know a call, as against one that fails.
NOT_OFFERED = {
    errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOLCK,
}  # fmt: skip
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_said: set[str] = set()


def write_atomic(path: Path, data: bytes) -> None:
    """Replace `path` by `data` in one step: readers see the old file or the new, never a part."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # a full disk needs the space
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync(path: Path) -> None:
    """Flush a file's contents to the disk."""
    with open(path, "r+b") as file:
        flush(file.fileno(), path.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename outlives a power cut (POSIX only)."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        flush(descriptor, folder)
    finally:
        os.close(descriptor)


def flush(descriptor: int, folder: Path) -> None:
    """fsync, where the disk of `folder` has it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NOT_OFFERED:
            raise
        _say_once(
            "fsync",
            f"the disk of {folder} does not flush on demand ({error.strerror}): what is saved "
            "there outlives a crash of this program, but perhaps not a power cut",
        )


def take_lock(path: Path, seconds: float = 0) -> AbstractContextManager:
    """Lock `path` within so many seconds (-1: however long it takes), or raise `filelock.Timeout`;
    what is returned lets go of it at its end.

    Where the disk has no locks, nothing keeps a second process out, and that is said.
    """
    try:
        return FileLock(path).acquire(timeout=seconds)
    except (OSError, NotImplementedError) as error:
        missing = isinstance(error, NotImplementedError) or error.errno in NOT_OFFERED
        if not missing:
            raise
        _say_once(
            "flock",
            f"the disk of {path.parent} has no locks ({error}): see to it that no second process "
            "writes there",
        )
        return nullcontext()


def _say_once(call: str, line: str) -> None:
    """Warn of a call that is missing, the first time only in this process."""
    if call not in _said:
        _said.add(call)
        warnings.warn(line, stacklevel=2)


def as_any_file(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` make `path`, and give it the permissions of any new file in that folder.

    Some libraries make private files (0600); a model is read by whoever may read its folder.
    """
    path.touch()
    mode = stat.S_IMODE(path.stat().st_mode)  # 0o666 less the umask, or what the folder gives
    write(path)
    with suppress(OSError):  # a mount may have no permissions to set
        path.chmod(mode)


def sha256(path: Path) -> str:
    """Hex sha256 of a file, read a piece at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def has_sha256(path: Path, expected: str) -> bool:
    """Is this file there, and are its bytes those?

    Raises:
        CheckpointError: only a permission is missing to tell.
    """
    try:
        return sha256(path) == expected
    except PermissionError as error:
        raise may_not_read(path.parent, error) from error
    except OSError:
        return False


def append_line(path: Path, line: dict, durable: bool = True) -> None:
    """Add an object to a file of JSON lines, which is made if need be, with its folder.

    When this returns, the line is on the disk, or if not `durable`, in the system's hands.
    """
    if durable and not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, b"")  # the folder's entry is flushed as well
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
        if durable:
            file.flush()
            flush(file.fileno(), path.parent)


def read_jsonl(path: Path) -> list[dict]:
    """Return the objects of a JSON-lines file; a torn last line is left out.

    Raises:
        DataError: another line is not JSON.
    """
    if not path.is_file():
        return []
    lines = path.read_bytes().split(b"\n")[:-1]  # what follows the last newline is not whole
    objects = []
    for number, line in enumerate(lines, 1):
        try:
            objects += [json.loads(line)] if line else []
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"line {number} of {path} is damaged ({error}); expected JSON: restore the file "
                "from a copy, or remove the line"
            ) from error
    return objects


def mend_jsonl(path: Path) -> list[dict]:
    """`read_jsonl` for who will add lines: a torn one, left by a kill, is cut off first."""
    if path.is_file():
        text = path.read_bytes()
        if not text.endswith(b"\n"):
            write_atomic(path, text[: text.rfind(b"\n") + 1])
    return read_jsonl(path)


def way_out(error: BaseException) -> str:
    """How to mend it that a file could not be written, as the middle of a sentence."""
    if getattr(error, "errno", None) in FORBIDDEN:
        return "you lack the permission: let its owner grant it, or choose a folder of yours"
    return "make room or choose a folder that can be written"


def may_not_read(folder: Path, error: PermissionError) -> CheckpointError:
    """What to raise where a permission is missing: nothing is damaged, and a copy mends nothing."""
    return CheckpointError(
        f"{folder} may not be read: no permission for {Path(error.filename or folder).name}; let "
        f"its owner grant it: chmod -R a+rX {folder}"
    )
