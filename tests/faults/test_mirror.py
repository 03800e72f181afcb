"""A disk that delays, drops and truncates: what comes back is whole, or older, never wrong."""

import errno
import os
import random
import shutil
import warnings

import pytest

from gptlib import checkpoint, files, mirror
from gptlib.cli import main
from gptlib.errors import CheckpointError
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


@pytest.fixture
def run_dir(make_model, ids, tokenizer, tmp_path):
    config = TrainConfig(
        steps=6, batch_size=4, warmup=1, eval_every=6, save_every=2, keep_last=3
    )  # fmt: skip
    Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path / "run", tokenizer).fit()
    return tmp_path / "run"


def push(run_dir, drive, step):
    return mirror.push(checkpoint.folder_of(run_dir, step), run_dir, drive)


def test_what_is_pushed_is_pulled_and_resumed(run_dir, make_model, ids, tokenizer, tmp_path):
    drive, back = tmp_path / "drive", tmp_path / "back"
    push(run_dir, drive, 4)
    place = mirror.pull(drive, back)
    assert place == checkpoint.folder_of(back, 4)
    config = TrainConfig(steps=6, batch_size=4, warmup=1, eval_every=6, save_every=2, keep_last=3)
    Trainer(make_model(), ids[:2000], ids[2000:], config, back, tokenizer).fit()
    for name in ("log.jsonl", "checkpoints/step_00000006/model.safetensors"):
        assert (back / name).read_bytes() == (run_dir / name).read_bytes()


def test_copies_are_kept_under_new_names_and_old_ones_go(run_dir, tmp_path):
    drive = tmp_path / "drive"
    names = [push(run_dir, drive, step).name for step in (2, 4, 4, 6)]
    assert len(set(names)) == 4
    assert [p.name.split("-")[0] for p in sorted(drive.iterdir())] == [
        "step_00000004", "step_00000006"
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_an_unreliable_disk_never_gives_back_anything_wrong(run_dir, tmp_path, monkeypatch, seed):
    """Every copied file may be dropped or cut, at the time or afterwards."""
    rng, drive, real = random.Random(seed), tmp_path / "drive", shutil.copyfile

    def unreliable(source, target):
        real(source, target)
        fate = rng.random()
        if fate < 0.1:
            target.unlink()
        elif fate < 0.2:
            target.write_bytes(target.read_bytes()[: rng.randrange(50)])

    pushed = []
    with monkeypatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setattr(shutil, "copyfile", unreliable)
        for step in (2, 4, 6):
            if push(run_dir, drive, step):
                pushed.append(step)
    if pushed and rng.random() < 0.5:  # verified, and lost all the same
        (sorted(drive.glob("step_*"))[-1] / checkpoint.MODEL).unlink(missing_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        place = mirror.pull(drive, tmp_path / "back")
    if place is None:
        assert len(pushed) < 2
        return
    step = checkpoint.verify(place)["step"]
    for name in (checkpoint.MODEL, checkpoint.STATE):
        original = checkpoint.folder_of(run_dir, step) / name
        assert (place / name).read_bytes() == original.read_bytes()


def test_a_disk_that_takes_nothing_is_a_warning_and_training_goes_on(run_dir, tmp_path):
    (tmp_path / "drive").write_text("a file where a folder should be")
    with pytest.warns(UserWarning, match="could not be copied"):
        assert push(run_dir, tmp_path / "drive", 6) is None


def test_pull_does_not_touch_a_run_that_has_checkpoints(run_dir, tmp_path):
    push(run_dir, tmp_path / "drive", 6)
    with pytest.raises(CheckpointError, match="of its own"):
        mirror.pull(tmp_path / "drive", run_dir)
    assert mirror.pull(tmp_path / "nowhere", tmp_path / "empty") is None


def go_on(run_dir, drive, make_model, ids, tokenizer):
    config = TrainConfig(steps=6, batch_size=4, warmup=1, eval_every=6, save_every=2, keep_last=3)
    return Trainer(
        make_model(), ids[:2000], ids[2000:], config, run_dir, tokenizer, mirror_to=drive
    ).fit()


def assert_same_end(run_dir, other) -> None:
    for name in ("log.jsonl", f"checkpoints/step_00000006/{checkpoint.MODEL}"):
        assert (run_dir / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize("copied", range(4))
def test_half_a_copy_in_its_place_is_swept_away_and_restored(
    run_dir, make_model, ids, tokenizer, tmp_path, copied
):
    """As a restore that was killed used to leave it, with so many of its files."""
    drive, back = tmp_path / "drive", tmp_path / "back"
    push(run_dir, drive, 4)
    half = checkpoint.folder_of(back, 4)
    half.mkdir(parents=True)
    for name in sorted(os.listdir(checkpoint.folder_of(run_dir, 4)))[:copied]:
        shutil.copyfile(checkpoint.folder_of(run_dir, 4) / name, half / name)
    (half / checkpoint.STATE).write_bytes(b"half")
    damaged = checkpoint.folder_of(back, 9)
    damaged.mkdir()
    assert go_on(back, drive, make_model, ids, tokenizer).finished
    assert_same_end(run_dir, back)
    assert not damaged.exists()


class Killed(BaseException):
    pass


def test_a_restore_killed_at_any_file_is_made_again(
    run_dir, make_model, ids, tokenizer, tmp_path, monkeypatch
):
    drive, back = tmp_path / "drive", tmp_path / "back"
    push(run_dir, drive, 4)
    calls = []
    real = {"copyfile": shutil.copyfile, "sync": files.sync, "replace": os.replace}

    def counted(name: str):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == die_at:
                if name == "copyfile":  # half of the file is there
                    args[1].write_bytes(args[0].read_bytes()[:50])
                raise Killed
            return real[name](*args, **kwargs)

        return call

    die_at = 0
    with monkeypatch.context() as patch:
        for place, name in ((shutil, "copyfile"), (files, "sync"), (os, "replace")):
            patch.setattr(place, name, counted(name))
        for die_at in range(1, 99):  # noqa: B007 - `counted` reads it
            calls.clear()
            shutil.rmtree(back, ignore_errors=True)
            try:
                mirror.pull(drive, back)
                break
            except Killed:
                for step in checkpoint.saved_steps(back):  # whole, or not there
                    checkpoint.verify(checkpoint.folder_of(back, step))
                with monkeypatch.context() as unharmed:
                    unharmed.setattr(shutil, "copyfile", real["copyfile"])
                    unharmed.setattr(files, "sync", real["sync"])
                    unharmed.setattr(os, "replace", real["replace"])
                    if not checkpoint.has_whole(back):
                        mirror.pull(drive, back)
                    assert os.listdir(back / "checkpoints") == ["step_00000004"]
    assert die_at > 10
    assert go_on(back, drive, make_model, ids, tokenizer).finished
    assert_same_end(run_dir, back)


def test_a_full_disk_at_a_restore_begins_no_new_run(
    run_dir, make_model, ids, tokenizer, tmp_path, monkeypatch
):
    drive, back = tmp_path / "drive", tmp_path / "back"
    copy = push(run_dir, drive, 4)

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(CheckpointError, match="could not be restored .* make room"):
            go_on(back, drive, make_model, ids, tokenizer)
    assert copy.is_dir() and not (back / "log.jsonl").exists() | (back / "best").exists()


def test_a_list_that_names_another_place_is_no_copy(run_dir, tmp_path):
    copy = push(run_dir, tmp_path / "drive", 4)
    (copy / mirror.LIST).write_text('{"../outside": "00"}')
    with pytest.warns(UserWarning, match="is no file name"):
        assert mirror.pull(tmp_path / "drive", tmp_path / "back") is None


def test_the_command_line_goes_on_from_the_mirror_on_a_new_machine(tmp_path):
    words = "--n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --batch-size 4 --warmup 1 --steps 6"
    text = tmp_path / "fox.txt"
    text.write_text("The fox sat. The hen ran.\n" * 100)
    drive = ["--mirror-to", str(tmp_path / "drive")]
    begin = ["train", "--corpus", str(text), *words.split(), "--save-every", "2", *drive]
    assert main([*begin, "--out", str(tmp_path / "whole")]) == 0
    shutil.rmtree(tmp_path / "drive")
    assert main([*begin, "--out", str(tmp_path / "gone"), "--stop-after", "4"]) == 0
    shutil.rmtree(tmp_path / "gone")  # the machine is another one now
    assert main(["train", "--out", str(tmp_path / "new"), "--resume", *drive]) == 0
    logs = [(tmp_path / name / "log.jsonl").read_bytes() for name in ("whole", "new")]
    assert logs[0] == logs[1]
