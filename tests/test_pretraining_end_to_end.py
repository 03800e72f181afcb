"""Section 4's first half in small, by the commands of chapter 6: prepare, train, evaluate, export,
sample. Every stage is another process, and training is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gptlib.corpora import load_corpus
from gptlib.corpora.downloads import cache_folder
from gptlib.files import read_jsonl
from gptlib.shards import open_shards

OPENSTAX = "edu/openstax_sample.jsonl"
SHAPE = ["--n-layer", "2", "--n-head", "2", "--n-embd", "64", "--block-size", "64"]
HOW = [
    *["--steps", "80", "--batch-size", "8", "--accumulate", "2", "--lr", "5e-3", "--warmup", "10"],
    *["--eval-every", "40", "--eval-windows", "40", "--save-every", "10", "--threads", "1"],
]
PROMPT = "The"


def texts_for(folder: Path) -> Path:
    """150 textbook documents of OpenStax where the data folder has them, else the embedded tales;
    a line on the console says which."""
    openstax = cache_folder() / OPENSTAX
    if openstax.is_file():
        texts = [json.loads(line)["text"] for line in openstax.open(encoding="utf-8")][:150]
    else:
        texts = load_corpus("tales", size=1_000_000).text.split("\n\n")
    print("texts:", OPENSTAX if openstax.is_file() else "tales, for want of OpenStax")
    path = folder / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), "utf-8")
    return path


def items_for(folder: Path, texts: Path, n: int = 24) -> Path:
    """Questions whose right ending goes on where the context stops, and whose others do not."""
    documents = [line["text"].split() for line in read_jsonl(texts)]
    pieces = [words[i : i + 12] for words in documents for i in range(0, len(words) - 12, 12)]
    records = [
        {
            "ctx": " ".join(pieces[k][:6]),
            "endings": [" ".join(pieces[k + i * n][6:]) for i in range(4)],
            "label": 0,
        }
        for k in range(n)
    ]
    path = folder / "items.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return path


def begin(*arguments: object) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "gptlib", *map(str, arguments)], text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONUTF8": "1"},
    )  # fmt: skip


def gptlib(*arguments: object) -> str:
    """What the command prints, once it has succeeded."""
    process = begin(*arguments)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return out


def kill_at(step: int, run: Path, *arguments: object) -> None:
    """Begin a run, and SIGKILL it when its log has reached a step."""
    process, log = begin(*arguments), run / "log.jsonl"
    while f'"step": {step},' not in (log.read_text("utf-8") if log.exists() else ""):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_from_texts_on_disk_to_a_model_in_another_program(tmp_path):
    transformers = pytest.importorskip("transformers")
    texts, home = texts_for(tmp_path), tmp_path
    shards, run, tokens = home / "shards", home / "run", home / "tokens"

    gptlib("data", "tokenizer", texts, "--vocab-size", 1000, "--out", tokens)
    prepared = json.loads(
        gptlib("data", "prepare", texts, "--tokenizer", tokens, "--val-fraction", 0.05,
               "--shuffle-seed", 0, "--out", shards, "--json")
    )  # fmt: skip
    assert prepared["vocab_size"] == 1000
    assert {shard["split"] for shard in prepared["shards"]} == {"train", "val"}

    train = ["train", "--corpus", shards, *SHAPE, *HOW]
    kill_at(25, run, *train, "--out", run)
    gptlib("train", "--resume", "--out", run, "--threads", 1)
    gptlib(*train, "--out", home / "undisturbed")
    log = read_jsonl(run / "log.jsonl")
    assert log == read_jsonl(home / "undisturbed" / "log.jsonl")
    assert log[0]["val"] > 6.9 > log[-1]["val"] + 0.5  # ln 1000 = 6.9

    loss = json.loads(gptlib("eval", run, "--json"))
    assert loss["loss"] == pytest.approx(log[-1]["val"], abs=0.3)  # all of it, not 40 windows
    items = items_for(home, texts)
    judged = json.loads(
        gptlib("eval", run, "--task", "hellaswag", "--items", items, "--json",
               "--per-item", home / "answers.jsonl")
    )  # fmt: skip
    assert judged["n"] == len(read_jsonl(home / "answers.jsonl")) == 24
    low, high = judged["ci95"]["acc_norm"]
    assert low <= judged["acc_norm"] <= high

    exported = home / "exported"
    gptlib("export", run, "--to", "hf", exported)
    model = transformers.AutoModelForCausalLM.from_pretrained(exported).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    val = open_shards(shards, "val")
    ids = torch.from_numpy(val[: len(val)].astype(np.int64))
    with torch.no_grad():  # windows side by side, each token of which but the first is predicted
        losses = [
            F.cross_entropy(model(ids[None, i : i + 64]).logits[0, : len(ids[i + 1 : i + 65])],
                            ids[i + 1 : i + 65], reduction="sum")
            for i in range(0, len(ids) - 1, 64)
        ]  # fmt: skip
    assert sum(losses).item() / (len(ids) - 1) == pytest.approx(loss["loss"], abs=1e-4)

    ours = gptlib("sample", run, "--prompt", PROMPT, "--temperature", 0, "--max-new-tokens", 60)
    start = tokenizer(PROMPT, return_tensors="pt")
    theirs = model.generate(**start, max_new_tokens=60, do_sample=False)[0]
    assert tokenizer.decode(theirs, skip_special_tokens=True).strip() == ours.strip()
