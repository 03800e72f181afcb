"""The recipe of `tales-cpu`: the model that ships with gptlib, watched while it learns.

One job: train a small GPT on tales and, at chosen steps, measure its loss against the floor, ask
the four probes, count how many of its own tales the grammar could have written, and let it continue
one prompt. Writes the model itself to `data/models/tales`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor

from gptlib import checkpoint
from gptlib.batches import document_starts
from gptlib.corpora import Corpus, load_corpus
from gptlib.course.command import answer
from gptlib.course.records import Record, make_record, save_record
from gptlib.errors import DataError
from gptlib.evaluation import loss_by_position, parse_rate, score_probes, split_loss
from gptlib.files import append_line, mend_jsonl, read_jsonl
from gptlib.grammar import Grammar
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.runs import load_run
from gptlib.sampling import generate
from gptlib.tokenizers import CharTokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

KINDS = ("spelling", "agreement", "pronoun", "promise")
TEMPERATURES = (1.0, 0.7, 0.4)
PROMPT = "How "  # titles of tales begin so
LOOKS = (0, 100, 200, 400, 700, 1200, 2000, 3000, 4500, 6500, 9000, 12000, 15000, 18000)


def _grammar(corpus: Corpus) -> Grammar:
    if corpus.grammar is None:
        raise DataError(
            f"no grammar is known of {corpus.name}; give a corpus that one wrote, such as tales"
        )
    return corpus.grammar


def write_documents(
    model: GPT,
    tokenizer: CharTokenizer,
    corpus: Corpus,
    n: int,
    seed: int,
    prompt: str = "",
    temperature: float = 1.0,
) -> list[str]:
    """Let the model write n documents, each from the separator before it to the one after it.

    Raises:
        DataError: the corpus is not by a grammar, so nobody knows what separates its documents.
    """
    separator = _grammar(corpus).separator
    begin, stop = tokenizer.encode(separator + prompt), tokenizer.encode(separator)
    room = model.config.block_size - len(begin)  # longer than any document
    rows = generate(model, [begin] * n, room, temperature, stop=[stop], seed=seed)
    texts = [tokenizer.decode(row[len(stop) :].tolist()) for row in rows]
    return [text.split(separator)[0] for text in texts]


def look(model: GPT, tokenizer: CharTokenizer, corpus: Corpus, val: Tensor, probes: dict) -> dict:
    """Everything that is measured at one step."""
    texts = write_documents(model, tokenizer, corpus, 24, seed=1)
    grammar = _grammar(corpus)
    separator = grammar.separator
    starts = document_starts(val, tokenizer.encode(separator))
    return {
        "val": split_loss(model, val, windows=200, starts=starts),
        "parse_rate": parse_rate(grammar, texts),
        "sample": write_documents(model, tokenizer, corpus, 1, seed=3, prompt=PROMPT)[0],
        **{kind: score_probes(model, tokenizer, probes[kind], separator) for kind in KINDS},
    }


def train_tales(run_dir: Path, ship_to: Path | None) -> Record:
    """Train preset `tales`, stopping for a look at each of `LOOKS`; picks up a run that was cut."""
    chosen = preset("tales")
    corpus = load_corpus(chosen.corpus, size=chosen.corpus_size)
    grammar = _grammar(corpus)
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = corpus.encode(tokenizer)
    config = TrainConfig(**chosen.train)
    probes = {kind: grammar.probes(kind, 100, seed=7) for kind in KINDS}
    looks_file = run_dir / "looks.jsonl"
    looks = mend_jsonl(looks_file)
    for step in (s for s in LOOKS if s <= config.steps):
        if any(past["step"] == step for past in looks):
            continue
        torch.manual_seed(config.seed)
        model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **chosen.model))
        if step:
            trainer = Trainer(
                model, train, val, config, run_dir, tokenizer, report=print,
                separator=tokenizer.encode(chosen.separator),
            )  # fmt: skip
            if trainer.fit(stop_after=step).step < step:
                raise SystemExit("stopped by a signal; the same command goes on from there")
        seen = {"step": step, **look(model, tokenizer, corpus, val, probes)}
        looks.append(seen)
        append_line(looks_file, seen)
        print({k: v for k, v in seen.items() if k != "sample"}, flush=True)
    if ship_to:
        ship(run_dir, ship_to, grammar.separator, tokenizer)
    model, _, manifest = load_run(run_dir, "latest")
    return _record(model, tokenizer, corpus, val, looks, run_dir, manifest, config)


def _record(
    model: GPT,
    tokenizer: CharTokenizer,
    corpus: Corpus,
    val: Tensor,
    looks: list[dict],
    run_dir: Path,
    manifest: dict,
    config: TrainConfig,
) -> Record:
    grammar = _grammar(corpus)
    written = {
        t: write_documents(model, tokenizer, corpus, 200, seed=11, temperature=t)
        for t in TEMPERATURES
    }
    known = set(corpus.train_documents)
    speed = read_jsonl(run_dir / "speed.jsonl")
    starts = document_starts(val, tokenizer.encode(grammar.separator))
    result = {
        "val": split_loss(model, val, starts=starts),
        "side_by_side_val": split_loss(model, val),
        "val_floor": corpus.val_floor,
        "entropy": corpus.entropy,
        "parse_rate": {str(t): parse_rate(grammar, w) for t, w in written.items()},
        "copied": {str(t): sum(x in known for x in w) / len(w) for t, w in written.items()},
        "by_position": [round(x, 4) for x in loss_by_position(model, val, starts=starts).tolist()],
        "params": model.num_params(),
        "tokens": manifest["step"] * config.batch_size * model.config.block_size,
        "seconds": sum(s["seconds"] for s in speed if _ends_a_part(s, speed)),
        "probes": [{k: v for k, v in seen.items() if k != "sample"} for seen in looks],
    }
    samples = [
        {"prompt": PROMPT, "text": s["sample"], "step": s["step"], "val": s["val"]} for s in looks
    ]
    chosen = preset("tales")
    settings = {
        "corpus": chosen.corpus, "corpus_size": chosen.corpus_size,
        "model": model.config.to_dict(), "train": asdict(config),
    }  # fmt: skip
    log = [x for x in read_jsonl(run_dir / "log.jsonl") if "val" in x or x["step"] % 25 == 0]
    command = "python -m gptlib.course.multi_head.tales --out runs/tales"
    return make_record(
        "tales-cpu", settings, result, command=command, samples=samples, log=log, speed=speed
    )


def _ends_a_part(line: dict, speed: list[dict]) -> bool:
    """Seconds count from 0 again after each pause: is this the last line before a pause?"""
    later = [s for s in speed if s["step"] > line["step"]]
    return not later or later[0]["seconds"] < line["seconds"]


def ship(run_dir: Path, place: Path, separator: str, tokenizer: CharTokenizer) -> None:
    """Write the run's best model, in float16 and without the optimizer, where gptlib finds it."""
    model, _, manifest = load_run(run_dir, "best")
    weights = {k: v.half() for k, v in checkpoint.plain_weights(model).items()}
    about = {k: manifest[k] for k in ("model", "train", "data", "tokenizer", "versions")}
    about["note"] = {"corpus": preset("tales").corpus, "corpus_size": None}
    about["sampling"] = {"begin": separator, "stop": separator}
    tokenizer.save(place / "tokenizer")
    checkpoint.save_weights(place, manifest["step"], weights, about)
    checkpoint.point(place, "best", manifest["step"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="the run folder (default: a temporary one)")
    parser.add_argument("--ship", type=Path, help="where the shipped model goes")
    parser.add_argument("--record", type=Path, default=Path("data/runs/tales-cpu"))
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        save_record(train_tales(args.out or Path(folder), args.ship), args.record)


if __name__ == "__main__":
    answer(main)
