"""Checkpoints are whole or not there; damage is noticed, named and passed over."""

import builtins
import errno
import io
import json
import os
import subprocess
import sys
import warnings

import pytest
import torch

from gptlib import checkpoint
from gptlib.errors import CheckpointError

WEIGHTS = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
STATE = {"step": 3, "random": (1, [2, 3]), "optimizer": {0: torch.zeros(2)}}


def save(run_dir, step, **about):
    return checkpoint.save(run_dir, step, WEIGHTS, STATE, about)


def test_what_is_saved_is_loaded(tmp_path):
    place = save(tmp_path, 3, note="x")
    weights, state, manifest = checkpoint.load(place)
    assert weights.keys() == WEIGHTS.keys() and torch.equal(weights["a"], WEIGHTS["a"])
    assert state["random"] == STATE["random"] and torch.equal(state["optimizer"][0], torch.zeros(2))
    assert manifest["step"] == 3 and manifest["note"] == "x"
    assert checkpoint.pointed(tmp_path, "latest") == place
    assert sorted(os.listdir(tmp_path / "checkpoints")) == ["step_00000003"]  # nothing else left


def test_the_same_state_makes_the_same_bytes(tmp_path):
    files = [save(tmp_path / d, 1) / checkpoint.MODEL for d in "ab"]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", [checkpoint.MODEL, checkpoint.STATE, checkpoint.MANIFEST])
def test_every_flipped_bit_and_every_truncation_is_noticed(tmp_path, name):
    save(tmp_path, 1)
    damaged = save(tmp_path, 2) / name
    good = damaged.read_bytes()
    for i in range(60):
        at = i * 7919 % (8 * len(good))
        data = bytearray(good)
        data[at // 8] ^= 1 << at % 8
        damaged.write_bytes(bytes(data) if i % 3 else good[: at // 8])
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            _, _, manifest = checkpoint.load_newest(tmp_path)
        assert manifest["step"] == 1
        assert "step_00000002" in str(seen[0].message)


def test_neither_format_notices_by_itself(tmp_path):
    """Why there is a hash: the reason that this module exists."""
    place = save(tmp_path, 1)
    data = bytearray((place / checkpoint.MODEL).read_bytes())
    data[-2] ^= 1
    (place / checkpoint.MODEL).write_bytes(bytes(data))
    import safetensors.torch

    assert not torch.equal(safetensors.torch.load(bytes(data))["b"], WEIGHTS["b"])  # no complaint
    with pytest.raises(CheckpointError, match="sha256"):
        checkpoint.load(place)


def test_all_damaged_is_an_error_that_names_each(tmp_path):
    for step in (1, 2):
        (save(tmp_path, step) / checkpoint.MODEL).unlink()
    with pytest.raises(CheckpointError, match="step_00000002.*step_00000001"):
        checkpoint.load_newest(tmp_path)
    assert checkpoint.load_newest(tmp_path / "empty") is None


@pytest.mark.parametrize("name", ["step_²", "step_٣", "step_3", "step_", "step_000000001"])
def test_folders_with_odd_names_are_no_checkpoints(tmp_path, name):
    save(tmp_path, 1)
    (tmp_path / "checkpoints" / name).mkdir()
    assert checkpoint.saved_steps(tmp_path) == [1]
    checkpoint.prune(tmp_path, 1, set())


@pytest.mark.parametrize(
    "change", [{"step": float("inf")}, {"step": "1"}, {"sha256": {"../model.safetensors": ""}}]
)
def test_a_manifest_that_is_sealed_and_senseless_is_refused(tmp_path, change):
    place = save(tmp_path, 1)
    manifest = json.loads((place / checkpoint.MANIFEST).read_bytes())
    del manifest["manifest_sha256"]
    (place / checkpoint.MANIFEST).write_bytes(checkpoint._sealed(manifest | change))
    with pytest.raises(CheckpointError, match="is no whole checkpoint"):
        checkpoint.load(place)


def test_a_save_at_the_same_step_replaces_a_damaged_one(tmp_path):
    (save(tmp_path, 5) / checkpoint.MODEL).write_bytes(b"noise")
    checkpoint.load(save(tmp_path, 5))


def test_prune_keeps_the_last_and_the_best_and_sweeps_leftovers(tmp_path):
    for step in range(1, 7):
        save(tmp_path, step, passing=step in (4, 6))
    (tmp_path / "checkpoints" / ".step_00000009.1.tmp").mkdir()
    checkpoint.prune(tmp_path, 2, {1})
    # 3 and 5 are the last two regular ones, 6 the newest of all; 4 was made in passing
    assert checkpoint.saved_steps(tmp_path) == [1, 3, 5, 6]
    assert len(os.listdir(tmp_path / "checkpoints")) == 4


def test_pointers_are_repaired(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step)
    checkpoint.point(tmp_path, "best", 3)
    checkpoint.repair_pointers(tmp_path, 2, 1)
    assert checkpoint.pointed(tmp_path, "latest").name == "step_00000002"
    assert checkpoint.pointed(tmp_path, "best").name == "step_00000001"
    checkpoint.repair_pointers(tmp_path, 2, 0)  # the best was never saved
    assert checkpoint.pointed(tmp_path, "best") is None


def test_the_second_writer_is_refused_until_the_first_dies(tmp_path):
    code = (
        "import sys; from pathlib import Path; from gptlib.checkpoint import only_writer\n"
        f"with only_writer(Path({str(tmp_path)!r})): print('in', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"in\n"
        with (
            pytest.raises(CheckpointError, match="another process"),
            checkpoint.only_writer(tmp_path),
        ):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with checkpoint.only_writer(tmp_path):  # its lock file is still there, its lock is not
        assert (tmp_path / ".lock").exists()


def test_wrapped_models_save_plain_names(make_model):
    model = make_model()
    wrapped = torch.nn.Sequential()
    wrapped.add_module("_orig_mod", model)
    plain, through = checkpoint.plain_weights(model), checkpoint.plain_weights(wrapped)
    assert plain.keys() == through.keys()
    assert "lm_head.weight" not in plain  # tied: stored once, as the token embedding
    other = make_model()
    torch.nn.init.zeros_(other.lm_head.weight)
    checkpoint.load_weights(other, plain)
    assert torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_only_what_a_wrapper_puts_before_a_name_is_stripped():
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.submodule, self.inner_module = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)

    model = Odd()
    expected = {"submodule.weight", "submodule.bias", "inner_module.weight", "inner_module.bias"}
    assert checkpoint.plain_weights(model).keys() == expected
    wrapped = torch.nn.Sequential()
    wrapped.add_module("module", torch.nn.Sequential())
    wrapped.module.add_module("_orig_mod", model)
    weights = {n: w + 1 for n, w in checkpoint.plain_weights(wrapped).items()}
    assert weights.keys() == expected
    for other in (wrapped, model):  # the same tensors, once under each of their names
        checkpoint.load_weights(other, weights)
    assert torch.equal(model.submodule.weight, weights["submodule.weight"])
    with pytest.raises(CheckpointError, match="inner_module.bias is missing"):
        checkpoint.load_weights(
            Odd(), {k: v for k, v in weights.items() if k[-10:] != "odule.bias"}
        )


def test_only_what_locking_raises_is_blamed_on_the_folder(tmp_path):
    with pytest.raises(OSError, match="font") as raised, checkpoint.only_writer(tmp_path / "run"):
        raise FileNotFoundError(2, "No such file or directory", "font.ttf")
    assert not isinstance(raised.value, CheckpointError)
    (tmp_path / "file").touch()
    with (
        pytest.raises(CheckpointError, match="cannot write in"),
        checkpoint.only_writer(tmp_path / "file"),
    ):
        pass
    with checkpoint.only_writer(tmp_path / "run"):  # and the lock was let go
        pass


def forbidden(*parts: str):
    """A function that opens files, except those that the test process may not read.

    Permissions do not bind root, so they are played: any path with one of `parts` in it.
    """
    real = {name: getattr(os, name) for name in ("scandir", "stat")} | {"open": io.open}

    def guarded(name: str):
        def call(path, *args, **kwargs):
            if any(part in str(path) for part in parts):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return real[name](path, *args, **kwargs)

        return call

    return guarded


@pytest.fixture
def no_permission(monkeypatch):
    """A function after which every path with one of `parts` in it may not be read."""

    def forbid(*parts: str) -> None:
        guarded = forbidden(*parts)
        for place, name in ((io, "open"), (builtins, "open"), (os, "scandir"), (os, "stat")):
            monkeypatch.setattr(place, name, guarded(name))

    return forbid


@pytest.mark.parametrize("what", [checkpoint.MODEL, checkpoint.MANIFEST, "checkpoints", "latest"])
def test_a_missing_permission_is_no_damage(tmp_path, no_permission, what):
    """It is mended by its owner; nothing is passed over, and nothing seems not to be there."""
    for step in (1, 2):
        save(tmp_path, step)
    no_permission(f"{tmp_path.name}/{what}" if what == "latest" else what)
    with pytest.raises(CheckpointError, match="may not be read.*chmod -R a\\+rX") as refused:
        checkpoint.pointed(tmp_path, "latest")
        checkpoint.load_newest(tmp_path)
    assert "copy" not in str(refused.value) and "damaged" not in str(refused.value)


def test_weights_that_do_not_fit_are_refused(make_model):
    weights = checkpoint.plain_weights(make_model())
    with pytest.raises(CheckpointError, match="wpe.weight is"):
        checkpoint.load_weights(make_model(block_size=8), weights)
    weights.pop("transformer.ln_f.bias")
    with pytest.raises(CheckpointError, match="ln_f.bias is missing"):
        checkpoint.load_weights(make_model(), weights)


def test_a_part_of_the_weights_is_saved_and_loaded_onto_a_model_with_the_rest(make_model, tmp_path):
    """As adapters are: what was trained is kept, and goes onto the model that it was trained on."""
    base, trained = make_model(), make_model()
    with torch.no_grad():
        for name, p in trained.named_parameters():
            p += 1 if ".attn." in name else 0
    part = checkpoint.plain_weights(trained, keep=lambda name: ".attn." in name)
    assert part and all(".attn." in name for name in part)
    checkpoint.save_weights(tmp_path, 1, part, {})
    saved, _ = checkpoint.load_model(checkpoint.folder_of(tmp_path, 1))
    with pytest.raises(CheckpointError, match="wte.weight is missing"):
        checkpoint.load_weights(base, saved)
    checkpoint.load_weights(base, saved, part=True)
    ours, theirs = base.state_dict(), trained.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for odd in ({"lora": torch.zeros(2)}, {"transformer.wte.weight": torch.zeros(2)}):
        with pytest.raises(CheckpointError, match="does not fit the model"):
            checkpoint.load_weights(base, odd, part=True)
