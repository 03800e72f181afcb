"""One place decides what to compute with, and refuses what is not there."""

import random

import numpy as np
import pytest
import torch

from gptlib.errors import DeviceError
from gptlib.runtime import Runtime, random_state, seed_everything, set_random_state


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


def test_random_state_round_trips_through_a_safe_file(tmp_path):
    seed_everything(3)
    np.random.randn()  # leaves a cached second value behind
    torch.save(random_state(), tmp_path / "state.pt")
    expected = (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist())
    seed_everything(4)
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert (random.random(), np.random.randn(3).tolist(), torch.rand(3).tolist()) == expected
