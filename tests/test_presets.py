"""A preset that belongs to a recorded run repeats it, text and all, by its one word."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gptlib import BPETokenizer, checkpoint, load_corpus
from gptlib.budget import plan_run
from gptlib.cli import main
from gptlib.corpora import Corpus, downloads
from gptlib.corpora.http_file import Refused
from gptlib.course.multi_head import runs, tales
from gptlib.course.recipes import load_record
from gptlib.devices import device
from gptlib.footprint import parameters
from gptlib.grammar import Grammar
from gptlib.model_config import GPTConfig
from gptlib.presets import PRESETS, preset
from gptlib.stories import START, special_tokens
from gptlib.tokenizers import learned_size
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


MADE = ("tales", "stories")  # by gptlib itself, without a network


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
        if chosen.corpus == "stories":
            assert chosen.separator == START
        elif chosen.separator:
            assert chosen.separator == Grammar.load(chosen.corpus).separator
    else:
        assert chosen.corpus_size is None and chosen.separator is None
    assert chosen.tokenizer in ("char", "gpt2") or learned_size(chosen.tokenizer)


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


def test_stories_by_one_word_is_the_run_by_its_flags(tmp_path):
    """As the run was begun that ships: its tokenizer learned before, and the separator given."""
    short = ["--corpus-size", "9000", *FLAGS]
    assert main(["train", "--preset", "stories", "--out", str(tmp_path / "word"), *short]) == 0
    corpus = load_corpus("stories", size=9000)
    BPETokenizer.train(corpus.train[:10_000_000], 2048, special_tokens()).save(tmp_path / "saved")
    flags = "--lr 4e-3 --min-lr 1e-4 --warmup 200 --beta2 0.99 --optimizer muon --dtype fast"
    flags += " --batch-size 16 --eval-windows 200 --separator <|start|>"
    line = ["train", "--corpus", "stories", "--tokenizer", str(tmp_path / "saved")]
    assert main([*line, "--out", str(tmp_path / "flags"), *flags.split(), *short]) == 0
    assert weights(tmp_path / "word") == weights(tmp_path / "flags")
    note = json.loads((tmp_path / "word" / "config.json").read_text())["note"]
    assert (note["tokenizer"], note["separator"]) == ("bpe-2048", "<|start|>")


def test_the_published_124m_is_162m_by_a_head_of_its_own():
    """What the published model has more than GPT-2 124M, but for the length of its context."""
    said = parameters(GPTConfig(**preset("stories-162m").model))
    true = parameters(GPTConfig(**preset("stories-124m").model))
    assert round(said.total / 1e6, 1) == 162.6 and round(true.total / 1e6, 1) == 124.0
    assert said.total - true.total == said.head == 50_257 * 768
    assert true.head == 0 and round(said.head / 1e6, 1) == 38.6


@pytest.mark.parametrize("context", [512, 1024])
def test_the_stories_for_a_t4_fit_one(context):
    chosen, t4 = preset("stories-124m"), device("t4")
    train = TrainConfig(**chosen.train | {"batch_size": 32 * 512 // context})
    config = GPTConfig(**chosen.model | {"block_size": context, "vocab_size": 50_304})
    kept = frozenset({"accumulate", "recompute", "loss_chunk"})
    plan = plan_run(config, train, t4, keep=kept)
    assert plan.fits and plan.memory.total < 8e9
    assert plan.tokens_per_step == 16_384 and plan.train.dtype == "float16"


def test_the_published_steps_are_twelve_epochs():
    for name, epochs in (("stories-162m", 12), ("stories-124m", 6)):
        chosen = preset(name)
        tokens = chosen.model["block_size"] * chosen.train["batch_size"] * chosen.train["steps"]
        assert tokens == pytest.approx(epochs * 3_049_258, rel=1e-3)


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


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.corpus not in (None, *MADE)])
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
