"""The recorded runs of fine-tuning, small: from a base to the record, by the command line."""

import json
import subprocess
import sys

import pytest

from gptlib.course.finetuning import places, told, tuned
from gptlib.errors import DataError
from gptlib.tokenizers import BPETokenizer

SMALL = "--n-layer 1 --n-head 1 --n-embd 16 --block-size 64 --batch-size 2 --threads 1".split()


@pytest.fixture
def base(tmp_path, monkeypatch):
    """A folder with forty places, shards of other text, and a base that has read those."""
    monkeypatch.chdir(tmp_path)
    blocks = (f"<LOC>\nA mill with {n} rats.\nIt is quiet there.\n</LOC>\n\n" for n in range(40))
    (tmp_path / "places.txt").write_text("".join(blocks))
    lines = (json.dumps({"text": f"The hen {n} sat on a wall. It was late."}) for n in range(300))
    (tmp_path / "old.jsonl").write_text("\n".join(lines))
    BPETokenizer.train("The hen sat on a wall. It was late.", 270).save(tmp_path / "tokenizer")
    prepare = "data prepare old.jsonl --tokenizer tokenizer --val-fraction 0.1 --out shards".split()
    train = "train --corpus shards --steps 2 --out base --progress none".split()
    for command in (prepare, [*train, *SMALL]):
        done = subprocess.run([sys.executable, "-m", "gptlib", *command], capture_output=True)
        assert not done.returncode, done.stderr.decode()
    return tmp_path / "base"


def test_rates_and_methods_from_a_base_to_two_records(base, tmp_path, monkeypatch):
    for name, value in {
        "RATES": (1e-3, 1e-2), "PASSES": 2, "OTHER_PASSES": 1, "SCRATCH_PASSES": 1,
        "RANKS": (2, 16), "SAMPLES": 2, "SHOWN": ("the base", "full"),
    }.items():  # fmt: skip
        monkeypatch.setattr(places, name, value)
    home, text = tmp_path / "runs", tmp_path / "places.txt"
    home.mkdir()
    rates = places.places_rates(base, home, text, pass_steps=2).result
    assert [rate["lr"] for rate in rates["rates"]] == [1e-3, 1e-2]
    assert rates["epochs"]["lr"] == min(rates["rates"], key=lambda rate: rate["val"])["lr"]
    curve = rates["epochs"]["curve"]
    assert [point["epoch"] for point in curve] == [1, 2]
    # A longer run at a constant rate begins as the shorter one did.
    best = next(rate for rate in rates["rates"] if rate["lr"] == rates["epochs"]["lr"])
    assert curve[0]["val"] == pytest.approx(best["val"], abs=1e-6)

    record = places.places_methods(base, home, text, tmp_path / "shards", pass_steps=2)
    found = {method["name"]: method for method in record.result["methods"]}
    assert list(found) == ["full", "full, 10% old text", "LoRA, rank 2", "LoRA, rank 16",
                           "last block", "from scratch"]  # fmt: skip
    assert found["LoRA, rank 2"]["trained"] < found["LoRA, rank 16"]["trained"]
    assert found["LoRA, rank 16"]["megabytes"] < found["full"]["megabytes"]
    assert all(m["seconds"] > 0 for name, m in found.items() if name != "from scratch")
    assert all(0 < m["old"] < 10 for name, m in found.items() if name != "from scratch")
    assert {sample["whose"] for sample in record.samples} == {"the base", "full"}
    assert record.result["copied"]["of"] == 2


def test_a_storyteller_is_told_what_to_write(tmp_path, monkeypatch):
    quick = "--steps 2 --batch-size 2".split()
    monkeypatch.setattr(told, "ROUNDS", {0: quick, 3: quick})
    monkeypatch.setattr(told, "LORA", [*quick, "--method", "lora", "--rank", "2"])
    record = told.places_answers(tmp_path, pairs=20, asked=4)
    granted = record.result["granted"]
    assert list(granted) == ["base", "full", "LoRA"]
    assert all(of[kind]["n"] == 4 for of in granted.values() for kind in told.HELD_OUT)
    assert record.result["pieces"]["packed"]["rows"] < record.result["pieces"]["padded"]["rows"]
    assert [row["name"] for row in record.result["forgetting"]] == ["base", "full", "LoRA"]
    asked = {row["attribute"]: row for row in record.result["attributes"]}
    assert all(row["asked"] == row["present"] + row["missing"] + row["contradicted"]
               for row in asked.values())  # fmt: skip
    assert asked["kind"]["asked"] == asked["mood"]["asked"] == 4


def test_a_run_that_cannot_be_made_is_said(tmp_path):
    with pytest.raises(DataError, match="did not come to its end"):
        tuned.tune("stories", tmp_path / "nothing.jsonl", tmp_path / "out")
