"""A run that trains a part of a model saves that part, goes on exactly, and is loaded whole."""

import hashlib
import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from gptlib import checkpoint, load_run
from gptlib.cli import main
from gptlib.errors import CheckpointError
from gptlib.finetuning import add_lora, merge_lora, tune_last
from gptlib.hub.weights import gpt2_weights
from gptlib.runs import initial_weights
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

CONFIG = dict(steps=12, batch_size=4, accumulate=2, lr=1e-2, warmup=2, eval_every=4, save_every=5)
PARTS = {
    "lora": lambda model: add_lora(model, 3, 6, "all-linear", dropout=0.2),
    "last": lambda model: tune_last(model, 1),
}


@pytest.fixture
def begin(make_model, ids, tokenizer):
    """A function that makes the same base each time, prepares it, and returns its trainer."""

    def make(prepare, run_dir, note=None, base=None, **changes) -> Trainer:
        model = make_model(**(changes.pop("shape", {})))
        if base is not None:
            note = {"initial": initial_weights(model, base, tokenizer)}
        torch.manual_seed(7)
        model = prepare(model)
        config = TrainConfig(**(CONFIG | changes))
        return Trainer(model, ids[:2000], ids[2000:], config, run_dir, tokenizer, note=note)

    return make


def weights_of(run_dir, step: int = CONFIG["steps"]) -> dict:
    return safetensors.torch.load_file(checkpoint.folder_of(run_dir, step) / checkpoint.MODEL)


def digests(run_dir) -> dict[str, str]:
    """Of all that a run leaves but the clock's readings and the optimizer's pickle."""
    names = [p for p in run_dir.rglob("*") if p.name in ("log.jsonl", "best", "latest")]
    names += run_dir.glob(f"checkpoints/*/{checkpoint.MODEL}")
    return {str(p.relative_to(run_dir)): hashlib.sha256(p.read_bytes()).hexdigest() for p in names}


def same_state(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same_state(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same_state, a, b))
    return a == b


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("part", PARTS)
def test_a_run_killed_while_saving_and_resumed_is_the_same_run(
    part, optimizer, begin, tmp_path, monkeypatch
):
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    begin(PARTS[part], unbroken, optimizer=optimizer).fit()
    for point in ("folder made", "state.pt written", "folder renamed", "latest moved"):
        for number in (1, 2):  # in the first save of this life, then in a later one

            def die(here: str, point: str = point, left: list = [number]) -> None:  # noqa: B006
                left[0] -= here == point
                if not left[0]:
                    raise Killed

            with monkeypatch.context() as patch:
                patch.setattr(checkpoint, "reached", die)
                try:
                    begin(PARTS[part], broken, optimizer=optimizer).fit()
                except Killed:
                    pass
    run = begin(PARTS[part], broken, optimizer=optimizer).fit()
    assert run.finished and digests(unbroken) == digests(broken)
    last = [checkpoint.folder_of(folder, CONFIG["steps"]) for folder in (unbroken, broken)]
    assert same_state(*(checkpoint.load(place)[1] for place in last))


def test_stopped_at_any_step_it_is_the_same_run(begin, tmp_path):
    begin(PARTS["lora"], tmp_path / "unbroken").fit()
    for stop in (1, 4, 7, None):
        begin(PARTS["lora"], tmp_path / "broken").fit(stop_after=stop)
    assert digests(tmp_path / "unbroken") == digests(tmp_path / "broken")


def test_a_checkpoint_holds_what_is_trained_and_what_it_belongs_to(begin, make_model, tmp_path):
    for part, prepare in PARTS.items():
        run = begin(prepare, tmp_path / part).fit()
        trained = {n: p for n, p in run.model.named_parameters() if p.requires_grad}
        saved = weights_of(tmp_path / part)
        assert saved.keys() == trained.keys() and all(saved[n].equal(trained[n]) for n in saved)
        state = checkpoint.load(checkpoint.folder_of(tmp_path / part, CONFIG["steps"]))[1]
        assert len(state["optimizers"][0]["state"]) == len(trained)
        base = dict(make_model().named_parameters())
        for name, p in run.model.named_parameters():  # training touched nothing else
            if name not in trained:
                assert p.equal(base[name.replace(".base.", ".")]), name
    about = json.loads((tmp_path / "lora" / "config.json").read_text())["tuning"]
    assert about.pop("frozen_sha256")
    assert about == {
        "method": "lora", "rank": 3, "alpha": 6, "dropout": 0.2, "rslora": False,
        "targets": ["c_attn", "c_fc", "c_proj"],
    }  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_load_run_gives_the_whole_model_plain(part, begin, make_model, ids, tmp_path):
    run = begin(PARTS[part], tmp_path / "run").fit()
    model, tokenizer, manifest = load_run(tmp_path / "run", "latest", base=make_model())
    x = torch.tensor(ids[:12].astype(int))[None]
    assert torch.allclose(model(x)[0], run.model.eval()(x)[0], atol=1e-5)
    assert model.state_dict().keys() == make_model().state_dict().keys()
    assert model.tuning is None and not model.training and tokenizer is not None
    assert manifest["tuning"]["method"] == part
    gpt2_weights(model)
    if part == "lora":
        merged = merge_lora(run.model).state_dict()
        assert all(weight.equal(merged[name]) for name, weight in model.state_dict().items())


def test_the_note_of_a_run_leads_to_its_base(begin, ids, tmp_path, monkeypatch, capsys):
    """From base to LoRA to another LoRA on the merged one; so do the commands."""
    monkeypatch.chdir(tmp_path)
    begin(lambda model: model, "base").fit()
    begin(PARTS["lora"], "first", base="base").fit()
    second = begin(PARTS["lora"], "second", base=Path("first")).fit()
    x = torch.tensor(ids[:12].astype(int))[None]
    model, _, _ = load_run("second", "latest")
    assert torch.allclose(model(x)[0], second.model.eval()(x)[0], atol=1e-5)
    assert main(["info", "first"]) == 0
    told = " ".join(capsys.readouterr().out.split())
    for part in ("tuned lora, ", "rank 3, ", "targets c_attn c_fc c_proj, on base"):
        assert part in told, part
    assert main(["sample", "second", "--prompt", "the ", "--max-new-tokens", "5"]) == 0
    assert "the " in capsys.readouterr().out
    Path("base").rename("elsewhere")
    with pytest.raises(CheckpointError, match=r"first holds only what it trained of base, and"):
        load_run("first")
    model, _, _ = load_run("first", base="elsewhere")
    assert not model(x)[0].equal(load_run("elsewhere")[0](x)[0])
    Path("first").rename("base")
    with pytest.raises(CheckpointError, match=r"that is this folder itself; give it: load_run"):
        load_run("base")


def test_a_base_that_is_not_named_or_another_is_refused(begin, make_model, tmp_path):
    begin(PARTS["lora"], tmp_path / "run").fit()
    with pytest.raises(CheckpointError, match="does not say of which model; give it: load_run"):
        load_run(tmp_path / "run")
    other = make_model()
    with torch.no_grad():
        other.transformer.h[0].ln_1.bias[3] += 1e-6
    with pytest.raises(CheckpointError, match="trained on another model.*what was frozen begins"):
        load_run(tmp_path / "run", base=other)
    with pytest.raises(CheckpointError, match="does not fit"):
        load_run(tmp_path / "run", base=make_model(n_embd=32))


def test_it_goes_on_only_as_it_began(begin, tmp_path):
    begin(PARTS["lora"], tmp_path).fit(stop_after=5)

    def shifted(model):
        with torch.no_grad():
            model.transformer.wpe.weight[0, 0] += 1e-3
        return PARTS["lora"](model)

    for prepare, says in [
        (lambda model: add_lora(model, 2, 6, "all-linear", dropout=0.2), "rank was 3 and is now 2"),
        (lambda model: add_lora(model, 3, 6, dropout=0.2), r"targets was \['c_attn', 'c_fc'"),
        (PARTS["last"], "method was 'lora' and is now 'last'"),
        (lambda model: model, "tuning was {.*is now None"),
        (shifted, "frozen_sha256 was"),
    ]:
        with pytest.raises(CheckpointError, match=says):
            begin(prepare, tmp_path).fit()


def test_a_checkpoint_of_less_than_what_is_trained_is_refused(begin, tmp_path):
    begin(PARTS["lora"], tmp_path).fit(stop_after=5)
    place = checkpoint.folder_of(tmp_path, 5)
    weights, state, manifest = checkpoint.load(place)
    name = sorted(weights)[0]
    about = {k: v for k, v in manifest.items() if k not in ("step", "sha256", "manifest_sha256")}
    checkpoint.save(tmp_path, 5, {n: w for n, w in weights.items() if n != name}, state, about)
    with pytest.raises(CheckpointError, match=f"{name} is missing"):
        begin(PARTS["lora"], tmp_path).fit()


@pytest.mark.parametrize("change", [{"rank": 0}, {"rank": "3"}, {"method": None}, {"rslora": 1j}])
def test_a_manifest_that_makes_no_sense_is_refused(change, begin, make_model, tmp_path):
    begin(PARTS["lora"], tmp_path).fit()
    weights, manifest = checkpoint.load_model(checkpoint.folder_of(tmp_path, CONFIG["steps"]))
    about = {k: v for k, v in manifest.items() if k not in ("step", "sha256", "manifest_sha256")}
    if change != {"rslora": 1j}:
        about["tuning"] |= change
    else:
        del about["tuning"]["rslora"]
    checkpoint.save_weights(tmp_path, CONFIG["steps"], weights, about)
    with pytest.raises(CheckpointError, match="made by gptlib|does not fit"):
        load_run(tmp_path, "latest", base=make_model())


def test_compiled_recomputed_and_in_pieces_it_learns_the_same(begin, tmp_path, monkeypatch):
    runs = [begin(PARTS["lora"], tmp_path / "plain").fit()]
    runs.append(begin(PARTS["lora"], tmp_path / "less", recompute=True, loss_chunk=7).fit())
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda m, **_: compiled(m, backend="eager"))
    runs.append(begin(PARTS["lora"], tmp_path / "compiled", compile=True).fit())
    for run in runs[1:]:
        assert run.last_val == pytest.approx(runs[0].last_val, abs=1e-4)
    assert weights_of(tmp_path / "compiled").keys() == weights_of(tmp_path / "plain").keys()
