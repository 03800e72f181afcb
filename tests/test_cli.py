"""The command line, as a person or a script uses it: whole processes where it matters."""

import json
import subprocess
import sys

import pytest

from gptlib.cli import main

TEXT = "The fox sat. The hen ran.\n" * 200
SMALL = ["--steps", "6", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "3", "--warmup", "2", "--threads", "1"]  # fmt: skip


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "fox.txt"
    path.write_text(TEXT, encoding="utf-8")
    return str(path)


@pytest.fixture
def run(text, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "--corpus", text, "--out", out, *SMALL]) == 0
    capsys.readouterr()
    return out


def test_train_says_what_came_of_it(text, tmp_path, capsys):
    out = str(tmp_path / "run")
    assert main(["train", "--corpus", text, "--out", out, "--json", *SMALL]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["step"] == 6 and result["finished"] and 0 < result["best_val"] < 4
    for part in ("step 6/6", "val ", "train ", "tokens/s", "MFU unknown", "min left"):
        assert part in captured.err
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"]["n_embd"] == 16 and config["train"]["eval_every"] == 3
    assert config["note"]["corpus"] == text


def test_a_paused_run_resumes_without_being_told_again(text, tmp_path, capsys):
    whole, paused = str(tmp_path / "whole"), str(tmp_path / "paused")
    main(["train", "--corpus", text, "--out", whole, *SMALL])
    assert main(["train", "--corpus", text, "--out", paused, "--stop-after", "2", *SMALL]) == 0
    assert "--resume" in capsys.readouterr().out
    assert main(["train", "--out", paused, "--resume", "--threads", "1"]) == 0
    logs = [(tmp_path / d / "log.jsonl").read_bytes() for d in ("whole", "paused")]
    assert logs[0] == logs[1]


def test_sample_is_repeatable_and_begins_with_the_prompt(run, capsys):
    texts = []
    for _ in range(2):
        assert (
            main(["sample", run, "--prompt", "The", "--max-new-tokens", "30", "--seed", "1"]) == 0
        )
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and texts[0].startswith("The")
    assert len(texts[0].rstrip("\n")) >= 30
    assert main(["sample", run, "--temperature", "0", "--top-k", "3", "--top-p", "0.9"]) == 0


def test_eval_measures_the_runs_own_text(run, capsys):
    assert main(["eval", run, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["step"] in (3, 6) and result["tokens"] == len(TEXT) - int(0.9 * len(TEXT))
    assert result["floor_per_character"] is None
    assert main(["eval", run]) == 0
    assert "bits per byte" in capsys.readouterr().out


def test_data_list(capsys):
    assert main(["data", "list", "--json"]) == 0
    assert {"tales", "shakespeare", "kalevala"} <= {
        row["name"] for row in json.loads(capsys.readouterr().out)
    }
    assert main(["data", "list"]) == 0
    assert "tales" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["train", "--out", "x"], "--corpus"),
        (["train", "--corpus", "tales", "--out", "x", "--preset", "huge"], "nanogpt-cpu"),
        (["train", "--out", "x", "--resume"], "no run to resume"),
        (["eval", "nowhere"], "nowhere"),
        (["eval", "tales", "--device", "cuda:99"], "'cuda:99' is not on this machine"),
        (["sample", "tales", "--device", "cuda:99"], "'cuda:99' is not on this machine"),
        (["sample", "tales", "--device", "gpu"], "use auto, cpu, cuda"),
        (["data", "get", "nothing"], "nothing"),
        (["data", "prepare", "nowhere.txt", "--out", "x"], "nowhere.txt"),
        (["data", "prepare", "tales", "--out", "x", "--tokenizer", "y"], "y has no tokenizer"),
        (["data", "prepare", "tales"], "--out"),
        (["train", "--steps", "many"], "invalid int value"),
        (["train", "--corpus", "tales", "--out", "x", "--threads", "0"], "--threads is 0"),
        (["sample", "tales", "--seed", "9" * 30], "seed is 999"),
        (["train", "--out", "x", "a\nb"], "unrecognized arguments: a b"),
        (["paint"], "invalid choice"),
        ([], "required"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = main(argv)
    except SystemExit as stop:
        code = stop.code
    captured = capsys.readouterr()
    assert code == 2 and says in captured.err
    assert captured.err.count("\n") == 1 and captured.out == ""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "settings", [b"", b"[]", b"{}", b"[" * 10**5, b'{"model": 3, "train": {}}', b"\xff"]
)
def test_damaged_settings_are_one_line(run, settings, tmp_path, capsys):
    (tmp_path / "run" / "config.json").write_bytes(settings)
    assert main(["train", "--out", run, "--resume"]) == 2
    err = capsys.readouterr().err
    assert "config.json is damaged" in err and err.count("\n") == 1


def test_too_little_memory_is_one_line(text, tmp_path, capsys, monkeypatch):
    def refuse(*args):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate")

    monkeypatch.setattr("gptlib.cli.train.GPT", refuse)
    assert main(["train", "--corpus", text, "--out", str(tmp_path / "x"), *SMALL]) == 2
    err = capsys.readouterr().err
    assert "not enough memory" in err and "--batch-size" in err and err.count("\n") == 1


def test_prepare_train_and_eval_on_shards(tmp_path, capsys):
    stories = [json.dumps({"text": f"The fox {i} sat. " * 9}) for i in range(40)]
    (tmp_path / "fox.jsonl").write_text("\n".join(stories))
    out, run = str(tmp_path / "shards"), str(tmp_path / "run")
    make = ["data", "prepare", str(tmp_path / "fox.jsonl"), "--out", out, "--workers", "2"]
    assert main([*make, "--val-fraction", "0.25"]) == 0
    captured = capsys.readouterr()
    assert "of 30 documents in 1 shards" in captured.out and "uint16" in captured.out
    assert "tokens/s" in captured.err
    assert main([*make, "--val-fraction", "0.25", "--json"]) == 0  # nothing left to do
    manifest = json.loads(capsys.readouterr().out)
    assert manifest["source"]["name"] == "fox.jsonl"
    assert main([*make, "--val-fraction", "0.5"]) == 2
    assert "val_fraction was 0.25 and is now 0.5" in capsys.readouterr().err

    assert main(["train", "--corpus", out, "--out", run, "--stop-after", "2", *SMALL]) == 0
    assert main(["train", "--out", run, "--resume", "--threads", "1"]) == 0
    assert "best validation loss" in capsys.readouterr().out
    assert main(["eval", run, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    val = [shard for shard in manifest["shards"] if shard["split"] == "val"]
    assert result["tokens"] == sum(shard["tokens"] for shard in val)
    assert result["bits_per_byte"] > 0 and result["floor_per_character"] is None
    assert main(["sample", run, "--prompt", "The", "--max-new-tokens", "5"]) == 0


def test_prepare_with_a_saved_tokenizer(tmp_path, text, capsys):
    make = ["data", "prepare", text, "--out"]
    assert main([*make, str(tmp_path / "one")]) == 0
    assert main([*make, str(tmp_path / "two"), "--tokenizer", str(tmp_path / "one")]) == 0
    one, two = (tmp_path / name / "manifest.json" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_second_run_in_a_folder_is_refused(run, text, capsys):
    assert main(["train", "--corpus", text, "--out", run, *SMALL]) == 2
    assert "already holds a run" in capsys.readouterr().err


def test_the_shipped_model_writes_a_tale_without_a_network(tmp_path):
    """The first minute of a stranger, as a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "gptlib.cli", "sample", "tales", "--prompt", "The ", "--seed", "1"],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("The ") and len(done.stdout) > 100
    assert "\n\n" not in done.stdout  # one document, ended by the model itself


def test_version_and_help(capsys):
    for argv, says in ((["--version"], "gptlib 0."), (["train", "--help"], "--resume")):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 0 and says in capsys.readouterr().out
