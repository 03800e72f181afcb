"""`gptlib train --separator`: windows begin at documents, and a resumed run knows it."""

import json
from pathlib import Path

import pytest
import torch

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import CharTokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

TEXT = "The fox sat.\nThe hen ran here.\n" * 200
SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "8",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def train(*words) -> int:
    return main(["train", *words])


def weights(run: str) -> bytes:
    return (checkpoint.pointed(Path(run), "latest") / checkpoint.MODEL).read_bytes()


def test_a_separator_stays_with_the_run(here, capsys):
    begin = ["--corpus", "fox.txt", *SMALL]
    assert train(*begin, "--out", "whole", "--separator", "\n") == 0
    assert train(*begin, "--out", "plain") == 0
    assert weights("whole") != weights("plain")
    assert train(*begin, "--out", "parts", "--separator", "\n", "--stop-after", "2") == 0
    for words, says in (
        (["--separator", "."], "separator was '\\n' and is now '.'"),
        (["--separator", ""], "separator was '\\n' and is now None"),
    ):
        capsys.readouterr()
        assert train("--out", "parts", "--resume", *words) == 2
        assert says in capsys.readouterr().err
    assert train("--out", "parts", "--resume", "--separator", "\n", "--stop-after", "3") == 0
    assert train("--out", "parts", "--resume") == 0
    assert weights("parts") == weights("whole")
    assert main(["eval", "parts", "--json"]) == 0
    note = json.loads(Path("parts", "config.json").read_text())["note"]
    assert note["separator"] == "\n"
    assert train("--out", "plain", "--resume", "--separator", "\n") == 2


def test_a_run_of_the_library_with_a_separator_goes_on(here):
    """Its note says nothing of the text, and its ids stand in the settings."""
    tokenizer = CharTokenizer.train(TEXT)
    cut = int(0.9 * len(TEXT))
    splits = [torch.tensor(tokenizer.encode(part)) for part in (TEXT[:cut], TEXT[cut:])]
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, tokenizer.vocab_size, 1, 2, 16))
    config = TrainConfig(steps=4, batch_size=4, eval_every=2, warmup=1)
    trainer = Trainer(model, *splits, config, "run", tokenizer, separator=tokenizer.encode("\n"))
    trainer.fit(stop_after=2)
    assert train("--out", "run", "--resume", "--corpus", "fox.txt") == 0
    assert checkpoint.saved_steps(Path("run"))[-1] == 4


@pytest.mark.parametrize(
    ("separator", "says"),
    [("|", "the separator '|' stands nowhere in the training text of fox.txt"), ("", "")],
)
def test_a_separator_that_the_text_lacks(here, separator, says, capsys):
    words = ["--corpus", "fox.txt", "--out", "x", "--separator", separator, *SMALL]
    assert train(*words) == (2 if says else 0)
    assert says in capsys.readouterr().err


def test_shards_with_a_separator(here, capsys):
    assert main(["data", "prepare", "fox.txt", "--out", "shards"]) == 0
    words = ["--corpus", "shards", *SMALL, "--separator", "\n"]
    assert train(*words, "--out", "run", "--stop-after", "2") == 0
    assert train("--out", "run", "--resume") == 0
    capsys.readouterr()
    assert train(*words[:-1], "☃", "--out", "x") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_run_with_a_separator_writes_one_document(here, capsys):
    """It is shown where a document begins, and ends before the next one; another run is not."""
    words = ["--corpus", "fox.txt", "--out", "documents", "--separator", "\n", *SMALL]
    assert train(*words) == 0
    assert train("--corpus", "fox.txt", "--out", "plain", *SMALL) == 0
    for run, one in (("documents", True), ("plain", False)):
        for seed in "0123":
            capsys.readouterr()
            words = ["--max-new-tokens", "200", "--temperature", "1.5", "--seed", seed]
            assert main(["sample", run, *words]) == 0
            text = capsys.readouterr().out
            assert (text.count("\n") == 1) == one, (run, text)
