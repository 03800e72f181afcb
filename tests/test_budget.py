"""What a run will take: counted from its settings, and compared with what is really held."""

import json
import tomllib
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gptlib import GPT, GPTConfig, TrainConfig, devices
from gptlib.budget import Price, fit, plan_run, step_seconds
from gptlib.devices import device, device_names
from gptlib.errors import ConfigError
from gptlib.footprint import (
    Step,
    flops_per_token,
    kept_at_the_ends,
    kept_by_block,
    kept_of_logits,
    memory,
    parameters,
)
from gptlib.optim import make_optimizers
from gptlib.presets import PRESETS, preset
from gptlib.resources import data_path
from gptlib.runtime import PEAK_TFLOPS

SMALL = dict(block_size=32, vocab_size=300, n_head=4, n_embd=32, n_layer=3)
MODERN = dict(rotary=True, qk_norm=True, activation="relu2", tied_head=False, bias=False)
SHAPES = {
    "gpt2": {},
    "modern": MODERN,
    "rotary": dict(rotary=True),
    "qk_norm, softcap": dict(qk_norm=True, softcap=5.0),
    "dropout": dict(dropout=0.1),
    "rmsnorm, relu": dict(norm="rmsnorm", activation="relu"),
    "attention's dropout": dict(attn_dropout=0.1),
}
PUBLISHED = tomllib.loads(data_path("published.toml").read_text("utf8"))


def planned(name: str) -> tuple[GPTConfig, TrainConfig]:
    chosen = preset(name)
    padding = -chosen.vocab_size % (chosen.pad_vocab or 1)
    vocabulary = {"vocab_size": chosen.vocab_size + padding, "padding_ids": padding}
    return GPTConfig(**chosen.model, **vocabulary), TrainConfig(**chosen.train)


def saved_bytes(model: GPT, rows: int, half: bool) -> int:
    """Bytes that autograd keeps of a forward pass, each storage once, without the weights."""
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    held = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            held[storage.data_ptr()] = storage  # alive, so that no address comes twice
        return tensor

    idx = torch.randint(model.config.known_ids, (rows, model.config.block_size))
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        with torch.autocast("cpu", torch.bfloat16) if half else nullcontext():
            model(idx, idx.clone(), return_logits=False)
    return sum(storage.nbytes() for storage in held.values())


@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("name", SHAPES)
def test_what_is_counted_is_what_autograd_keeps(name, half):
    config = GPTConfig(**SMALL, **SHAPES[name])
    own, N = parameters(config), 4 * config.block_size
    step = Step(4, dtype="bfloat16" if half else "float32")
    copies = 2 * (own.matrices + config.vocab_size * config.n_embd) if half else 0
    kept = config.n_layer * kept_by_block(config, step) + kept_at_the_ends(config, step)
    counted = copies + N * (kept + kept_of_logits(config, step))
    assert counted == pytest.approx(saved_bytes(GPT(config), 4, half), rel=0.04)
    if name == "gpt2":
        assert counted == pytest.approx(saved_bytes(GPT(config), 4, half), rel=0.002)


def test_recomputed_blocks_keep_what_enters_them():
    config = GPTConfig(**SMALL)
    plain, again = GPT(config), GPT(config)
    again.recompute = True
    step, N = Step(4), 4 * config.block_size
    spared = config.n_layer * N * (kept_by_block(config, step) - 4 * config.n_embd)
    measured = saved_bytes(plain, 4, False) - saved_bytes(again, 4, False)
    assert spared == pytest.approx(measured, rel=0.1)


def test_a_chunked_loss_keeps_no_logits():
    config = GPTConfig(**SMALL)
    plain, chunked = GPT(config), GPT(config)
    chunked.loss_chunk = 16
    spared = 4 * config.block_size * kept_of_logits(config, Step(4))
    measured = saved_bytes(plain, 4, False) - saved_bytes(chunked, 4, False)
    assert spared == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("name", SHAPES)
def test_parameters_and_flops_are_the_models(name):
    config = GPTConfig(**SMALL, **SHAPES[name])
    model = GPT(config)
    assert parameters(config).total == model.num_params()
    assert flops_per_token(config) == model.flops_per_token(config.block_size)
    matrices = [p for n, p in model.named_parameters() if ".h." in n and p.dim() == 2]
    assert parameters(config).matrices == sum(p.numel() for p in matrices)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_weights_gradients_and_moments_are_exact(optimizer):
    config = GPTConfig(**SMALL)
    model = GPT(config)
    optimizers = make_optimizers(model, optimizer, 1e-3, 0.1, (0.9, 0.95))
    idx = torch.zeros(1, 8, dtype=torch.int64)
    model(idx, idx)[1].backward()
    for one in optimizers:
        one.step()
    states = [s for one in optimizers for state in one.state.values() for s in state.values()]
    moments = sum(s.nbytes for s in states if torch.is_tensor(s) and s.dim())
    terms = memory(config, Step(64, accumulate=2, optimizer=optimizer)).terms
    assert terms["optimizer"] == moments
    assert terms["weights, float32"] == sum(p.nbytes for p in model.parameters())
    assert terms["gradients"] >= sum(p.grad.nbytes for p in model.parameters())


@pytest.mark.parametrize(
    ("name", "millions"),
    [("gpt2-124m", 124.4), ("gpt2-350m", 354.8), ("gpt2-774m", 774.0), ("gpt2-1558m", 1557.6),
     ("gpt2-10m", 10.2), ("gpt2-5m", 5.4)],
)  # fmt: skip
def test_the_presets_have_the_sizes_of_their_names(name, millions):
    config, _ = planned(name)
    padding = config.padding_ids * config.n_embd
    assert (parameters(config).total - padding) / 1e6 == pytest.approx(millions, abs=0.06)


def test_the_published_run_is_reproduced():
    """GPT-2 124M on 10 billion tokens of FineWeb-Edu, one H100 (data/published.toml)."""
    theirs = PUBLISHED["gpt2-fineweb"]
    price = Price(theirs["dollars"] / theirs["hours"], "then")
    budget = plan_run(*planned("gpt2-124m"), device("h100"), tokens=10e9, price=price)
    assert budget.train.steps == theirs["steps"]
    assert budget.tokens_per_step == theirs["tokens_per_step"]
    assert (budget.rows, budget.train.accumulate) == (64, 8)
    assert budget.fits and not (budget.train.recompute or budget.train.loss_chunk)
    assert budget.tokens_per_s == pytest.approx(theirs["tokens_per_s"], rel=0.01)
    assert budget.device.reached["bfloat16"] == theirs["mfu"] / 100
    assert budget.hours == pytest.approx(theirs["hours"], rel=0.05)
    assert budget.dollars == pytest.approx(theirs["dollars"], rel=0.05)


def test_the_shares_of_the_peak_follow_from_the_rates_that_they_name():
    config, _ = planned("gpt2-124m")
    for name, rate in (
        ("h100", PUBLISHED["gpt2-fineweb"]["tokens_per_s"]),
        ("a100-80", PUBLISHED["rates"]["a100"]["tokens_per_s"]),
    ):
        on = device(name)
        assert f"{rate:,}" in on.source
        assert on.flops["bfloat16"] == pytest.approx(rate * flops_per_token(config), rel=0.02)
    t4 = PUBLISHED["rates"]["t4"]
    stories = GPTConfig(512, 50257, 12, 12, 768, tied_head=False)
    assert device("t4").flops["float32"] == pytest.approx(
        t4["tokens_per_s"] * flops_per_token(stories), rel=0.03
    )


def test_a_measured_share_takes_the_place_of_an_assumed_one():
    """What `bench/gpu.sh` measured on a device that is listed is what the list says."""
    results = Path(__file__).parent.parent / "bench" / "results" / "gpu"
    for path in results.glob("pretraining-gpt2-124m.json"):
        about = json.loads(path.read_text())
        for name in set(device_names()) - {"cpu", "a100-80"}:
            if name.upper() in about["hardware"]["gpu"].replace("-", " ").split():
                found = about["result"]["mfu"]
                assert device(name).reached["bfloat16"] == pytest.approx(found, rel=0.05)


@pytest.mark.parametrize("name", [n for n in device_names() if n != "cpu"])
@pytest.mark.parametrize("size", ["gpt2-124m", "gpt2-350m", "gpt2-774m", "gpt2-1558m"])
def test_what_fits_a_device_is_the_largest_piece_that_does(name, size):
    config, train = planned(size)
    on = device(name)
    budget = plan_run(config, train, on)
    cut = budget.train
    assert budget.rows * cut.accumulate == cut.batch_size
    assert cut.dtype == ("float16" if name == "t4" else "bfloat16")
    assert budget.fits == (budget.memory.total <= on.usable)
    if not budget.fits:
        assert budget.rows == 1 and cut.recompute and cut.loss_chunk
    elif cut.accumulate > 1:
        twice = Step(
            2 * budget.rows, cut.accumulate // 2, cut.dtype, "cuda", cut.optimizer, cut.recompute,
            cut.loss_chunk,
        )  # fmt: skip
        assert memory(config, twice).total > on.usable
    # A tier below an A100 runs 124M and 350M; the two largest need more.
    assert budget.fits or (name, size) in {
        ("t4", "gpt2-774m"), ("t4", "gpt2-1558m"), ("l4", "gpt2-1558m"),
    }  # fmt: skip


def test_every_setting_that_spares_memory_does():
    config, _ = planned("gpt2-124m")
    step = Step(16, 4, "bfloat16", "cuda")
    sizes = [
        memory(config, replace(step, **change)).total
        for change in ({}, {"loss_chunk": 2048}, {"loss_chunk": 2048, "recompute": True})
    ]
    assert sizes == sorted(sizes, reverse=True) and sizes[2] < sizes[0] / 3
    alone = memory(config, step).total
    shared = memory(config, replace(step, processes=8, parallel="fsdp")).total
    assert shared < alone < memory(config, replace(step, processes=8)).total


def test_what_was_asked_for_stays():
    config, train = planned("gpt2-124m")
    train = replace(train, accumulate=16, recompute=True, loss_chunk=512, dtype="float32")
    kept = frozenset(("accumulate", "recompute", "loss_chunk"))
    cut, _ = fit(config, train, device("h100"), keep=kept)
    assert cut == train


def test_time_grows_with_what_is_computed_twice_and_shrinks_with_processes():
    config, train = planned("gpt2-124m")
    train = replace(train, dtype="bfloat16")
    on = device("h100")
    plain = step_seconds(config, train, on, 1)
    assert 1 < step_seconds(config, replace(train, loss_chunk=9), on, 1) / plain < 4 / 3
    assert 1 < step_seconds(config, replace(train, recompute=True), on, 1) / plain < 4 / 3
    eight = step_seconds(config, train, on, 8)
    assert plain / 8 < eight < plain / 7.5  # gradients travel too


def test_a_mixture_that_cannot_be_is_one_sentence():
    config, train = planned("gpt2-124m")
    with pytest.raises(ConfigError, match="no device is called 'h900'"):
        device("h900")
    with pytest.raises(ConfigError, match="share of the peak"):
        device("h100", 1.5)
    with pytest.raises(ConfigError, match="less than one step"):
        plan_run(config, train, device("h100"), tokens=1000)
    with pytest.raises(ConfigError, match="3 processes cannot share"):
        plan_run(config, train, device("h100"), processes=3)
    with pytest.raises(ConfigError, match="not what a t4 trains in"):
        plan_run(config, replace(train, dtype="bfloat16"), device("t4"))
    with pytest.raises(ConfigError, match="fsdp and dtype is float16"):
        plan_run(config, replace(train, parallel="fsdp"), device("t4"), processes=8)
    with pytest.raises(ConfigError, match="which accumulate 7 does not divide"):
        fit(config, replace(train, accumulate=7, batch_size=7), device("h100"), 7,
            frozenset(["accumulate"]))  # fmt: skip


def test_every_device_has_a_peak_and_says_whose_figure_it_takes():
    assert set(device_names()) >= {"t4", "l4", "a100", "h100", "h200", "cpu"}
    table = tomllib.loads(data_path("devices.toml").read_text("utf8"))
    for name in set(device_names()) - {"cpu"}:
        on = device(name)
        assert table[name]["peak"] in PEAK_TFLOPS and len(on.source) > 20
        assert all(0 < share < 1 for share in on.reached.values())
        assert device(name, 0.25).reached[on.dtype] == 0.25


def test_a_deep_models_rate_follows_from_two_shallow_ones(monkeypatch):
    now = [0.0]

    def one_step(config, dtype):
        def step():
            now[0] += 0.3 + 0.1 * config.n_layer  # the head's seconds, and each block's

        return step

    monkeypatch.setattr(devices, "_one_step", one_step)
    config = GPTConfig(8, 16, 6, 2, 8)
    on = devices.this_cpu(config, "float32", clock=lambda: now[0])
    flops = config.block_size * flops_per_token(config)
    assert on.flops["float32"] == pytest.approx(flops / (0.3 + 6 * 0.1))


def test_a_processor_is_measured_on_real_steps():
    before = torch.get_rng_state()
    for dtype in ("float32", "bfloat16"):
        on = devices.this_cpu(GPTConfig(8, 16, 6, 2, 8), dtype, seconds=0)
        assert on.flops[dtype] > 0 and on.memory > 0
    assert torch.get_rng_state().equal(before)


def test_presets_train_in_the_vocabulary_that_they_name():
    for name in PRESETS:
        if name.startswith("gpt2-"):
            config, train = planned(name)
            assert config.vocab_size % 64 == 0 and config.head_size == 64
            assert train.batch_size % train.accumulate == 0
    assert planned("gpt2-124m")[0].vocab_size == 50304
