"""`gptlib plan`: what a training run would take, printed before it is begun."""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import asdict

import torch

from gptlib.budget import Budget, Price, plan_run
from gptlib.cli import run_file
from gptlib.cli.arguments import flag_of, path
from gptlib.cli.console import shell_line
from gptlib.cli.plan import add_file, describe, given, padding_ids
from gptlib.cli.train_options import OPTIONS, add_field, settings_of
from gptlib.devices import Device, device, device_names, this_cpu
from gptlib.errors import ConfigError
from gptlib.footprint import parameters
from gptlib.model_config import GPTConfig
from gptlib.paths import user_path
from gptlib.presets import preset
from gptlib.runtime import bfloat16_is_fast
from gptlib.shards.read import is_shard_folder, read_manifest
from gptlib.train_config import TrainConfig

HELP = """\
Say what a training run will take: memory, hours and money, and the command
for it. Nothing is trained, and no text is read.

  gptlib plan --preset gpt2-124m --device h100 --tokens 10B
  gptlib plan --preset gpt2-124m --device a100 --processes 8 --tokens 10B
  gptlib plan --preset gpt2-350m --device t4 --tokens 1B --block-size 512
  gptlib plan --preset gpt2-10m --device cpu
  gptlib plan --preset gpt2-124m --device h100 --tokens 10B \\
    --price 2.69 --price-date 2026-11-01

All flags of `gptlib train` that say what the model is and how it is trained
are taken. How the batch is cut, the number type, and what is done twice to
spare memory are chosen, unless they are given. A device's share of its peak
is a published figure or an assumption, which is named; --device cpu measures
this machine, in seconds."""

TIMES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12, "": 1.0}
CHOSEN = ("accumulate", "recompute", "loss_chunk")  # by the plan, unless they are given
PLACES = {"corpus": "shards/NAME", "out": "runs/NAME"}
GB = 1e9


def count(text: str) -> float:
    """A number of tokens: 10B, 1.5e9, 300M, 10,000."""
    found = re.fullmatch(r"([0-9.,]+(?:e[0-9]+)?)([KMBT]?)", text, re.IGNORECASE)
    try:
        number = float(found[1].replace(",", "")) * TIMES[found[2].upper()] if found else 0.0
    except ValueError:
        number = 0.0
    if not 1 <= number < 1e18:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of tokens; write 10B, or 300M")
    return number


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s --device NAME [--preset NAME] [--tokens N] [flags of train]"
    parser.description = HELP
    what = parser.add_argument_group("what it would run on, and for how long")
    what.add_argument(
        "--device", required=True, choices=device_names(), metavar="NAME",
        help=f"the machine: {', '.join(device_names())}",
    )  # fmt: skip
    what.add_argument(
        "--tokens", type=count, metavar="N",
        help="how many tokens to train on, such as 10B, in whole steps (default: --steps of them)",
    )  # fmt: skip
    what.add_argument(
        "--processes", type=int, default=1, metavar="N",
        help="how many of these devices share the work (default 1)",
    )  # fmt: skip
    what.add_argument(
        "--mfu", type=float, metavar="X",
        help="the share of the device's peak that training reaches, where you know better",
    )  # fmt: skip
    what.add_argument(
        "--price", type=float, metavar="X", help="dollars an hour for one device; with its date"
    )
    what.add_argument(
        "--price-date", metavar="DATE", help="when the price was so, since it will not stay"
    )
    what.add_argument(
        "--vocab-size", type=int, metavar="N",
        help="ids of the tokenizer (default: of the shards in --corpus, or of the preset)",
    )  # fmt: skip
    what.add_argument(
        "--config", type=path, metavar="FILE", help="a run in a TOML file, as gptlib train takes it"
    )
    what.add_argument("--json", action="store_true", help="print it as JSON, for scripts")
    run_of = parser.add_argument_group("the run, as for gptlib train")
    for part in ("model", "train"):
        for name, field in settings_of(part).items():
            if name != "device":
                add_field(run_of, part, field)
    for name, option in OPTIONS.items():
        run_of.add_argument(
            flag_of(name), type=option.type, metavar=option.metavar,
            help=option.help.replace("%", "%%"),
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    price = _price(args)
    name, args.device = args.device, None
    typed = _typed(args)
    if args.config is not None:
        add_file(args, run_file.read(args.config, bool(args.corpus)))
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    values = describe(args)
    config = _shape(args, values["model"])
    train = TrainConfig.from_dict(values["train"])
    keep = frozenset(CHOSEN) & set(given(args, TrainConfig))
    on = _measured(config, train) if name == "cpu" else device(name, args.mfu)
    budget = plan_run(config, train, on, args.processes, args.tokens, price, keep)
    command = _command(args, typed, budget)
    print(json.dumps(as_json(args, budget, command)) if args.json else page(args, budget, command))
    return 0


def _typed(args: argparse.Namespace) -> dict:
    """What was typed of the run, for the command that is printed."""
    names = [*settings_of("model"), *settings_of("train"), *OPTIONS, "config"]
    return {name: v for name in names if (v := getattr(args, name, None)) is not None}


def _price(args: argparse.Namespace) -> Price | None:
    if (args.price is None) != (args.price_date is None):
        raise ConfigError("a price goes with its date: give both --price and --price-date")
    if args.price is None:
        return None
    if not 0 < args.price < 1e6:
        raise ConfigError(f"--price is {args.price:g}; give dollars an hour for one device")
    return Price(args.price, args.price_date)


def _shape(args: argparse.Namespace, model: dict) -> GPTConfig:
    """The model's shape with the vocabulary of its text.

    Raises:
        ConfigError: nobody says how many ids that has.
    """
    ids = args.vocab_size
    if ids is None and args.corpus and is_shard_folder(args.corpus):
        ids = read_manifest(user_path(args.corpus))["vocab_size"]
    ids = ids or preset(args.preset).vocab_size
    if not ids:
        raise ConfigError(
            f"how many ids has the tokenizer? preset {args.preset} does not say: give --vocab-size "
            "N, or a shard folder as --corpus"
        )
    padding = 0 if args.pad_vocab is None else padding_ids(ids, args.pad_vocab)
    return GPTConfig.from_dict(model | {"vocab_size": ids + padding, "padding_ids": padding})


def _measured(config: GPTConfig, train: TrainConfig) -> Device:
    fast = train.dtype == "fast" and bfloat16_is_fast()
    return this_cpu(config, "bfloat16" if fast or train.dtype == "bfloat16" else "float32")


def _command(args: argparse.Namespace, typed: dict, budget: Budget) -> str:
    """The line that trains what was planned."""
    train, default = budget.train, preset(args.preset).train
    words = ["gptlib", "train"]
    if budget.processes > 1:
        words = [
            "torchrun",
            "--standalone",
            "--nproc-per-node",
            str(budget.processes),
            "-m",
            *words,
        ]
    flags = {"preset": args.preset, "corpus": args.corpus} | typed
    if not flags["corpus"]:
        flags["corpus"] = PLACES["corpus"]
    flags.setdefault("out", PLACES["out"])
    chosen = {name: getattr(train, name) for name in ("steps", *CHOSEN)}
    if "config" not in typed:
        before = asdict(TrainConfig()) | default
    else:
        before = dict.fromkeys(chosen)
    flags |= {name: v for name, v in chosen.items() if v != before[name] or name in typed}
    for name, value in flags.items():
        if isinstance(value, bool):
            words.append(flag_of(name) if value else flag_of("no_" + name))
        else:
            words += [flag_of(name), str(value)]
    return shell_line(words)


def as_json(args: argparse.Namespace, budget: Budget, command: str) -> dict:
    """All of a plan, in bytes, seconds and dollars."""
    train, on = budget.train, budget.device
    reached = on.reached.get(train.dtype)
    return {
        "preset": args.preset,
        "device": on.name,
        "processes": budget.processes,
        "model": budget.config.to_dict(),
        "params": parameters(budget.config).total,
        "steps": train.steps,
        "tokens_per_step": budget.tokens_per_step,
        "tokens": budget.tokens,
        "first_loss": budget.first_loss,
        "memory": {
            "terms": budget.memory.terms, "total": budget.memory.total,
            "moment": budget.memory.moment, "device": on.memory, "usable": on.usable,
            "fits": budget.fits,
        },
        "batch": {
            "micro_batch": budget.rows, "accumulate": train.accumulate, "dtype": train.dtype,
            "recompute": train.recompute, "loss_chunk": train.loss_chunk,
        },
        "flops": budget.flops,
        "flops_per_s": on.flops[train.dtype],
        "mfu": reached,
        "mfu_source": on.source,
        "tokens_per_s": budget.tokens_per_s,
        "train_seconds": budget.train_seconds,
        "validation_seconds": budget.validation_seconds,
        "hours": budget.hours,
        "price": budget.price and asdict(budget.price),
        "dollars": budget.dollars,
        "command": command,
    }  # fmt: skip


def page(args: argparse.Namespace, budget: Budget, command: str) -> str:
    """The same as a person reads it."""
    train, on, held = budget.train, budget.device, budget.memory
    rows = [("memory of each process, " + held.moment, "GB")]
    rows += [(name, _gb(size)) for name, size in held.terms.items()]
    rows += [("in all", _gb(held.total)), (f"{on.title}: may be filled", _gb(on.usable))]
    wide = max(len(name) for name, _ in rows)
    lines = [f"{name:<{wide}}  {size:>7}" for name, size in rows]
    lines += [""]
    if not budget.fits:
        lines += [
            "It does not fit, even one window at a time. A smaller model, a shorter context, or",
            "more processes with --parallel fsdp need less.",
        ]
        return "\n".join(lines)
    sparing = ["blocks computed twice"] if train.recompute else []
    sparing += [f"logits of {train.loss_chunk:,} tokens at a time"] if train.loss_chunk else []
    reached = on.reached.get(train.dtype)
    rate = f"{on.flops[train.dtype] / 1e12:,.3g} TFLOP/s"
    rate += f", {reached:.0%} of the peak" if reached else ""
    pairs = [
        ("parameters", f"{parameters(budget.config).total:,}"),
        ("a step", f"{budget.tokens_per_step:,} tokens, cut into {train.accumulate} x {budget.rows}"
                   f" x {budget.config.block_size:,}"
                   + (f" on each of {budget.processes}" if budget.processes > 1 else "")),
        ("computed in", ", ".join([train.dtype, *sparing])),
        ("first loss", f"about {budget.first_loss:.2f} nats, ln {budget.config.vocab_size:,}"),
        ("steps", f"{train.steps:,}, {budget.tokens:,} tokens"),
        ("FLOPs", f"{budget.flops:.3g}"),
        ("rate", f"{rate} ({on.source})"),
        ("tokens/s", f"{budget.tokens_per_s:,.0f}"),
        ("hours", f"{budget.hours:,.2f}, of which {budget.validation_seconds / 3600:,.2f} validate"
                  + ("" if train.eval_windows else " (not known: eval_windows is 0, all of them)")),
    ]  # fmt: skip
    if budget.price and budget.dollars is not None:
        pairs += [("dollars", f"{budget.dollars:,.2f}, at {budget.price.per_hour:g} an hour for "
                              f"each device on {budget.price.date}")]  # fmt: skip
    lines += [f"{key:<12}{text}" for key, text in pairs]
    return "\n".join([*lines, "", command])


def _gb(size: float) -> str:
    return f"{size / GB:,.2f}"
