"""The recorded runs of chapter 6: GPT-2 124M for ninety updates, and 10M parameters for an evening.

One job: `record_of_run`, which turns a finished run folder and the texts that it read into a
`Record`, and two recipes (`gptlib.course.recorded`) that prepare, train and record. They read
`pretraining.jsonl` in the data folder (GPTLIB_DATA); a line is {"source": kind, "text": document}.

    python -m gptlib.course.pretraining.runs RUN --shards SHARDS --texts TEXTS.jsonl --name NAME
"""

from __future__ import annotations

import argparse
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from gptlib import checkpoint
from gptlib.corpora.downloads import cache_folder
from gptlib.course.command import answer
from gptlib.course.records import Record, make_record, save_record
from gptlib.errors import DataError
from gptlib.evaluation.loss import measure_split
from gptlib.files import read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.sampling import generate
from gptlib.shards import open_shards, prepare
from gptlib.shards.deal import in_validation
from gptlib.shards.read import read_manifest
from gptlib.tokenizers import BPETokenizer, Tokenizer, load_tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

TEXTS = "pretraining.jsonl"
PROMPT = "The river"  # a textbook, a tale and a newspaper may all begin so
END = "<|endoftext|>"

#: The two runs: what they change in their presets. An hour on one thread is ninety of GPT-2's
#: updates, of 8,192 tokens each.
SMALL_STEPS = 1500
SMALL_TRAIN = dict(save_every=50, save_minutes=0, keep_last=41, compile=True)
LARGE_TRAIN = dict(
    steps=90, batch_size=8, accumulate=8, lr=6e-4, min_lr=6e-5, warmup=10, eval_every=30,
    eval_windows=8, save_every=8, dtype="fast", compile=False,
)  # fmt: skip


def read_texts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of every document that is not blank.

    Raises:
        DataError: there is no such file, or a line of it is none of these.
    """
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    document = json.loads(line)
                    kind, text = document.get("source", "text"), document["text"]
                except (ValueError, TypeError, KeyError, AttributeError) as error:
                    raise DataError(
                        f"line {number} of {path.name} is no document; a line is "
                        '{"source": "textbooks", "text": "…"}'
                    ) from error
                if text.strip():
                    yield kind, text
    except OSError as error:
        raise DataError(
            f"{path.name} is not in the data folder ({error.strerror}); put it there, a line "
            '{"source": "textbooks", "text": "…"} for each document, and set GPTLIB_DATA'
        ) from error


def by_kind(
    model: GPT, tokenizer: Tokenizer, texts: Path, fraction: float, seed: int
) -> dict[str, dict]:
    """Loss, bits per byte and size of the validation documents of each kind."""
    ids: dict[str, list[np.ndarray]] = {}
    sizes: dict[str, int] = {}
    end = np.array([tokenizer.special_tokens[END]], dtype=np.uint32)
    for number, (kind, text) in enumerate(read_texts(texts)):
        if in_validation(number, fraction, seed):
            ids.setdefault(kind, []).extend([tokenizer.encode_array(text), end])
            sizes[kind] = sizes.get(kind, 0) + len(text.encode())
    found = {}
    for kind, parts in sorted(ids.items()):
        tokens = np.concatenate(parts)
        measured = measure_split(model, tokens, tokenizer)
        found[kind] = {
            "val": measured.loss, "bits_per_byte": measured.bits_per_byte,
            "bytes": sizes[kind], "tokens": len(tokens), "documents": len(parts) // 2,
        }  # fmt: skip
    return found


def seconds_and_pauses(speed: Sequence[dict]) -> tuple[float, list[int]]:
    """Seconds of training in all, and the steps after which a process ended and another began.

    The clock of a resumed run begins at 0 again.
    """
    total, pauses = 0.0, []
    for line, after in itertools.zip_longest(speed, speed[1:]):
        if after is None or after["seconds"] < line["seconds"]:
            total += line["seconds"]
            pauses += [line["step"]] if after else []
    return total, pauses


def _model_at(run_dir: Path, step: int) -> tuple[GPT, dict]:
    weights, manifest = checkpoint.load_model(checkpoint.folder_of(run_dir, step))
    model = GPT(GPTConfig.from_dict(manifest["model"]))
    checkpoint.load_weights(model, weights)
    return model.eval(), manifest


def samples_of(
    run_dir: Path, tokenizer: Tokenizer, steps: Sequence[int], prompt: str, length: int
) -> Iterator[dict]:
    """How the model of each of these steps goes on from a prompt, with the same dice."""
    ids = tokenizer.encode(prompt)
    for step in steps:
        model, _ = _model_at(run_dir, step)
        new = generate(model, ids, length, temperature=0.8, top_k=50, seed=0)[0].tolist()
        yield {"step": step, "prompt": prompt, "text": tokenizer.decode(new)}


def record_of_run(
    name: str,
    run_dir: Path,
    shards: Path,
    texts: Path | None = None,
    steps: Sequence[int] = (),
    prompt: str = PROMPT,
    length: int = 90,
    memory_gb: float | None = None,
    killed: Sequence[int] = (),
    command: str | None = None,
) -> Record:
    """Measure a finished run, and put what it logged beside that.

    Args:
        shards: what it was trained on. texts: where their documents come from, to measure each kind
            by itself; None leaves that out.
        steps: of the kept checkpoints to sample from. memory_gb: its peak, if somebody looked.
        killed: steps after which it was killed and resumed, where `speed.jsonl` does not tell.

    Raises:
        DataError: texts that the shards were not made of. CheckpointError: a checkpoint is missing.
    """
    tokenizer = load_tokenizer(shards / "tokenizer")
    last = max(checkpoint.saved_steps(run_dir))
    model, manifest = _model_at(run_dir, last)
    val, plan = open_shards(shards, "val", tokenizer), read_manifest(shards)
    measured = measure_split(model, val, tokenizer)
    log, speed = (read_jsonl(run_dir / f"{part}.jsonl") for part in ("log", "speed"))
    seconds, pauses = seconds_and_pauses(speed)
    T, train = model.config.block_size, manifest["train"]
    tokens = last * train["batch_size"] * T
    result = {
        "val": measured.loss, "bits_per_byte": measured.bits_per_byte,
        "bytes_per_token": val.bytes / len(val),
        "params": model.num_params(), "steps": last, "tokens": tokens,
        "passes": tokens / len(open_shards(shards, "train", tokenizer)),
        "seconds": seconds, "tokens_per_s": tokens / seconds if seconds else None,
        "flops_per_s": tokens * model.flops_per_token(T) / seconds if seconds else None,
        "memory_gb": memory_gb, "killed_at": list(killed) or pauses,
        "first_val": next(line["val"] for line in log if "val" in line),
    }  # fmt: skip
    if texts:
        kinds = by_kind(model, tokenizer, texts, plan["val_fraction"] or 0.1, plan["seed"])
        documents = sum(s.documents for s in plan["shards"] if s.split == "val")
        if sum(kind["documents"] for kind in kinds.values()) != documents:
            raise DataError(
                f"{texts.name} does not hold the documents of {shards.name}; give the file that "
                "the shards were prepared from"
            )
        result["kinds"] = kinds
    config = {
        "model": manifest["model"], "train": train, "vocab_size": tokenizer.vocab_size,
        "data": manifest["data"], "source": plan["source"], "runtime": manifest.get("runtime"),
    }  # fmt: skip
    samples = list(samples_of(run_dir, tokenizer, steps, prompt, length))
    kept = [x for x in log if "val" in x or x["step"] % max(1, last // 400) == 0]
    return make_record(name, config, result, command, samples, kept, speed)


def _train(name: str, changes: dict, tokenizer: Tokenizer, shards: Path, folder: Path) -> None:
    """Train a preset with some settings changed."""
    torch.manual_seed(0)
    chosen = preset(name)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **chosen.model))
    train, val = (open_shards(shards, split, tokenizer) for split in ("train", "val"))
    config = TrainConfig(**(chosen.train | changes))
    run = Trainer(model, train, val, config, folder, tokenizer, report=print).fit()
    if not run.finished:
        raise SystemExit("stopped before the end; nothing is kept")


def train_small(texts: Path, home: Path, steps: int, vocab_size: int = 8192) -> tuple[Path, Path]:
    """Train ten million parameters on a file of texts; returns (shards, run folder)."""
    shards, run = home / "shards", home / "run"
    everything = END.join(text for _, text in read_texts(texts))
    tokenizer = BPETokenizer.train(everything, vocab_size, [END])
    prepare(texts, tokenizer, shards, val_fraction=0.02)
    _train("gpt2-10m", SMALL_TRAIN | {"steps": steps}, tokenizer, shards, run)
    return shards, run


def pretraining_10m() -> Record:
    """An hour and a half on one thread: a tokenizer, shards, 1,500 steps, and what came of them."""
    texts = cache_folder() / TEXTS
    with tempfile.TemporaryDirectory() as home:
        shards, run = train_small(texts, Path(home), SMALL_STEPS)
        steps = (50, 100, 250, 500, 1000, SMALL_STEPS)
        return record_of_run("pretraining-10m", run, shards, texts, steps)


def pretraining_124m() -> Record:
    """An hour on one thread: GPT-2's own tokens, and ninety updates of all its weights."""
    read = read_texts(cache_folder() / TEXTS)
    textbooks = [text for kind, text in read if kind == "textbooks"]
    with tempfile.TemporaryDirectory() as home:
        tokenizer = BPETokenizer.gpt2()
        shards, run = Path(home) / "shards", Path(home) / "run"
        prepare(textbooks, tokenizer, shards, val_fraction=0.02, name="textbooks")
        _train("gpt2-124m", LARGE_TRAIN, tokenizer, shards, run)
        return record_of_run("pretraining-124m", run, shards)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m gptlib.course.pretraining.runs")
    parser.add_argument("run", type=Path, help="a finished run folder")
    parser.add_argument("--shards", type=Path, required=True, help="what it was trained on")
    parser.add_argument("--texts", type=Path, help="what the shards were prepared from")
    parser.add_argument("--name", required=True, help="the record's name")
    parser.add_argument("--steps", type=int, nargs="*", default=[], help="to sample from")
    parser.add_argument("--killed", type=int, nargs="*", default=[], help="steps it was killed at")
    parser.add_argument("--memory-gb", type=float, help="its peak")
    parser.add_argument("--out", type=Path, default=Path("data/runs"), help="where records stand")
    a = parser.parse_args(arguments)
    record = record_of_run(
        a.name, a.run, a.shards, a.texts, a.steps, memory_gb=a.memory_gb, killed=a.killed
    )
    save_record(record, a.out / a.name)
    print(record)


if __name__ == "__main__":
    answer(main)
