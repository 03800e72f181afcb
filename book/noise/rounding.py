"""Another machine's rounding, played on this one.

One job: `install`. Processors add in different orders and approximate `exp` in different ways, so
each result that has to be rounded may differ in its last bit from one machine to the next. Here
the CPU kernels of products, sums and transcendental functions are replaced, below autograd, by
ones that move such a result by one unit in the last place, up or down. Which way is a function of
the seed, the operation, the shape and the place, so one seed is one machine: the same computation
gives the same bits twice, and no generator is touched. A result that is exact anywhere, such as a
sum of small whole numbers or a row picked by a one-hot product, stays as it is.

This folder goes on PYTHONPATH (see `book.machines`); nothing in it is imported otherwise.
"""

from __future__ import annotations

import warnings
import zlib
from functools import partial

import torch
from torch import Tensor

_ULP = 2.0**-23  # the distance from 1 to the next float32
_MANY = 1 << 20

OPERATIONS = (
    # products
    "mm", "addmm", "bmm", "baddbmm", "mv", "addmv", "dot", "mul.Tensor", "div.Tensor",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention_for_cpu_backward",
    # sums
    "sum.dim_IntList", "mean.dim", "cumsum", "linalg_vector_norm", "var.correction",
    "std.correction", "native_layer_norm", "native_layer_norm_backward", "nll_loss_forward",
    "embedding_dense_backward",
    # transcendental functions
    "exp", "log", "tanh", "tanh_backward", "sigmoid", "sqrt", "rsqrt", "sin", "cos", "erf", "gelu",
    "gelu_backward", "_softmax", "_log_softmax", "_softmax_backward_data",
    "_log_softmax_backward_data",
)  # fmt: skip

_kept: list[torch.library.Library] = []  # a library that is collected takes its kernels along


def install(seed: int) -> None:
    """Replace the kernels, once and for the rest of the process."""
    library = torch.library.Library("aten", "IMPL")
    ups = torch.randint(0, 2, (_MANY,), generator=torch.Generator().manual_seed(seed))
    factors = torch.where(ups == 1, 1 + _ULP, 1 - _ULP).to(torch.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that a kernel is replaced
        for name in OPERATIONS:
            kernel = torch.library.get_kernel(f"aten::{name}", "CPU")
            library.impl(
                name, partial(_call, factors, name, kernel), "CPU", with_keyset=True,
                allow_override=True,
            )  # fmt: skip
    _kept.append(library)


def _call(
    factors: Tensor,
    name: str,
    kernel: torch._C._SafeKernelFunction,
    keyset: torch._C.DispatchKeySet,
    *args: object,
    **kwargs: object,
) -> object:
    """Call a kernel, and once more in float64 to see which of its results had to be rounded."""
    if name in ("mul.Tensor", "div.Tensor"):
        args = _tensors(args)
    out = kernel.call_boxed(keyset, *args, **kwargs)
    outs = out if isinstance(out, tuple) else (out,)
    if not any(isinstance(o, Tensor) and o.dtype == torch.float32 and o.numel() for o in outs):
        return out
    options = {key: _doubled(value) for key, value in kwargs.items()}
    exact = kernel.call_boxed(keyset, *map(_doubled, args), **options)
    exacts = exact if isinstance(exact, tuple) else (exact,)
    for place, (rounded, true) in enumerate(zip(outs, exacts, strict=True)):
        if isinstance(rounded, Tensor) and rounded.dtype == torch.float32 and rounded.numel():
            _move(rounded, true, factors, zlib.crc32(f"{name} {place} {rounded.shape}".encode()))
    return out


def _move(rounded: Tensor, true: Tensor, factors: Tensor, key: int) -> None:
    n = rounded.numel()
    start = key % _MANY
    some = factors.roll(-start) if n > _MANY - start else factors[start : start + n]
    some = some.repeat(-(-n // _MANY))[:n].reshape(rounded.shape)
    inexact = rounded.to(torch.float64) != true
    rounded.mul_(torch.where(inexact, some, 1.0))


def _tensors(pair: tuple) -> tuple:
    """Both factors as tensors: a plain number arrives as itself, which no kernel takes."""
    kinds = [x.dtype for x in pair if isinstance(x, Tensor) and x.is_floating_point()]
    number = partial(torch.tensor, dtype=kinds[0] if kinds else None)
    return tuple(x if isinstance(x, Tensor) else number(x) for x in pair)


def _doubled(value: object) -> object:
    """The same argument with every float32 in float64."""
    if isinstance(value, Tensor):
        return value.to(torch.float64) if value.dtype == torch.float32 else value
    if isinstance(value, list | tuple):
        return type(value)(_doubled(v) for v in value)
    return torch.float64 if value is torch.float32 else value
