"""QLoRA on a real base model that is small enough for a processor. The record `beats-qlora`.

One job: the record. The base is stories260K (llama2.c, MIT), a quarter of a million weights in the
architecture of Llama-3.1-8B, trained on TinyStories; it is tuned through the same lines.

    weights    how far NF4 and equal steps are from its matrices, and what either costs its loss
    tuned      the loss of held-out scenes of the grammar before and after
    merges     three ways to make the adapter part of the model
    rates      two learning rates a factor of ten apart, on few pairs of real prose
    sides      base and tuned on held-out beats: what can be counted

    GPTLIB_DATA=FOLDER python -m gptlib.course.recipes beats-qlora
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptlib.beats import Pair, covered
from gptlib.course.beats.qlora_scenes import first_scenes, novel_pairs, other_hands
from gptlib.course.records import Record, make_record
from gptlib.course.tokens.texts import cached
from gptlib.evaluation import burrows_delta, repetition, telling
from gptlib.files import read_jsonl
from gptlib.hub.llama2c import from_llama2c
from gptlib.qlora import (
    WAYS,
    EncodedPair,
    QLoRAConfig,
    add_adapter,
    answer,
    collate,
    differences,
    encode_pair,
    held_out_loss,
    load_base,
    logits_of,
    merge_adapter,
    save_base,
    train_adapter,
)
from gptlib.quantization import dequantize_nf4, quantize_nf4

BLOCK = 64  # weights that share a scale
MODEL, TOKENS = "models/stories260K.bin", "models/tok512.bin"


@dataclass(frozen=True)
class Sizes:
    """How much is trained and written; the defaults are the record's.

    Attributes:
        scenes, held_out: of the grammar. steps, batch, lr: of the tuning. novel: pairs of real
            prose to train on, and as many held out. epochs, rates: of the second experiment.
        answers, tokens: texts that each side writes, and their greatest length.
    """

    scenes: int = 400
    held_out: int = 32
    steps: int = 200
    batch: int = 8
    lr: float = 5e-3
    novel: int = 24
    epochs: int = 24
    rates: tuple[float, ...] = (1e-2, 1e-3)
    answers: int = 12
    tokens: int = 160


def equal_steps(weight: Tensor) -> Tensor:
    """Weights rounded to 15 levels at equal distances, a scale for each block of 64 in a row."""
    blocks = torch.nn.functional.pad(weight.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK)
    step = blocks.abs().amax(1, keepdim=True).clamp(min=1e-38) / 7
    return ((blocks / step).round() * step).flatten()[: weight.numel()].view_as(weight)


def missed(weight: Tensor, back: Tensor) -> float:
    """The root mean square of what rounding changed, as a share of the weights' own."""
    return float(((back - weight).square().mean() / weight.square().mean()).sqrt())


@torch.no_grad()
def _weights(base: Path, held_out: Sequence[EncodedPair], rows: int) -> dict[str, Any]:
    """What either ruler misses in the base's matrices, and the loss with each."""
    rulers: dict[str, Callable[[Tensor], Tensor]] = {
        "as published": lambda w: w,
        "equal steps": equal_steps,
        "NF4": lambda w: dequantize_nf4(quantize_nf4(w)),
    }
    found = {}
    for name, ruler in rulers.items():
        model, _ = load_base(base, four_bit=False, device="cpu", dtype="float32")
        off = []
        for layer, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and "layers" in layer:
                back = ruler(module.weight)
                off.append(missed(module.weight, back))
                module.weight.copy_(back)
        loss = held_out_loss(model, held_out, rows)
        found[name] = {"missed": sum(off) / len(off), "loss": loss}
    return found


def _tuned(
    base: Path,
    train: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    config: QLoRAConfig,
    run: Path,
) -> tuple[Any, list[dict]]:
    """A tuned model, and the log of its run."""
    model, _ = load_base(base, device="cpu", dtype="float32")
    tuned = add_adapter(model, config)
    train_adapter(tuned, train, config, run, held_out)
    return tuned, read_jsonl(run / "log.jsonl")


def _merges(
    base: Path, adapter: Path, tuned: Any, held_out: Sequence[EncodedPair], rows: int
) -> list[dict]:
    """The three ways, and the base without any adapter, beside the model that was trained."""
    batch = collate(held_out[: 2 * rows])
    ids, real = batch["input_ids"], batch["attention_mask"].bool()
    trained = logits_of(tuned, ids)[real][None]
    found = []
    for way in (*WAYS, "left out"):
        if way == "left out":
            model, _ = load_base(base, device="cpu", dtype="float32")
        else:
            model = merge_adapter(base, adapter, way, device="cpu", dtype="float32")
        off = differences(trained, logits_of(model, ids)[real][None])
        bits = sum(p.numel() * p.element_size() for p in model.parameters())
        found.append({
            "way": way, **asdict(off), "loss": held_out_loss(model, held_out, rows), "bytes": bits
        })  # fmt: skip
    return found


def _by_epoch(log: Sequence[dict], steps: int) -> list[dict]:
    """(epoch, train, held out); the training loss is the mean over the epoch's updates."""
    lines = [{"epoch": 0, "train": None, "held_out": log[0]["held_out"]}]
    losses: list[float] = []
    for line in log[1:]:
        if "loss" in line:
            losses.append(line["loss"])
        else:
            train = sum(losses[-steps:]) / steps
            lines.append({
                "epoch": line["step"] // steps, "train": train, "held_out": line["held_out"]
            })  # fmt: skip
    return lines


def _said(text: str) -> str:
    """A text, or in place of one without any word, which has no counts, that it is nothing."""
    return text if re.search(r"\w", text) else "nothing"


def _sides(
    models: dict[str, Any],
    tokenizer: Any,
    pairs: Sequence[Pair],
    author: Sequence[Pair],
    sizes: Sizes,
) -> tuple[list[dict], list[dict]]:
    """What each side writes to held-out beats: counts, and the texts."""
    texts = {"the author": [pair.prose for pair in pairs]}
    for name, model in models.items():
        texts[name] = [
            _said(answer(model, tokenizer, pair.record()["messages"][1:2], sizes.tokens))
            for pair in pairs
        ]
    size = min(sum(len(text.split()) for text in side) for side in texts.values())
    size = max(size, 50)
    own = " ".join(pair.prose for pair in author).split()
    texts_of_author = [
        " ".join(own[i : i + size]) for i in range(0, len(own) - size + 1, size)
    ]  # fmt: skip
    reference = [*other_hands(size), *texts_of_author[1::2][:4]]
    measured = []
    for name, side in texts.items():
        beats = [told for pair, text in zip(pairs, side, strict=True)
                 for told in covered(pair.beats, text)]  # fmt: skip
        joined = " ".join(" ".join(side).split()[:size])
        counts = telling(side)
        measured.append({
            "side": name,
            "covered": sum(beats),
            "beats": len(beats),
            "words": sum(len(text.split()) for text in side) / len(side),
            "repetition": repetition(side),
            "delta": burrows_delta([joined], texts_of_author[::2][:4], reference)[0],
            "filters": counts.filters,
            "adverbs": counts.adverbs,
            "dialogue": counts.dialogue,
        })  # fmt: skip
    samples = [
        {"prompt": pair.prompt, "side": name, "text": side[n]}
        for n, pair in enumerate(pairs[:4])
        for name, side in texts.items()
    ]
    return measured, samples


def beats_qlora(
    sizes: Sizes = Sizes(), base: Path | None = None, report: Callable[[str], None] = print
) -> Record:
    """Tune, merge, compare.

    Args:
        base: a folder of a small Llama; None takes stories260K from GPTLIB_DATA.

    Raises:
        DataError: a text or the model is not in GPTLIB_DATA. ConfigError: a package is missing.
    """
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        if base is None:
            model, tokenizer = from_llama2c(cached(MODEL), cached(TOKENS))
            assert tokenizer is not None  # it was asked for
            base = save_base(model, tokenizer, folder / "base")
        return _record(sizes, base, folder, report)


def _record(sizes: Sizes, base: Path, folder: Path, report: Callable[[str], None]) -> Record:
    _, tokenizer = load_base(base, device="cpu", dtype="float32")

    def encoded(pairs: Sequence[Pair]) -> list[EncodedPair]:
        return [encode_pair(pair.record()["messages"][1:], tokenizer) for pair in pairs]

    scenes = first_scenes(sizes.scenes + sizes.held_out, seed=1)
    train, kept = encoded(scenes[: sizes.scenes]), encoded(scenes[sizes.scenes :])
    result: dict[str, Any] = {"weights": _weights(base, kept, sizes.batch)}
    report(str(result["weights"]))
    config = QLoRAConfig(
        rank=8, alpha=16.0, dropout=0.0, steps=sizes.steps, batch_size=sizes.batch, lr=sizes.lr,
        warmup=min(5, sizes.steps // 2), save_every=max(1, sizes.steps // 4), recompute=False,
    )  # fmt: skip
    tuned, log = _tuned(base, train, kept, config, folder / "scenes")
    result["tuned"] = [line for line in log if "held_out" in line]
    report(str(result["tuned"]))
    adapter = folder / "scenes" / "adapter"
    result["adapter"] = {
        "bytes": sum(file.stat().st_size for file in adapter.iterdir()),
        "weights": sum(p.numel() for p in tuned.parameters() if p.requires_grad),
        "base_weights": sum(p.numel() for p in load_base(base, False, "cpu")[0].parameters()),
    }
    result["merges"] = _merges(base, adapter, tuned, kept, sizes.batch)
    report(str(result["merges"]))
    pairs, others = novel_pairs(sizes.novel)
    own, held = encoded(pairs), encoded(others)
    steps = max(1, len(own) // sizes.batch)
    result["rates"] = []
    for rate in sizes.rates:
        hot = replace(config, lr=rate, steps=steps * sizes.epochs, save_every=steps, warmup=0,
                      keep=1)  # fmt: skip
        _, log = _tuned(base, own, held, hot, folder / f"rate-{rate:g}")
        result["rates"].append({"rate": rate, "epochs": _by_epoch(log, steps)})
        report(str(result["rates"][-1]["epochs"][:: max(1, sizes.epochs // 6)]))
    models = {
        "base": load_base(base, four_bit=False, device="cpu", dtype="float32")[0],
        "tuned": merge_adapter(base, adapter, "dequantized", device="cpu", dtype="float32"),
    }
    asked = scenes[sizes.scenes :][: sizes.answers]
    result["sides"], samples = _sides(models, tokenizer, asked, scenes[: sizes.scenes], sizes)
    result["pairs"] = {
        "scenes": len(train), "held_out": len(kept), "novel": len(own), "novel_held_out": len(held)
    }  # fmt: skip
    about = {**asdict(sizes), "model": MODEL, "qlora": asdict(config) | {"lr": sizes.lr}}
    return make_record("beats-qlora", about, result, samples=samples)
