"""Where the time of a training step goes, by kind of operation.

    python bench/profile_step.py [--threads 2] [--steps 10]

torch's profiler gives every operation's own time; an operation belongs to the first of `KINDS` that
matches its own name or that of an operation which called it. What is left of the wall time when all
operations are taken off is Python between them. Profiling slows small operations down, so the
step's time without it stands beside.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable

from timing import arguments, interleaved, report
from torch.profiler import ProfilerActivity, profile
from train_step import SIZES, make_step

KINDS = {
    "optimizer": r"Optimizer\.",
    "clipping": r"_foreach_|vector_norm|clamp",
    "casts": r"aten::_to_copy|ToCopyBackward",
    "attention": r"scaled_dot_product|ScaledDotProduct",
    "norms and activations": r"layer_norm|LayerNorm|gelu|Gelu",
    "loss": r"cross_entropy|log_softmax|LogSoftmax|nll_loss|NllLoss",
    "embeddings": r"embedding|Embedding",
    "matrix products": r"linear|matmul|aten::(addmm|mm|bmm)\b|(Addmm|Mm|:T)Backward",
}


def kind_of(event) -> str:
    """The kind of a profiler's event, from its own name and its callers'."""
    names = event.name
    while (event := event.cpu_parent) is not None:
        names = f"{event.name} > {names}"
    matching = (kind for kind, pattern in KINDS.items() if re.search(pattern, names))
    return next(matching, "other operations")


def kinds(step: Callable, steps: int) -> Counter:
    """Seconds of each kind in one step, on the average of `steps` of them."""
    step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        began = time.perf_counter()
        for _ in range(steps):
            step()
        wall = time.perf_counter() - began
    spent: Counter = Counter()
    for event in profiled.events():
        spent[kind_of(event)] += event.self_cpu_time_total / 1e6 / steps
    spent["Python between them"] = max(0.0, wall / steps - spent.total())
    return spent


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    rows = []
    for name in ("0.8M", "10.7M"):
        for dtype in ("float32", "bfloat16"):
            step = make_step("gptlib", dtype, SIZES[name], args.threads)
            plain_ms = interleaved({"step": step}, args.steps)["step"] * 1000
            spent = kinds(step, args.steps)
            rows += [
                {
                    "model": name,
                    "dtype": dtype,
                    "kind": kind,
                    "ms": s * 1000,
                    "share": s / spent.total(),
                    "step_ms_unprofiled": plain_ms,
                }
                for kind, s in spent.most_common()
            ]
    report("profile_step", rows, args.out)


if __name__ == "__main__":
    main()
