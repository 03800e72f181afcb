"""No member of an archive leaves the folder, and a folder is there whole or not at all."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from gptlib.archives import unpack
from gptlib.errors import DataError

FILES = {"a.txt": b"one", "deep/er/b.txt": b"two" * 5000}


def make_tar(path: Path, files: dict, mode: str = "w:gz", extra=()) -> Path:
    with tarfile.open(path, mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in extra:
            tar.addfile(member)
    return path


def make_zip(path: Path, files: dict) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_what_was_packed_is_unpacked(tmp_path, mode):
    archive = tmp_path / "archive"
    make_zip(archive, FILES) if mode == "zip" else make_tar(archive, FILES, mode)
    assert unpack(archive, tmp_path / "new" / "out") == tmp_path / "new" / "out"
    assert contents(tmp_path / "new") == {f"out/{name}": data for name, data in FILES.items()}


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = make_zip(tmp_path / "inner.zip", FILES).read_bytes()
    unpack(make_tar(tmp_path / "outer.tar", {"inner.zip": inner}, "w"), tmp_path / "out")
    assert contents(tmp_path / "out") == {"inner.zip": inner}


OUTSIDE = ["../evil", "a/../../evil", "/evil", "//evil"]


@pytest.mark.parametrize("name", [*OUTSIDE, "..\\evil", "C:\\evil", "C:evil", "\\evil"])
def test_a_zip_member_outside(tmp_path, name):
    archive = make_zip(tmp_path / "a.zip", FILES | {name: b"evil"})
    with pytest.raises(DataError, match="a.zip has the member .*evil.*nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_tar_member_outside(tmp_path, name):
    archive = make_tar(tmp_path / "a.tar", FILES | {name: b"evil"})
    with pytest.raises(DataError, match="a.tar has the member .*evil.*nothing was unpacked"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize(
    "member",
    [
        link("evil", "../.."),
        link("evil", "/etc"),
        link("evil", "../../a.txt", tarfile.LNKTYPE),
        link("evil", "", tarfile.FIFOTYPE),
        link("evil", "", tarfile.CHRTYPE),
    ],
)
def test_a_tar_with_links_outside_or_devices(tmp_path, member):
    archive = make_tar(tmp_path / "a.tar", FILES, extra=[member])
    with pytest.raises(DataError, match="a.tar has the member 'evil'"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize("size", [0, 10, 100, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["w:gz", "w:xz", "w:bz2", "zip"])
def test_an_archive_that_is_cut_short(tmp_path, kind, size):
    archive = tmp_path / "archive"
    files = FILES | {"noise": bytes(i * i % 251 for i in range(20_000))}
    make_zip(archive, files) if kind == "zip" else make_tar(archive, files, kind)
    raw = archive.read_bytes()
    archive.write_bytes(raw[: int(size * len(raw)) if size < 1 else size])
    with pytest.raises(DataError, match="archive is damaged or no archive"):
        unpack(archive, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_zip_with_a_flipped_bit(tmp_path):
    archive = make_zip(tmp_path / "a.zip", FILES)
    raw = bytearray(archive.read_bytes())
    raw[37] ^= 4  # in the first member's data
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="damaged or no archive"):
        unpack(archive, tmp_path / "out")


def test_places_that_will_not_do(tmp_path):
    archive = make_zip(tmp_path / "a.zip", FILES)
    with pytest.raises(DataError, match="is there already"):
        unpack(archive, tmp_path)
    with pytest.raises(DataError, match="cannot unpack"):
        unpack(archive, archive / "out")
    with pytest.raises(DataError, match="cannot unpack missing.zip"):
        unpack(tmp_path / "missing.zip", tmp_path / "out")
