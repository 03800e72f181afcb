"""Runs that are planned and not made: what each is, the command for it, and what it would cost.

One job: `waiting_table`, for the page of that name. Costs are computed from the plan alone: the
FLOPs of training, and the hours that they take at a round rate, which a reader scales to a card.
"""

import json
from pathlib import Path

import torch

from gptlib.course.speedrun.ablation import plan
from gptlib.course.sweep import Point, model_and_config, read_sweep
from gptlib.footprint import flops_per_token
from gptlib.model_config import GPTConfig
from gptlib.presets import preset
from gptlib.qlora.memory import LLAMAS

RATE = 1e13  # FLOPs a second: the round number that the hours are computed with
_SYMBOLS = 65  # Shakespeare's; another text's count changes the FLOPs by less than they are rounded

#: What needs a larger machine: record, what it is, whether all of it waits where no record is,
#: command.
_PLANNED = (
    ("shakespeare-table", "chapter 4: the published sizes on Shakespeare, three seeds of each",
     False, "python -m gptlib.course.sweep shakespeare-table"),
    ("novel", "chapter 4: the novel model in the published size",
     False, "python -m gptlib.course.sweep novel --corpus meyer_juerg_jenatsch.txt"),
    ("speedrun-gpu", "the speedrun: the ablation at 10.7 million parameters, nanoGPT's GPU setting",
     True, "python -m gptlib.course.speedrun.ablation --preset nanogpt-gpu --lr 2e-3 --seeds 1 "
     "--out data/runs/speedrun-gpu"),
)  # fmt: skip

#: Runs of a GPT-2's size: record, what it is, preset, how often its steps are made, command.
_GPT2 = (
    ("gpt2-fineweb", "GPT-2 124M as published: one pass over 10 billion tokens of FineWeb-Edu, and "
     "HellaSwag of it", "gpt2-124m", 1,
     "gptlib train --preset gpt2-124m --corpus shards/fineweb-edu --out runs/gpt2-fineweb"),
    ("gpt2-fineweb-3", "the same for three passes, and HellaSwag of it", "gpt2-124m", 3,
     "gptlib train --preset gpt2-124m --corpus shards/fineweb-edu --out runs/gpt2-fineweb-3 "
     "--steps 57219"),
    ("gpt2-modern", "the same size with newer parts, in the steps that a tuned ladder took "
     "elsewhere, and HellaSwag of it", "gpt2-124m-modern", 1,
     "gptlib train --preset gpt2-124m-modern --corpus shards/fineweb-edu --out runs/gpt2-modern"),
    ("stories-162m", "chapter 7: the published run on stories, as published", "stories-162m", 1,
     "gptlib train --preset stories-162m --corpus tales.jsonl --out runs/stories-162m"),
    ("stories-124m", "chapter 7: the same text, with what that run lacked, on a T4",
     "stories-124m", 1,
     "gptlib train --preset stories-124m --corpus tales.jsonl --out runs/stories-124m"),
)  # fmt: skip

_QLORA = "gptlib qlora meta-llama/Llama-3.1-8B --data train.jsonl --val val.jsonl --rank 8 "
_QLORA += "--targets q_proj,v_proj --batch-size 2 --dropout 0.1 --epochs 3 "
_NOVEL = 300_000  # tokens of a novel's beats and prose, some 200 chunks of 500 words

#: Larger models tuned: record, what it is, how many weights, tokens that are read, command.
_TUNED = (
    ("places-gpt2", "chapter 8: that GPT-2 tuned on 1,000 places at the best of the published "
     "rates for seven epochs, its loss and its HellaSwag, before and after", 124_439_808,
     7 * 358_726, "gptlib finetune runs/gpt2-fineweb --data places.txt --out runs/places-gpt2 "
     "--lr 2e-4 --batch-size 32 --weight-decay 0.1 --epochs 7"),
    ("places-gpt2-rates", "chapter 8: one epoch at each of the six published rates", 124_439_808,
     6 * 358_726, "for lr in 1e-4 2e-4 5e-4 1e-3 4e-3 7e-3; do gptlib finetune runs/gpt2-fineweb "
     "--data places.txt --out runs/places-$lr --lr $lr --batch-size 32 --weight-decay 0.1 "
     "--epochs 1; done"),
    ("beats-llama-8b", "chapter 9: Llama-3.1-8B from beats to prose at the published rate, three "
     "epochs of a novel", LLAMAS["Llama-3.1-8B"].total, 3 * _NOVEL,
     f"{_QLORA}--lr 1e-6 --out runs/scenes-1e-6"),
    ("beats-llama-8b-fast", "chapter 9: the same at ten times the rate, which overfitted within an "
     "epoch", LLAMAS["Llama-3.1-8B"].total, 3 * _NOVEL,
     f"{_QLORA}--lr 1e-5 --out runs/scenes-1e-5"),
)  # fmt: skip


def waiting_table(root: Path) -> str:
    """Return a Markdown table of the planned runs that no record under `root` holds yet."""
    rows = ["| record, and the command that makes it | what waits | FLOPs | hours |",
            "|---|---|---:|---:|"]  # fmt: skip
    for name, what, whole, command in _PLANNED:
        path = root / "data" / "runs" / name / "record.json"
        recorded = json.loads(path.read_text("utf8"))["result"] if path.exists() else {}
        names = recorded.get("not_run", [])
        if not names and not (whole and not recorded):
            continue
        planned = {point.name: point for point in _points(name)}
        waits = [planned[n] for n in names if n in planned] or list(planned.values())
        flops = sum(map(_flops, waits))
        left = ", ".join(f"`{run}`" for run in sorted({run.rpartition("-s")[0] for run in names}))
        rows.append(
            f"| `{name}`<br>`{command}` | {what}: {left or f'all {len(waits)} runs'} "
            f"| {_power(flops)} | {_hours(flops)} |"
        )
    for name, what, of, times, command in _GPT2:
        if not (root / "data" / "runs" / name / "record.json").exists():
            flops = times * _preset_flops(of)
            rows.append(f"| `{name}`<br>`{command}` | {what} | {_power(flops)} | {_hours(flops)} |")
    for name, what, weights, tokens, command in _TUNED:
        if not (root / "data" / "runs" / name / "record.json").exists():
            flops = 6.0 * weights * tokens  # what is frozen gets no gradient, but is computed twice
            rows.append(f"| `{name}`<br>`{command}` | {what} | {_power(flops)} | {_hours(flops)} |")
    return "\n".join(rows) if len(rows) > 2 else "Nothing waits."


def _points(name: str) -> tuple[Point, ...]:
    if name == "speedrun-gpu":
        return plan(preset("nanogpt-gpu"), seeds=1, name=name, lr=2e-3).points
    return read_sweep(name).points


def _flops(point: Point) -> float:
    with torch.device("meta"):  # shapes without memory
        model, config = model_and_config(point, _SYMBOLS)
    T = model.config.block_size
    return config.steps * config.batch_size * T * model.flops_per_token(T)


def _preset_flops(name: str) -> float:
    """FLOPs of a whole run of a preset that names its vocabulary."""
    chosen = preset(name)
    ids = chosen.vocab_size or 0
    shape = GPTConfig(vocab_size=ids + -ids % (chosen.pad_vocab or 1), **chosen.model)
    tokens = chosen.train["steps"] * chosen.train["batch_size"] * shape.block_size
    return float(tokens) * flops_per_token(shape)


def _power(number: float) -> str:
    digits, exponent = f"{number:.1e}".split("e")
    return f"{digits}\u00a0×\u00a010<sup>{int(exponent)}</sup>"


def _hours(flops: float) -> str:
    hours = flops / RATE / 3600
    return f"{hours:.1f}" if hours >= 0.05 else "under 0.1"
