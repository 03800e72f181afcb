"""Records read back as written, and every shipped one says how it was made."""

import json

import pytest

from gptlib.course.recipes import RECIPES, load_record
from gptlib.course.records import Record, read_record, save_record, spread, this_machine
from gptlib.errors import DataError
from gptlib.resources import data_path

NAMES = sorted(p.name for p in data_path("runs").iterdir() if p.is_dir())


def test_a_record_reads_back_as_written(tmp_path):
    hardware, versions = this_machine()
    record = Record(
        "x", "make x", {"lr": 1.0}, hardware, versions, {"val": 2.5},
        [{"prompt": "Ö", "text": "Öl"}], [{"step": 1, "val": 3.0}],
    )  # fmt: skip
    save_record(record, tmp_path / "x")
    assert read_record(tmp_path / "x") == record


def test_a_folder_without_a_record_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no record"):
        read_record(tmp_path / "nowhere")
    for content in (b"{", b"[]", b'{"name": "x"}', b"\xff"):
        (tmp_path / "record.json").write_bytes(content)
        with pytest.raises(DataError, match=r"record.json cannot be read or is no record"):
            read_record(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_record_is_whole(name):
    record = load_record(name)
    assert record.name == name and record.result and record.config
    assert record.hardware["cpu"] and record.versions["torch"]
    assert record.command.startswith(("python -m gptlib.course.", "python bench/"))
    if record.command.startswith("python -m gptlib.course.recipes "):
        assert record.command.split()[-1] == name in RECIPES
    text = json.dumps([record.config, record.result, record.samples, record.hardware])
    assert "/root" not in text and "/tmp" not in text and "/home" not in text


def test_every_record_of_a_training_run_can_be_made_anew():
    made_by_benches = {n for n in NAMES if load_record(n).command.startswith("python bench/")}
    assert set(NAMES) - made_by_benches <= set(RECIPES)


def test_an_unknown_record_is_refused():
    with pytest.raises(DataError, match="kalevala-bigram"):
        load_record("nothing")
    for name in ("", ".", "..", "kalevala-gpt/", "../grammars", None):
        with pytest.raises(DataError, match="no record is called .*; there are attention-speed"):
            load_record(name)
    with pytest.raises(DataError, match="no recipe makes 'nothing'"):
        load_record("nothing", rerun=True)


def test_spread_by_hand():
    assert spread([1.0, 3.0]) == {"values": [1.0, 3.0], "mean": 2.0, "sd": pytest.approx(2**0.5)}
    assert spread([2.0])["sd"] == 0.0
