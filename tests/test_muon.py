"""Muon is torch.optim.Muon, all matrices of a shape at once, and cut where several are stacked."""

import copy

import pytest
import torch

from gptlib.muon import Muon, orthogonalize


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*s)) for s in ((8, 24), (24, 8), (8, 24), (16, 16))]


def train(optimizer, params, steps: int = 4) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()


def test_muon_is_torchs_muon():
    ours, theirs = matrices(), matrices()
    before = [p.detach().clone() for p in ours]
    train(Muon(ours, 0.05, 0.1), ours)
    adjust = {"adjust_lr_fn": "match_rms_adamw"}
    train(torch.optim.Muon(theirs, 0.05, 0.1, **adjust), theirs)
    for a, b, start in zip(ours, theirs, before, strict=True):  # bfloat16 rounds in another order
        assert (a - b).norm() < 0.01 * (b - start).norm()


def test_stacked_matrices_move_as_if_each_stood_alone():
    torch.manual_seed(1)
    stacked = torch.nn.Parameter(torch.randn(24, 8))
    alone = [torch.nn.Parameter(part.detach().clone()) for part in stacked.chunk(3)]
    packed = torch.nn.Parameter(stacked.detach().clone())
    slope = torch.randn(24, 8)
    for params, parts in (([stacked], 3), (alone, 1), ([packed], 1)):
        for p, grad in zip(params, slope.chunk(len(params)), strict=True):
            p.grad = grad.clone()
        Muon([{"params": params, "parts": parts}], 0.1).step()
    torch.testing.assert_close(stacked, torch.cat(alone).detach(), atol=1e-4, rtol=1e-4)
    assert (stacked - packed).abs().max() > 0.01


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_orthogonalize_keeps_directions_and_evens_their_lengths(scale):
    torch.manual_seed(2)
    G = torch.randn(3, 8, 20)
    moved = orthogonalize(G * scale).float()
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    values = torch.diagonal(U.mT @ moved @ Vh.mT, dim1=1, dim2=2)
    assert 0.6 < values.min() and values.max() < 1.3
    assert (moved - U @ Vh).norm() < 0.4 * moved.norm()


def test_no_gradient_moves_nothing():
    (p,) = params = [torch.nn.Parameter(torch.randn(4, 4))]
    before = p.detach().clone()
    optimizer = Muon(params, 0.1)
    optimizer.step()
    p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(p, before)


def test_its_state_saves_and_loads_and_so_does_torchs():
    whole, halves = matrices(), matrices()
    train(Muon(whole, 0.05), whole, 6)
    for kind in (Muon, torch.optim.Muon):
        params = copy.deepcopy(halves)
        first = Muon(params, 0.05)
        train(first, params, 4)
        saved = first.state_dict()
        if kind is torch.optim.Muon:
            saved["param_groups"] = kind(matrices(), 0.05, 0.0).state_dict()["param_groups"]
        second = Muon(params, 0.05)
        second.load_state_dict(saved)
        for step in (4, 5):
            torch.manual_seed(step)
            for p in params:
                p.grad = torch.randn_like(p)
            second.step()
        for a, b in zip(whole, params, strict=True):
            assert torch.equal(a, b)
