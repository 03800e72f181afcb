"""LoRA by hand is peft's: outputs, gradients, merged weights, and the files in both directions."""

import json

import pytest
import safetensors.torch
import torch

from gptlib import GPT, GPTConfig
from gptlib.errors import CheckpointError, ConfigError
from gptlib.finetuning import add_lora, load_lora, merge_lora, save_lora
from gptlib.finetuning.peft_format import CONFIG, WEIGHTS
from gptlib.hub import from_hf, to_hf

IDS = torch.randint(0, 23, (2, 9), generator=torch.Generator().manual_seed(0))
EVERY = ["c_attn", "c_fc", "c_proj"]


def tiny(**shape) -> GPT:
    sizes = dict(vocab_size=23, block_size=12, n_layer=2, n_head=2, n_embd=16)
    torch.manual_seed(1)
    return GPT(GPTConfig(**sizes | shape)).eval()


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """B away from zero, as after some training."""
    dice = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.3, generator=dice)
    return model


@pytest.fixture(params=["c_attn", "all, rsLoRA", "no bias, own head"])
def case(request):
    """(our shape, what add_lora is given)."""
    return {
        "c_attn": ({}, {"rank": 3, "alpha": 6, "targets": ["c_attn"]}),
        "all, rsLoRA": ({}, {"rank": 4, "alpha": 8, "targets": EVERY, "rslora": True}),
        "no bias, own head": (
            {"bias": False, "tied_head": False},
            {"rank": 2, "alpha": 3.5, "targets": ["c_attn", "mlp.c_proj"]},
        ),
    }[request.param]


@pytest.fixture
def peft():
    return pytest.importorskip("peft")


def with_peft(peft, base: GPT, settings: dict):
    """peft's LoRA of the same kind around the same model in transformers, B shaken."""
    config = peft.LoraConfig(
        r=settings["rank"], lora_alpha=settings["alpha"], target_modules=settings["targets"],
        use_rslora=settings.get("rslora", False), fan_in_fan_out=True, task_type="CAUSAL_LM",
    )  # fmt: skip
    torch.manual_seed(3)
    return shaken(peft.get_peft_model(to_hf(base), config)).eval()


def files_of(folder) -> dict:
    return safetensors.torch.load_file(folder / WEIGHTS)


def loss_of(model) -> torch.Tensor:
    if isinstance(model, GPT):
        return model(IDS[:, :-1], IDS[:, 1:])[1]
    return model(input_ids=IDS, labels=IDS).loss


def lora_gradients(model) -> dict[str, torch.Tensor]:
    loss_of(model).backward()
    return {
        n.removeprefix("base_model.model.").replace(".default.weight", ""): p.grad
        for n, p in model.named_parameters()
        if "lora_" in n
    }


def test_outputs_gradients_and_merged_weights_are_pefts(peft, case, tmp_path):
    shape, settings = case
    theirs = with_peft(peft, tiny(**shape), settings)
    theirs.save_pretrained(tmp_path)
    ours = load_lora(tiny(**shape), tmp_path)
    assert torch.allclose(ours(IDS)[0], theirs(IDS).logits, atol=1e-5)
    assert not torch.allclose(ours(IDS)[0], tiny(**shape)(IDS)[0], atol=0.01)
    mine, other = lora_gradients(ours), lora_gradients(theirs)
    assert mine.keys() == other.keys()
    for name, gradient in mine.items():
        assert gradient.any() and torch.allclose(gradient, other[name], atol=1e-6), name
    assert {n for n, p in ours.named_parameters() if p.grad is not None} == mine.keys()
    adapted = ours(IDS)[0]
    merged, whole = merge_lora(ours), theirs.merge_and_unload()
    for name, weight in from_hf(whole).state_dict().items():
        if shape.get("bias", True) or not name.endswith("bias"):
            assert torch.allclose(merged.state_dict()[name], weight, atol=1e-6), name
    assert torch.allclose(merged(IDS)[0], adapted, atol=1e-5)


def test_training_goes_the_same_way_as_pefts(peft, tmp_path):
    """Five updates of AdamW, from the same A and B."""
    settings = {"rank": 3, "alpha": 6, "targets": EVERY}
    theirs = with_peft(peft, tiny(), settings)
    theirs.save_pretrained(tmp_path)
    ours = load_lora(tiny(), tmp_path)
    losses = []
    for model in (ours, theirs):
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-2)
        losses.append([])
        for _ in range(5):
            optimizer.zero_grad()
            loss = loss_of(model)
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert losses[0][-1] < losses[0][0] - 0.01


def test_peft_loads_what_we_save(peft, case, tmp_path):
    shape, settings = case
    ours = shaken(add_lora(tiny(**shape), **settings))
    save_lora(ours, tmp_path)
    theirs = peft.PeftModel.from_pretrained(to_hf(tiny(**shape)), tmp_path).eval()
    assert torch.allclose(theirs(IDS).logits, ours(IDS)[0], atol=1e-5)
    merged = from_hf(theirs.merge_and_unload())
    assert torch.allclose(merged(IDS)[0], merge_lora(ours)(IDS)[0], atol=1e-5)


def test_what_peft_saves_we_save_again_the_same(peft, case, tmp_path):
    shape, settings = case
    theirs = with_peft(peft, tiny(**shape), settings)
    theirs.save_pretrained(tmp_path / "theirs")
    save_lora(load_lora(tiny(**shape), tmp_path / "theirs"), tmp_path / "ours")
    ours, saved = files_of(tmp_path / "ours"), files_of(tmp_path / "theirs")
    assert list(ours) == sorted(saved)  # A before B
    assert all(tensor.equal(saved[name]) for name, tensor in ours.items())
    mine, other = (json.loads((tmp_path / who / CONFIG).read_text()) for who in ("ours", "theirs"))
    for key in set(mine) - {"target_modules"}:
        assert mine[key] == other[key], key
    assert sorted(mine["target_modules"]) == sorted(other["target_modules"])


def test_we_load_what_we_save_bit_for_bit(case, tmp_path):
    shape, settings = case
    ours = shaken(add_lora(tiny(**shape), dropout=0.25, **settings))
    save_lora(ours, tmp_path / "new" / "folder")
    again = load_lora(tiny(**shape), tmp_path / "new" / "folder")
    assert again(IDS)[0].equal(ours(IDS)[0])
    assert again.tuning == ours.tuning
    assert [p.requires_grad for p in again.parameters()] == [
        p.requires_grad for p in ours.parameters()
    ]


def test_all_linear_of_pefts_is_ours(peft, tmp_path):
    config = peft.LoraConfig(r=2, target_modules="all-linear", fan_in_fan_out=True)
    peft.get_peft_model(to_hf(tiny()), config).save_pretrained(tmp_path)
    ours = add_lora(tiny(), 2, 8, "all-linear")
    names = {n for n, p in ours.named_parameters() if p.requires_grad}
    assert {f"base_model.model.{name}.weight" for name in names} == files_of(tmp_path).keys()
    assert load_lora(tiny(), tmp_path).tuning == ours.tuning


def test_a_save_replaces_the_one_before_and_is_whole_or_none(tmp_path, monkeypatch):
    first, second = (shaken(add_lora(tiny(), rank, 4)) for rank in (2, 3))
    save_lora(first, tmp_path)
    save_lora(second, tmp_path)
    assert load_lora(tiny(), tmp_path)(IDS)[0].equal(second(IDS)[0])
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG, WEIGHTS]

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gptlib.finetuning.peft_format.write_atomic", full)
    with pytest.raises(CheckpointError, match="could not be saved.*No space left.*make room"):
        save_lora(first, tmp_path)
    with pytest.raises(CheckpointError, match=f"has no {CONFIG}.*cut off"):
        load_lora(tiny(), tmp_path)  # and not the new numbers beside the old weights


def change(folder, **settings) -> None:
    config = json.loads((folder / CONFIG).read_text())
    (folder / CONFIG).write_text(json.dumps(config | settings))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"peft_type": "LOHA"}, ConfigError, "of the kind 'LOHA', and gptlib has LoRA alone"),
        ({"use_dora": True}, ConfigError, "use_dora=True, which gptlib's LoRA does not do"),
        ({"bias": "all"}, ConfigError, "bias='all'"),
        ({"rank_pattern": {"c_attn": 4}}, ConfigError, "rank_pattern"),
        ({"modules_to_save": ["lm_head"]}, ConfigError, "modules_to_save"),
        ({"target_modules": ".*attn"}, ConfigError, "gptlib reads a list"),
        ({"target_modules": ["q_proj"]}, CheckpointError, "does not fit.*'q_proj'"),
        ({"target_modules": ["c_fc"]}, CheckpointError, "c_fc.lora_A is missing"),
        ({"r": 3}, CheckpointError, r"lora_A is \(2, 16\) there and \(3, 16\) here"),
        ({"r": None}, CheckpointError, "rank is None"),
        ({"lora_alpha": "much"}, CheckpointError, "alpha is 'much'"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_model_stays(settings, error, message, tmp_path):
    save_lora(add_lora(tiny(), 2, 4), tmp_path)
    change(tmp_path, **settings)
    model = tiny()
    with pytest.raises(error, match=message):
        load_lora(model, tmp_path)
    assert model.tuning is None and model.state_dict().keys() == tiny().state_dict().keys()


def test_another_model_is_refused(tmp_path):
    save_lora(add_lora(tiny(), 2, 4), tmp_path)
    for shape, says in [
        ({"n_embd": 8}, r"is \(2, 16\) there and \(2, 8\) here"),
        ({"n_layer": 3}, "h.2.attn.c_attn.lora_A is missing"),
        ({"n_layer": 1}, "h.1.attn.c_attn.lora_A is .* unknown here"),
    ]:
        with pytest.raises(CheckpointError, match=says):
            load_lora(tiny(**shape), tmp_path)
    with pytest.raises(ConfigError, match="tuned already"):
        load_lora(add_lora(tiny(), 2, 4), tmp_path)
    with pytest.raises(ConfigError, match="no LoRA"):
        save_lora(tiny(), tmp_path)


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b"\xff\xfe" * 40])
def test_damaged_files_are_one_clear_error(damage, tmp_path):
    for name in (CONFIG, WEIGHTS):
        save_lora(add_lora(tiny(), 2, 4), tmp_path)
        (tmp_path / name).write_bytes(damage)
        with pytest.raises(CheckpointError, match=f"{name} cannot be read"):
            load_lora(tiny(), tmp_path)
    with pytest.raises(CheckpointError, match=f"has no {CONFIG}"):
        load_lora(tiny(), tmp_path / "nowhere")
