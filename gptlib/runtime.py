"""What this machine computes with: device, number type, ranks, random state.

One job: decide once, so that everything else asks. `Runtime.detect()` looks at the hardware and
picks the fastest setting that trains safely; `device=` and `dtype=` overrule it and are refused
when the machine does not have them. `bfloat16_is_fast` is asked wherever a number type is chosen.
"""

from __future__ import annotations

import os
import platform
import random
import time
import warnings
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch

from gptlib import ranks
from gptlib.errors import DeviceError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

# Variables that make torch take a processor for an older one, with the values that leave it without
# units for bfloat16; the last one speaks to a library that uses none.
PLAYED_DOWN = {
    "ATEN_CPU_CAPABILITY": ("default", "avx2"),
    "ONEDNN_MAX_CPU_ISA": (
        "sse41", "avx", "avx2", "avx2_vnni", "avx2_vnni_2", "avx512_core", "avx512_core_vnni",
    ),
    "MKL_ENABLE_INSTRUCTIONS": (),
}  # fmt: skip

# Dense peak rates in TFLOP/s: (float32 with TF32 off, half precision), from the vendors' data
# sheets. A T4 has no bfloat16 units; its half-precision rate is float16's.
PEAK_TFLOPS = {
    "T4": (8.1, 65.0),
    "V100": (15.7, 125.0),
    "L4": (30.3, 121.0),
    "A100": (19.5, 312.0),
    "H100": (67.0, 989.0),
    "H200": (67.0, 989.0),
    "B200": (75.0, 2250.0),
}


@dataclass(frozen=True)
class Runtime:
    """A device and the number type to compute in.

    Attributes:
        device: "cpu", "cuda" (or "cuda:1") or "mps".
        dtype: "float32", "bfloat16" or "float16", as chosen. Weights stay float32; this is
            autocast's type.
        rank, world_size: which of how many processes this is (torchrun's variables).
    """

    device: str
    dtype: str
    rank: int = 0
    world_size: int = 1

    @classmethod
    def detect(cls, device: str = "auto", dtype: str = "auto") -> Runtime:
        """Choose for this machine: CUDA, then Apple's MPS, then the CPU.

        "auto" computes in bfloat16 on CUDA devices of capability 8.0 or more, in float16 (with a
        gradient scaler) on older ones, and in float32 elsewhere, so that a CPU's results do not
        depend on its kind. "fast" differs from it on a CPU alone, where it is bfloat16 if
        `bfloat16_is_fast`. "bfloat16" is obeyed on every CPU, with a warning where it is slow.

        Raises:
            DeviceError: the device or the dtype is unknown, or this machine does not have it; or
                torchrun's variables do not go together.
        """
        rank, world_size, local = ranks.from_environment()
        device = f"cuda:{local}" if device == "cuda" and world_size > 1 else device
        device = find_device(device)
        if device == "cuda" and world_size > 1:  # it was "auto"
            device = f"cuda:{local}"
        kind = device.split(":")[0]
        if dtype in ("auto", "fast"):
            fast = bfloat16_is_fast(device) if kind == "cuda" or dtype == "fast" else False
            dtype = "bfloat16" if fast else "float16" if kind == "cuda" else "float32"
        if not isinstance(dtype, str) or dtype not in DTYPES:
            raise DeviceError(f"dtype is {dtype!r}; use one of auto, {', '.join(DTYPES)}, fast")
        if dtype == "bfloat16" and kind == "cuda" and not bfloat16_is_fast(device):
            # torch.cuda.is_bf16_supported() says yes by emulation, which is slower than float32.
            raise DeviceError(
                f"{torch.cuda.get_device_name(device)} has no bfloat16 units; use dtype='float16'"
            )
        if dtype == "float16" and kind == "cpu":
            raise DeviceError("float16 does not train on a CPU; use dtype='float32' or 'bfloat16'")
        if dtype == "bfloat16" and kind == "cpu" and rank == 0 and not bfloat16_is_fast(device):
            warn_emulated("bfloat16 was asked for; dtype 'fast' takes it only where it is fast")
        return cls(device, dtype, rank, world_size)

    @property
    def kind(self) -> str:
        """The device without its number: "cpu", "cuda" or "mps"."""
        return self.device.split(":")[0]

    def autocast(self) -> AbstractContextManager:
        """The context that forward passes run in (does nothing in float32)."""
        if self.dtype == "float32":
            return nullcontext()
        return torch.autocast(self.kind, dtype=DTYPES[self.dtype])

    def grad_scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler: active in float16 only, where small gradients would become zero
        (Micikevicius et al. 2018, section 3.2).

        Derived in chapter 6, *How small may a gradient be?*
        """
        return torch.amp.GradScaler(self.kind, enabled=self.dtype == "float16")

    def name(self) -> str:
        """The hardware's name, e.g. "NVIDIA H100 80GB HBM3" or "cpu"."""
        return torch.cuda.get_device_name(self.device) if self.kind == "cuda" else self.kind

    def peak_flops(self) -> float | None:
        """Peak FLOP/s of the device in this dtype, or None where the table does not know it."""
        words = self.name().replace("-", " ").split()
        for model, (single, half) in PEAK_TFLOPS.items():
            if model in words:
                return (single if self.dtype == "float32" else half) * 1e12
        return None


def bfloat16_is_fast(device: str | torch.device = "cpu") -> bool:
    """Say whether this device multiplies bfloat16 in hardware, faster than float32.

    CUDA does from capability 8.0. A CPU does with AVX-512's, AMX's or ARM's bfloat16 units, where
    torch can use them and is not told to play an older one (`played_down`). MPS counts as no.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type != "cpu" or any(
        value.lower() in PLAYED_DOWN[name] for name, value in played_down().items()
    ):
        return False
    if not hasattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported"):  # built without oneDNN
        return False
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return True  # on ARM, oneDNN's answer is about the units themselves
    units = (f"_is_{units}_supported" for units in ("avx512_bf16", "amx_tile"))
    # oneDNN says yes to every AVX-512, and torch.cpu does not know what torch was told to leave.
    return torch.backends.cpu.get_cpu_capability() == "AVX512" and any(
        getattr(torch.cpu, name, bool)() for name in units
    )


def played_down() -> dict[str, str]:
    """The environment variables that make this processor play an older one, as they are set."""
    return {name: os.environ[name] for name in PLAYED_DOWN if os.environ.get(name)}


def bfloat16_cost(size: int = 256, repeats: int = 3) -> float:
    """Measure how many times as long as in float32 a product takes the CPU in bfloat16.

    The best of a few products of (size, size) each; less than a tenth of a second in all.
    """
    best = {}
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.ones(size, size, dtype=dtype)
        seconds = []
        for _ in range(1 + repeats):
            began = time.perf_counter()
            square @ square
            seconds.append(time.perf_counter() - began)
        best[dtype] = min(seconds[1:])  # the first one sets up
    return best[torch.bfloat16] / best[torch.float32]


def warn_emulated(why: str) -> None:
    """Warn that this CPU's products in bfloat16 are slow, and how slow, if they are slower."""
    if (cost := bfloat16_cost()) > 1:
        warnings.warn(
            f"this processor has no units for bfloat16: a product in it takes {cost:.2g} times as "
            f"long as in float32 ({why})",
            stacklevel=3,
        )


def _has_mps() -> bool:
    return torch.backends.mps.is_available()


def find_device(device: str) -> str:
    """Return `device`, or for "auto" the fastest of this machine: CUDA, then MPS, then the CPU.

    Raises:
        DeviceError: it is unknown, or this machine does not have it.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu"
    kind, colon, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind not in ("cpu", "cuda", "mps") or (colon and not number.isdecimal()):
        raise DeviceError(f"device is {device!r}; use auto, cpu, cuda, cuda:N or mps")
    count = {"cpu": 1, "mps": int(_has_mps())}.get(kind, 0)
    if kind == "cuda":
        count = torch.cuda.device_count()
    if int(number or 0) >= count:
        raise DeviceError(
            f"device {device!r} is not on this machine, which has {count} of its kind; "
            "use device='auto' for the fastest that is here"
        )
    return device


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators (torch seeds every device's)."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict:
    """Return the state of every global generator, in types that `weights_only` loading accepts."""
    numpy = np.random.get_state(legacy=False)
    keys = torch.from_numpy(numpy["state"]["key"].astype(np.int64))
    state: dict[str, object] = {
        "python": random.getstate(),
        "numpy": (
            numpy["bit_generator"], keys, numpy["state"]["pos"], numpy["has_gauss"], numpy["gauss"],
        ),
        "torch": torch.get_rng_state(),
    }  # fmt: skip
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state_all()
    if _has_mps():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: dict) -> None:
    """Restore what `random_state` returned. A device that is not here is passed over."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        for i, one in enumerate(state["cuda"][: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, i)
    if "mps" in state and _has_mps():
        torch.mps.set_rng_state(state["mps"])
