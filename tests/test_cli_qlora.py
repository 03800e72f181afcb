"""`gptlib qlora` on a tiny Llama: what it says first, refuses, resumes to the bit, and leaves."""

import json

import pytest
import torch
from small_llama import small_base

from gptlib import checkpoint
from gptlib.cli import main, qlora
from gptlib.qlora import load_adapter, load_base, logits_of, training

pytest.importorskip("bitsandbytes")
pytest.importorskip("peft")
pytest.importorskip("transformers")
FAST = ["--threads", "1", "--rank", "2", "--batch-size", "4", "--accumulate", "2", "--lr", "1e-2",
        "--steps", "4", "--save-every", "2", "--context", "64"]  # fmt: skip


def line(question: str, answer: str) -> str:
    told = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": told}) + "\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return small_base(tmp_path_factory.mktemp("home"))


@pytest.fixture
def words(base, tmp_path, monkeypatch):
    """The words of a command, in a folder with eleven pairs, of which one is held out."""
    monkeypatch.chdir(tmp_path)
    pairs = [line("the cold " + c * n, "a cold hour" + c) for n, c in enumerate("cdehilonrta")]
    (tmp_path / "pairs.jsonl").write_text("".join(pairs))
    return ["qlora", str(base), "--data", "pairs.jsonl", "--out", "run", *FAST]


def refused(capsys, *argv) -> str:
    capsys.readouterr()
    assert main([*argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def left(run) -> tuple:
    """What a run leaves, as bytes."""
    place = checkpoint.folder_of(run, 4)
    adapter = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    weights, state, _ = checkpoint.load(place)
    tensors = {name: tensor.tolist() for name, tensor in weights.items()}
    return adapter, tensors, str(state["optimizer"]), (run / "log.jsonl").read_bytes()


def test_a_killed_run_ends_as_if_it_had_been_left_alone(words, base, tmp_path, capsys):
    def die(*args):
        raise SystemError("killed")

    update, left_to_do = training._update, 3
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemError):

        def counted(*args):
            nonlocal left_to_do
            left_to_do -= 1
            return update(*args) if left_to_do else die()

        patch.setattr(training, "_update", counted)
        main(words)
    assert checkpoint.saved_steps(tmp_path / "run")[-1] == 2
    assert "run holds a run already; go on with it by --resume" in refused(capsys, *words)
    assert main([*words, "--resume", "--merge", "dequantized", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["finished"] and result["step"] == 4 and result["after"] < result["before"]
    assert result["merged"] == pytest.approx(result["after"], abs=1e-3)
    again = ["whole" if word == "run" else word for word in words]
    assert main(again) == 0
    assert left(tmp_path / "run") == left(tmp_path / "whole")
    out, err = capsys.readouterr()
    assert "nats per answer token before" in out and "the adapter, for peft" in out
    first, second, *_ = err.splitlines()
    assert " GB of memory at 2 x " in first and " overhead" in first and ", of " in first
    assert second.startswith("trains ") and "on 10 pairs in 4 steps of 4" in second
    ids = torch.tensor([[1, 270, 265]])
    merged, _ = load_base(tmp_path / "run/merged-dequantized", four_bit=False, device="cpu")
    tuned = load_adapter(load_base(base, device="cpu")[0], tmp_path / "run/adapter")
    assert torch.allclose(logits_of(merged, ids), logits_of(tuned, ids), atol=1e-3)
    assert "merged-dequantized is there already" in refused(
        capsys, *words, "--resume", "--merge", "dequantized"
    )
    assert main([*words, "--resume", "--lr", "1"]) == 2
    assert "holds another run: lr was 0.01 and is 1.0" in capsys.readouterr().err


def test_bad_data_is_named_by_its_line(words, tmp_path, capsys):
    good = (tmp_path / "pairs.jsonl").read_text()
    for bad, why in {
        '{"messages": 1}\n': "line 12 of pairs.jsonl is no conversation",
        line("a", " "): "message 2 has no text",
        line("a", "the cold " * 80): "line 12 of pairs.jsonl: a pair has ",
    }.items():
        (tmp_path / "pairs.jsonl").write_text(good + bad)
        assert why in refused(capsys, *words)
    (tmp_path / "val.jsonl").write_text(good + "\n{\n")
    (tmp_path / "pairs.jsonl").write_text(good)
    assert "line 13 of val.jsonl is no conv" in refused(capsys, *words, "--val", "val.jsonl")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--epochs", "2"], "--epochs and --steps"), (["--rank", "0"], "rank is 0"),
        (["--accumulate", "3"], "accumulate is 3"), (["--threads", "0"], "--threads is 0"),
        (["--targets", "q_prj"], "did you mean q_proj?"), (["--merged", "x"], "--merged goes with"),
        (["--merge", "base", "--merged", "pairs.jsonl"], "pairs.jsonl is there already"),
        (["--data", "none.jsonl"], "cannot read none.jsonl"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_first(words, tmp_path, flags, says, capsys):
    assert says in refused(capsys, *words, *flags) and not (tmp_path / "run").exists()


def test_a_run_that_will_not_fit_is_not_begun(words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(qlora, "_room", lambda here: 1e6)
    told = refused(capsys, *words)
    assert "a step takes about" in told and "--anyway tries it" in told
    assert not (tmp_path / "run").exists()
    assert main([*words, "--anyway", "--steps", "1", "--epochs", "1"]) == 2  # two ways to say it
    without = [word for n, word in enumerate(words) if "--steps" not in words[n - 1 : n + 1]]
    assert main([*without, "--anyway", "--epochs", "0.3", "--val", "pairs.jsonl"]) == 0
    assert "on 11 pairs in 1 steps" in (err := capsys.readouterr().err) and "may not fit" in err


def test_a_base_that_is_none_is_refused(words, tmp_path, capsys):
    words[1] = str(tmp_path)
    assert "is no folder of a causal language model" in refused(capsys, *words)
