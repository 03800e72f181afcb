"""How each recorded run was made: `python -m gptlib.course.recipes NAME [--out data/runs]`.

One job: a function a record. Each downloads what it needs, trains, measures and returns a
`Record`; nothing here is used by the package itself.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.corpora import Corpus, load_corpus
from gptlib.course import attention_runs, digits_runs
from gptlib.course.command import answer
from gptlib.course.ladder import ladder_record
from gptlib.course.records import Record, save_record, this_machine
from gptlib.errors import DataError
from gptlib.evaluation import split_loss
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.resources import data_path
from gptlib.runs import Run, read_jsonl
from gptlib.sampling import generate
from gptlib.tokenizers import CharTokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

RECIPES: dict[str, Callable[[], Record]] = attention_runs.RECIPES | digits_runs.RECIPES


def recipe(name: str):
    """Register a function as the recipe of the record called `name`."""

    def register(function):
        RECIPES[name] = function
        return function

    return register


def run_recipe(name: str) -> Record:
    """Make the record `name` anew.

    Raises:
        DataError: there is no recipe of that name.
    """
    if name not in RECIPES:
        raise DataError(
            f"no recipe makes {name!r}; there are {', '.join(sorted(RECIPES))}. A record that "
            "`python bench/…` made is made anew by that command, in the repository"
        )
    return RECIPES[name]()


def make_record(
    name: str, config: dict, result: dict, command: str | None = None, **parts
) -> Record:
    """Fill in what every record says of its machine and its command."""
    hardware, versions = this_machine()
    command = command or f"python -m gptlib.course.recipes {name}"
    return Record(name, command, config, hardware, versions, result, **parts)


def spread(values: list[float]) -> dict:
    """Mean and standard deviation over seeds, beside the values themselves."""
    sd = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"values": values, "mean": statistics.fmean(values), "sd": sd}


def encode(corpus: Corpus) -> tuple[CharTokenizer, Tensor, Tensor]:
    """Character ids of a corpus: (tokenizer, train, val)."""
    tokenizer = CharTokenizer.train(corpus.text)
    return tokenizer, *(torch.tensor(tokenizer.encode(t)) for t in (corpus.train, corpus.val))


# --- the bigram -----------------------------------------------------------------------------------


def pair_counts(tokens: Tensor, vocab_size: int) -> Tensor:
    """How often each token follows each: (V, V) float64."""
    pairs = tokens[:-1] * vocab_size + tokens[1:]
    return torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, -1).double()


def table_loss(counts: Tensor, log_probs: Tensor) -> float:
    """Mean cross-entropy in nats of the counted pairs under a table of log p(next | previous)."""
    weighted = torch.where(counts > 0, counts * log_probs.double(), 0.0)
    return -(weighted.sum() / counts.sum()).item()


def train_bigram(train: Tensor, V: int, seed: int, steps: int = 5000) -> Tensor:
    """As published: a (V, V) table of logits, 32 windows of 8 tokens a step, AdamW at 1e-3."""
    rng = torch.Generator().manual_seed(seed)
    table = torch.nn.Parameter(torch.randn(V, V, generator=rng))
    optimizer = torch.optim.AdamW([table], lr=1e-3, fused=True)
    for _ in range(steps):
        x, y = random_windows(train, 32, 8, rng)
        loss = F.cross_entropy(table[x].flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.detach()


def random_windows(tokens: Tensor, B: int, T: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """B windows at random places, as the published runs draw them: two (B, T) tensors."""
    at = torch.randint(len(tokens) - T, (B, 1), generator=rng) + torch.arange(T + 1)
    return tokens[at][:, :-1], tokens[at][:, 1:]


@recipe("kalevala-bigram")
def kalevala_bigram() -> Record:
    """Ten seeds of the published bigram, measured as published and on the whole split."""
    corpus = load_corpus("kalevala")
    tokenizer, train, val = encode(corpus)
    V = tokenizer.vocab_size
    counts = {"train": pair_counts(train, V), "val": pair_counts(val, V)}
    seeds = list(range(10))
    sampled, full = {"train": [], "val": []}, {"train": [], "val": []}
    for seed in seeds:
        log_probs = train_bigram(train, V, seed).log_softmax(dim=1)
        rng = torch.Generator().manual_seed(1000 + seed)
        for split, tokens in (("train", train), ("val", val)):
            draws = [random_windows(tokens, 32, 8, rng) for _ in range(100)]
            losses = [-log_probs[x, y].mean().item() for x, y in draws]
            sampled[split].append(statistics.fmean(losses))
            full[split].append(table_loss(counts[split], log_probs))
    fitted = counts["train"] + 1  # one imagined sighting of every pair
    add_one = (fitted / fitted.sum(dim=1, keepdim=True)).log()
    exact = (counts["train"] / counts["train"].sum(dim=1, keepdim=True)).log()
    gaps = [v - t for t, v in zip(sampled["train"], sampled["val"], strict=True)]
    result = {
        "train": spread(sampled["train"]),
        "val": spread(sampled["val"]),
        "val_minus_train": spread(gaps),
        "full_train": spread(full["train"]),
        "full_val": spread(full["val"]),
        "optimum_train": table_loss(counts["train"], exact),
        "optimum_val": table_loss(counts["val"], add_one),
        "characters": len(corpus.text),
        "vocab_size": V,
    }
    config = {"steps": 5000, "batch_size": 32, "block_size": 8, "lr": 1e-3, "seeds": seeds}
    return make_record("kalevala-bigram", config, result)


# --- runs of the Trainer --------------------------------------------------------------------------


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
    tokenizer, train, val = encode(load_corpus(corpus_name))
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


def seeds_of_preset(
    name: str, preset_name: str, corpus_name: str, seeds: list[int], prompt: str
) -> Record:
    """Several seeds of one preset: a record with the log and samples of the first."""
    runs = [train_preset(preset_name, corpus_name, seed) for seed in seeds]
    run, _, tokenizer = runs[0]
    measures = [m for _, m, _ in runs]
    result = {key: spread([m[key] for m in measures]) for key in measures[0]}
    result["params"] = run.model.num_params()
    samples = []
    for temperature in (0.0, 0.8, 1.0):
        ids = tokenizer.encode(prompt)
        text = tokenizer.decode(generate(run.model, ids, 400, temperature, seed=0)[0].tolist())
        samples.append({"prompt": prompt, "temperature": temperature, "text": text})
    chosen = preset(preset_name)
    config = {
        "corpus": corpus_name,
        "model": run.model.config.to_dict(),
        "train": asdict(TrainConfig(**chosen.train)),
        "seeds": seeds,
    }
    log = [line for line in run.log if "val" in line or line["step"] % 50 == 0]
    return make_record(name, config, result, samples=samples, log=log)


@recipe("kalevala-gpt")
def kalevala_gpt() -> Record:
    return seeds_of_preset("kalevala-gpt", "kalevala-gpt", "kalevala", [0, 1, 2], "Vaka vanha ")


@recipe("shakespeare-nanogpt-cpu")
def shakespeare_nanogpt_cpu() -> Record:
    name = "shakespeare-nanogpt-cpu"
    return seeds_of_preset(name, "nanogpt-cpu", "shakespeare", [0, 1, 2], "ROMEO:\n")


@recipe("ladder-tales")
def ladder_tales() -> Record:
    return ladder_record("ladder-tales", "tales")


@recipe("ladder-german")
def ladder_german() -> Record:
    """The text is public, and the reader's to fetch: `meyer_juerg_jenatsch.txt`, here."""
    return ladder_record("ladder-german", "meyer_juerg_jenatsch.txt")


@recipe("tales-cpu")
def tales_cpu() -> Record:
    from gptlib.course.tales_run import train_tales  # which itself needs this module

    with tempfile.TemporaryDirectory() as folder:
        return train_tales(Path(folder), ship_to=None)


@recipe("speedrun-cpu")
def speedrun_cpu() -> Record:
    from gptlib.course.speedrun import ablate  # which itself needs this module

    with tempfile.TemporaryDirectory() as folder:
        record, stopped = ablate(Path(folder) / "speedrun-cpu", Path(folder) / "work", steps=1000)
    if stopped:
        raise SystemExit("stopped before the end; nothing is kept")
    return record


@recipe("speedrun-races")
def speedrun_races() -> Record:
    """To be run on an idle machine: seconds are what it is about."""
    from gptlib.course.races import race  # which itself needs this module

    with tempfile.TemporaryDirectory() as folder:
        return race(Path(folder) / "speedrun-races")


def _sweep(name: str) -> Callable[[], Record]:
    def make() -> Record:
        from gptlib.course.sweep import remake  # which itself needs this module

        with tempfile.TemporaryDirectory() as folder:
            return remake(name, Path(folder))

    return make


RECIPES |= {path.stem: _sweep(path.stem) for path in sorted(data_path("sweeps").glob("*.toml"))}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Make a recorded run anew.")
    parser.add_argument("name", choices=sorted(RECIPES))
    parser.add_argument("--out", type=Path, default=Path("data/runs"))
    args = parser.parse_args(arguments)
    record = run_recipe(args.name)
    save_record(record, args.out / args.name)
    print(record)


if __name__ == "__main__":
    answer(main)
