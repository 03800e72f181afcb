"""The machines that a training can be planned for: memory, speed, and what of it is reached.

One job: `device`, an entry of data/devices.toml with its peak from `gptlib.runtime`, and
`this_cpu`, which measures the processor that it runs on, for a shape of model.
"""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch

from gptlib.errors import ConfigError
from gptlib.footprint import flops_per_token
from gptlib.model import GPT
from gptlib.model_config import GPTConfig
from gptlib.resources import data_path
from gptlib.runtime import PEAK_TFLOPS

HEADROOM = 0.92  # of a GPU's memory: allocators leave gaps, and others hold some


@dataclass(frozen=True)
class Device:
    """A machine to plan for.

    Attributes:
        name, title: as it is asked for, and as it is called. kind: "cuda" or "cpu".
        memory: bytes. bandwidth, link: bytes a second to its memory, and one way to its like.
        dtype: the number type that trains fastest there.
        flops: FLOP/s that training reaches, by number type. reached: the same as a share of `peak`,
            None on a CPU, whose peak nobody states.
        source: whose figure that is.
    """

    name: str
    title: str
    kind: str
    memory: float
    bandwidth: float
    link: float
    dtype: str
    flops: dict[str, float]
    reached: dict[str, float]
    source: str

    @property
    def usable(self) -> float:
        """Bytes that a plan may fill."""
        return self.memory * HEADROOM


def device(name: str, mfu: float | None = None) -> Device:
    """Return a GPU by its name; `mfu` overrules the share of its peak that is reached.

    Raises:
        ConfigError: an unknown name, or a share outside (0, 1].
    """
    table = tomllib.loads(data_path("devices.toml").read_text("utf8"))
    if name not in table:
        raise ConfigError(f"no device is called {name!r}; there are {', '.join([*table, 'cpu'])}")
    if mfu is not None and not 0 < mfu <= 1:
        raise ConfigError(f"the share of the peak is {mfu:g}; give one above 0 and at most 1")
    of = table[name]
    single, half = (tera * 1e12 for tera in PEAK_TFLOPS[of["peak"]])
    reached = {of["dtype"]: of["reached"], "float32": of.get("reached_float32", of["reached"])}
    if mfu is not None:
        reached = dict.fromkeys(reached, mfu)
    return Device(
        name, of["title"], "cuda", of["memory_gb"] * 1e9, of["bandwidth_gb"] * 1e9,
        of["link_gb"] * 1e9, of["dtype"],
        {kind: share * (single if kind == "float32" else half) for kind, share in reached.items()},
        reached, of["source"] if mfu is None else "given by --mfu",
    )  # fmt: skip


def device_names() -> list[str]:
    return [*tomllib.loads(data_path("devices.toml").read_text("utf8")), "cpu"]


def this_cpu(
    config: GPTConfig, dtype: str, seconds: float = 1.5, clock: Callable[[], float] | None = None
) -> Device:
    """Measure this processor, with torch's threads, on training steps of a smaller model.

    One window is trained on with one block and with two: what the second adds is a block's time,
    and the rest belongs to the head. So a deep model's rate follows from its own matrices.

    Args:
        seconds: about how long to measure, after one step of each that is not counted.
        clock: seconds that have gone by; by default the wall's.
    """
    clock = clock or time.perf_counter
    times = []
    for layers in (1, 2):
        step = _one_step(replace(config, n_layer=layers), dtype)
        step()
        begun, took = clock(), []
        while not took or (clock() - begun < seconds / 2 and len(took) < 20):
            start = clock()
            step()
            took.append(clock() - start)
        times.append(min(took))
    block = max(times[1] - times[0], 0.1 * times[1])
    whole = times[0] + (config.n_layer - 1) * block
    rate = config.block_size * flops_per_token(config) / whole
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Device(
        "cpu", f"this processor, {torch.get_num_threads()} threads", "cpu", pages, 1e10, 1e9, dtype,
        {dtype: rate}, {}, "measured now, on one window and two blocks",
    )  # fmt: skip


def _one_step(config: GPTConfig, dtype: str) -> Callable[[], None]:
    """A function that makes one forward and backward pass over a window of random tokens."""
    dice = torch.random.get_rng_state()
    model = GPT(config).train()
    idx = torch.randint(config.known_ids, (1, config.block_size))
    torch.random.set_rng_state(dice)
    half = torch.autocast("cpu", torch.bfloat16) if dtype == "bfloat16" else nullcontext()

    def step() -> None:
        with half:
            loss = model(idx, idx, return_logits=False)[1]
        loss.backward()
        model.zero_grad(set_to_none=True)

    return step
