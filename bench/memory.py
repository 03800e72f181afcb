"""How much memory a training step takes, plain, with chunks of the loss and with blocks run again.

    python bench/memory.py [--threads 2] [--only gpt2-10m]

Each row is one way of computing the same update, counted twice. *Exactly*, by torch: the bytes that
autograd keeps between the forward and the backward pass (`saved_tensors_hooks`, each storage once,
weights left out), and the most that the step's tensors hold at once beyond what was there before it
(the allocations that `torch.profiler` records). And *from outside*: the peak resident memory of a
fresh process that runs two steps, beyond one that trains a thousand weights; what the allocator
keeps for itself is in it. Weights, gradients and AdamW's two moments are four times the parameters
in float32, whatever the activations are in.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

import torch
from timing import arguments, peak_memory_mb, report
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from gptlib.model import GPT, GPTConfig
from gptlib.optim import make_optimizers

MB = 2**20


@dataclass(frozen=True)
class Setting:
    """A model, its batch of windows as long as its context, and how the step is computed."""

    config: GPTConfig
    batch_size: int
    dtype: str = "float32"
    recompute: bool = False
    loss_chunk: int = 0


SMALLEST = Setting(GPTConfig(8, 65, 1, 1, 8), batch_size=1)
SIZES = {
    "gpt2-10m": Setting(GPTConfig(512, 8192, 6, 6, 384), batch_size=8),
    "gpt2-124m": Setting(GPTConfig(), batch_size=1),
}
CHUNK = 256
WAYS = [(False, 0), (False, CHUNK), (True, 0), (True, CHUNK)]


def make_step(setting: Setting, threads: int) -> Callable[[], float]:
    """Return a function that does one update and returns the loss before it."""
    torch.set_num_threads(threads)
    model, idx = prepared(setting)
    (optimizer,) = make_optimizers(model, "adamw", 1e-3, 0.1, (0.9, 0.95))

    def step() -> float:
        loss = forward(model, idx, setting.dtype)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def prepared(setting: Setting) -> tuple[GPT, Tensor]:
    """A model that computes as the setting says, and a batch (B, T)."""
    torch.manual_seed(0)
    model = GPT(setting.config)
    model.recompute, model.loss_chunk = setting.recompute, setting.loss_chunk
    shape = setting.batch_size, setting.config.block_size
    return model, torch.randint(setting.config.vocab_size, shape)


def forward(model: GPT, idx: Tensor, dtype: str) -> Tensor:
    """The loss of a batch, as `Trainer` computes it on a CPU."""
    half = dtype == "bfloat16"
    with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
        return model(idx, idx.roll(-1, 1), return_logits=False)[1]


def saved_bytes(model: nn.Module, run: Callable[[], Tensor]) -> tuple[dict[str, int], Tensor]:
    """Bytes that autograd keeps after `run`, by dtype, and what it returned.

    Every storage counts once, however many views of it are kept; the model's own do not count.
    """
    own = {p.untyped_storage().data_ptr() for p in model.parameters()}
    own |= {b.untyped_storage().data_ptr() for b in model.buffers()}
    kept: dict[int, tuple[str, int]] = {}
    alive = []  # or a freed address would be used again, and counted once for two

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (str(tensor.dtype).removeprefix("torch."), storage.nbytes())
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run()
    sums: dict[str, int] = {}
    for dtype, size in kept.values():
        sums[dtype] = sums.get(dtype, 0) + size
    return sums, out


def peak_of_tensors(run: Callable[[], object]) -> int:
    """The most bytes that tensors made by `run` hold at once, by what the profiler records."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        run()
    events = seen.profiler.kineto_results.events()
    held = most = 0
    for event in sorted((e for e in events if e.name() == "[memory]"), key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def measure(name: str, setting: Setting, threads: int, floor: float) -> dict:
    """A row: what one way of computing keeps, holds and takes."""
    model, idx = prepared(setting)
    kept, loss = saved_bytes(model, partial(forward, model, idx, setting.dtype))
    del model, loss
    step = make_step(setting, threads)
    step()  # the moments are there from now on
    began = time.perf_counter()
    step()
    seconds = time.perf_counter() - began
    return {
        "model": name,
        "dtype": setting.dtype,
        "recompute": setting.recompute,
        "loss_chunk": setting.loss_chunk,
        "saved_mb": sum(kept.values()) / MB,
        "step_mb": peak_of_tensors(step) / MB,
        "process_mb": peak_memory_mb(make_step, setting, threads) - floor,
        "s_per_step": seconds,
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--only", choices=SIZES, help="one of the models")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    floor = peak_memory_mb(make_step, SMALLEST, args.threads)
    rows, weights = [], {}
    for name in [args.only] if args.only else SIZES:
        weights[name] = 4 * GPT(SIZES[name].config).num_params() / MB
        for dtype in ("float32", "bfloat16"):
            for recompute, chunk in WAYS:
                way = dict(dtype=dtype, recompute=recompute, loss_chunk=chunk)
                rows.append(measure(name, replace(SIZES[name], **way), args.threads, floor))
    report("memory", rows, args.out, weights_mb=weights)


if __name__ == "__main__":
    main()
