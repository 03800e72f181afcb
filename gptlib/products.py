"""Matrix products of a model that only reads, by oneDNN in place of MKL.

One job: `quick_products`. On a CPU, torch has MKL multiply in float32, which gives an AMD processor
half of what it can do, and reads the weights for a single token at half the speed of memory. torch
contains oneDNN too, and itself takes it in code that it compiles. The two add up in different
orders, so the last bits differ. Training and validation, whose numbers are recorded and resumed bit
for bit, therefore stay with MKL; writing asks only which token is the likeliest, or for a draw.
`bench/generate.py` measures what it brings.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager

import torch
from torch import Tensor, nn

#: Weights of the smallest layer that gains. Below, a product is over before oneDNN has begun, and
#: above, 1 MB in float32, a core's own cache no longer holds the layer from token to token.
LEAST_WEIGHTS = 2**18

Layers = list[tuple[nn.Linear, Callable[[Tensor], Tensor]]]


def _product(layer: nn.Linear, x: Tensor) -> Tensor:
    """What `layer` does, (…, in) -> (…, out)."""
    if torch.is_grad_enabled():  # another thread trains: oneDNN's product keeps nothing for that
        return nn.Linear.forward(layer, x)
    multiply = torch.ops.mkldnn._linear_pointwise.default
    return multiply(x, layer.weight, layer.bias, "none", [], "")


@functools.cache
def _is_there() -> bool:
    """Say whether this torch has the operation: not everywhere, and its name is torch's own."""
    with torch.no_grad():
        layer, x = nn.Linear(2, 2, device="cpu"), torch.ones(1, 2, device="cpu")
        try:
            return _product(layer, x).shape == x.shape
        except (AttributeError, RuntimeError, TypeError):
            return False


def large_layers(modules: Iterable[nn.Module]) -> Layers:
    """The layers among `modules` that gain, each with its quick product; for `quick_products`.

    None if oneDNN is missing, was switched off with `torch.backends.mkldnn`, or has the products
    already, under autocast. A layer whose kind or `forward` is no longer torch's is left alone.
    """
    if not torch.backends.mkldnn.enabled or torch.is_autocast_enabled("cpu") or not _is_there():
        return []
    return [
        (m, functools.partial(_product, m))
        for m in modules
        if type(m) is nn.Linear
        and "forward" not in m.__dict__
        and m.weight.numel() >= LEAST_WEIGHTS
        and m.weight.device.type == "cpu"
        and m.weight.dtype == torch.float32
    ]


@contextmanager
def quick_products(layers: Layers) -> Generator[None]:
    """Inside the block, `layers` multiply by oneDNN; after it, as before.

    Hooks are called as ever, and where gradients are kept nothing changes.
    """
    for layer, product in layers:
        layer.__dict__["forward"] = product  # past nn.Module's checks, which cost a microsecond
    try:
        yield
    finally:
        for layer, _ in layers:
            layer.__dict__.pop("forward", None)
