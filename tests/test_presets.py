"""A preset that belongs to a recorded run repeats it, text and all, by its one word."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.corpora import Corpus, downloads
from gptlib.corpora.http_file import Refused
from gptlib.course.multi_head import runs, tales
from gptlib.course.recipes import load_record
from gptlib.grammar import Grammar
from gptlib.presets import PRESETS, preset
from gptlib.train_config import TrainConfig

TINY = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 32}
SHORT = {"steps": 4, "eval_every": 2}
FLAGS = [word for key, value in (TINY | SHORT).items()
         for word in ("--" + key.replace("_", "-"), str(value))]  # fmt: skip
#: preset: the record of its run.
RECORDED = {
    "tales": "tales-cpu",
    "kalevala-gpt": "kalevala-gpt",
    "nanogpt-cpu": "shakespeare-nanogpt-cpu",
}


def weights(run) -> bytes:
    return (checkpoint.pointed(Path(run), "latest") / checkpoint.MODEL).read_bytes()


def shortened(name: str, **changes):
    """The preset as the flags change it."""
    chosen = preset(name)
    return replace(
        chosen, model=chosen.model | TINY, train=chosen.train | SHORT, **changes
    )  # fmt: skip


@pytest.mark.parametrize(("name", "record"), RECORDED.items())
def test_a_preset_says_what_its_record_says(name, record):
    """What is younger than the record had its default then."""
    config, chosen = load_record(record).config, preset(name)
    assert config["corpus"] == chosen.corpus
    assert config.get("corpus_size") == chosen.corpus_size
    now = asdict(TrainConfig(**chosen.train))
    was = config["train"]
    assert was.pop("dtype") in (now.pop("dtype"), "bfloat16")  # what "fast" took there
    assert was == {key: now[key] for key in was}
    assert chosen.model.items() <= config["model"].items()


@pytest.mark.parametrize(("name", "chosen"), PRESETS.items())
def test_the_text_of_a_preset_is_one_that_gptlib_knows(name, chosen):
    if chosen.corpus:
        entry = downloads.read_registry()[chosen.corpus]
        assert entry.kind in ("embedded", "text")
        if chosen.separator:
            assert chosen.separator == Grammar.load(chosen.corpus).separator
    else:
        assert chosen.corpus_size is None and chosen.separator is None
    assert chosen.tokenizer in ("char", "gpt2")


def test_tales_by_one_word_has_the_recipes_weights(tmp_path, monkeypatch):
    short = shortened("tales", corpus_size=9000)
    monkeypatch.setattr(tales, "preset", lambda name: short)
    monkeypatch.setattr(tales, "LOOKS", (2, 4))
    monkeypatch.setattr(tales, "look", lambda *args: {"sample": ""})
    monkeypatch.setattr(tales, "_record", lambda *args: None)
    tales.train_tales(tmp_path / "recipe", ship_to=None)
    flags = ["--corpus-size", "9000", *FLAGS]
    out = str(tmp_path / "word")
    assert main(["train", "--preset", "tales", "--out", out, "--stop-after", "3", *flags]) == 0
    assert main(["train", "--out", out, "--resume"]) == 0
    assert weights(out) == weights(tmp_path / "recipe")
    note = json.loads((tmp_path / "word" / "config.json").read_text())["note"]
    wanted = {"corpus": "tales", "corpus_size": 9000, "separator": "\n\n", "tokenizer": "char"}
    assert wanted.items() <= note.items()


@pytest.mark.parametrize("name", ["kalevala-gpt", "nanogpt-cpu"])
def test_the_others_by_one_word_have_their_recipes_weights(name, tmp_path, monkeypatch):
    text = "Vaka vanha Väinämöinen, itse tuon sanoiksi virkki.\n" * 40
    asked = []

    def load_corpus(corpus, size=None):
        asked.append((corpus, size))
        return Corpus(corpus, "", text, text[:1600], text[1600:])

    for module in ("gptlib.course.multi_head.runs", "gptlib.cli.texts"):
        monkeypatch.setattr(f"{module}.load_corpus", load_corpus)
    short = shortened(name)
    monkeypatch.setattr(runs, "preset", lambda name: short)
    kept = []
    monkeypatch.setattr(runs, "sampled_loss", lambda model, *args: kept.append(model) or 0.0)
    runs.train_preset(name, short.corpus, seed=1)
    out = tmp_path / "word"
    assert main(["train", "--preset", name, "--seed", "1", "--out", str(out), *FLAGS]) == 0
    assert set(asked) == {(short.corpus, None)}
    again, _ = checkpoint.load_model(checkpoint.pointed(out, "latest"))
    for key, tensor in checkpoint.plain_weights(kept[0]).items():
        assert tensor.equal(again[key]), key


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.corpus not in (None, "tales")])
def test_without_a_network_its_text_is_one_clear_error(name, tmp_path, monkeypatch, capsys):
    def no_network(*args):
        raise Refused("there is no network here")

    monkeypatch.setattr(downloads, "receive", no_network)
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path / "cache"))
    assert main(["train", "--preset", name, "--out", str(tmp_path / "x")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "there is no network here" in err
    assert not (tmp_path / "x").exists()


def test_one_line_with_a_preset_begins_and_goes_on(tmp_path, capsys):
    line = ["train", "--preset", "tales", "--out", str(tmp_path / "run"), "--resume"]
    line += ["--corpus-size", "9000", *FLAGS]
    assert main([*line, "--stop-after", "2"]) == 0
    assert main(line) == 0
    said = capsys.readouterr().err
    assert "begins a new run" in said and "goes on from step 2" in said


def test_another_corpus_comes_without_the_presets_text(tmp_path):
    text = tmp_path / "fox.txt"
    text.write_text("The fox sat. The hen ran.\n" * 99)
    out = tmp_path / "run"
    line = ["train", "--preset", "tales", "--corpus", str(text), "--out", str(out), *FLAGS]
    assert main([*line, "--steps", "1"]) == 0
    config = json.loads((out / "config.json").read_text())
    assert config["data"]["separator"] is None and config["note"]["corpus_size"] is None
    assert config["train"]["optimizer"] == "muon"


def test_a_preset_without_a_text_asks_for_one(tmp_path, capsys):
    assert main(["train", "--preset", "cpu", "--out", str(tmp_path / "x")]) == 2
    assert "give --corpus" in capsys.readouterr().err
    assert main(["train", "--preset", "cpu", "--out", str(tmp_path / "x"), "--resume"]) == 2
    assert "holds no run to resume" in capsys.readouterr().err
