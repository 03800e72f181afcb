"""gptlib.model is GPT-2, and its fused attention is the attention that chapter 2 writes out."""

import itertools
import math
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.checkpoint import load_weights, plain_weights
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import token_losses
from gptlib.hub import from_hf, to_hf
from gptlib.model import GPT, GPTConfig, KVCache, fused_attention, naive_attention
from gptlib.model_config import ACTIVATIONS, NORMS
from gptlib.rotary import Rotary
from gptlib.sampling import generate

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
        activation_function="silu", bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="silu"):
        from_hf(transformers.GPT2LMHeadModel(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (dict(embd_pdrop=0.2), "embd_pdrop=0.2 beside resid_pdrop=0.1 .make the two equal"),
        (dict(add_cross_attention=True), "add_cross_attention=True"),
        (dict(scale_attn_weights=False), "another attention scale"),
        (dict(scale_attn_by_inverse_layer_idx=True), "another attention scale"),
        (dict(layer_norm_epsilon=1e-6), "layer_norm_epsilon=1e-06"),
        (dict(n_inner=48), "n_inner=48"),
    ],
)
def test_no_setting_of_a_gpt2_is_dropped_without_a_word(changes, message):
    transformers = pytest.importorskip("transformers")
    shape = dict(n_embd=16, n_layer=1, n_head=2, vocab_size=11, n_positions=8)
    config = transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0, **changes)
    hf = transformers.GPT2LMHeadModel(config)
    with pytest.raises(ConfigError, match=message):
        from_hf(hf)
    for name, value in transformers.GPT2Config().to_dict().items():
        if name in changes:
            setattr(config, name, value)
    if not hasattr(hf.transformer.h[0], "crossattention") and "n_inner" not in changes:
        assert from_hf(hf).config.dropout == 0.1  # with the setting mended, it goes through


def test_weights_beside_those_of_gpt2_are_refused():
    transformers = pytest.importorskip("transformers")
    shape = dict(n_embd=16, n_layer=1, n_head=2, vocab_size=11, n_positions=8)
    hf = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(**shape, bos_token_id=0, eos_token_id=0)
    )
    hf.transformer.h[0].attn.register_buffer("bias", torch.ones(1, 1, 8, 8))  # as files once had
    from_hf(hf)
    hf.transformer.adapter = torch.nn.Linear(2, 2, bias=False)
    with pytest.raises(ConfigError, match="1 weights more, such as transformer.adapter.weight"):
        from_hf(hf)


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


@pytest.mark.parametrize("options", [{}, {"rotary": True, "qk_norm": True}], ids=str)
def test_a_cache_is_continued_by_several_tokens(options):
    model, idx = scrambled(**options).eval(), torch.randint(23, (2, 16))
    cache = KVCache(model.config, 2, torch.float64, "cpu")
    parts = [model.hidden(some, cache) for some in idx.split([3, 6, 1, 5, 1], dim=1)]
    torch.testing.assert_close(model.logits(torch.cat(parts, dim=1)), model(idx)[0])


@pytest.mark.parametrize("options", [{}, {"rotary": True, "qk_norm": True, "softcap": 5.0}])
def test_it_can_be_exported_with_any_number_of_tokens(options):
    model, idx = tiny(**options).eval(), torch.randint(23, (2, 16))
    shapes = {"idx": {1: torch.export.Dim("T", min=1, max=16)}}
    exported = torch.export.export(model, (idx[:, :8].clone(),), dynamic_shapes=shapes).module()
    for T in (1, 5, 16):
        torch.testing.assert_close(exported(idx[:, :T])[0], model(idx[:, :T])[0])


def test_dropout_acts_in_training_only():
    model, idx = tiny(dropout=0.5, attn_dropout=0.5), torch.randint(23, (1, 16))
    assert not torch.equal(model(idx)[0], model(idx)[0])
    model.eval()
    assert torch.equal(model(idx)[0], model(idx)[0])


@pytest.mark.parametrize(
    "wrong", [{"dropout": 1.0}, {"dropout": "a"}, {"dropout": float("nan")},
              {"attn_dropout": -0.1}, {"rotary": 1}, {"qk_norm": "yes"},
              {"norm": "batchnorm"}, {"activation": "silu"}, {"tied_head": None}, {"zero_init": 0},
              {"softcap": -1.0}, {"softcap": float("inf")}, {"softcap": "5"}, {"bias": "no"},
              {"rotary": True, "n_embd": 6}],
)  # fmt: skip
def test_bad_configs_are_refused(wrong):
    with pytest.raises(ConfigError):
        GPTConfig(**(TINY.to_dict() | wrong))


def test_unknown_config_keys_are_refused():
    with pytest.raises(ConfigError, match="alibi"):
        GPTConfig.from_dict(TINY.to_dict() | {"alibi": True})


def test_bad_inputs_are_refused():
    model = tiny()
    with pytest.raises(DataError, match="block_size is 16"):
        model(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(DataError, match="give .B, T."):
        model(torch.zeros(4, dtype=torch.int64))
    with pytest.raises(DataError, match="targets have shape .1, 3. and idx has .1, 4."):
        model(torch.zeros(1, 4, dtype=torch.int64), torch.zeros(1, 3, dtype=torch.int64))
    with pytest.raises(DataError, match="only -1 is ignored"):
        model(torch.zeros(1, 2, dtype=torch.int64), torch.tensor([[0, -2]]))
    for kind in (torch.float32, torch.bool, torch.uint8):
        with pytest.raises(DataError, match=f"idx has the type {kind}; token ids are whole"):
            model(torch.zeros(1, 4, dtype=kind))
    idx = torch.zeros(1, 4, dtype=torch.int64)
    with pytest.raises(DataError, match="idx is on meta and the model on cpu; move it there"):
        model(idx.to("meta"))
    with pytest.raises(DataError, match="targets is on meta and the model on cpu"):
        model(idx, idx.to("meta"))
    cache = KVCache(model.config, 1, torch.float32, "cpu")
    model.hidden(torch.zeros(1, 15, dtype=torch.int64), cache)
    with pytest.raises(DataError, match="17 tokens, but block_size is 16"):
        model.hidden(torch.zeros(1, 2, dtype=torch.int64), cache)


def test_flops_agree_with_torchs_counter():
    """The formula counts what torch counts, but for attention, where fused kernels differ."""
    from torch.utils.flop_counter import FlopCounterMode

    model, idx = tiny(n_embd=64), torch.randint(23, (4, 16))
    with FlopCounterMode(display=False) as counter:
        model(idx, idx)[1].backward()
    counted = counter.get_total_flops() / idx.numel()
    assert model.flops_per_token(16) == pytest.approx(counted, rel=0.1)


# --- the newer parts, one field each --------------------------------------------------------------

CHOICES = {
    "rotary": (False, True), "qk_norm": (False, True), "norm": NORMS,
    "activation": tuple(ACTIVATIONS), "tied_head": (True, False), "zero_init": (False, True),
    "softcap": (0.0, 5.0),
}  # fmt: skip
ENDS = [(values[0], values[-1]) for values in CHOICES.values()]  # GPT-2's choice and the newest
EVERY = [dict(zip(CHOICES, values, strict=True)) for values in itertools.product(*ENDS)]
EACH = [{name: value} for name, values in CHOICES.items() for value in values[1:]]


def scrambled(**changes) -> GPT:
    """A model whose every weight is far from zero and from uniform, in float64."""
    model = tiny(**changes).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


def test_every_combination_counts_runs_and_learns():
    """Parameters by hand, FLOPs by torch's counter, naive attention, a gradient for each weight."""
    from torch.utils.flop_counter import FlopCounterMode

    C, V, T, L = 16, 23, 16, 1
    idx = torch.randint(V, (2, T))

    def naive(q, k, v, causal, dropout):
        return naive_attention(q, k, v, causal)

    for options in EVERY:
        model = tiny(n_layer=L, **options)
        norm = C if options["norm"] == "rmsnorm" else 2 * C
        tables = V * C * (1 if options["tied_head"] else 2) + (0 if options["rotary"] else T * C)
        assert model.num_params() == tables + L * (12 * C * C + 9 * C + 2 * norm) + norm, options
        for p in model.parameters():
            torch.nn.init.normal_(p, std=0.3)
        model.double()
        logits = model(idx)[0]
        with mock.patch("gptlib.model.fused_attention", naive):
            with FlopCounterMode(display=False) as counter:
                by_hand, loss = model(idx, idx.roll(-1, 1))
                loss.backward()
        torch.testing.assert_close(by_hand, logits)
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())
        vectors = sum(p.numel() for p in model.parameters() if p.dim() < 2)  # these only add
        counted = counter.get_total_flops() / idx.numel()
        assert model.flops_per_token(T) - 6 * vectors == counted, options
        same = GPT(GPTConfig.from_dict(model.config.to_dict())).double()
        load_weights(same, plain_weights(model))
        assert torch.equal(same(idx)[0], logits)


@pytest.mark.parametrize("options", EACH, ids=str)
def test_each_field_changes_the_model(options):
    idx = torch.randint(23, (2, 16))
    plain, changed = tiny(), tiny(**options)
    if options != {"tied_head": False} and options != {"zero_init": True}:
        torch.nn.init.normal_(plain.transformer.wte.weight, std=1.0)
        changed.transformer.wte.weight.data.copy_(plain.transformer.wte.weight)
    assert not torch.equal(plain(idx)[0], changed(idx)[0])


def test_configs_saved_before_a_field_existed_still_load():
    old = {k: v for k, v in TINY.to_dict().items() if k not in CHOICES}
    assert GPTConfig.from_dict(old) == TINY


@pytest.mark.parametrize("options", [{"rotary": True}, {"rotary": True, "qk_norm": True}], ids=str)
def test_cached_logits_equal_uncached_with_rotary_positions(options):
    model, idx = scrambled(**options).eval(), torch.randint(23, (2, 16))
    cache = KVCache(model.config, 2, torch.float64, "cpu")
    parts = [model.hidden(idx[:, :7], cache)]
    parts += [model.hidden(idx[:, t : t + 1], cache) for t in range(7, 16)]
    torch.testing.assert_close(model.logits(torch.cat(parts, dim=1)), model(idx)[0])


def test_rotary_by_hand():
    """One pair of channels turns by its position; the second pair a hundred times slower."""
    x = torch.tensor([1.0, 1.0, 0.0, 0.0]).expand(1, 1, 5, 4)
    turned = Rotary(8, 4)(x, start=3)[0, 0, 2]  # position 5
    expected = [math.cos(5), math.cos(0.05), math.sin(5), math.sin(0.05)]
    torch.testing.assert_close(turned, torch.tensor(expected))
    assert torch.equal(Rotary(8, 4)(x)[0, 0, 0], x[0, 0, 0])  # position 0 does not turn


@given(m=st.integers(0, 40), n=st.integers(0, 40), shift=st.integers(0, 20))
@settings(max_examples=40, deadline=None)
def test_rotary_products_depend_on_the_distance_only(m, n, shift):
    torch.manual_seed(m)
    rotary = Rotary(64, 8).double()
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64)
    here = (rotary(q, m) * rotary(k, n)).sum()
    there = (rotary(q, m + shift) * rotary(k, n + shift)).sum()
    torch.testing.assert_close(here, there, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        rotary(q, m).norm(), q.norm(), atol=1e-5, rtol=1e-5
    )  # turned, not stretched


def test_rotary_attention_reads_the_distance_not_the_place():
    """Six tokens at positions 9 to 14 attend as the same six do at 0 to 5."""
    attention, x = tiny(rotary=True).transformer.h[0].attn, torch.randn(1, 6, 16)
    later = mock.Mock(length=9, start=9, mask=None, append=lambda layer, k, v: (k, v))
    torch.testing.assert_close(attention(x), attention(x, later))


def test_qk_norm_bounds_every_score():
    seen = []

    def watched(q, k, v, **options):
        seen.append((q @ k.transpose(-2, -1)).abs().max().item() / math.sqrt(q.size(-1)))
        return fused_attention(q, k, v, **options)

    idx = torch.randint(23, (2, 16))
    for qk_norm in (False, True):
        model = scrambled(qk_norm=qk_norm)
        for block in model.transformer.h:
            torch.nn.init.normal_(block.attn.c_attn.weight, std=5.0)
        with mock.patch("gptlib.model.fused_attention", watched):
            model(idx)
    assert max(seen[:2]) > 10 > math.sqrt(8) + 1e-6 > max(seen[2:])


def test_rmsnorm_by_hand():
    norm, x = tiny(norm="rmsnorm").transformer.ln_f, torch.randn(3, 16)
    torch.nn.init.normal_(norm.weight)
    by_hand = x / (x.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), by_hand)
    assert isinstance(norm, torch.nn.RMSNorm) and not hasattr(norm, "bias")
    assert isinstance(tiny().transformer.ln_f, torch.nn.LayerNorm)


def test_activations_by_hand():
    x = torch.tensor([-2.0, -0.5, 0.0, 1.0, 3.0])
    exact = x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))
    tanh = 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    torch.testing.assert_close(ACTIVATIONS["gelu"](x), exact)
    torch.testing.assert_close(ACTIVATIONS["gelu_tanh"](x), tanh)
    assert ACTIVATIONS["relu"](x).tolist() == [0, 0, 0, 1, 3]
    assert ACTIVATIONS["relu2"](x).tolist() == [0, 0, 0, 1, 9]


def test_an_untied_head_has_weights_of_its_own():
    model = tiny(tied_head=False)
    assert model.lm_head.weight is not model.transformer.wte.weight
    assert not torch.equal(model.lm_head.weight, model.transformer.wte.weight)
    assert "lm_head.weight" in plain_weights(model)


def test_zero_init_begins_with_a_uniform_prediction():
    idx = torch.randint(23, (4, 16))
    logits, loss = tiny(zero_init=True, tied_head=False)(idx, idx)
    assert (logits == 0).all() and loss.item() == pytest.approx(math.log(23))
    tied = tiny(zero_init=True)  # the blocks add nothing yet
    x = tied.transformer.wte(idx) + tied.transformer.wpe.weight
    expected = tied.transformer.ln_f(x) @ tied.transformer.wte.weight.T
    torch.testing.assert_close(tied(idx)[0], expected)


def test_zero_init_leaves_the_other_weights_alone():
    plain, zero = (tiny(zero_init=z, tied_head=False).state_dict() for z in (False, True))
    changed = {name for name in plain if not torch.equal(plain[name], zero[name])}
    assert changed == {n for n in plain if n.endswith("c_proj.weight")} | {"lm_head.weight"}


def test_softcap_bounds_the_logits_and_shrinks_their_gradient():
    plain, capped = scrambled(), scrambled(softcap=1.0)
    load_weights(capped, plain_weights(plain))
    idx = torch.randint(23, (2, 16))
    raw, (logits, loss) = plain(idx)[0], capped(idx, idx)
    assert raw.abs().max() > 1 > logits.abs().max()
    torch.testing.assert_close(logits, torch.tanh(raw))
    assert torch.equal(capped(idx, idx, return_logits=False)[1], loss)
    hidden = plain.hidden(idx).detach().requires_grad_()
    (slope,) = torch.autograd.grad(capped.logits(hidden).sum(), hidden)
    expected = (1 - torch.tanh(raw) ** 2) @ plain.lm_head.weight
    torch.testing.assert_close(slope, expected.detach())


def test_attention_under_autocast_on_a_cpu_stays_in_float32():
    model, idx = tiny(qk_norm=True, rotary=True), torch.randint(23, (2, 16))
    dtypes = []
    original = F.scaled_dot_product_attention

    def watched(q, k, v, **options):
        dtypes.extend((q.dtype, k.dtype, v.dtype))
        return original(q, k, v, **options)

    with mock.patch("torch.nn.functional.scaled_dot_product_attention", watched):
        with torch.autocast("cpu", torch.bfloat16):
            half = model(idx)[0]
    assert set(dtypes) == {torch.float32} and half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), model(idx)[0], atol=0.02, rtol=0.02)


@pytest.mark.parametrize(
    "options", [{"rotary": True}, {"qk_norm": True}, {"norm": "rmsnorm"}, {"activation": "relu2"},
                {"softcap": 9.0}], ids=str,
)  # fmt: skip
def test_to_hf_refuses_what_gpt2_cannot_express(options):
    pytest.importorskip("transformers")
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        to_hf(tiny(**options))


@pytest.mark.parametrize(
    "options", [{}, {"activation": "gelu"}, {"activation": "relu"}, {"tied_head": False},
                {"zero_init": True}, {"bias": False}, {"bias": False, "tied_head": False}], ids=str,
)  # fmt: skip
def test_what_gpt2_can_express_goes_there_and_back(options):
    pytest.importorskip("transformers")
    model, idx = scrambled(**options).float().eval(), torch.randint(23, (2, 16))
    hf = to_hf(model)
    torch.testing.assert_close(hf(idx).logits, model(idx)[0], atol=1e-4, rtol=1e-4)
    back = from_hf(hf)
    assert back.config == GPTConfig(**(model.config.to_dict() | {"zero_init": False}))
    torch.testing.assert_close(back(idx)[0], model(idx)[0])


def test_a_model_without_biases_has_zeros_for_them_elsewhere(tmp_path):
    transformers = pytest.importorskip("transformers")
    model, idx = scrambled(bias=False).float().eval(), torch.randint(23, (2, 16))
    hf = to_hf(model)
    biases = {k: v for k, v in hf.state_dict().items() if k.endswith(".bias")}
    assert len(biases) == 2 * 6 + 1 and not any(v.any() for v in biases.values())
    hf.save_pretrained(tmp_path)
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path)
    assert from_hf(again).config == model.config
    torch.nn.init.ones_(again.transformer.h[1].attn.c_attn.bias)  # trained on, with biases
    assert from_hf(again).config.bias
    torch.testing.assert_close(from_hf(again)(idx)[0], again(idx).logits, atol=1e-4, rtol=1e-4)


class Int8Linear(torch.nn.Module):
    """A linear layer without a parameter: its weights are whole numbers, and so a buffer."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.register_buffer("steps", (linear.weight.detach() * 127).to(torch.int8))

    def forward(self, x):
        return F.linear(x, self.steps.to(x.dtype) / 127)


class Adapted(torch.nn.Module):
    """A linear layer whose weights are another module's, as LoRA's are; more of them beside it."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.base, self.added = linear.requires_grad_(False), torch.nn.Linear(16, 23, bias=False)

    def forward(self, x):
        return self.base(x) + self.added(x)


@pytest.mark.parametrize("wrap", [lambda head: head, Int8Linear, Adapted])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_knows_where_it_is_and_in_what_it_computes(wrap, dtype):
    """Whatever became of its head."""
    model = tiny(tied_head=False).to(dtype)
    model.lm_head = wrap(model.lm_head).to(dtype) if wrap is Adapted else wrap(model.lm_head)
    assert (model.device, model.dtype) == (torch.device("cpu"), dtype)
    ids = torch.tensor([[1, 2, 3]])
    assert generate(model, ids, 5, seed=0).shape == (1, 8)
    assert torch.isfinite(token_losses(model, ids, ids)).all()
    assert model.to("meta").device == torch.device("meta")


def test_a_model_that_is_all_whole_numbers_but_for_its_norms():
    model = tiny()
    for parent in model.modules():
        for name, child in list(parent.named_children()):
            if isinstance(child, torch.nn.Linear | torch.nn.Embedding):
                setattr(parent, name, Int8Linear(child))
    assert (model.device, model.dtype) == (torch.device("cpu"), torch.float32)


def test_parameters_are_counted_and_those_that_are_trained():
    model = tiny()
    assert model.num_params() == model.num_params(trainable=True)
    model.transformer.wte.requires_grad_(False)
    assert model.num_params() - model.num_params(trainable=True) == 23 * 16
