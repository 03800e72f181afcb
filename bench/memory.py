"""How much memory a training step takes, plain, with chunks of the loss and with blocks run again.

    python bench/memory.py [--threads 2] [--no-process]

Each row is one way of computing the same update, counted twice. *Exactly*, in tensors: the bytes
that autograd keeps between the forward and the backward pass, each storage once and weights left
out; and the most that everything made in the step holds at once, gradients among it, weights and
moments not. For this nothing is computed: torch's fake tensors have shapes and no numbers. And
*from outside*: the peak resident memory of a fresh process that makes the step, beyond one that
trains a thousand weights. In it are the weights and AdamW's two moments, 12 bytes a parameter, and
what the kernels and the allocator take for themselves (`--no-process` leaves it out, and with it
the only minutes of this bench).
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from unittest import mock

import torch
from timing import arguments, peak_memory_mb, report
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

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


def make_step(setting: Setting, threads: int) -> Callable[[], None]:
    """Return a function that does one update; AdamW's moments are there before the first."""
    torch.set_num_threads(threads)
    model, idx = prepared(setting)
    (optimizer,) = make_optimizers(model, "adamw", 1e-3, 0.1, (0.9, 0.95))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)

    def step() -> None:
        forward(model, idx, setting.dtype).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

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
    own = {t.untyped_storage()._cdata for t in [*model.parameters(), *model.buffers()]}
    kept: dict[int, tuple[str, int]] = {}
    alive = []  # or a freed address would be used again, and counted once for two

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = (str(tensor.dtype).removeprefix("torch."), storage.nbytes())
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run()
    sums: dict[str, int] = {}
    for dtype, size in kept.values():
        sums[dtype] = sums.get(dtype, 0) + size
    return sums, out


class Held(TorchDispatchMode):
    """Counts what tensors hold that are made inside the block: bytes `now`, and at `most`."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: dict[int, object] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        for tensor in _tensors((args, kwargs)):
            self._meet(tensor.untyped_storage(), made=False)
        out = func(*args, **(kwargs or {}))
        for tensor in _tensors(out):
            self._meet(tensor.untyped_storage(), made=True)
        return out

    def _meet(self, storage: torch.UntypedStorage, made: bool) -> None:
        place, size = storage._cdata, storage.nbytes() if made else 0
        if place in self.known:
            return

        def forget(_: object) -> None:
            del self.known[place]
            self.now -= size

        self.known[place] = weakref.ref(storage, forget)
        self.now += size
        self.most = max(self.most, self.now)


def _tensors(nest: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, Tensor)]


def peak_of_tensors(run: Callable[[], object]) -> int:
    """The most bytes that tensors made by `run` hold at once."""
    with Held() as held:
        run()
    return held.most


def count(setting: Setting) -> dict[str, float]:
    """What a step keeps and holds, in MB, without computing anything."""
    unseen = mock.patch("gptlib.model.check_targets")  # fake targets have no values to look at
    with FakeTensorMode(), unseen:
        model, idx = prepared(setting)
        kept, _ = saved_bytes(model, partial(forward, model, idx, setting.dtype))
        step = make_step(setting, torch.get_num_threads())
        most = peak_of_tensors(step)
    return {"saved_mb": sum(kept.values()) / MB, "step_mb": most / MB}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--no-process", action="store_true", help="count tensors only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    measured = not args.no_process
    floor = peak_memory_mb(make_step, SMALLEST, args.threads) if measured else 0.0
    rows, weights = [], {}
    for name, size in SIZES.items():
        weights[name] = 4 * GPT(size.config).num_params() / MB
        for dtype in ("float32", "bfloat16"):
            for recompute, chunk in WAYS:
                way = dict(dtype=dtype, recompute=recompute, loss_chunk=chunk)
                setting = replace(size, **way)
                row = {"model": name, **way, **count(setting)}
                if measured:
                    row["process_mb"] = peak_memory_mb(make_step, setting, args.threads) - floor
                rows.append(row)
    report("memory", rows, args.out, weights_mb=weights)


if __name__ == "__main__":
    main()
