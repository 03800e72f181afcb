"""The recorded runs on stories that people wrote: two small runs, from training to the record."""

import json
import subprocess
import sys

import pytest

from gptlib.course.stories import collected
from gptlib.errors import DataError

SHAPE = "--n-layer 1 --n-head 1 --n-embd 16 --block-size 64".split()
TRAIN = "--steps 6 --eval-every 2 --batch-size 2 --dropout 0.1 --threads 1 --dtype float32".split()


@pytest.fixture
def texts(tmp_path, monkeypatch):
    """A data folder in which every file holds the same forty stories, each with its own number."""
    folder = tmp_path / "texts"
    (folder / "stories").mkdir(parents=True)
    monkeypatch.setenv("GPTLIB_DATA", str(folder))
    for name in (collected.FAIRY_TALES, *collected.TINY_TRAIN, collected.TINY_VAL):
        lines = (
            json.dumps({
                "title": f"The Fox {n}", "text": f"A fox had {n} hens. He slept well.\n\nThe end.",
                "split": "val" if n % 4 == 0 else "train",
            })
            for n in range(40)
        )  # fmt: skip
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def train(*flags):
    """Train as the recipe does, in a process of its own."""
    command = [sys.executable, "-m", "gptlib", "train", *map(str, flags), *TRAIN]
    subprocess.run(command, check=True, capture_output=True)


def test_two_runs_on_fairy_tales_stand_side_by_side(texts, tmp_path):
    tales = texts / collected.FAIRY_TALES
    train("--corpus", tales, *SHAPE, "--tokenizer", "bpe-300", "--out", tmp_path / "scratch")
    train("--corpus", tales, "--init-from", tmp_path / "scratch", "--out", tmp_path / "more")
    record = collected.fairy_tales_of(tmp_path / "scratch", tmp_path / "more", epoch_steps=2)
    assert record.result["stories"] == {"train": 30, "val": 10}
    for run in ("from scratch", "pretrained"):
        curve = record.result[run]["curve"]
        assert [point["epoch"] for point in curve] == [0, 1, 2, 3]
        assert curve[0]["train"] is None and all(point["train"] for point in curve[1:])
        lowest = min(curve, key=lambda point: point["val"])
        assert record.result[run]["best_epoch"] == lowest["epoch"]
        assert record.result[run]["latest"]["step"] == 6
    # What the first run ended with, the second began with.
    first, second = (record.result[run]["curve"] for run in ("from scratch", "pretrained"))
    assert second[0]["val"] == pytest.approx(min(p["val"] for p in first), abs=1e-5)
    assert {sample["which"] for sample in record.samples} == {"best", "latest"}


def test_a_tenth_of_the_tales_is_validated_on_the_same_ones(texts, tmp_path):
    stories = collected.fairy_tenth(tmp_path / "tenth.jsonl")
    train("--corpus", stories, *SHAPE, "--tokenizer", "bpe-300", "--out", tmp_path / "run")
    record = collected.fairy_tenth_of(tmp_path / "run", epoch_steps=2)
    assert record.result["stories"] == {"train": 3, "val": 10}
    assert [point["epoch"] for point in record.result["curve"]] == [0, 1, 2, 3]
    assert record.result["latest"]["step"] == 6


def test_a_run_on_tinystories_is_measured_on_the_part_that_it_never_saw(
    texts, tmp_path, monkeypatch
):
    monkeypatch.setattr(collected, "TINY_VAL_STORIES", 5)
    stories = collected.tinystories(tmp_path / "tiny.jsonl")
    train("--corpus", stories, *SHAPE, "--tokenizer", "bpe-300", "--out", tmp_path / "run")
    result = collected.tinystories_of(tmp_path / "run").result
    assert result["stories"] == {"train": 80, "val": 5}
    assert result["best"]["val"] == pytest.approx(result["curve"][-1]["val"], abs=0.1)
    assert result["best"]["written"] == 50 and 0 <= result["best"]["ended"] <= 50


def test_an_epoch_is_the_mean_of_its_own_steps():
    log = [{"step": 0, "val": 9.0}]
    for step in range(1, 5):
        log.append({"step": step, "loss": float(step)})
    log += [{"step": 2, "val": 5.0}, {"step": 4, "val": 6.0}]
    assert collected.by_epoch(log, 2) == [
        {"epoch": 0, "val": 9.0, "train": None},
        {"epoch": 1, "val": 5.0, "train": 1.5},
        {"epoch": 2, "val": 6.0, "train": 3.5},
    ]


def test_without_the_texts_it_says_where_they_belong(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match="GPTLIB_DATA"):
        collected.tinystories(tmp_path / "tiny.jsonl")
