"""Files are whole, open to whoever may read their folder, and written where a disk offers less."""

import errno
import os
import stat
import warnings

import pytest
import torch

from gptlib import checkpoint, files
from gptlib.errors import CheckpointError
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

posix = pytest.mark.skipif(os.name != "posix", reason="POSIX permissions and calls")


@pytest.fixture
def train(make_model, ids, tokenizer, tmp_path):
    """A function that trains two steps in a fresh folder, with a mirror beside it."""
    config = TrainConfig(steps=2, batch_size=4, warmup=1, eval_every=1, save_minutes=0)

    def run(name: str = "run"):
        Trainer(
            make_model(), ids[:2000], ids[2000:], config, tmp_path / name, tokenizer,
            mirror_to=tmp_path / f"{name}-mirror",
        ).fit()  # fmt: skip
        return tmp_path / name

    return run


@pytest.fixture
def fresh(monkeypatch):
    """Nothing was said yet in this process."""
    monkeypatch.setattr(files, "_said", set())


@posix
@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077])
def test_every_file_of_a_run_has_the_permissions_of_any_new_file(train, tmp_path, mask):
    before = os.umask(mask)
    try:
        train()
    finally:
        os.umask(before)
    modes = {p: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.rglob("*")}
    right = {p: (0o777 if p.is_dir() else 0o666) & ~mask for p in modes}
    wrong = {str(p): oct(mode) for p, mode in modes.items() if mode != right[p]}
    assert not wrong
    kinds = "model.safetensors state.pt manifest.json tokenizer.json log.jsonl speed.jsonl"
    kinds += " config.json best latest .lock mirror.json"
    assert {*kinds.split()} <= {p.name for p in modes}


def without(name: str, code: int):
    def call(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    return name, call


@posix
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (without("os.fsync", errno.EINVAL), "does not flush on demand"),
        (without("os.chmod", errno.EPERM), None),
        (without("os.fchmod", errno.EPERM), None),
        (without("fcntl.flock", errno.ENOLCK), "has no locks"),
        (without("fcntl.flock", errno.EOPNOTSUPP), "has no locks"),
    ],
    ids=["fsync", "chmod", "fchmod", "flock-ENOLCK", "flock-EOPNOTSUPP"],
)
def test_a_disk_without_a_call_is_written_all_the_same(train, fresh, monkeypatch, call, said):
    with monkeypatch.context() as patch, warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        patch.setattr(*call)
        train()
        run_dir = train()  # the second time, nothing more is said
    lines = [str(w.message) for w in seen]
    assert [said in line for line in lines if str(run_dir) in line] == ([True] if said else [])
    assert checkpoint.load_newest(run_dir)[2]["step"] == 2


@posix
def test_a_folder_that_cannot_be_flushed_is_no_full_disk(tmp_path, fresh, monkeypatch):
    """SMB flushes files, and answers EINVAL for a folder; a disk that fails is another matter."""
    flush = os.fsync

    def smb(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", smb)
    with pytest.warns(UserWarning, match="but perhaps not a power cut"):
        checkpoint.save(tmp_path, 1, {"a": torch.zeros(2)}, {}, {})
    monkeypatch.setattr(*without("os.fsync", errno.EIO))
    with pytest.raises(CheckpointError, match="could not be saved"):
        checkpoint.save(tmp_path, 2, {"a": torch.zeros(2)}, {}, {})


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "best"
    files.write_atomic(path, b"old")
    monkeypatch.setattr(*without("os.replace", errno.ENOSPC))
    with pytest.raises(OSError, match="No space"):
        files.write_atomic(path, b"new")
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["best"]


def test_what_is_to_be_done_names_the_permission_where_it_is_missing(tmp_path, monkeypatch):
    for code, advice in (
        (errno.EACCES, "you lack the permission"), (errno.EROFS, "you lack the permission"),
        (errno.ENOSPC, "make room"),
    ):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(*without("os.replace", code))
            with pytest.raises(CheckpointError, match=advice):
                checkpoint.save(tmp_path, 1, {"a": torch.zeros(2)}, {}, {})
            patch.setattr(*without("os.open", code))
            with (
                pytest.raises(CheckpointError, match=f"cannot write in.*{advice}"),
                checkpoint.only_writer(tmp_path),
            ):
                pass


@pytest.mark.parametrize("durable", [True, False])
def test_lines_are_added_and_read_back(tmp_path, monkeypatch, durable):
    flushed, path = [], tmp_path / "log.jsonl"
    monkeypatch.setattr(files, "flush", lambda descriptor, folder: flushed.append(folder))
    lines = [{"step": 1}, {"text": "Öl\n", "loss": 0.1}]
    for line in lines:
        files.append_line(path, line, durable)
    assert files.read_jsonl(path) == files.mend_jsonl(path) == lines
    assert path.read_bytes().count(b"\n") == 2 and bool(flushed) == durable


def test_a_durable_line_makes_its_folder(tmp_path):
    files.append_line(tmp_path / "a" / "b" / "log.jsonl", {"step": 1})
    assert files.read_jsonl(tmp_path / "a" / "b" / "log.jsonl") == [{"step": 1}]


def test_a_torn_last_line_is_left_out_and_cut_off_before_more_is_added(tmp_path):
    path = tmp_path / "log.jsonl"
    assert files.read_jsonl(path) == files.mend_jsonl(path) == [] and not path.exists()
    path.write_bytes(b'{"step": 1}\n{"ste')
    assert files.read_jsonl(path) == [{"step": 1}] and path.read_bytes().endswith(b"ste")
    assert files.mend_jsonl(path) == [{"step": 1}] and path.read_bytes() == b'{"step": 1}\n'
    files.append_line(path, {"step": 2})
    assert files.read_jsonl(path) == [{"step": 1}, {"step": 2}]


def test_a_file_is_known_by_its_bytes(tmp_path, monkeypatch):
    path = tmp_path / "a"
    assert not files.has_sha256(path, "") and not files.has_sha256(tmp_path, "")
    path.write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert files.sha256(path).startswith("ba7816bf8f01cfea414140de5dae2223b00361a396177a9c")
    assert files.has_sha256(path, files.sha256(path)) and not files.has_sha256(path, "0" * 64)
    monkeypatch.setattr(*without("gptlib.files.sha256", errno.EACCES))
    with pytest.raises(CheckpointError, match="may not be read"):
        files.has_sha256(path, "0" * 64)
