"""Muon is torch.optim.Muon, all matrices of a shape at once, and cut where several are stacked."""

import copy
import warnings

import pytest
import torch

from gptlib import checkpoint, runtime
from gptlib.errors import ConfigError
from gptlib.muon import STEPS, A, B, C, Muon, orthogonalize
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


@pytest.fixture
def units(monkeypatch):
    """A function that says whether this machine has units for bfloat16."""
    monkeypatch.setattr(runtime, "bfloat16_cost", lambda: 6.5)

    def have(answer: bool) -> None:
        monkeypatch.setattr(runtime, "bfloat16_is_fast", lambda device: answer)

    return have


def matrices() -> list[torch.nn.Parameter]:
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*s)) for s in ((8, 24), (24, 8), (8, 24), (16, 16))]


def train(optimizer, params, steps: int = 4) -> None:
    for step in range(steps):
        torch.manual_seed(step)
        for p in params:
            p.grad = torch.randn_like(p)
        optimizer.step()


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_muon_is_torchs_muon(dtype):
    ours, theirs = matrices(), matrices()
    before = [p.detach().clone() for p in ours]
    train(Muon(ours, 0.05, 0.1, dtype=dtype), ours)
    adjust = {"adjust_lr_fn": "match_rms_adamw"}
    train(torch.optim.Muon(theirs, 0.05, 0.1, **adjust), theirs)
    for a, b, start in zip(ours, theirs, before, strict=True):  # theirs is in bfloat16
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


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_orthogonalize_keeps_directions_and_evens_their_lengths(scale, dtype):
    torch.manual_seed(2)
    G = torch.randn(3, 8, 20)
    moved = orthogonalize(G * scale, dtype).float()
    U, _, Vh = torch.linalg.svd(G, full_matrices=False)
    values = torch.diagonal(U.mT @ moved @ Vh.mT, dim1=1, dim2=2)
    assert 0.6 < values.min() and values.max() < 1.3
    assert (moved - U @ Vh).norm() < 0.4 * moved.norm()


@pytest.mark.parametrize("least", [1.0, 1e-2, 1e-4, 0.0])
def test_wide_matrices_by_their_small_square_are_lifted_alike(least):
    """However unequal the strengths, down to directions that are not there at all."""
    torch.manual_seed(4)
    U, V = (torch.linalg.qr(torch.randn(2, n, 16)).Q for n in (16, 64))
    strengths = torch.linspace(0, 1, 16) ** 4 * (1 - least) + least
    wide = U * strengths @ V.mT  # (2, 16, 64)
    lifted = orthogonalize(wide, "float32")
    exact = wide.double() / wide.double().norm(dim=(1, 2), keepdim=True)
    for _ in range(STEPS):
        gram = exact @ exact.mT
        exact = A * exact + (B * gram + C * gram @ gram) @ exact
    assert (lifted - exact).abs().max() < 1e-3
    assert orthogonalize(torch.zeros(1, 4, 16), "float32").eq(0).all()


def test_no_gradient_moves_nothing():
    (p,) = params = [torch.nn.Parameter(torch.randn(4, 4))]
    before = p.detach().clone()
    optimizer = Muon(params, 0.1)
    optimizer.step()
    p.grad = torch.zeros_like(p)
    optimizer.step()
    assert torch.equal(p, before)


def test_a_closure_is_called_before_the_step():
    (p,) = params = [torch.nn.Parameter(torch.eye(4))]

    def loss_anew():
        loss = p.square().sum()
        loss.backward()
        return loss.item()

    assert Muon(params, 0.1).step(loss_anew) == 4.0
    assert (p.diagonal() < 1).all()


def test_its_state_saves_and_loads_and_so_does_torchs(units):
    units(True)  # torch's Muon knows bfloat16 only
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


def test_it_orthogonalizes_in_the_type_that_is_fast(units):
    torch.manual_seed(3)
    G, found = torch.randn(2, 8, 20), {}
    for fast, dtype in ((True, torch.bfloat16), (False, torch.float32)):
        units(fast)
        found[dtype] = orthogonalize(G)
        assert found[dtype].dtype == dtype
        assert orthogonalize(G, "float32").dtype == torch.float32
        optimizer = Muon(matrices(), 0.1)
        assert optimizer.param_groups[0]["dtype"] == str(dtype).removeprefix("torch.")
    torch.testing.assert_close(
        found[torch.bfloat16].float(), found[torch.float32], atol=0.03, rtol=0
    )
    with pytest.raises(ConfigError, match="dtype is 'int8'; use bfloat16 or float32"):
        Muon(matrices(), 0.1, dtype="int8")


def test_groups_of_two_types_move_each_in_its_own():
    both = [torch.nn.Parameter(p.detach().clone()) for p in matrices()[:1] * 2]
    types = ("bfloat16", "float32")
    optimizer = Muon([{"params": [p], "dtype": t} for p, t in zip(both, types, strict=True)], 0.1)
    alone = [torch.nn.Parameter(both[0].detach().clone()) for _ in types]
    for p, dtype in zip(alone, types, strict=True):
        p.grad = torch.arange(p.numel()).view_as(p).sin()
        Muon([p], 0.1, dtype=dtype).step()
    for p in both:
        p.grad = alone[0].grad.clone()
    optimizer.step()
    assert torch.equal(both[0], alone[0]) and not torch.equal(both[0], both[1])
    torch.testing.assert_close(both[1], alone[1])


@pytest.mark.parametrize("began_fast", [True, False])
def test_a_run_keeps_its_type_on_another_machine(units, make_model, ids, tmp_path, began_fast):
    """Begun where bfloat16 is fast and resumed where it is not, and the reverse: the same bits."""

    def fit(folder, stop_after=None):
        config = TrainConfig(
            steps=4, batch_size=2, lr=1e-2, warmup=1, optimizer="muon", muon_parts="heads",
            eval_every=4, eval_windows=2, save_minutes=0,
        )  # fmt: skip
        run = Trainer(make_model(), ids, ids[:100], config, tmp_path / folder).fit(
            stop_after=stop_after
        )
        return run, checkpoint.plain_weights(run.model)

    units(began_fast)
    _, whole = fit("whole")
    fit("halves", stop_after=2)
    units(not began_fast)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        run, resumed = fit("halves")
    assert run.finished and all(torch.equal(whole[name], resumed[name]) for name in whole)
    lines = [str(w.message) for w in said if "bfloat16" in str(w.message)]
    assert len(lines) == began_fast  # slower here, and said in one line
    assert all("6.5 times" in line and "as saved, so that the run stays exact" in line
               for line in lines)  # fmt: skip
    _, elsewhere = fit("elsewhere")  # a run that begins here is another one
    assert not all(torch.equal(whole[name], elsewhere[name]) for name in whole)


def test_states_from_before_it_had_types_were_in_bfloat16(units):
    units(False)
    old = Muon(matrices(), 0.05, dtype="bfloat16").state_dict()
    for group in old["param_groups"]:
        del group["dtype"]
    optimizer = Muon(matrices(), 0.05)
    assert optimizer.param_groups[0]["dtype"] == "float32"
    with pytest.warns(UserWarning, match="Muon goes on in it"):
        optimizer.load_state_dict(old)
    assert {group["dtype"] for group in optimizer.param_groups} == {"bfloat16"}
