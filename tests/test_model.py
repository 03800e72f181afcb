"""gptlib.model is GPT-2, and its fused attention is the attention that chapter 2 writes out."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.hub import from_hf, to_hf
from gptlib.model import GPT, GPTConfig, KVCache, naive_attention

TINY = GPTConfig(block_size=16, vocab_size=23, n_layer=2, n_head=2, n_embd=16)


def tiny(**changes) -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(**(TINY.to_dict() | changes)))


@given(
    T=st.integers(1, 20),
    extra=st.integers(0, 5),
    D=st.sampled_from([1, 4, 16]),
    H=st.integers(1, 3),
)
@settings(max_examples=40, deadline=None)
def test_naive_attention_equals_fused_forward_and_backward(T, extra, D, H):
    torch.manual_seed(T)
    q = torch.randn(2, H, T, D, requires_grad=True)
    k, v = (torch.randn(2, H, T + extra, D, requires_grad=True) for _ in range(2))
    mask = torch.ones(T, T + extra, dtype=torch.bool).tril(extra)
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    naive = naive_attention(q, k, v)
    torch.testing.assert_close(naive, fused, atol=1e-5, rtol=1e-4)
    weights = torch.randn_like(fused)
    grads = [torch.autograd.grad((y * weights).sum(), (q, k, v)) for y in (naive, fused)]
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_logits_and_gradients_equal_transformers():
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    hf = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            vocab_size=97, n_positions=32, n_embd=48, n_layer=3, n_head=4,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
        )
    )  # fmt: skip
    for p in hf.parameters():  # biases and norms too: zeros and ones would hide a mix-up
        torch.nn.init.normal_(p, std=0.2)
    ours = from_hf(hf)
    idx = torch.randint(97, (2, 32))
    targets = torch.randint(97, (2, 32))
    theirs = hf(idx).logits
    logits, loss = ours(idx, targets)
    assert (logits - theirs).abs().max() < 1e-4
    loss.backward()
    F.cross_entropy(theirs.flatten(0, 1), targets.flatten()).backward()
    back = to_hf(ours)
    assert (back(idx).logits - theirs).abs().max() < 1e-4
    grads = dict(hf.named_parameters())
    for name, p in ours.named_parameters():
        expected = grads[name].grad
        if name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")):
            expected = expected.t()
        assert (p.grad - expected).abs().max() < 1e-4, name


def test_a_gpt2_with_other_options_is_refused():
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=16, n_layer=1, n_head=2, vocab_size=11, n_positions=8,
        activation_function="relu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="relu"):
        from_hf(transformers.GPT2LMHeadModel(config))


def test_gpt2_has_124_million_parameters_with_the_head_counted_once():
    with torch.device("meta"):
        model = GPT(GPTConfig())
    assert model.num_params() == 124_439_808
    assert model.lm_head.weight is model.transformer.wte.weight


def test_residual_projections_start_smaller_with_depth():
    model = tiny(n_layer=8, n_embd=128)
    projection = model.transformer.h[3].mlp.c_proj.weight.std().item()
    assert projection == pytest.approx(0.02 / 4, rel=0.05)
    assert model.transformer.h[3].mlp.c_fc.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_the_future_changes_nothing_before_it():
    model = tiny().eval()
    a = torch.randint(23, (1, 16))
    b = a.clone()
    b[0, 10] = (b[0, 10] + 1) % 23
    la, lb = model(a)[0], model(b)[0]
    assert torch.equal(la[:, :10], lb[:, :10])
    assert not torch.equal(la[:, 10:], lb[:, 10:])


def test_first_loss_is_near_the_log_of_the_vocabulary():
    idx = torch.randint(23, (8, 16))
    _, loss = tiny()(idx, idx.roll(1, 1))
    assert loss.item() == pytest.approx(torch.tensor(23.0).log().item(), abs=0.05)


def test_targets_of_minus_one_are_left_out():
    model, idx = tiny(), torch.randint(23, (2, 16))
    half = idx.clone()
    half[:, 8:] = -1
    logits, loss = model(idx, half)
    expected = F.cross_entropy(logits[:, :8].flatten(0, 1), idx[:, :8].flatten())
    torch.testing.assert_close(loss, expected)
    assert model(idx, half, return_logits=False)[0] is None


def test_cached_logits_equal_uncached():
    model, idx = tiny().eval(), torch.randint(23, (2, 16))
    cache = KVCache(model.config, 2, torch.float32, "cpu")
    parts = [model.hidden(idx[:, :7], cache)]
    parts += [model.hidden(idx[:, t : t + 1], cache) for t in range(7, 16)]
    logits = model.lm_head(torch.cat(parts, dim=1))
    torch.testing.assert_close(logits, model(idx)[0], atol=1e-4, rtol=0)


def test_dropout_acts_in_training_only():
    model, idx = tiny(dropout=0.5, attn_dropout=0.5), torch.randint(23, (1, 16))
    assert not torch.equal(model(idx)[0], model(idx)[0])
    model.eval()
    assert torch.equal(model(idx)[0], model(idx)[0])


@pytest.mark.parametrize(
    "wrong", [{"n_embd": 30, "n_head": 4}, {"n_layer": 0}, {"vocab_size": 2.5}, {"dropout": 1.0},
              {"attn_dropout": -0.1}, {"block_size": True}],
)  # fmt: skip
def test_bad_configs_are_refused(wrong):
    with pytest.raises(ConfigError):
        GPTConfig(**(TINY.to_dict() | wrong))


def test_unknown_config_keys_are_refused():
    with pytest.raises(ConfigError, match="rope"):
        GPTConfig.from_dict(TINY.to_dict() | {"rope": True})


def test_bad_inputs_are_refused():
    model = tiny()
    with pytest.raises(DataError, match="block_size is 16"):
        model(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(DataError, match="vocabulary has 23"):
        model(torch.full((1, 4), 23))
    cache = KVCache(model.config, 1, torch.float32, "cpu")
    model.hidden(torch.zeros(1, 3, dtype=torch.int64), cache)
    with pytest.raises(DataError, match="one at a time"):
        model.hidden(torch.zeros(1, 2, dtype=torch.int64), cache)


def test_flops_agree_with_torchs_counter():
    """The formula counts what torch counts, but for attention, where fused kernels differ."""
    from torch.utils.flop_counter import FlopCounterMode

    model, idx = tiny(n_embd=64), torch.randint(23, (4, 16))
    with FlopCounterMode(display=False) as counter:
        model(idx, idx)[1].backward()
    counted = counter.get_total_flops() / idx.numel()
    assert model.flops_per_token(16) == pytest.approx(counted, rel=0.1)
