"""Several processes that train one model, started by torchrun: what they share and agree on.

One job: the few places where processes must talk. Data parallelism copies the model into every
process (DDP: Li et al. 2020); sharding cuts weights, gradients and optimizer state into one part a
process and gathers them as they are needed (FSDP2: Zhao et al. 2023). Both are PyTorch's own, laid
around a model that knows nothing of them. Checkpoints hold whole tensors, so a run that was saved
by eight processes goes on in one, and the other way round. In a single process everything here
hands back what it was given.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, TypeGuard

import torch
import torch.distributed as dist
from torch import Tensor, nn

from gptlib import ranks
from gptlib.errors import CheckpointError, ConfigError, DeviceError
from gptlib.model import GPT
from gptlib.runtime import Runtime

if TYPE_CHECKING:  # slow to import, and rarely needed
    from torch.distributed.tensor import DTensor

STRATEGIES = ("ddp", "fsdp")


@contextmanager
def joined(runtime: Runtime) -> Generator[None]:
    """Belong to the job's process group inside the block; leave it at the end.

    Raises:
        DeviceError: another process of the job died, or could not be found.
    """
    if runtime.world_size == 1 or dist.is_initialized():
        yield
        return
    if runtime.kind == "cuda":
        torch.cuda.set_device(runtime.device)
    backend = "cpu:gloo,cuda:nccl" if runtime.kind == "cuda" else "gloo"
    timeout = timedelta(minutes=ranks.minutes_to_wait())
    try:
        dist.init_process_group(backend, timeout=timeout)
        yield
    except RuntimeError as error:  # DistError is one; gloo's own come without a class
        if not (isinstance(error, dist.DistError) or "gloo" in str(error).lower()):
            raise
        raise DeviceError(
            f"process {runtime.rank} of {runtime.world_size} lost the others: one of them died or "
            "cannot be reached; its own message says why. Start the job again with the same "
            "command, or with another number of processes: it goes on from the last checkpoint"
        ) from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def rank_and_size() -> tuple[int, int]:
    """(rank, number of processes); (0, 1) outside a job."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def wrap(model: GPT, runtime: Runtime, strategy: str, compile: bool) -> nn.Module:
    """Return what to call instead of `model` in training; its weights stay `model`'s.

    "fsdp" shards `model` itself, block by block, so make the optimizer afterwards.
    """
    if runtime.world_size > 1 and strategy == "fsdp":
        from torch.distributed.fsdp import fully_shard  # slow to import, and rarely needed

        mesh = dist.init_device_mesh(runtime.kind, (runtime.world_size,))
        for block in model.transformer.h:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    called: nn.Module = model
    if compile:
        called = torch.compile(model)  # pyrefly: ignore[bad-assignment]  of a module, it is one
    if runtime.world_size > 1 and strategy == "ddp":
        device_ids = [torch.device(runtime.device).index] if runtime.kind == "cuda" else None
        called = nn.parallel.DistributedDataParallel(called, device_ids)
    return called


def check_strategy(strategy: str, runtime: Runtime, optimizer: str) -> None:
    """Refuse what cannot be shared out.

    Raises:
        ConfigError: "fsdp" with float16 or with Muon.
        DeviceError: there are several processes, and no place where they meet.
    """
    if runtime.world_size > 1 and not dist.is_initialized():
        ranks.check_meeting()
    if runtime.world_size == 1 or strategy != "fsdp":
        return
    check_sharding(runtime.dtype, optimizer)


def check_sharding(dtype: str, optimizer: str) -> None:
    """Refuse what "fsdp" cannot do.

    Raises:
        ConfigError: float16, or Muon.
    """
    if dtype == "float16":
        raise ConfigError("parallel is fsdp and dtype is float16; use dtype=bfloat16, or ddp")
    if optimizer == "muon":
        raise ConfigError(
            "parallel is fsdp and optimizer is muon, which needs each matrix whole; use "
            "optimizer=adamw, or parallel=ddp"
        )


def check_compiler(runtime: Runtime) -> None:
    """Compile something small, so that a machine that cannot says so before a run begins.

    Raises:
        DeviceError: no compiler, or one that does not work with this PyTorch.
    """
    x = torch.ones(2, device=runtime.device)
    try:
        torch.compile(torch.square, options={"fx_graph_cache": False})(x)  # not from an earlier run
    except Exception as error:  # torch, its compiler and the system's raise many kinds
        first = (str(error).splitlines() or [""])[0][:200] or type(error).__name__
        raise DeviceError(
            f"torch.compile does not work here ({first}); install a C++ compiler (g++ or clang++; "
            "on a GPU also triton), or leave out --compile (compile=False)"
        ) from error


def sync_gradients(called: nn.Module, now: bool) -> AbstractContextManager:
    """Average gradients over processes in this backward pass only if `now`: the last micro-batch
    sends for all of them."""
    set_sync = getattr(called, "set_requires_gradient_sync", None)
    if callable(set_sync):  # FSDP2's
        set_sync(now)
    elif isinstance(called, nn.parallel.DistributedDataParallel) and not now:
        return called.no_sync()
    return nullcontext()


def all_reduce_sum(*values: float) -> list[float]:
    """The sum of each value over all processes, in float64."""
    if rank_and_size()[1] == 1:
        return list(values)
    total = torch.tensor(values, dtype=torch.float64)
    dist.all_reduce(total)
    return total.tolist()


def gather(value: object) -> list:
    """Every process's `value`, by rank."""
    values = [value] * rank_and_size()[1]
    if len(values) > 1:
        dist.all_gather_object(values, value)
    return values


def check_same(value: object, what: str) -> None:
    """Refuse to go on when processes hold different things.

    Raises:
        CheckpointError: they do; the usual reason is a folder that not all machines share.
    """
    values = gather(value)
    for rank, other in enumerate(values):
        if other != values[0]:
            raise CheckpointError(
                f"process {rank} found {what} {other!r}, process 0 {values[0]!r}; give --out a "
                "folder that all machines share, and start them with the same command"
            )


def full_tensor(tensor: Tensor) -> Tensor:
    """A tensor without its gradient on the CPU, whole if it is sharded; all processes must call."""
    whole = tensor.full_tensor() if _is_sharded(tensor) else tensor
    return whole.detach().cpu()


def full_tensors(nest: object) -> object:
    """A nest of dicts, lists and tensors with every sharded tensor whole, on the CPU.

    All processes must call it, in the same order; one tensor at a time is gathered.
    """
    if isinstance(nest, dict):
        return {key: full_tensors(item) for key, item in nest.items()}
    if isinstance(nest, list | tuple):
        return type(nest)(full_tensors(item) for item in nest)
    return full_tensor(nest) if isinstance(nest, Tensor) else nest


def load_optimizer(optimizer: torch.optim.Optimizer, saved: dict) -> None:
    """Give an optimizer the whole state that was saved, cut as its parameters are."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    state = {
        i: {k: _cut_like(params[i], v) for k, v in entries.items()}
        for i, entries in saved["state"].items()
    }
    optimizer.load_state_dict({**saved, "state": state})


def _cut_like(param: nn.Parameter, value: object) -> object:
    """The shard of `value` that belongs beside this process's shard of `param`."""
    if not (_is_sharded(param) and isinstance(value, Tensor) and value.shape == param.shape):
        return value
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(value.to(param.device), param.device_mesh, param.placements)


def _is_sharded(tensor: Tensor) -> TypeGuard[DTensor]:
    return hasattr(tensor, "full_tensor")
