"""Archives that strangers made, unpacked without trusting them.

One job: `unpack`. The archive is unpacked beside its place and renamed in one step, so a folder is
there whole or not at all, and no member is ever written outside it.
"""

from __future__ import annotations

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from pathlib import Path, PureWindowsPath

from gptlib.errors import DataError

_DAMAGE = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError,
    RuntimeError,  # a password, or a compression that Python does not know
)  # fmt: skip


def unpack(archive: str | Path, folder: str | Path) -> Path:
    """Unpack a tar (plain or compressed) or zip file into a new folder, and return the folder.

    Raises:
        DataError: not an archive, or damaged; a member, or what a link points to, lies outside
            the folder, or is a device; the folder is there already, or cannot be written.
    """
    archive, folder = Path(archive), Path(folder)
    if folder.exists():
        raise DataError(f"{folder} is there already; remove it, or unpack into another folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".unpack-") as temporary:
            inside = Path(temporary) / "inside"
            inside.mkdir()
            _extract(archive, inside)
            os.replace(inside, folder)
    except _DAMAGE as error:
        raise DataError(
            f"{archive.name} is damaged or no archive ({error}); download it again"
        ) from error
    except (OSError, shutil.Error) as error:
        raise DataError(f"cannot unpack {archive.name} into {folder}: {error}") from error
    return folder


def _extract(archive: Path, folder: Path) -> None:
    if not tarfile.is_tarfile(archive):  # asked first: a tar may end with a zip in it
        with zipfile.ZipFile(archive) as file:
            for name in file.namelist():
                path = PureWindowsPath(name)  # knows both kinds of slash, and drives
                if path.anchor or ".." in path.parts or "\0" in name:
                    raise _outside(archive, name)
            file.extractall(folder)
        return
    if not hasattr(tarfile, "data_filter"):
        raise DataError(
            f"{archive.name} is a tar file, which this Python unpacks without checks; "
            "update Python to 3.11.4 or later"
        )
    with tarfile.open(archive) as file:
        for member in file.getmembers():
            if Path(member.name).is_absolute() or member.name.startswith("/"):
                raise _outside(archive, member.name)
        try:
            file.extractall(folder, filter="data")
        except tarfile.FilterError as error:
            raise _outside(archive, error.tarinfo.name) from error


def _outside(archive: Path, name: str) -> DataError:
    return DataError(
        f"{archive.name} has the member {name[:100]!r}, which would be written or would point "
        "outside the folder; nothing was unpacked: get the archive from a source that you trust"
    )
