"""One place decides what to compute with, and refuses what is not there."""

import platform
import random
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gptlib import presets, runtime
from gptlib.errors import DeviceError
from gptlib.runtime import (
    PLAYED_DOWN,
    Runtime,
    bfloat16_is_fast,
    random_state,
    seed_everything,
    set_random_state,
)


@pytest.fixture
def processor(monkeypatch):
    """A function that makes torch answer as it does on another processor."""
    for name in PLAYED_DOWN:
        monkeypatch.delenv(name, raising=False)

    def play(machine="x86_64", capability="AVX512", onednn=True, **units) -> None:
        ask = {} if onednn is None else {"_is_mkldnn_bf16_supported": lambda: onednn}
        monkeypatch.setattr(torch.ops, "mkldnn", SimpleNamespace(**ask))
        monkeypatch.setattr(platform, "machine", lambda: machine)
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
        for name in ("avx512_bf16", "amx_tile"):
            answer = units.get(name, False)
            monkeypatch.setattr(torch.cpu, f"_is_{name}_supported", lambda a=answer: a)

    return play


@pytest.mark.parametrize(
    ("fast", "answers"),
    [
        (True, dict(avx512_bf16=True)),
        (True, dict(amx_tile=True)),
        (False, dict()),  # the first AVX-512 processors: oneDNN says yes, and there are no units
        (False, dict(capability="AVX2", onednn=False)),
        (False, dict(avx512_bf16=True, capability="AVX2")),
        (False, dict(avx512_bf16=True, capability="DEFAULT")),
        (False, dict(avx512_bf16=True, onednn=False)),
        (True, dict(machine="aarch64", capability="SVE256")),
        (False, dict(machine="aarch64", capability="SVE256", onednn=False)),
        (False, dict(machine="arm64", capability="DEFAULT", onednn=None)),
    ],
)
def test_the_processor_says_whether_bfloat16_is_fast(processor, fast, answers):
    processor(**answers)
    assert bfloat16_is_fast("cpu") is bfloat16_is_fast(torch.device("cpu")) is fast
    assert bfloat16_is_fast("mps") is False
    assert Runtime.detect("cpu", "fast").dtype == ("bfloat16" if fast else "float32")
    assert Runtime.detect("cpu", "auto").dtype == "float32"  # results do not hang on the kind


@pytest.mark.parametrize(
    ("name", "value", "fast"),
    [("ATEN_CPU_CAPABILITY", "avx2", False), ("ATEN_CPU_CAPABILITY", "default", False),
     ("ATEN_CPU_CAPABILITY", "avx512", True), ("ONEDNN_MAX_CPU_ISA", "AVX2", False),
     ("ONEDNN_MAX_CPU_ISA", "sse41", False), ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI", False),
     ("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", True), ("MKL_ENABLE_INSTRUCTIONS", "AVX2", True)],
)  # fmt: skip
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_processor_played_down_has_no_units(processor, monkeypatch, name, value, fast, machine):
    processor(machine, avx512_bf16=True)
    assert bfloat16_is_fast() and runtime.played_down() == {}
    monkeypatch.setenv(name, value)
    assert bfloat16_is_fast() is fast
    assert runtime.played_down() == {name: value}


def test_bfloat16_where_it_is_emulated_is_obeyed_with_its_price(monkeypatch):
    monkeypatch.setattr(runtime, "bfloat16_is_fast", lambda device: False)
    monkeypatch.setattr(runtime, "bfloat16_cost", lambda: 6.5)
    with pytest.warns(UserWarning, match="no units for bfloat16.* takes 6.5 times as long"):
        assert Runtime.detect("cpu", "bfloat16").dtype == "bfloat16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Runtime.detect("cpu", "fast")
        monkeypatch.setattr(runtime, "bfloat16_cost", lambda: 0.9)  # slow units, yet no slower
        Runtime.detect("cpu", "bfloat16")
        monkeypatch.setattr(runtime, "bfloat16_cost", lambda: 6.5)
        for name, value in (("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")):
            monkeypatch.setenv(name, value)  # one process speaks for all
        Runtime.detect("cpu", "bfloat16")


def test_the_price_is_a_ratio_of_times():
    assert 0 < runtime.bfloat16_cost(size=16, repeats=1) < float("inf")  # a busy machine says much


def test_no_preset_asks_a_processor_for_what_it_may_not_have():
    """float16 is for a card alone; the preset that names it is for a T4."""
    asked = {name: p.train.get("dtype", "auto") for name, p in presets.PRESETS.items()}
    assert asked.pop("stories-124m") == "float16"
    assert set(asked.values()) == {"auto", "fast", "float32"}


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
        assert Runtime.detect() == Runtime.detect(dtype="fast") == Runtime("cuda", dtype)
        assert bfloat16_is_fast("cuda:0") == (dtype == "bfloat16")
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
