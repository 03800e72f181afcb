"""`gptlib qlora`: tune an adapter of a larger model, which stands in four bits beside it.

One job: from flags to `gptlib.qlora`: what is read and what it will take before anything large is
loaded, the run, and what is left of it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gptlib import checkpoint
from gptlib.cli.arguments import count, flag_of, name_or_path, path
from gptlib.cli.console import INTERRUPTED, tell
from gptlib.cli.console import progress as report
from gptlib.cli.train import MOST_THREADS
from gptlib.devices import HEADROOM
from gptlib.errors import CheckpointError, ConfigError, DataError, nearest
from gptlib.files import read_jsonl
from gptlib.progress import progress
from gptlib.qlora.base import add_adapter, load_base, look_at_base, save_base
from gptlib.qlora.config import LINEAR, QLoRAConfig
from gptlib.qlora.memory import LlamaShape, Tuning, tuning_memory
from gptlib.qlora.merging import WAYS, merge_adapter
from gptlib.qlora.pairs import EncodedPair, encode_file
from gptlib.qlora.training import held_out_loss, train_adapter
from gptlib.runtime import Runtime

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

HELP = """\
Tune a larger model of transformers on questions and answers: its matrices in
four bits and frozen, a small adapter beside each of them, loss on the answers
alone. It needs more: pip install 'gptlib[qlora]'.

  gptlib qlora meta-llama/Llama-3.1-8B --data pairs.jsonl --out runs/scenes
  gptlib qlora meta-llama/Llama-3.1-8B --data pairs.jsonl --out runs/scenes \\
      --resume --merge dequantized

BASE is a name on Hugging Face's hub, or a folder that save_pretrained wrote. A
line of the data is {"messages": [{"role": "user", "content": "..."},
{"role": "assistant", "content": "..."}]}; one that cannot be learned from is
named by its number, and the memory is counted from the longest, before the
weights are loaded. The same line with --resume begins the run or goes on with
it. OUT/adapter is what was learned, for peft; --merge makes a model of it."""

#: Fields of `QLoRAConfig` that are flags: how each is read, and what it says.
SETTINGS: dict[str, tuple[Any, str]] = {
    "steps": (int, "updates, in place of --epochs"),
    "batch_size": (int, "pairs an update learns from"),
    "accumulate": (int, "read them in so many parts: the same gradient in less memory"),
    "lr": (float, "the learning rate, which falls to 0 in half a cosine; at 1e-5 an 8B model "
           "overfitted a novel within an epoch, a tiny one wants 1e-3"),
    "warmup": (int, "steps in which the rate rises"),
    "rank": (int, "the rank of a matrix's change"),
    "alpha": (float, "the change is multiplied by X / rank"),
    "dropout": (float, "share of what an adapter reads that is dropped in training"),
    "weight_decay": (float, "the adapter's pull toward zero"),
    "clip": (float, "the longest gradient"),
    "seed": (int, "of the adapter, its dropout and the order of the pairs"),
    "save_every": (int, "steps between checkpoints, at which the held-out pairs are measured"),
}  # fmt: skip
METAVARS = {int: "N", float: "X"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s BASE --data FILE --out FOLDER [flags]"
    parser.description = HELP
    parser.add_argument("base", type=name_or_path, metavar="BASE", help="the model to tune")
    parser.add_argument(
        "--data", type=path, required=True, metavar="FILE",
        help="what to learn: a .jsonl of conversations that end with an answer",
    )  # fmt: skip
    parser.add_argument(
        "--val", type=path, metavar="FILE",
        help="pairs to measure on, from other chapters if the data is a book (default: every tenth "
        "of --data)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=path, required=True, metavar="FOLDER", help="the folder of the run"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, or begin it"
    )
    parser.add_argument(
        "--epochs", type=float, metavar="X", help="passes over the data (default 1)"
    )
    parser.add_argument(
        "--context", type=count, default=QLoRAConfig.max_length, metavar="N",
        help="the longest pair in tokens; a longer one is refused, since an answer that is cut "
        f"off teaches never to end (default {QLoRAConfig.max_length})",
    )  # fmt: skip
    for name, (kind, text) in SETTINGS.items():
        default = "" if name == "steps" else f" (default {getattr(QLoRAConfig, name):g})"
        parser.add_argument(flag_of(name), type=kind, metavar=METAVARS[kind], help=text + default)
    parser.add_argument(
        "--targets", metavar="NAMES",
        help="the layers that get an adapter, with commas between (default: all that are linear, "
        f"{', '.join(LINEAR)})",
    )  # fmt: skip
    parser.add_argument(
        "--recompute", action=argparse.BooleanOptionalAction, default=True,
        help="make again in the backward pass what a block computed, for less memory (default on)",
    )  # fmt: skip
    parser.add_argument(
        "--merge", choices=WAYS, metavar="WAY",
        help="at the end, write base and adapter as one model: 4bit rounds what was learned once "
        "more; base adds it to the published weights; dequantized is the model that was trained, "
        "in as many bytes as the base",
    )  # fmt: skip
    parser.add_argument(
        "--merged", type=path, metavar="FOLDER", help="where to (default: OUT/merged-WAY)"
    )
    parser.add_argument(
        "--device", default="auto", metavar="NAME", help="cpu, cuda, cuda:N, or auto (default)"
    )
    parser.add_argument(
        "--dtype", default="auto", metavar="NAME",
        help="what is computed in: float32, bfloat16, float16, or auto (default)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads to compute with (default: all)"
    )
    parser.add_argument(
        "--anyway", action="store_true", help="begin though the memory seems not to suffice"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise ConfigError(f"--threads is {args.threads}; give 1 to {MOST_THREADS}")
        torch.set_num_threads(args.threads)
    merged = _merged_place(args)
    if not args.resume and checkpoint.saved_steps(args.out):
        raise CheckpointError(
            f"{args.out} holds a run already; go on with it by --resume, or give a new folder"
        )
    about, tokenizer = look_at_base(args.base)
    pairs, held_out = _pairs(args, tokenizer)
    config = _config(args, len(pairs))
    here = Runtime.detect(args.device, args.dtype)
    _say_memory(args, about, config, max(len(pair.ids) for pair in [*pairs, *held_out]), here)
    model = add_adapter(load_base(args.base, device=here.device, dtype=here.dtype)[0], config)
    tell(
        f"trains {sum(p.numel() for p in model.parameters() if p.requires_grad):,} parameters on "
        f"{len(pairs):,} pairs in {config.steps:,} steps of {config.batch_size}, at a rate of "
        f"{config.lr:g}; {len(held_out):,} are held out"
    )
    saved = checkpoint.saved_steps(args.out)
    with progress("tuning", config.steps, "steps", done=saved[-1] if saved else 0) as bar:
        finished = train_adapter(
            model, pairs, config, args.out, held_out, args.resume, report, bar.at
        )
    result = _result(args.out, finished, config.steps)
    if finished and merged is not None:
        del model
        result["merged"] = _merge(args, merged, held_out, config, tokenizer, here)
    _show(args, result, merged)
    return 0 if finished else INTERRUPTED


def _merged_place(args: argparse.Namespace) -> Path | None:
    """Where the merged model is to stand.

    Raises:
        ConfigError: a place and no way. DataError: something is there.
    """
    if args.merge is None:
        if args.merged is not None:
            raise ConfigError(f"--merged goes with --merge, one of {', '.join(WAYS)}")
        return None
    place = args.merged or args.out / f"merged-{args.merge}"
    if os.path.lexists(place):
        raise DataError(f"{place} is there already; give a new folder with --merged")
    return place


def _pairs(
    args: argparse.Namespace, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[EncodedPair], list[EncodedPair]]:
    """Those to learn from, and those held out."""
    pairs = encode_file(args.data, tokenizer, args.context)
    if args.val is not None:
        return pairs, encode_file(args.val, tokenizer, args.context)
    learned = [pair for n, pair in enumerate(pairs) if n % 10 != 9]
    return learned, pairs[9::10]


def _config(args: argparse.Namespace, pairs: int) -> QLoRAConfig:
    """The settings of the run; each was given, or is the default of `QLoRAConfig`."""
    values: dict[str, Any] = {
        name: getattr(args, name) for name in SETTINGS if getattr(args, name) is not None
    }
    if args.targets is not None:
        values["targets"] = tuple(name.strip() for name in args.targets.split(",") if name.strip())
    config = QLoRAConfig(**values, max_length=args.context, recompute=args.recompute)
    if args.steps is not None:
        if args.epochs is not None:
            raise ConfigError("--epochs and --steps say how long in two ways; leave out one")
        return config
    epochs = 1.0 if args.epochs is None else args.epochs
    if not 0 < epochs < 1e6:
        raise ConfigError(f"--epochs is {epochs:g}; give a number above 0, such as 1")
    values["steps"] = max(1, math.ceil(epochs * pairs / config.batch_size))
    return QLoRAConfig(**values, max_length=args.context, recompute=args.recompute)


def _say_memory(
    args: argparse.Namespace, about: PretrainedConfig, config: QLoRAConfig, longest: int,
    here: Runtime,
) -> None:  # fmt: skip
    """Tell what a step will take, and refuse one that this machine has not.

    Raises:
        ConfigError: it has less, or a target is no layer of the model.
    """
    shape = LlamaShape.of(about)
    if shape is None:
        tell(f"the memory of a {about.model_type} is not counted, only a Llama's")
        return
    for name in config.targets:
        if name not in LINEAR:
            raise ConfigError(
                f"no layer of the model is called {name}{nearest(name, LINEAR)}; its linear layers "
                f"are {', '.join(LINEAR)}"
            )
    rows = config.batch_size // config.accumulate
    held = tuning_memory(
        shape,
        Tuning(
            "qlora", longest, rows, config.rank, config.targets, config.dropout > 0,
            config.recompute, dtype=here.dtype, kind="cpu" if here.kind == "cpu" else "cuda",
        ),
    )  # fmt: skip
    room = _room(here)
    largest = sorted(held.terms, key=held.terms.__getitem__, reverse=True)[:3]
    parts = ", ".join(f"{held.terms[name] / 1e9:.2f} {name}" for name in largest)
    line = f"{held.total / 1e9:.2f} GB of memory at {rows} x {longest:,} tokens ({parts})"
    if room is None or held.total <= room:
        tell(line + ("" if room is None else f", of {room / 1e9:.1f} GB"))
        return
    if not args.anyway:
        raise ConfigError(
            f"a step takes about {line}, and there are {room / 1e9:.1f} GB here; a larger "
            "--accumulate or shorter pairs need less, and --anyway tries it"
        )
    tell(f"{line}, of {room / 1e9:.1f} GB: it may not fit")


def _room(here: Runtime) -> float | None:
    """Bytes that a run can use, or None where the system does not say."""
    if here.kind == "cuda":
        return HEADROOM * torch.cuda.get_device_properties(here.device).total_memory
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None


def _result(out: Path, finished: bool, steps: int) -> dict[str, Any]:
    """What the log says was gained."""
    lines = read_jsonl(out / "log.jsonl")
    held = {line["step"]: line["held_out"] for line in lines if "held_out" in line}
    lowest = min(held, key=held.__getitem__) if held else None
    last = max((line["step"] for line in lines), default=0)
    return {
        "finished": finished, "step": last, "steps": steps, "merged": None,
        "before": held.get(0), "after": held.get(last) if finished else None,
        "lowest": held.get(lowest), "lowest_step": lowest,
    }  # fmt: skip


def _merge(
    args: argparse.Namespace, place: Path, held_out: list[EncodedPair], config: QLoRAConfig,
    tokenizer: PreTrainedTokenizerBase, here: Runtime,
) -> float | None:  # fmt: skip
    """Write the merged model, and return what the held-out pairs cost it."""
    model = merge_adapter(args.base, args.out / "adapter", args.merge, here.device, here.dtype)
    rows = config.batch_size // config.accumulate
    nats = held_out_loss(model, held_out, rows) if held_out else None
    save_base(model, tokenizer, place)
    return nats


def _show(args: argparse.Namespace, result: dict[str, Any], merged: Path | None) -> None:
    if args.json:
        print(json.dumps(result))
        return
    if not result["finished"]:
        print(f"stopped at step {result['step']}; the same command with --resume goes on")
        return
    if result["after"] is not None:
        print(
            f"held out: {result['before']:.4f} nats per answer token before, "
            f"{result['after']:.4f} at the end, lowest {result['lowest']:.4f} at step "
            f"{result['lowest_step']}"
        )
    print(f"{args.out / 'adapter'}: the adapter, for peft")
    if merged is not None:
        nats = result["merged"]
        cost = "" if nats is None else f", {nats:.4f} nats per answer token held out"
        print(f"{merged}: base and adapter as one model ({args.merge}){cost}")
