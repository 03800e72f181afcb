"""Less memory, the same numbers: chunks of the loss, and blocks that run again on the way back."""

import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.errors import ConfigError
from gptlib.evaluation import split_loss, token_losses
from gptlib.runs import read_jsonl

sys.path.append(str(Path(__file__).parent.parent / "bench"))

import memory

NEWEST = dict(
    rotary=True, qk_norm=True, norm="rmsnorm", activation="relu2", tied_head=False, softcap=5.0
)  # fmt: skip
V = 97


def wide(recompute: bool = False, loss_chunk: int = 0, **changes) -> GPT:
    """A model whose weights are far from zero, in training mode."""
    torch.manual_seed(1)
    model = GPT(
        GPTConfig(**(dict(block_size=32, vocab_size=V, n_layer=2, n_head=2, n_embd=32) | changes))
    )
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.1)
    model.recompute, model.loss_chunk = recompute, loss_chunk
    return model


def batch(rows: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and targets of which some, ragged, do not count."""
    torch.manual_seed(2)
    idx = torch.randint(V, (rows, 32))
    targets = idx.roll(-1, 1)
    targets[0, 3:20] = -1
    targets[-1, 1:] = -1
    return idx, targets


def loss_and_gradients(model, call=None, scale=1.0, dtype=None):
    torch.manual_seed(3)  # for dropout
    with torch.autocast("cpu", dtype) if dtype else nullcontext():
        loss = (model if call is None else call)(*batch(), return_logits=False)[1]
    (loss * scale).backward()
    after = torch.rand(1)  # whatever is drawn next
    return loss.detach(), {n: p.grad / scale for n, p in model.named_parameters()}, after


# --- chunks of the loss ---------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(chunk=st.integers(1, 100), newest=st.booleans(), recompute=st.booleans())
def test_chunks_have_the_loss_and_the_gradients_of_the_whole(chunk, newest, recompute):
    options = NEWEST if newest else {}
    whole, gradients, _ = loss_and_gradients(wide(**options))
    loss, pieces, _ = loss_and_gradients(wide(recompute, chunk, **options))
    torch.testing.assert_close(loss, whole, rtol=1e-6, atol=0)
    for name, gradient in gradients.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, NEWEST], ids=["gpt2", "newest"])
def test_no_more_logits_than_a_chunk_are_ever_there(options):
    model, sizes = wide(loss_chunk=10, **options), []
    model.lm_head.register_forward_hook(lambda head, x, y: sizes.append(y.numel()))
    kept, loss = memory.saved_bytes(model, lambda: model(*batch(), return_logits=False)[1])
    whole = wide(**options)
    logits_and_all, _ = memory.saved_bytes(whole, lambda: whole(*batch(), return_logits=False)[1])
    assert logits_and_all["float32"] - kept["float32"] >= 4 * 96 * V  # nothing of size V is kept
    loss.backward()
    assert set(sizes) == {10 * V, 6 * V} and len(sizes) == 2 * 10  # and once more, going back


def test_logits_that_are_asked_for_are_whole():
    logits, loss = wide(loss_chunk=10)(*batch())
    expected, whole = wide()(*batch())
    assert torch.equal(logits, expected) and torch.equal(loss, whole)


def test_with_many_chunks_bfloat16_is_as_exact_as_at_once():
    """One copy of the head for all chunks would add up their gradients in 8 bits."""
    _, truth, _ = loss_and_gradients(wide())
    head = "transformer.wte.weight"

    def error(chunk: int) -> float:
        _, found, _ = loss_and_gradients(wide(loss_chunk=chunk), dtype=torch.bfloat16)
        return ((found[head] - truth[head]).norm() / truth[head].norm()).item()

    at_once = error(0)
    assert max(error(1), error(7)) < 1.1 * at_once < 0.02
    with mock.patch("gptlib.chunked_loss._casting_anew", lambda kind: nullcontext()):
        assert error(1) > 1.2 * at_once


def test_a_scaled_loss_has_scaled_gradients():
    """As a gradient scaler asks for: nothing is rounded to float16 before it was scaled."""
    _, whole, _ = loss_and_gradients(wide(), scale=2.0**16)
    _, pieces, _ = loss_and_gradients(wide(True, 13), scale=2.0**16)
    for name, gradient in whole.items():
        torch.testing.assert_close(pieces[name], gradient, rtol=1e-5, atol=1e-7)


def test_a_head_of_another_kind_is_cut_as_well():
    """Such as one that LoRA has changed: only its hidden states are."""

    class Adapted(torch.nn.Module):
        def __init__(self, base):
            super().__init__()
            self.base, self.added = base.requires_grad_(False), torch.nn.Linear(32, V, bias=False)

        def forward(self, x):
            return self.base(x) + self.added(x)

    found = []
    for chunk in (0, 13):
        model = wide(loss_chunk=chunk, tied_head=False)
        torch.manual_seed(4)
        model.lm_head = Adapted(model.lm_head)
        model(*batch(), return_logits=False)[1].backward()
        assert model.lm_head.base.weight.grad is None
        found.append(model.lm_head.added.weight.grad)
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("options", [{}, NEWEST], ids=["gpt2", "newest"])
def test_the_loss_of_each_target_in_chunks(options):
    idx, targets = batch()
    model = wide(**options).eval()
    logits = model(idx)[0].flatten(0, 1)
    expected = F.cross_entropy(logits, targets.flatten(), ignore_index=-1, reduction="none")
    assert torch.equal(token_losses(model, idx, targets), expected.view(3, 32))
    torch.testing.assert_close(model(idx, targets, reduction="none")[1], expected.view(3, 32))
    model.loss_chunk = 7
    torch.testing.assert_close(token_losses(model, idx, targets), expected.view(3, 32))


def test_an_evaluation_never_makes_more_logits_than_it_has_room_for(monkeypatch):
    """Its batches are large: 64 windows of 1,024 tokens would make 13 GB of GPT-2's logits."""
    model, ids, sizes = wide().eval(), torch.randint(V, (33 * 32,)), []
    before = split_loss(model, ids)
    model.lm_head.register_forward_hook(lambda head, x, y: sizes.append(y.numel()))
    monkeypatch.setattr("gptlib.model.MOST_LOGITS", 50 * V + 1)
    assert split_loss(model, ids) == pytest.approx(before, abs=1e-6)
    assert max(sizes) == 50 * V and sum(sizes) >= (len(ids) - 1) * V


# --- blocks that run again ------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, NEWEST], ids=["gpt2", "newest"])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_recomputed_gradients_are_the_same_bits_with_dropout(options, dtype):
    drops = dict(dropout=0.2, attn_dropout=0.2)
    one, two = (
        loss_and_gradients(wide(recompute, **drops, **options), dtype=dtype)
        for recompute in (False, True)
    )
    assert torch.equal(one[0], two[0])
    assert all(torch.equal(two[1][name], gradient) for name, gradient in one[1].items())
    assert torch.equal(one[2], two[2])  # and later draws are as if nothing had been drawn twice


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_of_a_block_that_is_recomputed_only_its_input_is_kept(dtype):
    def kept(layers: int, recompute: bool) -> int:
        model = wide(recompute, n_layer=layers)
        run = partial(memory.forward, model, batch()[0], dtype)
        return sum(memory.saved_bytes(model, run)[0].values())

    assert kept(3, True) - kept(2, True) == 4 * 96 * 32  # one float a channel and token
    assert kept(3, False) - kept(2, False) > 10 * 4 * 96 * 32


def test_what_a_cache_or_no_gradient_needs_is_not_recomputed():
    model = wide(recompute=True).eval()
    with torch.no_grad():
        assert torch.equal(model(batch()[0])[0], wide().eval()(batch()[0])[0])


# --- compiled, and in a run -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [None, torch.bfloat16], ids=["float32", "bfloat16"])
def test_compiled_it_is_one_graph_with_the_same_gradients(dtype):
    """Traced, forward and backward, and run as traced: no compiler for C++ is needed."""
    torch._dynamo.reset()
    for recompute, chunk in ((False, 0), (True, 40)):
        model = wide(recompute, chunk, n_layer=1)
        called = torch.compile(model, backend="aot_eager", fullgraph=True)
        loss, gradients, _ = loss_and_gradients(model, called, dtype=dtype)
        plain, expected, _ = loss_and_gradients(wide(n_layer=1), dtype=dtype)
        near = dict(rtol=1e-5, atol=1e-6) if dtype is None else dict(rtol=0.05, atol=2e-4)
        torch.testing.assert_close(loss, plain, rtol=1e-6 if dtype is None else 1e-3, atol=0)
        for name, gradient in expected.items():
            torch.testing.assert_close(gradients[name], gradient, **near)


def test_a_run_may_change_them_when_it_is_resumed(make_model, ids, tokenizer, tmp_path):
    def go(run, stop_after=None, **changes):
        config = TrainConfig(
            steps=9, batch_size=4, accumulate=2, lr=3e-3, warmup=2, eval_every=3, **changes
        )
        one = Trainer(make_model(), ids[:2000], ids[2000:], config, tmp_path / run, tokenizer)
        return one.fit(stop_after=stop_after)

    plain = go("plain")
    for stop, changes in ((3, {}), (6, {"recompute": True}), (None, {"loss_chunk": 5})):
        changed = go("changed", stop, **changes)
    again = go("again", recompute=True)
    assert [x["val"] for x in again.log if "val" in x] == [
        x["val"] for x in plain.log if "val" in x
    ]
    logs = [read_jsonl(tmp_path / run / "log.jsonl") for run in ("plain", "changed", "again")]
    assert logs[2] == logs[0] and logs[1][:7] == logs[0][:7]  # bit for bit until the chunks
    for a, b in zip(logs[1], logs[0], strict=True):
        assert a.get("loss", a.get("val")) == pytest.approx(b.get("loss", b.get("val")), abs=1e-5)
    assert changed.model.loss_chunk == 5 and not changed.model.recompute


@pytest.mark.parametrize(
    "wrong", [{"recompute": 1}, {"recompute": "yes"}, {"loss_chunk": -1}, {"loss_chunk": 2.5},
              {"loss_chunk": True}],
)  # fmt: skip
def test_settings_that_say_nothing_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=f"{name} is .*must be"):
        TrainConfig(**wrong)


# --- the bench ------------------------------------------------------------------------------------


def test_saved_bytes_count_a_storage_once_and_no_weights():
    layer, x = torch.nn.Linear(8, 8), torch.ones(4, 8)
    kept, _ = memory.saved_bytes(layer, lambda: (layer(x) * 2.0).exp().sum())
    assert kept == {"float32": 2 * 4 * 8 * 4}  # x and exp's result; not the weight
    kept, _ = memory.saved_bytes(layer, lambda: (lambda y: y * y[:2].repeat(2, 1) * y)(layer(x)))
    assert kept["float32"] % (4 * 8 * 4) == 0


def test_the_peak_is_that_of_the_tensors_held_at_once():
    weight = torch.ones(1000)

    def run():
        a = weight * 2  # 4,000 bytes
        b = a[:500] + 1  # 2,000 more, and a view of a is none
        weight.add_(1)
        del a
        return b + torch.ones(500)  # 2,000 each, beside b

    assert memory.peak_of_tensors(run) == 6000


@pytest.mark.parametrize("way", memory.WAYS)
def test_counting_without_computing_counts_what_is_computed(way):
    config = GPTConfig(32, 500, 2, 2, 32)
    setting = memory.Setting(config, 2, "bfloat16", way[0], way[1] // 16)
    model, idx = memory.prepared(setting)
    kept, _ = memory.saved_bytes(model, partial(memory.forward, model, idx, "bfloat16"))
    counted = memory.count(setting)
    assert counted["saved_mb"] * memory.MB == sum(kept.values())
    real = memory.peak_of_tensors(memory.make_step(setting, torch.get_num_threads()))
    assert counted["step_mb"] * memory.MB == pytest.approx(real, rel=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_less_memory_by_each_way(dtype):
    config = GPTConfig(128, 2000, 6, 2, 64)
    rows = [
        memory.count(memory.Setting(config, 8, dtype, recompute, chunk))
        for recompute, chunk in memory.WAYS
    ]
    for key in ("saved_mb", "step_mb"):
        plain, chunk, recompute, both = (row[key] for row in rows)
        assert both < min(chunk, recompute) and plain > max(chunk, recompute)
    logits = 4 * 8 * 128 * 2000 / memory.MB
    assert rows[0]["saved_mb"] - rows[1]["saved_mb"] > 0.99 * logits
    assert rows[3]["step_mb"] < rows[0]["step_mb"] / 4
