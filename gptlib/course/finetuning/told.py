"""A storyteller that is told what to write: the record `places-answers`.

One job: `places_answers`. The model that ships as `stories` learns from instructions and places of
the grammar, by all weights and by LoRA; then each is asked for what it has not seen, and the parser
says what it wrote.

    python -m gptlib.course.finetuning.told --home FOLDER
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from gptlib.chat import ASSISTANT, CHAT, with_chat
from gptlib.course.command import answer
from gptlib.course.finetuning.tuned import tune
from gptlib.course.loaded import load_with_tokenizer
from gptlib.course.records import Record, make_record, save_record
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.writing import story_loss
from gptlib.evaluation.intervals import wilson
from gptlib.files import write_atomic
from gptlib.finetuning import AnswerBatches, AnswerLoss, ask_many, make_examples
from gptlib.model import GPT, GPTConfig
from gptlib.places import instruction_pairs, judge_place, read_instruction
from gptlib.resizing import resize_vocab
from gptlib.sampling import generate
from gptlib.tokenizers import Tokenizer

BASE = "stories"
PAIRS, ASKED = 30_000, 200
WISH = "Write a cold harbor at night with a bell."
SOUP = "Write a recipe for soup."
#: All weights learn in two rounds of other pairs each, the second one slower.
ROUNDS = {
    0: "--optimizer muon --lr 4e-3 --epochs 1 --batch-size 16".split(),
    3: "--optimizer muon --lr 2e-3 --epochs 1 --batch-size 16".split(),
}
LORA = (
    "--method lora --targets all-linear --rank 32 --epochs 0.5 --batch-size 16 --optimizer muon "
    "--lr 1e-2"
).split()
HELD_OUT = ("instructions", "combinations")
LONG = 512  # the context in which packing is compared with padding


def places_answers(home: Path, pairs: int = PAIRS, asked: int = ASKED) -> Record:
    """Teach the shipped storyteller to follow instructions, and measure how well it does.

    Args:
        home: where the runs go; those that are there are kept. pairs: to learn from. asked: how
            many wishes of each kind it is then told.
    """
    run: str | Path = BASE
    for seed, flags in ROUNDS.items():
        run = tune(run, _file(home, pairs, asked, seed), home / f"full-{seed}", *flags).folder
    runs = {"full": run}
    first = _file(home, pairs, asked, next(iter(ROUNDS)))
    runs["LoRA"] = tune(BASE, first, home / "lora", *LORA).folder
    base, tokenizer, manifest = load_with_tokenizer(BASE)
    models = {"base": (resize_vocab(base, with_chat(tokenizer)), with_chat(tokenizer))}
    models |= {name: load_with_tokenizer(folder)[:2] for name, folder in runs.items()}
    full = models["full"]
    answers = {
        name: {kind: _asked(*models[name], kind, asked) for kind in HELD_OUT} for name in models
    }
    result = {
        "granted": {name: {kind: _share(found) for kind, found in kinds.items()}
                    for name, kinds in answers.items()},
        "attributes": _attributes(answers["full"]["combinations"]),
        "cold_harbor": {name: ask_many(*model, [WISH])[0] for name, model in models.items()},
        "soup": ask_many(*full, [SOUP])[0],
        "wrong_order": _wrong_order(*full),
        "forgetting": [_costs(name, *model, asked) for name, model in models.items()],
        "pieces": pieces(base.config, full[1], instruction_pairs(256)),
    }  # fmt: skip
    samples = [{"wish": wish, "text": text} for wish, text in answers["full"]["combinations"][:6]]
    trained = {name: load_with_tokenizer(folder)[2] for name, folder in runs.items()}
    config = {
        "base": {"step": manifest["step"], "params": base.num_params()}, "pairs": pairs,
        "rounds": len(ROUNDS), "train": {name: of["train"] for name, of in trained.items()},
    }  # fmt: skip
    return make_record("places-answers", config, result, samples=samples)


def _file(home: Path, pairs: int, asked: int, seed: int) -> Path:
    """Pairs to learn from, and some of held-out instructions to validate on, in a file."""
    path = home / f"pairs-{seed}.jsonl"
    if not path.exists():
        told = [pair | {"split": "train"} for pair in instruction_pairs(pairs, seed)]
        held = instruction_pairs(asked, seed=1, held_out="instructions")
        told += [pair | {"split": "val"} for pair in held]
        write_atomic(path, "".join(json.dumps(line) + "\n" for line in told).encode())
    return path


def _asked(model: GPT, tokenizer: Tokenizer, kind: str, n: int) -> list[tuple[str, str]]:
    """Wishes that were held out of training, and what came, at temperature 0."""
    pairs = instruction_pairs(n, seed=2, held_out=kind)
    wishes = [pair["messages"][0]["content"] for pair in pairs]
    return list(zip(wishes, ask_many(model, tokenizer, wishes), strict=True))


def _share(found: Sequence[tuple[str, str]]) -> dict:
    """How many wishes were granted, all that they ask for; and how many places are sound too."""
    verdicts = [judge_place(text, read_instruction(wish)) for wish, text in found]
    granted, n = sum(verdict.matches for verdict in verdicts), len(verdicts)
    return {"share": granted / n, "ci95": list(wilson(granted, n)), "n": n,
            "sound": sum(verdict.ok for verdict in verdicts) / n}  # fmt: skip


def _attributes(found: Sequence[tuple[str, str]]) -> list[dict]:
    """What became of each kind of attribute that was asked for."""
    counts: dict[str, Counter] = {}
    for wish, text in found:
        verdict = judge_place(text, read_instruction(wish))
        for fate in ("present", "missing", "contradicted"):
            for name, _ in getattr(verdict, fate):
                counts.setdefault(name, Counter())[fate] += 1
    return [
        {"attribute": name, "asked": sum(fates.values()), "present": fates["present"],
         "missing": fates["missing"], "contradicted": fates["contradicted"]}
        for name, fates in sorted(counts.items())
    ]  # fmt: skip


def _wrong_order(model: GPT, tokenizer: Tokenizer) -> str:
    """What comes when the wish stands in the assistant's turn and nobody has asked."""
    marks = tokenizer.special_tokens
    ids = [marks[CHAT], marks[ASSISTANT], *tokenizer.encode(WISH)]
    return tokenizer.decode(generate(model, ids, 60, temperature=0.0)[0, len(ids) :].tolist())


def _costs(name: str, model: GPT, tokenizer: Tokenizer, n: int) -> dict:
    """What held-out answers and what old stories cost a model, in nats per token."""
    pairs = instruction_pairs(n, seed=2, held_out="instructions")
    loss = AnswerLoss(make_examples(pairs, tokenizer, model.config.block_size))
    old, tokens = story_loss(model, [tokenizer.encode(text) for text in held_out(n, seed=3)])
    return {"name": name, "new": loss(model), "old": old / tokens}


def pieces(shape: GPTConfig, tokenizer: Tokenizer, pairs: Sequence[dict]) -> dict:
    """Packed and padded rows of the same conversations: how many, and what a pass over them costs,
    in seconds of processor time, with a model of this shape and a context of `LONG`."""
    found = {}
    for name, packed in (("packed", True), ("padded", False)):
        torch.manual_seed(0)
        longer = shape.to_dict() | {"block_size": LONG, "vocab_size": tokenizer.vocab_size}
        model = GPT(GPTConfig.from_dict(longer))
        if packed:
            model.document_start = tokenizer.special_tokens[CHAT]
        batches = AnswerBatches(make_examples(pairs, tokenizer, LONG), 16, LONG, packed)
        rows = batches.rows_an_epoch
        begun, positions = time.process_time(), 0
        for step in range(rows // 16):
            x, y = batches.batch(step)
            positions += x.numel()
            loss = model(x, y, return_logits=False)[1]
            loss.backward()
        found[name] = {"rows": rows, "positions": positions,
                       "seconds": time.process_time() - begun}  # fmt: skip
    return found


def answers() -> Record:
    """The record `places-answers` from nothing, forty minutes on one thread."""
    with tempfile.TemporaryDirectory() as home:
        return places_answers(Path(home))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.finetuning.told")
    parser.add_argument("--home", type=Path, required=True, help="a folder for the runs")
    parser.add_argument("--out", type=Path, default=Path("data/runs/places-answers"))
    a = parser.parse_args(arguments)
    a.home.mkdir(parents=True, exist_ok=True)
    record = places_answers(a.home)
    save_record(record, a.out)
    print(record)


if __name__ == "__main__":
    answer(main)
