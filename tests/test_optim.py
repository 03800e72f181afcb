"""Which weights decay, and what the learning rate is at each step."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.optim import (
    SCHEDULES,
    decay_groups,
    learning_rate,
    make_optimizers,
    set_learning_rate,
)
from gptlib.train_config import TrainConfig


def test_matrices_decay_and_vectors_do_not():
    model = GPT(GPTConfig(8, 11, 1, 1, 8))
    decayed, plain = decay_groups(list(model.parameters()), 0.1)
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in plain["params"]} == {1}
    assert decayed["weight_decay"] == 0.1 and plain["weight_decay"] == 0.0
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def test_fused_adamw_is_adamw():
    weights = []
    for fused in (True, False):
        torch.manual_seed(0)
        layer = torch.nn.Linear(5, 5)
        (optimizer,) = make_optimizers(layer, "adamw", 1e-2, 0.1, (0.9, 0.95))
        if not fused:
            groups = decay_groups(list(layer.parameters()), 0.1)
            optimizer = torch.optim.AdamW(groups, lr=1e-2, betas=(0.9, 0.95), fused=False)
        for _ in range(5):
            layer(torch.ones(2, 5)).pow(2).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(layer.weight.detach())
    torch.testing.assert_close(*weights)


def test_muon_gets_the_blocks_matrices_and_adamw_the_rest():
    model = GPT(GPTConfig(8, 11, 2, 1, 8))
    muon, adamw = make_optimizers(model, "muon", 1e-2, 0.1, (0.9, 0.95))
    count = [sum(len(g["params"]) for g in o.param_groups) for o in (muon, adamw)]
    assert count == [8, len(list(model.parameters())) - 8]  # four matrices a block
    embeddings = {id(model.transformer.wte.weight), id(model.transformer.wpe.weight)}
    assert embeddings <= {id(p) for g in adamw.param_groups for p in g["params"]}
    with pytest.raises(ConfigError, match="adamw, muon"):
        make_optimizers(model, "sgd", 1e-2, 0.1, (0.9, 0.95))


def test_a_muon_update_moves_every_direction_equally_far():
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, 11, 1, 1, 32))
    weight = model.transformer.h[0].mlp.c_fc.weight
    before = weight.detach().clone()
    idx = torch.randint(11, (4, 8))
    model(idx, idx)[1].backward()
    make_optimizers(model, "muon", 1e-2, 0.0, (0.9, 0.95))[0].step()
    moved, slope = (torch.linalg.svdvals(x) for x in (weight.detach() - before, weight.grad))
    assert moved.max() < 3 * moved.median() and slope.max() > 3 * slope.median()
    assert moved.max() / moved.min() < slope.max() / slope.min() / 10


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("tied", [True, False])
def test_tables_and_head_have_rates_of_their_own(name, tied):
    model = GPT(GPTConfig(8, 11, 2, 1, 8, tied_head=tied))
    optimizers = make_optimizers(model, name, 1e-2, 0.1, (0.9, 0.95), embed_lr=4.0, head_lr=0.5)
    set_learning_rate(optimizers, 0.1)
    names = {id(p): n for n, p in model.named_parameters()}
    rates = {names[id(p)]: g["lr"] for o in optimizers for g in o.param_groups for p in g["params"]}
    assert set(rates) == set(names.values())
    tables = {"transformer.wte.weight", "transformer.wpe.weight"}
    assert {n for n, rate in rates.items() if rate == 0.4} == tables
    assert {n for n, rate in rates.items() if rate == 0.05} == (
        set() if tied else {"lm_head.weight"}
    )
    assert {rate for n, rate in rates.items() if ".h." in n or "ln_f" in n} == {0.1}


def test_one_rate_for_all_is_two_groups_as_ever():
    model = GPT(GPTConfig(8, 11, 2, 1, 8))
    (optimizer,) = make_optimizers(model, "adamw", 1e-2, 0.1, (0.9, 0.95))
    expected = decay_groups(list(model.parameters()), 0.1)
    found = [[id(p) for p in g["params"]] for g in optimizer.param_groups]
    assert found == [[id(p) for p in g["params"]] for g in expected]


def test_muon_sees_queries_keys_values_and_heads_apart_if_asked():
    model = GPT(GPTConfig(8, 11, 2, 2, 8))
    (group,) = make_optimizers(model, "muon", 1e-2, 0.1, (0.9, 0.95))[0].param_groups
    assert group["parts"] == 1 and len(group["params"]) == 8
    for muon_parts, count in (("qkv", 3), ("heads", 6)):
        muon, _ = make_optimizers(model, "muon", 1e-2, 0.1, (0.9, 0.95), muon_parts=muon_parts)
        attention, others = muon.param_groups
        assert [p.shape for p in attention["params"]] == [(24, 8)] * 2
        assert (attention["parts"], others["parts"], len(others["params"])) == (count, 1, 6)
    with pytest.raises(ConfigError, match="muon_parts is 'heads', but optimizer is 'adamw'"):
        TrainConfig(muon_parts="heads")


@pytest.mark.parametrize(
    "wrong", [{"embed_lr": -1.0}, {"head_lr": float("nan")}, {"muon_parts": 3}]
)
def test_rates_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TrainConfig(**wrong)


def test_cosine_by_hand():
    def lr(step):
        return learning_rate(step, 101, 1.0, 0.1, 0, "cosine")

    assert lr(0) == 1.0
    assert lr(50) == pytest.approx(0.55)
    assert lr(100) == pytest.approx(0.1)


def test_warmup_climbs_to_the_peak():
    rates = [learning_rate(s, 100, 1.0, 0.0, 4, "constant") for s in range(6)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])


def test_wsd_is_level_for_four_fifths():
    rates = [learning_rate(s, 101, 1.0, 0.0, 0, "wsd") for s in range(101)]
    assert all(r == 1.0 for r in rates[:80])
    assert rates[90] == pytest.approx(0.5) and rates[100] == 0.0


def test_wsd_may_go_down_for_longer():
    rates = [learning_rate(s, 101, 1.0, 0.2, 0, "wsd", decay=0.6) for s in range(101)]
    assert all(r == 1.0 for r in rates[:41]) and rates[41] < 1
    assert rates[70] == pytest.approx(0.6) and rates[100] == pytest.approx(0.2)
    everywhere = [learning_rate(s, 101, 1.0, 0.0, 0, "wsd", decay=1) for s in range(101)]
    assert everywhere == pytest.approx([1 - s / 100 for s in range(101)])


@given(
    steps=st.integers(1, 10_000), warmup=st.integers(0, 200), where=st.floats(0, 1),
    schedule=st.sampled_from(SCHEDULES),
)  # fmt: skip
def test_the_rate_stays_between_zero_and_the_peak(steps, warmup, where, schedule):
    step = min(steps - 1, int(where * steps))
    assert 0 < learning_rate(step, steps, 1e-3, 1e-5, warmup, schedule) <= 1e-3


def test_unknown_schedules_are_refused():
    with pytest.raises(ConfigError, match="cosine"):
        learning_rate(5, 10, 1.0, 0.0, 0, "linear")
