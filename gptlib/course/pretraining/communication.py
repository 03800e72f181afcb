"""What processes that train one model send one another in a step, and when that takes too long.

One job: the arithmetic on paper, before anybody rents a second machine. Bytes are those that one
process sends, and it receives as many; links are named by bytes a second in one direction, and the
slowest one on the ring counts. Waiting for a message to set out is left out, so that many small
messages take longer than this says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gptlib.errors import ConfigError
from gptlib.parallel import STRATEGIES

FLOAT32 = 4  # bytes: gptlib keeps, gathers and averages weights and gradients in it


@dataclass(frozen=True)
class Job:
    """A step to be shared out.

    Attributes:
        n_params: weights of the model.
        tokens: of the whole batch, over all processes.
        flops_per_token: forward and backward, as `GPT.flops_per_token` counts them.
        flops_per_s: that one process reaches, which is its peak times its MFU.
        bytes_per_s: of the slowest link between two neighbors.
        strategy: "ddp" or "fsdp".
        accumulate: micro-batches that each process cuts its part into.
    """

    n_params: int
    tokens: int
    flops_per_token: float
    flops_per_s: float
    bytes_per_s: float
    strategy: str = "ddp"
    accumulate: int = 1

    def __post_init__(self) -> None:
        if self.strategy not in STRATEGIES:
            raise ConfigError(f"strategy is {self.strategy!r}; use one of {', '.join(STRATEGIES)}")

    def compute_seconds(self, processes: int) -> float:
        """Each process computes its share of the tokens."""
        return self.tokens * self.flops_per_token / self.flops_per_s / processes

    def bytes_sent(self, processes: int) -> float:
        """Bytes that one process sends in a step."""
        trips = ring_trips(self.strategy, self.accumulate)
        return trips * FLOAT32 * self.n_params * (processes - 1) / processes

    def send_seconds(self, processes: int) -> float:
        """How long that takes on the slowest link."""
        return self.bytes_sent(processes) / self.bytes_per_s

    def efficiency(self, processes: int, hidden: bool = True) -> float:
        """Share of the time in which a process computes: 1 is perfect scaling.

        Args:
            hidden: sending goes on while the next layers are computed, and only what is longer
                than computing shows; False for one after the other. The truth lies between.
        """
        compute, send = self.compute_seconds(processes), self.send_seconds(processes)
        return compute / (max(compute, send) if hidden else compute + send)

    def balance(self) -> float:
        """The number of processes at which sending takes as long as computing.

        Computing falls as K / n, sending rises as M (n - 1) / n towards M, so they meet at
        n = 1 + K / M. Beyond it a step never gets shorter, however many processes there are: its
        time is M. Only a larger batch moves the point.
        """
        all_alone = self.compute_seconds(1)
        forever = ring_trips(self.strategy, self.accumulate) * FLOAT32 * self.n_params
        return 1 + all_alone / (forever / self.bytes_per_s)


def ring_trips(strategy: str, accumulate: int = 1) -> int:
    """How often all weights, or as many gradients, travel around the ring of processes in a step.

    On a ring of n processes, gathering what each holds a part of, or adding up and leaving each a
    part (reduce-scatter), makes every process send (n - 1) / n of the whole. Averaging gradients,
    so that all have them whole (DDP), is one of each: 2. FSDP gathers the weights before the
    forward and once more before the backward pass, which is 2 for each micro-batch, and leaves each
    process its part of the gradients at the end: 3 in all, half as much again as DDP, and less
    where the last weights of the forward pass are the first of the backward pass and stay
    (Rajbhandari et al. 2020, section 7; Zhao et al. 2023).
    """
    return 2 if strategy == "ddp" else 2 * accumulate + 1


def scaling(job: Job, processes: Sequence[int]) -> list[dict[str, float]]:
    """A row for each number of processes: how long a step takes, and what for.

    Derived in chapter 6, *What do eight cards say to one another?*

    `step` is the time with sending hidden behind computing, `speedup` against one process.
    """
    return [
        {
            "processes": n,
            "gb_sent": job.bytes_sent(n) / 1e9,
            "compute_s": job.compute_seconds(n),
            "send_s": job.send_seconds(n),
            "step_s": max(job.compute_seconds(n), job.send_seconds(n)),
            "speedup": n * job.efficiency(n),
            "efficiency": job.efficiency(n),
        }
        for n in processes
    ]
