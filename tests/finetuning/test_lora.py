"""LoRA trains its own weights and no others, and what it learned can be added to the rest."""

import math

import pytest
import torch
from torch import nn

from gptlib import GPT, GPTConfig, generate
from gptlib.errors import ConfigError
from gptlib.finetuning import LoRALinear, add_lora, merge_lora, trainable, tune_last
from gptlib.hub.weights import gpt2_weights
from gptlib.optim import make_optimizers
from gptlib.quantization import quantize_model
from gptlib.resizing import resize_vocab

IDS = torch.randint(0, 23, (2, 9), generator=torch.Generator().manual_seed(0))


def tiny(**shape) -> GPT:
    sizes = dict(vocab_size=23, block_size=12, n_layer=2, n_head=2, n_embd=16)
    torch.manual_seed(1)
    return GPT(GPTConfig(**sizes | shape)).eval()


def adapted(model: GPT | None = None, rank: int = 3, alpha: float = 6, **settings) -> GPT:
    """With B away from zero, as after some training."""
    model = add_lora(model or tiny(), rank, alpha, **settings)
    dice = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("lora_B"):
                p.normal_(std=0.3, generator=dice)
    return model


def step(model: GPT, lr: float = 0.1, times: int = 1, optimizer: str = "adamw", **settings) -> None:
    optimizers = make_optimizers(model, optimizer, lr, 0.1, (0.9, 0.95), **settings)
    for _ in range(times):
        model(IDS[:, :-1], IDS[:, 1:])[1].backward()
        for each in optimizers:
            each.step()
            each.zero_grad()


def test_at_first_it_is_the_model_that_it_was():
    """Bit for bit: B A is zero, whatever A is."""
    assert add_lora(tiny(), 4, 8, "all-linear")(IDS)[0].equal(tiny()(IDS)[0])


def test_the_change_is_b_a_times_the_scale():
    base, torch_dice = nn.Linear(5, 7), torch.manual_seed(0)
    layer = LoRALinear(base, rank=2, scale=1.5)
    nn.init.normal_(layer.lora_B, generator=torch_dice)
    x = torch.randn(3, 5)
    by_hand = x @ (base.weight + 1.5 * layer.lora_B @ layer.lora_A).T + base.bias
    assert torch.allclose(layer(x), by_hand, atol=1e-6)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8 / 4), (True, 8 / 2)])
def test_the_scale_is_alpha_over_the_rank_or_its_root(rslora, scale):
    model = add_lora(tiny(), 4, 8, rslora=rslora)
    assert model.transformer.h[0].attn.c_attn.scale == pytest.approx(scale)


@pytest.mark.parametrize(
    ("targets", "names"),
    [
        (("c_attn",), {"attn.c_attn"}),
        ("c_proj", {"attn.c_proj", "mlp.c_proj"}),
        (["mlp.c_proj", "c_fc"], {"mlp.c_proj", "mlp.c_fc"}),
        ("all-linear", {"attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"}),
    ],
)
def test_targets_are_ends_of_names(targets, names):
    model = add_lora(tiny(), 2, 4, targets)
    found = {n for n, m in model.named_modules() if isinstance(m, LoRALinear)}
    assert found == {f"transformer.h.{i}.{name}" for i in (0, 1) for name in names}


def test_only_a_and_b_are_trained_and_sorting_gives_a_before_b():
    model = add_lora(tiny(), 3, 6)
    names = [name for name, p in model.named_parameters() if p.requires_grad]
    assert names == sorted(names)
    assert [n.rpartition(".")[2] for n in names] == ["lora_A", "lora_B"] * 2
    # c_attn is (48, 16): 3 * 16 + 48 * 3 a layer
    assert trainable(model) == (2 * (48 + 144), tiny().num_params() + 2 * (48 + 144))


def test_a_head_of_its_own_may_be_a_target_and_a_tied_one_not():
    model = adapted(tiny(tied_head=False), targets="lm_head")
    was = model(IDS)[0]
    assert torch.allclose(merge_lora(model)(IDS)[0], was, atol=1e-5)
    with pytest.raises(ConfigError, match=r"lm_head.*\(the head is the token table\)"):
        add_lora(tiny(), 2, 4, "lm_head")
    names = {n for n, p in add_lora(tiny(tied_head=False), 2, 4, "all-linear").named_parameters()}
    assert not any(n.startswith("lm_head.lora") for n in names)


@pytest.mark.parametrize("targets", [("c_attn",), "all-linear"])
@pytest.mark.parametrize("shape", [{}, {"bias": False, "rotary": True, "norm": "rmsnorm"}])
def test_a_merged_model_is_the_adapted_one_and_plain_again(targets, shape):
    model = adapted(tiny(**shape), targets=targets)
    was, before = model(IDS)[0], tiny(**shape)
    assert not torch.allclose(was, before(IDS)[0], atol=0.01)
    merged = merge_lora(model)
    assert merged is model
    assert torch.allclose(merged(IDS)[0], was, atol=1e-5)
    assert merged.state_dict().keys() == before.state_dict().keys()
    assert all(type(m) is not LoRALinear for m in merged.modules())
    assert trainable(merged) == trainable(before) and merged.tuning is None
    if targets == ("c_attn",):  # and nothing else moved
        for name, weight in before.named_parameters():
            same = weight.equal(dict(merged.named_parameters())[name])
            assert same == (not name.endswith("c_attn.weight")), name
    add_lora(merged, 2, 4)  # a second one may follow


@pytest.mark.parametrize(
    "settings",
    [{}, {"optimizer": "muon"}, {"optimizer": "muon", "muon_parts": "heads"}],
    ids=["adamw", "muon", "heads"],
)
def test_training_leaves_frozen_weights_untouched_and_moves_all_others(settings):
    model = add_lora(tiny(), 3, 6, "all-linear")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    loss = model(IDS[:, :-1], IDS[:, 1:])[1].item()
    step(model, lr=0.02, times=3, **settings)
    for name, p in model.named_parameters():
        assert p.equal(before[name]) == (".lora_" not in name), name
        assert p.grad is None
    assert model(IDS[:, :-1], IDS[:, 1:])[1].item() < loss
    now = {name.replace(".base.", "."): p for name, p in model.named_parameters()}
    assert all(p.equal(now[name]) for name, p in tiny().named_parameters())


@pytest.mark.parametrize("target", ["c_attn", "c_fc"])
def test_an_optimizer_is_given_what_is_trained_alone(target):
    model = add_lora(tiny(), 3, 6, target)
    trained = [p for p in model.parameters() if p.requires_grad]
    for name in ("adamw", "muon"):
        for parts in ("packed", "qkv", "heads"):
            made = make_optimizers(model, name, 0.1, 0.1, (0.9, 0.95), muon_parts=parts)
            assert len(made) == 1  # nothing is left for AdamW beside Muon
            held = [p for group in made[0].param_groups for p in group["params"]]
            assert {id(p) for p in held} == {id(p) for p in trained} and len(held) == 4


def test_muon_sees_queries_keys_and_values_in_what_lora_adds_to_them():
    """B's rows are theirs, one after the other, as c_attn's are."""
    model = add_lora(tiny(), 3, 6)
    groups = make_optimizers(model, "muon", 0.1, 0.1, (0.9, 0.95), muon_parts="qkv")[0].param_groups
    assert [(g["parts"], [tuple(p.shape) for p in g["params"]]) for g in groups] == [
        (3, [(48, 3)] * 2), (1, [(3, 16)] * 2),
    ]  # fmt: skip


def test_only_b_has_a_gradient_at_first():
    """A's is B's transpose times something; were both zero, neither would ever move."""
    model = add_lora(tiny(), 3, 6)
    model(IDS[:, :-1], IDS[:, 1:])[1].backward()
    for name, p in model.named_parameters():
        if name.endswith("lora_A"):
            assert not p.grad.any() and p.any()
        if name.endswith("lora_B"):
            assert p.grad.any() and not p.any()


def test_dropout_is_in_training_alone_and_spares_the_frozen_layer():
    model, without = adapted(dropout=0.5), adapted()
    assert model(IDS)[0].equal(without(IDS)[0])
    model.train()
    torch.manual_seed(0)
    assert not torch.allclose(model(IDS)[0], without(IDS)[0], atol=1e-3)
    untrained = add_lora(tiny(), 3, 6, dropout=0.9).train()  # B is zero: nothing to drop
    assert untrained(IDS)[0].equal(tiny()(IDS)[0])


def test_recomputing_changes_neither_loss_nor_gradient():
    grads = []
    for recompute in (False, True):
        model = adapted(dropout=0.3, targets="all-linear").train()
        model.recompute = recompute
        torch.manual_seed(5)
        model(IDS[:, :-1], IDS[:, 1:])[1].backward()
        grads.append([p.grad for p in model.parameters() if p.requires_grad])
    assert all(a.equal(b) for a, b in zip(*grads, strict=True))


def test_it_traces_without_a_break():
    """What torch.compile does first, and all of it that can fail here without a C++ compiler."""
    model = adapted()
    traced = torch.compile(model, backend="eager", fullgraph=True)
    assert torch.allclose(traced(IDS)[0], model(IDS)[0], atol=1e-6)


def test_it_writes_as_its_merged_model_does():
    model = adapted()
    written = generate(model, [1, 2], 8, temperature=0)
    assert generate(merge_lora(model), [1, 2], 8, temperature=0).equal(written)


@pytest.mark.parametrize("first", ["quantize", "add"])
def test_a_base_in_eight_bits_is_trained_beside_and_not_merged_into(first):
    if first == "quantize":
        model = adapted(quantize_model(tiny()), targets="all-linear")
    else:
        model = quantize_model(adapted(targets="all-linear"))
        model.requires_grad_(False)
        for name, p in model.named_parameters():
            p.requires_grad_(".lora_" in name)
    exact = adapted(targets="all-linear")
    exact.load_state_dict(
        {n: t for n, t in model.state_dict().items() if ".lora_" in n}, strict=False
    )
    assert torch.allclose(model(IDS)[0], exact(IDS)[0], atol=0.05)
    loss = model(IDS[:, :-1], IDS[:, 1:])[1].item()
    step(model, times=3, lr=0.02)
    assert model(IDS[:, :-1], IDS[:, 1:])[1].item() < loss
    was = model(IDS)[0]
    with pytest.raises(ConfigError, match="in eight bits.*before quantize_model"):
        merge_lora(model)
    assert model(IDS)[0].equal(was)


def test_bfloat16_and_double_are_kept():
    for dtype in (torch.bfloat16, torch.float64):
        model = adapted(tiny().to(dtype))
        assert {p.dtype for p in model.parameters()} == {dtype}
        assert model(IDS)[0].dtype == dtype
    assert not model.transformer.h[0].attn.c_attn.training  # as the model was


@pytest.mark.parametrize("tied", [True, False])
def test_the_last_blocks_alone(tied):
    model = tune_last(tiny(tied_head=tied), 1)
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    block = {n for n, _ in model.named_parameters() if n.startswith("transformer.h.1.")}
    head = set() if tied else {"lm_head.weight"}
    assert trained == block | {"transformer.ln_f.weight", "transformer.ln_f.bias"} | head
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    step(model)
    for name, p in model.named_parameters():
        assert p.equal(before[name]) == (name not in trained), name
    assert trainable(tune_last(tiny(tied_head=tied), 2))[0] > trainable(model)[0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rank": 0}, "rank is 0; give 1 to 16, the shorter side of transformer.h.0.attn.c_attn"),
        ({"rank": 17}, "rank is 17; give 1 to 16"),
        ({"rank": 2.0}, "rank is 2.0"),
        ({"rank": True}, "rank is True"),
        ({"alpha": 0}, "alpha is 0; give a number above 0, such as 4"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": "8"}, "alpha is '8'"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"targets": "c_atn"}, r"c_attn, c_fc, c_proj; give .* \(did you mean c_attn\?\)"),
        ({"targets": ["c_attn", "q_proj"]}, "targets has 'q_proj'"),
        ({"targets": "attn"}, "targets has 'attn'"),  # a part of a name, and no layer
        ({"targets": [""]}, "targets has ''"),
        ({"targets": ()}, "targets is empty; give some of c_attn, c_fc, c_proj"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_has_changed(wrong, message):
    model = tiny()
    with pytest.raises(ConfigError, match=message):
        add_lora(model, **{"rank": 2, "alpha": 4} | wrong)
    assert trainable(model)[0] == trainable(model)[1] and model.tuning is None


def test_nothing_is_added_twice_or_merged_that_is_not_there():
    model = add_lora(tiny(), 2, 4)
    for again in (lambda: add_lora(model, 2, 4), lambda: tune_last(model, 1)):
        with pytest.raises(ConfigError, match=r"tuned already \(method lora, rank 2.*merge_lora"):
            again()
    with pytest.raises(ConfigError, match="tuned already"):
        add_lora(tune_last(tiny(), 1), 2, 4)
    for n in (0, 3, 1.0):
        with pytest.raises(ConfigError, match=f"n is {n}; give 1 to 2"):
            tune_last(tiny(), n)
    with pytest.raises(ConfigError, match="no LoRA; add it with add_lora"):
        merge_lora(tiny())


def test_what_knows_no_lora_says_so():
    model = add_lora(tiny(), 2, 4)
    with pytest.raises(ConfigError, match="LoRA beside its weights.*merge_lora"):
        gpt2_weights(model)
    with pytest.raises(ConfigError, match="tuned in part.*resize it first"):
        resize_vocab(model, 30)
