"""R2 and R3: damaged files are noticed and named; a disk that refuses loses nothing."""

import errno
import hashlib
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import warnings

import pytest
import torch

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.errors import CheckpointError
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

FILES = (checkpoint.MODEL, checkpoint.STATE, checkpoint.MANIFEST)


@pytest.fixture
def run_dir(make_model, ids, tokenizer, tmp_path):
    config = TrainConfig(
        steps=6, batch_size=4, warmup=1, eval_every=2, save_every=2, keep_last=3
    )  # fmt: skip
    Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path / "run", tokenizer).fit()
    return tmp_path / "run"


def hashes(folder) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip one bit, or cut the end off."""
    if rng.random() < 0.3:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def noticed(run_dir, rng: random.Random) -> bool:
    """Damage one file of the newest checkpoint: is it named, and the one before it used?"""
    path = checkpoint.folder_of(run_dir, 6) / rng.choice(FILES)
    good = path.read_bytes()
    path.write_bytes(damage(good, rng))
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        _, _, manifest = checkpoint.load_newest(run_dir)
    path.write_bytes(good)
    return manifest["step"] == 4 and "step_00000006" in str(seen[0].message)


def test_damage_in_any_file_is_noticed_and_named(run_dir):
    rng = random.Random(0)
    assert all(noticed(run_dir, rng) for _ in range(100))


def test_a_missing_file_is_damage_too(run_dir):
    for name in FILES:
        path = checkpoint.folder_of(run_dir, 6) / name
        good = path.read_bytes()
        path.unlink()
        with pytest.warns(UserWarning, match="step_00000006"):
            assert checkpoint.load_newest(run_dir)[2]["step"] == 4
        path.write_bytes(good)


def cli(*argv: str, limit: int | None = None) -> subprocess.CompletedProcess:
    """Run the command line as a process; `limit` makes a disk that is full after so many bytes."""

    def full_disk() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # an error to handle, not a death
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        [sys.executable, "-m", "gptlib.cli", *argv], capture_output=True, text=True,
        preexec_fn=full_disk if limit else None, timeout=300,
    )  # fmt: skip


SMALL = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16", "--warmup", "1",
         "--batch-size", "4", "--steps", "8", "--save-every", "2", "--eval-every", "8",
         "--threads", "1"]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="file-size limits exist on POSIX only")
def test_a_full_disk_says_so_and_leaves_what_was_saved(tmp_path):
    text = tmp_path / "fox.txt"
    text.write_text("The fox sat. The hen ran.\n" * 100)
    run = tmp_path / "run"
    begin = ["train", "--corpus", str(text), "--out", str(run), *SMALL]
    assert cli(*begin, "--stop-after", "2").returncode == 0
    before = hashes(run / "checkpoints")
    weights = (checkpoint.folder_of(run, 2) / checkpoint.MODEL).stat().st_size
    for limit in (4096, weights + 1):  # full while the weights are written, then the state
        full = cli("train", "--out", str(run), "--resume", limit=limit)
        assert full.returncode == 2
        assert full.stderr.splitlines()[-1].startswith("gptlib train:")
        assert "could not be saved" in full.stderr and "resume" in full.stderr
        assert hashes(run / "checkpoints") == before
    assert cli("train", "--out", str(run), "--resume").returncode == 0


def test_an_error_at_any_step_of_a_save_leaves_the_earlier_ones_alone(
    make_model, ids, tokenizer, run_dir, monkeypatch
):
    """A disk may refuse any write, flush or rename; each is made to fail in turn."""
    before = hashes(run_dir / "checkpoints")
    weights = checkpoint.plain_weights(make_model())
    for name in ("sync", "_write_weights", "sync_folder", "move_into_place"):
        with monkeypatch.context() as patch:

            def refuse(*args):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            patch.setattr(checkpoint, name, refuse)
            with pytest.raises(CheckpointError, match="No space left"):
                checkpoint.save(run_dir, 8, weights, {}, {})
        assert hashes(run_dir / "checkpoints") == before
    assert checkpoint.load_newest(run_dir)[2]["step"] == 6


def test_the_temporary_folder_is_a_neighbor_so_no_rename_crosses_a_device(
    make_model, tmp_path, monkeypatch
):
    moves = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (moves.append((a, b)), real(a, b)))
    checkpoint.save(tmp_path, 1, checkpoint.plain_weights(make_model()), {}, {})
    assert len(moves) == 2
    assert all(os.path.dirname(a) == os.path.dirname(b) for a, b in moves)


def test_a_vanished_folder_is_an_error_not_a_new_run(make_model, ids, tokenizer, tmp_path):
    config = TrainConfig(steps=50, batch_size=4, warmup=1, eval_every=25)
    one = Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path / "run", tokenizer)
    update = one._update

    def vanish():
        if one.step == 5:
            shutil.rmtree(tmp_path / "run")
        return update()

    one._update = vanish
    with pytest.raises((CheckpointError, OSError)):
        one.fit()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("The fox sat.\n" * 100)
    out = str(tmp_path / "file" / "run")
    assert main(["train", "--corpus", str(tmp_path / "file"), "--out", out, *SMALL]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_checkpoint_of_nan_is_still_a_checkpoint(tmp_path):
    """Hashes are of bytes: values that equal nothing, not even themselves, are verified too."""
    checkpoint.save(tmp_path, 1, {"a": torch.full((3,), float("nan"))}, {}, {})
    weights, _, _ = checkpoint.load(checkpoint.folder_of(tmp_path, 1))
    assert weights["a"].isnan().all()
