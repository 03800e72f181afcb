"""Where the time of a training step goes, operation by operation.

One job: `profile`, which runs a step a few times and adds up what each kind of torch's operations
took, those of the backward pass too.
"""

from collections import defaultdict
from collections.abc import Callable
from time import perf_counter
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

#: How torch's names for operations begin, by kind.
KINDS = {
    "matrix products": ("mm", "addmm", "bmm"),
    "attention": ("scaled_dot_product",),
    "GELU": ("gelu",),
    "layer norm": ("native_layer_norm",),
    "AdamW": ("fused_adamw",),
}
REST = "the rest"


class Clock(TorchDispatchMode):
    """Notes how long each of torch's operations takes; noting costs some time as well."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: defaultdict[str, float] = defaultdict(float)
        self.calls = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        began = perf_counter()
        result = func(*args, **(kwargs or {}))
        self.spent[kind_of(func.name())] += perf_counter() - began
        self.calls += 1
        return result


def kind_of(operation: str) -> str:
    """The kind of an operation by its name, such as `aten::addmm`."""
    name = operation.removeprefix("aten::").lstrip("_")
    return next((kind for kind, words in KINDS.items() if name.startswith(words)), REST)


def profile(step: Callable[[], None], times: int = 5) -> tuple[dict[str, float], float, float]:
    """Time the operations of a step on a CPU.

    Returns:
        The share of each kind in the operations' time; operations in one step; what share of the
        step's own time they take, without the clock (which may reach or pass 1: the clock costs).
    """
    for _ in range(3):
        step()  # warm up
    began = perf_counter()
    for _ in range(times):
        step()
    whole = perf_counter() - began
    with Clock() as clock:
        for _ in range(times):
            step()
    total = sum(clock.spent.values())
    shares = {kind: clock.spent[kind] / total for kind in (*KINDS, REST)}
    return shares, clock.calls / times, total / whole
