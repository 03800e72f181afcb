"""`gptlib eval`: two tasks, for people and for scripts."""

import json
import math

import pytest

from gptlib import load_run
from gptlib.cli import evaluate, main
from gptlib.evaluation import hellaswag, measure_split, read_items
from gptlib.tokenizers import BPETokenizer

TEXT = "The fox sat. The hen ran.\n" * 200
SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip
RECORDS = [
    {"ctx": "The fox", "label": i % 4, "endings": ["sat.", "ran.", "The hen.", "hen" + "." * i]}
    for i in range(9)
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("run")
    (folder / "fox.txt").write_text(TEXT, encoding="utf-8")
    out = str(folder / "run")
    assert main(["train", "--corpus", str(folder / "fox.txt"), "--out", out, *SMALL]) == 0
    return out


@pytest.fixture
def items(tmp_path) -> str:
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    return str(path)


def test_hellaswag_for_scripts(run, items, tmp_path, capsys):
    out = tmp_path / "per.jsonl"
    words = ["eval", run, "--task", "hellaswag", "--items", items, "--json"]
    assert main([*words, "--per-item", str(out)]) == 0
    result = json.loads(capsys.readouterr().out)
    model, tokenizer, manifest = load_run(run)
    found = hellaswag(model, tokenizer, read_items(items))
    assert result == {
        "step": manifest["step"], "task": "hellaswag", "items": items, **found.to_dict()
    }  # fmt: skip
    assert {"acc", "acc_norm", "acc_norm_tokens", "n", "ci95"} <= result.keys()
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(rows) == result["n"] == 9
    for name in ("acc", "acc_norm", "acc_norm_tokens"):
        assert sum(row[name] for row in rows) / 9 == result[name]
        assert result["ci95"][name][0] <= result[name] <= result["ci95"][name][1]
    assert rows[2]["label"] == 2 and len(rows[2]["logprobs"]) == 4
    assert main([*words, "--limit", "3", "--batch-size", "1"]) == 0
    few = json.loads(capsys.readouterr().out)
    assert few["n"] == 3 and few["form"] == "plain"


def test_hellaswag_for_people(run, items, capsys):
    assert main(["eval", run, "--task", "hellaswag", "--items", items]) == 0
    printed = capsys.readouterr().out
    for part in ("9 HellaSwag items", "as they stand", "95% interval", "chance is 25.00%",
                 "acc_norm_tokens", "% to "):  # fmt: skip
        assert part in printed
    assert "2 items are longer than the model's context of 16 tokens" in printed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--task", "hellaswag", "--items", "nowhere.jsonl"], "nowhere.jsonl cannot be read"),
        (["--task", "hellaswag", "--items", "ITEMS", "--limit", "0"], "the limit is 0"),
        (["--task", "hellaswag", "--items", "ITEMS", "--batch-size", "0"], "batch_size is 0"),
        (
            ["--task", "hellaswag", "--items", "ITEMS", "--form", "lm-eval"],
            "line 1: activity_label",
        ),
        (["--task", "hellaswag", "--items", "ITEMS", "--per-item", "no/x"], "cannot write no"),
        (
            ["--task", "hellaswag", "--corpus", "tales"],
            "--corpus does not go with --task hellaswag",
        ),
        (["--task", "hellaswag", "--stride", "3"], "--stride does not go with --task hellaswag"),
        (["--items", "ITEMS"], "--items does not go with --task loss"),
        (["--per-item", "x"], "--per-item does not go with --task loss"),
        (["--stride", "17"], "stride is 17, and block_size is 16"),
        (["--stride", "0"], "stride is 0"),
    ],
)
def test_bad_input_is_one_line(run, items, words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["eval", run, *(items if word == "ITEMS" else word for word in words)]) == 2
    captured = capsys.readouterr()
    assert says in captured.err and captured.err.count("\n") == 1 and captured.out == ""


def test_a_stride_is_said_and_may_be_chosen(run, capsys):
    assert main(["eval", run, "--json"]) == 0
    usual = json.loads(capsys.readouterr().out)
    assert (usual["stride"], usual["block_size"], usual["special_tokens"]) == (8, 16, 0)
    assert usual["perplexity"] == pytest.approx(math.exp(usual["loss"]))
    assert usual["bytes"] == usual["tokens"] - 1  # of ASCII; nothing predicts the first
    assert main(["eval", run, "--json", "--stride", "2"]) == 0
    finer = json.loads(capsys.readouterr().out)
    assert finer["loss"] == usual["loss"] and finer["loss_overlapping"] != usual["loss_overlapping"]
    assert finer["bits_per_byte"] == pytest.approx(finer["loss_overlapping"] / math.log(2))
    assert main(["eval", run, "--json", "--stride", "16"]) == 0
    beside = json.loads(capsys.readouterr().out)
    assert beside["loss_overlapping"] == beside["loss"] == usual["loss"]
    assert beside["bits_per_byte"] == usual["bits_per_byte_side_by_side"]
    assert main(["eval", run]) == 0
    printed = capsys.readouterr().out
    assert "windows of 16 side by side: loss" in printed
    assert "a window that slides by 8: loss" in printed
    assert main(["eval", run, "--stride", "16"]) == 0
    assert "slides" not in capsys.readouterr().out


def test_of_a_grammars_large_text_a_sample_is_measured(tmp_path, capsys, monkeypatch):
    """One that no run has read, and it is said; the whole is there for who asks."""
    out = str(tmp_path / "run")
    words = ["train", "--corpus", "tales", "--corpus-size", "9000", "--out", out, *SMALL]
    assert main(words) == 0
    capsys.readouterr()

    def measured(*flags: str) -> tuple[dict, str]:
        assert main(["eval", out, "--json", *flags]) == 0
        result = json.loads(capsys.readouterr().out)
        assert main(["eval", out, *flags]) == 0
        said = capsys.readouterr()
        assert said.err == "", "no text that is another than the run's own"
        return result, said.out.splitlines()[0]

    own = measured()
    monkeypatch.setattr(evaluate, "LARGE", 8_999)
    monkeypatch.setattr(evaluate, "SAMPLE", 6_000)
    sampled, said = measured()
    assert said.endswith(
        "validation tokens of tales, drawn anew: 6,000 characters that no run has read, where this "
        "one's own text had 9,000 (--whole measures on that)"
    )
    assert sampled["sampled"] == 6000 and sampled["tokens"] < own[0]["tokens"]
    assert sampled["floor_per_character"] > 0 and own[0]["sampled"] is None
    assert measured("--whole") == own
    assert main(["eval", out, "--task", "hellaswag", "--whole"]) == 2
    assert "--whole does not go with --task hellaswag" in capsys.readouterr().err


def test_bits_per_byte_of_shards_count_no_special_token(tmp_path, capsys):
    stories = [json.dumps({"text": f"The fox {i} sat. " * 9}) for i in range(20)]
    (tmp_path / "fox.jsonl").write_text("\n".join(stories))
    tokenizer = BPETokenizer.train("The fox 12 sat. " * 30, 270, ["<|endoftext|>"])
    tokenizer.save(tmp_path / "tokens")
    out, run = str(tmp_path / "shards"), str(tmp_path / "run")
    make = ["data", "prepare", str(tmp_path / "fox.jsonl"), "--out", out, "--val-fraction", "0.2"]
    assert main([*make, "--tokenizer", str(tmp_path / "tokens")]) == 0
    assert main(["train", "--corpus", out, "--out", run, *SMALL]) == 0
    capsys.readouterr()
    assert main(["eval", run, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    manifest = json.loads((tmp_path / "shards" / "manifest.json").read_text())
    (val,) = (shard for shard in manifest["shards"] if shard["split"] == "val")
    first = tokenizer.byte_lengths[tokenizer.encode("The")[0]]
    assert result["bytes"] == val["bytes"] - first and result["special_tokens"] == val["documents"]
    model, known, _ = load_run(run)
    from gptlib.shards.read import open_shards

    found = measure_split(model, open_shards(out, "val"), known, stride=8)
    assert result["bits_per_byte"] == found.bits_per_byte
    assert main(["eval", run]) == 0
    assert "neither the loss nor the text of 4 special tokens" in capsys.readouterr().out
