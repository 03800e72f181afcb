"""A vocabulary that is rounded up: what the added ids change, and that no text ever has one."""

import json
import math
from pathlib import Path

import pytest
import torch

from gptlib import checkpoint, generate, load_run
from gptlib.cli import main
from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.shards.splits import open_split

TEXT = "The fox sat.\nThe hen ran here.\n" * 200
SMALL = ["--corpus", "fox.txt", "--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16",
         "--block-size", "8", "--batch-size", "4", "--eval-every", "2", "--warmup", "1",
         "--threads", "1"]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text(TEXT, encoding="utf-8")
    return tmp_path


def model_of(run: str) -> dict:
    return json.loads(Path(run, "config.json").read_text())["model"]


def weights(run: str) -> bytes:
    return (checkpoint.pointed(Path(run), "latest") / checkpoint.MODEL).read_bytes()


def test_a_padded_run_goes_on_and_is_read_by_every_command(here, capsys):
    begin = ["train", *SMALL, "--pad-vocab", "64"]
    assert main([*begin, "--out", "whole"]) == 0
    assert main([*begin, "--out", "parts", "--stop-after", "2"]) == 0
    assert main(["train", "--out", "parts", "--resume", "--stop-after", "3"]) == 0
    assert main(["train", "--out", "parts", "--resume", "--pad-vocab", "64"]) == 0
    assert weights("parts") == weights("whole")
    ids = len(set(TEXT))
    assert model_of("whole")["vocab_size"] == 64 and model_of("whole")["padding_ids"] == 64 - ids
    capsys.readouterr()
    assert main(["train", "--out", "parts", "--resume", "--pad-vocab", "32"]) == 2
    assert "vocab_size was 64 and is now 32" in capsys.readouterr().err
    assert main(["train", "--config", "whole/config.json", "--out", "third"]) == 0
    assert weights("third") == weights("whole")
    assert main(["train", *SMALL, "--pad-vocab", "64", "--write-config", "run.toml"]) == 0
    assert "pad_vocab = 64" in Path("run.toml").read_text()
    assert main(["train", "--config", "run.toml", "--out", "fourth"]) == 0
    assert weights("fourth") == weights("whole")
    assert main(["train", "--init-from", "whole", "--out", "fifth", *SMALL[:4]]) == 0
    assert model_of("fifth") == model_of("whole")
    capsys.readouterr()
    assert main(["info", "whole"]) == 0
    assert f"vocab_size 64, padding_ids {64 - ids}" in " ".join(capsys.readouterr().out.split())
    assert main(["eval", "whole", "--json"]) == 0
    assert main(["sample", "whole", "--max-new-tokens", "20", "--seed", "1"]) == 0


def test_a_multiple_that_cannot_be_is_refused(here, capsys):
    for multiple in ("0", "-64", "99999999"):
        assert main(["train", *SMALL, "--out", "x", f"--pad-vocab={multiple}"]) == 2
        assert "--pad-vocab is" in capsys.readouterr().err
    for padding in (-1, 65, 1.5, True):
        with pytest.raises(ConfigError, match="padding_ids"):
            GPTConfig(vocab_size=65, padding_ids=padding)


@pytest.mark.parametrize("settings", [{"temperature": 0}, {"seed": 1}, {"seed": 1, "top_k": 20}])
def test_padding_is_never_drawn_however_likely(settings):
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, 64, 1, 2, 16, padding_ids=41)).eval()
    with torch.no_grad():
        model.lm_head.weight[23:] *= 50  # what no token has is what the model would say
    assert model.logits(model.hidden(torch.tensor([[1, 2]])))[0, -1].argmax() >= 23
    drawn = generate(model, [1, 2], 40, **settings)
    assert drawn.max() < 23
    with pytest.raises(ConfigError, match="vocabulary's 23"):
        generate(model, [1], 1, top_k=24)
    with pytest.raises(DataError, match="knows 0 to 22"):
        generate(model, [23], 1)
    with pytest.raises(DataError, match="of which 41 are padding"):
        open_split(torch.arange(24), "train", model.config)


def test_the_first_loss_counts_the_padding_too(here):
    """The softmax runs over all columns: ln 64 and not ln 16, until training empties them."""
    words = ["--n-embd", "16", "--pad-vocab", "64", "--out", "run", "--steps", "1"]
    assert main(["train", *SMALL, *words]) == 0
    first = json.loads(Path("run", "log.jsonl").read_text().splitlines()[0])
    assert first["val"] == pytest.approx(math.log(64), abs=0.02)
    model, tokenizer, _ = load_run("run")
    assert model.config.known_ids == tokenizer.vocab_size == len(set(TEXT))
