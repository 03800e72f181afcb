"""`gptlib info`: what a run, a checkpoint or a folder of shards is, and whether it is whole."""

from __future__ import annotations

import argparse
import json
import textwrap

from gptlib.cli.arguments import name_or_path
from gptlib.cli.inspection import inspect
from gptlib.model_config import GPTConfig
from gptlib.train_config import TrainConfig

HELP = """\
Say what a folder holds, and whether it is what was written there: every file
is compared with its hash. `stories` and `tales` are
models that ship with gptlib.

  gptlib info runs/mine
  gptlib info runs/mine/checkpoints/step_00000500
  gptlib info shards/stories --json

The exit code is 0 where everything is whole, 1 where something is damaged
(which is named), 2 where the folder is none of these."""

DAMAGED = 1
WIDTH = 80
KEY = 12  # characters of the first column


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument(
        "place", type=name_or_path, metavar="RUN",
        help="a run folder, a checkpoint, a shard folder, or `tales`",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print all that is known as JSON, for scripts"
    )


def run(args: argparse.Namespace) -> int:
    found = inspect(args.place)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(line for key, text in rows(found) for line in _lines(key, text)))
    return DAMAGED if found["damage"] else 0


def _lines(key: str, text: str) -> list[str]:
    """A row: the key, and the text beside it in lines that fit."""
    lines = textwrap.wrap(text, WIDTH - KEY, break_on_hyphens=False) or [""]
    return [f"{key if n == 0 else '':<{KEY}}{line}" for n, line in enumerate(lines)]


def rows(found: dict) -> list[tuple[str, str]]:
    """The pairs of key and text that are shown; what is not known is left out."""
    pairs = [(found["kind"], found["path"])]
    damage = found["damage"]
    pairs += [("damaged" if n == 0 else "", text) for n, text in enumerate(damage)]
    pairs += _of_shards(found) if found["kind"] == "shards" else _of_a_model(found)
    pairs += [("on disk", _size(found["bytes"]) + ("" if damage else ", every hash holds"))]
    return [(key, text) for key, text in pairs if text]


def _of_shards(found: dict) -> list[tuple[str, str]]:
    pairs = [("text", str(found.get("source", {}).get("name", "")))]
    for split, of in found.get("splits", {}).items():
        pairs += [(split, f"{of['tokens']:,} tokens of {of['documents']:,} documents in "
                          f"{of['shards']} shards" + _hash(of["sha256"]))]  # fmt: skip
    if "dtype" in found:
        pairs += [("ids", f"{found['vocab_size']:,}, kept as {found['dtype']}"),
                  ("tokenizer", _tokenizer(found))]  # fmt: skip
    return pairs


def _of_a_model(found: dict) -> list[tuple[str, str]]:
    data, runtime = found["data"], found["runtime"]
    shas = ", ".join(f"{split} {str(data[split])[:12]}" for split in ("train", "val")
                     if data.get(split))  # fmt: skip
    count = found["parameters"]
    computed = [str(runtime[key]) for key in ("device", "dtype") if key in runtime]
    computed += [f"threads {found['threads']}"] if found["threads"] else []
    computed += [f"{name} {version}" for name, version in found["versions"].items()]
    return [
        ("model", _shape(found["model"])),
        ("parameters", f"{count:,}" if count is not None else ""),
        ("tuned", _tuning(found)),
        ("training", _training(found)),
        ("validation", _validation(found)),
        ("text", _text(found)),
        ("sha256", shas),
        ("tokenizer", _tokenizer(found)),
        ("computed", ", ".join(computed)),
        ("checkpoints", _checkpoints(found)),
    ]


def _shape(model: dict) -> str:
    sizes = ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    named = [f"{name} {model[name]}" for name in sizes if name in model]
    return ", ".join(named + _changed(model, GPTConfig(), sizes))


def _tuning(found: dict) -> str:
    """Of a run that holds only a part of its model: how it was tuned, and on what."""
    initial = found["note"].get("initial")
    base = initial.get("run") if isinstance(initial, dict) else None
    how = [str(found["tuning"].get("method", ""))] + [
        f"{key} {' '.join(value) if isinstance(value, list) else value}"
        for key, value in found["tuning"].items()
        if key not in ("method", "frozen_sha256")
    ]
    return ", ".join(how) + (f", on {base}" if how[0] and base else "")


def _training(found: dict) -> str:
    train, step = found["train"], found["step"]
    steps = train.get("steps")
    done = f"step {step}" + ("" if steps is None else f" of {steps}")
    if found.get("stopped_early"):
        done += ", stopped early for want of a better validation"
    return ", ".join([done, *_changed(train, TrainConfig(), ("steps",))])


def _changed(settings: dict, defaults: object, without: tuple[str, ...]) -> list[str]:
    """The settings that are not the defaults, as `name value`."""
    return [
        f"{name} {value}"
        for name, value in settings.items()
        if name not in without and value != getattr(defaults, name, None)
    ]


def _validation(found: dict) -> str:
    if found.get("best_val") is None:
        return ""
    text = f"best {found['best_val']:.4f} at step {found['best_step']}, latest "
    text += f"{found['last_val']:.4f} at step {found['last_step']}, in nats per token"
    return text + (f"; floor {found['floor']:.4f}" if found["floor"] is not None else "")


def _text(found: dict) -> str:
    note = found["note"]
    text = [str(note["corpus"])] if note.get("corpus") else []
    if isinstance(note.get("corpus_size"), int):
        text.append(f"{note['corpus_size']:,} characters")
    if note.get("separator"):
        text.append(f"separator {note['separator']!r}")
    elif found["data"].get("separator"):
        text.append(f"separator of ids {found['data']['separator']}")
    text += [f"{key} {note[key]}" for key in ("preset", "init_from") if note.get(key)]
    return ", ".join(text)


def _tokenizer(found: dict) -> str:
    tokenizer = found["tokenizer"]
    return (str(tokenizer.get("about", "")) + _hash(tokenizer["sha256"])).removeprefix(", ")


def _hash(sha256: object) -> str:
    return f", sha256 {str(sha256)[:12]}" if sha256 else ""


def _checkpoints(found: dict) -> str:
    return "; ".join(
        f"step {saved['step']}"
        + "".join(f" ({name})" for name in saved["called"])
        + f" {_size(saved['bytes'])}"
        + ("" if saved["whole"] else " DAMAGED")
        for saved in found.get("checkpoints", ())
    )


def _size(count: int) -> str:
    """Bytes as a person reads them."""
    for size, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= size:
            return f"{count / size:.1f} {name}"
    return f"{count} bytes"
