"""One place decides what to compute with, and refuses what is not there."""

import random

import numpy as np
import pytest
import torch

from gptlib import parallel
from gptlib.errors import DeviceError
from gptlib.runtime import Runtime, random_state, seed_everything, set_random_state
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


def test_cpu_computes_in_float32_unless_asked():
    assert Runtime.detect("cpu").dtype == "float32"
    runtime = Runtime.detect("cpu", "bfloat16")
    with runtime.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
    assert not runtime.grad_scaler().is_enabled()


def test_the_policy_by_capability(monkeypatch):
    """A T4 (7.5) gets float16 and a scaler; an A100 (8.0) and later get bfloat16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d=None: "Tesla T4")
    for capability, dtype in (((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d=None, c=capability: c)
        assert Runtime.detect() == Runtime("cuda", dtype)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d=None: (7, 5))
    with pytest.raises(DeviceError, match="T4 has no bfloat16"):
        Runtime.detect("cuda", "bfloat16")


@pytest.mark.parametrize(
    ("name", "dtype", "tflops"),
    [("NVIDIA H100 80GB HBM3", "bfloat16", 989), ("Tesla T4", "float16", 65),
     ("NVIDIA A100-SXM4-40GB", "bfloat16", 312), ("NVIDIA L4", "bfloat16", 121),
     ("NVIDIA GeForce RTX 9990", "bfloat16", None)],
)  # fmt: skip
def test_peak_rates(monkeypatch, name, dtype, tflops):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d=None: name)
    peak = Runtime("cuda", dtype).peak_flops()
    assert peak == (tflops * 1e12 if tflops else None)


def test_a_cpu_has_no_known_peak():
    assert Runtime.detect("cpu").peak_flops() is None


def test_ranks_come_from_torchrun(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    runtime = Runtime.detect("cpu")
    assert (runtime.rank, runtime.world_size) == (1, 4)


RANKS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
MEETING = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
FULL = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", **MEETING}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE is 2, and RANK is not set"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR is ''"),
        ({"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "here"}, "MASTER_PORT is ''"),
        (FULL | {"MASTER_PORT": "x"}, "MASTER_PORT is 'x'"),
        (FULL | {"MASTER_ADDR": ""}, "MASTER_ADDR is ''"),
        ({"RANK": "3"}, "RANK is 3, and WORLD_SIZE is not set"),
        ({"RANK": "0"}, "RANK is 0, and WORLD_SIZE is not set"),
        (FULL | {"RANK": "2"}, "RANK is 2 and WORLD_SIZE is 2; expected a rank from 0 to 1"),
        ({"RANK": "1", "WORLD_SIZE": "1"}, "RANK is 1 and WORLD_SIZE is 1"),
        *((FULL | {name: ""}, f"{name} is ''") for name in RANKS[:3]),
        *((FULL | {name: "two"}, f"{name} is 'two'") for name in RANKS[:3]),
        (FULL | {"RANK": "-1"}, "RANK is '-1'"),
        (FULL | {"WORLD_SIZE": "0"}, "WORLD_SIZE is '0'"),
        (FULL | {"WORLD_SIZE": "²"}, "WORLD_SIZE is '²'"),
    ],
)
def test_rank_variables_that_do_not_go_together_are_one_line(
    given, says, monkeypatch, make_model, ids, tmp_path
):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match="use torchrun|with torchrun") as refused:
        Trainer(make_model(), ids, ids, TrainConfig(), tmp_path / "run")
    assert says in str(refused.value) and "unset" in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "given", [{}, {"WORLD_SIZE": "1"}, {"WORLD_SIZE": "1", "RANK": "0"}, {"LOCAL_RANK": "0"}]
)
def test_one_process_is_a_job_too(given, monkeypatch):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    runtime = Runtime.detect("cpu")
    assert (runtime.rank, runtime.world_size) == (0, 1)


@pytest.mark.parametrize("minutes", ["", "ten", "0", "-1", "nan", "inf"])
def test_a_timeout_that_is_no_time_is_one_line(minutes, monkeypatch):
    monkeypatch.setenv("GPTLIB_TIMEOUT_MINUTES", minutes)
    with (
        pytest.raises(DeviceError, match="GPTLIB_TIMEOUT_MINUTES is"),
        parallel.joined(Runtime("cpu", "float32", 0, 2)),
    ):
        pass


def test_a_machine_that_cannot_compile_says_so_before_the_run(
    make_model, ids, tmp_path, monkeypatch
):
    def compiler(function, **options):
        def call(*args):
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found\nmore words")

        return call

    monkeypatch.setattr(torch, "compile", compiler)
    config = TrainConfig(compile=True)
    with pytest.raises(DeviceError, match="does not work here .*No working C.*--compile"):
        Trainer(make_model(), ids, ids, config, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_random_state_round_trips_through_a_safe_file(tmp_path):
    seed_everything(3)
    np.random.randn()  # leaves a cached second value behind
    torch.save(random_state(), tmp_path / "state.pt")
    expected = (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist())
    seed_everything(4)
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()) == expected
