"""What processes send one another: the formulas of chapter 6 against a ring and against FSDP2."""

from dataclasses import replace

import pytest
import torch
import torch.distributed as dist
from torch.utils._python_dispatch import TorchDispatchMode

from gptlib import GPT, GPTConfig
from gptlib.course.pretraining.communication import Job, ring_trips, scaling
from gptlib.errors import ConfigError
from gptlib.parallel import sync_gradients, wrap
from gptlib.runtime import Runtime

GPT2 = Job(
    n_params=124_439_808, tokens=2**19, flops_per_token=8.5e8, flops_per_s=4e14, bytes_per_s=5e10
)


def ring_all_reduce(values: torch.Tensor) -> tuple[torch.Tensor, list[int]]:
    """(n, size) gradients of n processes, summed on a ring; and the numbers that each sent."""
    n, sent = len(values), [0] * len(values)
    parts = [list(row.clone().chunk(n)) for row in values]
    for gather in (False, True):  # first each part is summed up at one process, then handed on
        for hop in range(n - 1):
            moves = [((r + gather - hop) % n, r) for r in range(n)]
            for (part, r), piece in zip(moves, [parts[r][p] for p, r in moves], strict=True):
                to = parts[(r + 1) % n]
                to[part] = piece.clone() if gather else to[part] + piece
                sent[r] += piece.numel()
    return torch.stack([torch.cat(row) for row in parts]), sent


@pytest.mark.parametrize("n", [2, 3, 4, 8])
def test_a_ring_sends_what_the_formula_says(n):
    gradients = torch.randint(100, (n, 24 * n))
    summed, sent = ring_all_reduce(gradients)
    assert (summed == gradients.sum(dim=0)).all()
    job = replace(GPT2, n_params=24 * n)
    assert [4 * numbers for numbers in sent] == [job.bytes_sent(n)] * n


class Collectives(TorchDispatchMode):
    """Adds up the bytes of what FSDP gathers and scatters: whole tensors, over all processes."""

    def __init__(self) -> None:
        super().__init__()
        self.gathered = self.scattered = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if "allgather" in func.name():
            self.gathered += args[0].nbytes
        if "reduce_scatter" in func.name():
            self.scattered += args[1].nbytes
        return func(*args, **(kwargs or {}))


@pytest.fixture
def four_processes():
    """One of four; the other three are not there, and what they would say is left out."""
    fake = pytest.importorskip("torch.testing._internal.distributed.fake_pg")
    dist.init_process_group("fake", rank=0, world_size=4, store=fake.FakeStore())
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize("accumulate", [1, 3])
def test_fsdp_gathers_twice_and_scatters_once(four_processes, accumulate):
    model = GPT(GPTConfig(16, 24, 2, 2, 16))
    n_bytes = 4 * model.num_params()
    blocks = 4 * sum(p.numel() for p in model.transformer.h.parameters())
    called = wrap(model, Runtime("cpu", "float32", 0, 4), "fsdp", compile=False)
    idx = torch.zeros(2, 16, dtype=torch.int64)
    with Collectives() as seen:
        for micro in range(accumulate):
            with sync_gradients(called, micro == accumulate - 1):
                called(idx, idx, return_logits=False)[1].backward()
    # The root's own weights, the tables and the last norm, stay between the two passes.
    assert seen.gathered == accumulate * (n_bytes + blocks)
    assert seen.scattered == n_bytes
    assert seen.gathered + seen.scattered < n_bytes * ring_trips("fsdp", accumulate)


def test_two_halves_of_a_ring_are_an_average_and_fsdp_takes_one_more():
    assert (ring_trips("ddp"), ring_trips("ddp", 8)) == (2, 2)
    assert (ring_trips("fsdp"), ring_trips("fsdp", 8)) == (3, 17)
    with pytest.raises(ConfigError, match="strategy is 'zero'; use one of ddp, fsdp"):
        replace(GPT2, strategy="zero")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_where_it_stops_scaling(strategy):
    job = replace(GPT2, strategy=strategy)
    n = job.balance()
    assert job.compute_seconds(n) == pytest.approx(job.send_seconds(n))
    few, many, more = scaling(job, [8, 1024, 2048])
    assert few["efficiency"] == 1 and few["speedup"] == 8 and few["step_s"] == few["compute_s"]
    assert many["step_s"] == pytest.approx(more["step_s"], rel=1e-3)  # it is the ring's by now
    assert many["speedup"] < n < 100
    # a batch twice as large moves the point out, and so does a link twice as fast
    for larger in (replace(job, tokens=2**20), replace(job, bytes_per_s=1e11)):
        assert larger.balance() - 1 == pytest.approx(2 * (n - 1))


def test_one_process_sends_nothing_and_nothing_is_hidden_at_worst():
    assert GPT2.bytes_sent(1) == 0 and GPT2.efficiency(1, hidden=False) == 1
    n = GPT2.balance()
    assert GPT2.efficiency(n) == pytest.approx(1) and GPT2.efficiency(n, False) == pytest.approx(
        0.5
    )
