"""`gptlib info`: what it says of a run, a checkpoint, shards and the shipped model, and damage."""

import json
import shutil
from pathlib import Path

import pytest

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.runs import load_run

SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1",
         "--save-every", "2"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    (folder / "fox.txt").write_text("The fox sat.\nThe hen ran.\n" * 99, encoding="utf-8")
    text = ["--corpus", "tales", "--corpus-size", "5000", "--separator", "\n\n"]
    assert main(["train", *text, "--out", str(folder / "run"), *SMALL]) == 0
    assert main(["data", "prepare", str(folder / "fox.txt"), "--out", str(folder / "shards")]) == 0
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    for name in ("run", "shards"):
        shutil.copytree(made / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def told(place: str, capsys, code: int = 0) -> dict:
    """What --json says; the text says no more than fits."""
    capsys.readouterr()
    assert main(["info", place]) == code
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert main(["info", place, "--json"]) == code
    return json.loads(capsys.readouterr().out) | {"text": " ".join(text.split())}


def test_a_run(here, capsys):
    found = told("run", capsys)
    model, tokenizer, manifest = load_run("run")
    assert found["kind"] == "run" and found["damage"] == []
    assert found["parameters"] == model.num_params()
    assert (found["step"], found["train"]["steps"]) == (4, 4)
    log = [json.loads(line) for line in Path("run/log.jsonl").read_text().splitlines()]
    vals = [line["val"] for line in log if "val" in line]
    assert (found["best_val"], found["last_val"]) == (min(vals), vals[-1])
    assert found["tokenizer"]["sha256"] == tokenizer.sha256
    assert found["data"] == manifest["data"] and found["versions"] == manifest["versions"]
    assert [saved["step"] for saved in found["checkpoints"]] == [2, 4]
    assert found["bytes"] == sum(p.stat().st_size for p in Path("run").rglob("*") if p.is_file())
    assert 0.4 < found["floor"] < 0.6
    for part in (
        "step 4 of 4", "n_embd 16", "separator '\\n\\n'", "tales, 5,000 characters", "float32",
        f"{model.num_params():,}", "every hash holds", "CharTokenizer", "(latest)", "threads 1",
    ):  # fmt: skip
        assert part in found["text"], part


def test_a_checkpoint_and_the_shipped_model(here, capsys):
    found = told("run/checkpoints/step_00000002", capsys)
    assert found["kind"] == "checkpoint" and found["step"] == 2
    assert found["sha256"].keys() == {"model.safetensors", "state.pt"}
    found = told("tales", capsys)
    assert found["step"] == 18_000 and found["parameters"] == 889_216


def test_shards(here, capsys):
    found = told("shards", capsys)
    assert found["kind"] == "shards" and found["source"]["name"] == "fox.txt"
    assert found["splits"]["train"]["tokens"] > found["splits"]["val"]["tokens"] > 0
    assert "kept as uint16" in found["text"]


def flip(path: str) -> None:
    raw = bytearray(Path(path).read_bytes())
    raw[len(raw) // 2] ^= 1
    Path(path).write_bytes(raw)


@pytest.mark.parametrize(
    ("place", "damaged", "says"),
    [
        ("run", "run/checkpoints/step_00000002/model.safetensors",
         "step_00000002/model.safetensors is damaged"),
        ("run", "run/checkpoints/step_00000004/state.pt", "step_00000004/state.pt is damaged"),
        ("run", "run/checkpoints/step_00000004/manifest.json", "step_00000004"),
        ("run", "run/tokenizer/tokenizer.json", "tokenizer"),
        ("run/checkpoints/step_00000004", "run/checkpoints/step_00000004/state.pt", "state.pt"),
        ("shards", "shards/train_00000.bin", "train_00000.bin is damaged"),
        ("shards", "shards/manifest.json", "manifest.json is damaged"),
    ],
)  # fmt: skip
def test_a_flipped_bit_is_named_and_the_exit_code_is_1(here, place, damaged, says, capsys):
    flip(damaged)
    found = told(place, capsys, code=1)
    assert any(says in line for line in found["damage"]), found["damage"]
    assert "every hash holds" not in found["text"] and "damaged" in found["text"]


def test_what_else_is_not_as_it_was_written(here, capsys):
    shutil.rmtree("run/checkpoints/step_00000002")
    Path("run/best").write_text("step_00000002\n")
    assert "best names step_00000002, which is not there" in told("run", capsys, 1)["damage"]
    Path("run/config.json").write_text("{")
    Path("run/log.jsonl").write_text("{\n")
    found = told("run", capsys, 1)
    assert any("config.json" in line for line in found["damage"])
    assert any("log.jsonl" in line for line in found["damage"])
    assert found["step"] == 4
    shutil.rmtree("run/tokenizer")
    shutil.copytree("shards/tokenizer", "run/tokenizer")
    assert any("tokenizer is another" in line for line in told("run", capsys, 1)["damage"])


def test_a_run_that_has_saved_nothing_yet(here, capsys):
    shutil.rmtree("run/checkpoints")
    for name in ("best", "latest"):
        Path("run", name).unlink()
    found = told("run", capsys)
    assert found["step"] == 0 and found["parameters"] is None and found["checkpoints"] == []


@pytest.mark.parametrize("place", ["nowhere", "run/tokenizer", "x" * 300, "run/best"])
def test_what_is_none_of_these_is_one_line_and_exit_code_2(here, place, capsys):
    capsys.readouterr()
    assert main(["info", place]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1


def test_a_permission_that_is_missing_is_not_damage(here, monkeypatch, capsys):
    def closed(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(checkpoint, "sha256", closed)
    assert main(["info", "run"]) == 2
    assert "may not be read" in capsys.readouterr().err


def test_the_exit_codes_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["info", "--help"])
    assert "1 where something is damaged" in " ".join(capsys.readouterr().out.split())
