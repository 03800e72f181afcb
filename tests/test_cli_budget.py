"""`gptlib plan`: what it prints before a run, and that its command is that run."""

import json
import shlex
from pathlib import Path

import pytest

from gptlib import devices
from gptlib.cli import budget, build_parser, main
from gptlib.cli.plan import describe
from gptlib.footprint import flops_per_token
from gptlib.model_config import GPTConfig
from gptlib.tokenizers import CharTokenizer

PRICE = ["--price", "2.69", "--price-date", "2026-11-01"]


def planned(capsys, *words: str) -> dict:
    assert main(["plan", *words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys, *words: str) -> str:
    assert main(["plan", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def test_a_page_says_what_the_json_says(capsys):
    words = ["--preset", "gpt2-124m", "--device", "h100", "--tokens", "10B", *PRICE]
    found = planned(capsys, *words)
    assert main(["plan", *words]) == 0
    page = capsys.readouterr().out
    assert max(len(line) for line in page.splitlines()[:12]) <= 80
    for text in (
        f"{found['params']:,}", f"{found['steps']:,}", f"{found['hours']:.2f}", found["command"],
        f"{found['dollars']:.2f}", "2026-11-01", "ln 50,304", "8 x 64 x 1,024", "39% of the peak",
    ):  # fmt: skip
        assert text in page, text
    assert found["dollars"] == pytest.approx(2.69 * found["hours"])
    assert found["memory"]["total"] == pytest.approx(sum(found["memory"]["terms"].values()))
    assert found["tokens"] == found["steps"] * found["tokens_per_step"] <= 10e9


def test_without_a_price_there_is_no_money(capsys):
    words = ["--preset", "gpt2-124m", "--device", "h100"]
    assert planned(capsys, *words)["dollars"] is None
    assert main(["plan", *words]) == 0
    assert "dollar" not in capsys.readouterr().out
    assert "both --price and --price-date" in refused(capsys, *words, "--price", "3")
    assert "both --price and --price-date" in refused(capsys, *words, "--price-date", "today")
    assert "--price is -1" in refused(capsys, *words, "--price=-1", "--price-date", "today")


@pytest.mark.parametrize(
    "words",
    [
        ["--preset", "gpt2-124m", "--device", "t4", "--tokens", "300M", "--block-size", "512"],
        ["--preset", "gpt2-350m", "--device", "l4", "--batch-size", "64", "--no-compile"],
        ["--preset", "gpt2-774m", "--device", "a100", "--lr", "1e-4", "--rotary"],
        ["--preset", "gpt2-124m-modern", "--device", "h100", "--accumulate", "64"],
        ["--preset", "gpt2-124m", "--device", "h200", "--recompute", "--loss-chunk", "512"],
        ["--device", "h100", "--vocab-size", "300", "--pad-vocab", "128", "--n-layer", "2"],
    ],
    ids=lambda words: words[1],
)
def test_the_command_trains_what_was_planned(words, capsys):
    found = planned(capsys, *words)
    line = shlex.split(found["command"])
    assert line[:2] == ["gptlib", "train"]
    run = describe(build_parser(["train"]).parse_args(line[1:]))
    sizes = ("vocab_size", "padding_ids")
    assert {k: v for k, v in run["model"].items() if k not in sizes} == {
        k: v for k, v in found["model"].items() if k not in sizes
    }
    train, batch = run["train"], found["batch"]
    assert train["steps"] == found["steps"]
    assert {name: train[name] for name in ("accumulate", "recompute", "loss_chunk")} == {
        name: batch[name] for name in ("accumulate", "recompute", "loss_chunk")
    }
    assert train["batch_size"] == batch["micro_batch"] * batch["accumulate"]
    if "--lr" in words:
        assert train["lr"] == 1e-4
    assert run["pad_vocab"] == (128 if "--pad-vocab" in words else 64)


def test_what_was_asked_for_is_not_chosen_anew(capsys):
    words = ["--preset", "gpt2-124m", "--device", "h100"]
    batch = planned(capsys, *words, "--accumulate", "64", "--loss-chunk", "512")["batch"]
    assert batch["micro_batch"] == 8 and batch["loss_chunk"] == 512
    assert planned(capsys, *words, "--mfu", "0.5")["mfu"] == 0.5


def test_eight_devices_are_started_by_torchrun(capsys):
    words = ["--preset", "gpt2-124m", "--device", "h100"]
    one, eight = planned(capsys, *words), planned(capsys, *words, "--processes", "8")
    begin = "torchrun --standalone --nproc-per-node 8 -m gptlib train --preset gpt2-124m"
    assert eight["command"].startswith(begin) and "--accumulate 1" in eight["command"]
    assert one["hours"] / 8 < eight["hours"] < one["hours"] / 7.5


def test_a_model_that_has_no_room_is_said_so(capsys):
    words = ["--preset", "gpt2-1558m", "--device", "t4"]
    assert planned(capsys, *words)["memory"]["fits"] is False
    assert main(["plan", *words]) == 0
    page = capsys.readouterr().out
    assert "does not fit" in page and "gptlib train" not in page


def test_the_vocabulary_is_that_of_the_shards(capsys, tmp_path):
    text = tmp_path / "fox.txt"
    text.write_text("The fox sat. The hen ran.\n" * 99)
    CharTokenizer.train(text.read_text()).save(tmp_path / "tokenizer")
    shards = str(tmp_path / "shards")
    assert main(["data", "prepare", str(text), "--out", shards]) == 0
    capsys.readouterr()
    found = planned(capsys, "--corpus", shards, "--device", "t4")
    ids = len(set(text.read_text()))
    assert found["model"]["vocab_size"] == ids and shards in found["command"]
    padded = planned(capsys, "--corpus", shards, "--device", "t4", "--pad-vocab", "64")["model"]
    assert (padded["vocab_size"], padded["padding_ids"]) == (64, 64 - ids)
    assert "how many ids" in refused(capsys, "--device", "t4")


def test_a_run_in_a_file_is_planned_as_it_stands(capsys, tmp_path):
    file = str(tmp_path / "run.toml")
    words = ["--preset", "gpt2-10m", "--n-layer", "3", "--batch-size", "64"]
    assert main(["train", *words, "--write-config", file]) == 0
    found = planned(capsys, "--config", file, "--device", "t4")
    assert found["model"]["n_layer"] == 3 and f"--config {file}" in found["command"]
    batch = found["batch"]
    assert batch["micro_batch"] * batch["accumulate"] == 64


def test_this_machine_is_measured(capsys, monkeypatch):
    asked = []

    def this_cpu(config, dtype):
        asked.append((config.n_layer, dtype))
        return devices.Device(
            "cpu", "a processor", "cpu", 8e9, 1e10, 1e9, dtype, {dtype: 1e11}, {}, "measured"
        )

    monkeypatch.setattr(budget, "this_cpu", this_cpu)
    words = ["--preset", "gpt2-10m", "--device", "cpu", "--dtype", "float32"]
    found = planned(capsys, *words)
    assert asked == [(6, "float32")] and found["mfu"] is None and found["memory"]["fits"]
    per_token = flops_per_token(GPTConfig(512, 8192, 6, 5, 320))
    assert found["tokens_per_s"] == pytest.approx(1e11 / per_token, rel=0.01)
    assert main(["plan", *words]) == 0
    assert "0.1 TFLOP/s (measured)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("10B", 1e10), ("1.5e9", 1.5e9), ("300M", 3e8), ("10,000", 1e4), ("2k", 2e3), ("1T", 1e12)],
)
def test_tokens_are_written_as_people_write_them(text, tokens):
    assert budget.count(text) == tokens


@pytest.mark.parametrize("text", ["", "B", "-1B", "ten", "1.2.3M", "0", "10 B", "1e999"])
def test_what_is_no_number_of_tokens_is_refused(text, capsys):
    with pytest.raises(SystemExit) as end:
        main(["plan", "--device", "t4", "--preset", "gpt2-10m", f"--tokens={text}"])
    assert end.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_what_cannot_be_planned_is_one_line(capsys):
    words = ["--preset", "gpt2-124m", "--device", "h100"]
    assert "less than one step" in refused(capsys, *words, "--tokens", "5")
    assert "3 processes cannot share" in refused(capsys, *words, "--processes", "3")
    assert "share of the peak" in refused(capsys, *words, "--mfu", "2")
    assert "n_embd is 768 and n_head is 7" in refused(capsys, *words, "--n-head", "7")
    assert "--pad-vocab is -3" in refused(capsys, *words, "--pad-vocab=-3")
    assert "no preset is called" in refused(capsys, "--preset", "gpt9", "--device", "t4")
    assert not list(Path().glob("runs"))
