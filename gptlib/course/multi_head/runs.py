"""The recorded runs of chapter 3: several seeds of a preset, and the ladders.

One job: recipes (`gptlib.course.recipes`), each of which returns a `Record`.
"""

from __future__ import annotations

import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from gptlib.corpora import load_corpus
from gptlib.course.bigram.runs import random_windows
from gptlib.course.multi_head.ladder import ladder_record
from gptlib.course.multi_head.tales import train_tales
from gptlib.course.records import Record, make_record, spread
from gptlib.evaluation import split_loss
from gptlib.files import read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.runs import Run
from gptlib.sampling import generate
from gptlib.tokenizers import CharTokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer


def sampled_loss(model: GPT, tokens: Tensor, batches: int, B: int, seed: int) -> float:
    """Mean loss of random batches, as most published runs report it."""
    rng = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(batches):
        x, y = random_windows(tokens, B, model.config.block_size, rng)
        with torch.no_grad():
            losses.append(model(x, y)[1].item())
    return statistics.fmean(losses)


def train_preset(preset_name: str, corpus_name: str, seed: int) -> tuple[Run, dict, CharTokenizer]:
    """Train a preset on a corpus; returns the run, its measures and the tokenizer."""
    chosen = preset(preset_name)
    corpus = load_corpus(corpus_name)
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = corpus.encode(tokenizer)
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **chosen.model))
    config = TrainConfig(seed=seed, save_minutes=0, **chosen.train)
    with tempfile.TemporaryDirectory() as folder:
        run = Trainer(model, train, val, config, folder, tokenizer, report=print).fit()
        if not run.finished:
            raise SystemExit("stopped before the end; nothing is kept")
        speed = read_jsonl(Path(folder) / "speed.jsonl")
    model.eval()
    measures = {
        "val": sampled_loss(model, val, 200, config.batch_size, seed),
        "train": sampled_loss(model, train, 200, config.batch_size, seed),
        "full_val": run.last_val,
        "best_full_val": run.best_val,
        "best_step": run.best_step,
        "overlapping_val": split_loss(model, val, stride=model.config.block_size // 2),
        "seconds": speed[-1]["seconds"],
        "tokens_per_s": speed[-1]["tokens_per_s"],
    }
    return run, measures, tokenizer


def seeds_of_preset(name: str, preset_name: str, seeds: list[int], prompt: str) -> Record:
    """Several seeds of one preset on its own text: a record with the log and samples of the first.

    `gptlib train --preset PRESET --out FOLDER --seed N` is one of the runs.
    """
    chosen = preset(preset_name)
    runs = [train_preset(preset_name, chosen.corpus, seed) for seed in seeds]
    run, _, tokenizer = runs[0]
    measures = [m for _, m, _ in runs]
    result: dict[str, object] = {key: spread([m[key] for m in measures]) for key in measures[0]}
    result["params"] = run.model.num_params()
    samples = []
    for temperature in (0.0, 0.8, 1.0):
        ids = tokenizer.encode(prompt)
        text = tokenizer.decode(generate(run.model, ids, 400, temperature, seed=0)[0].tolist())
        samples.append({"prompt": prompt, "temperature": temperature, "text": text})
    config = {
        "corpus": chosen.corpus,
        "model": run.model.config.to_dict(),
        "train": asdict(TrainConfig(**chosen.train)),
        "seeds": seeds,
    }
    log = [line for line in run.log if "val" in line or line["step"] % 50 == 0]
    return make_record(name, config, result, samples=samples, log=log)


def kalevala_gpt() -> Record:
    return seeds_of_preset("kalevala-gpt", "kalevala-gpt", [0, 1, 2], "Vaka vanha ")


def shakespeare_nanogpt_cpu() -> Record:
    name = "shakespeare-nanogpt-cpu"
    return seeds_of_preset(name, "nanogpt-cpu", [0, 1, 2], "ROMEO:\n")


def ladder_tales() -> Record:
    return ladder_record("ladder-tales", "tales")


def ladder_german() -> Record:
    """The text is public, and the reader's to fetch: `meyer_juerg_jenatsch.txt`, here."""
    return ladder_record("ladder-german", "meyer_juerg_jenatsch.txt")


def tales_cpu() -> Record:
    with tempfile.TemporaryDirectory() as folder:
        return train_tales(Path(folder), ship_to=None)
