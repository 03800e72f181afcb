"""What `gptlib finetune` is to do: a plan made of flags, or of what a run noted.

One job: `begin` a run of fine-tuning and `go_on` with one. Both end in the same `Plan`, made of
the same settings by the same lines, so a resumed run is the one that was begun.
"""

from __future__ import annotations

import argparse
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gptlib.batches import Batches, TokenBatches
from gptlib.chat import with_chat
from gptlib.cli.arguments import flag_of
from gptlib.cli.finetune_options import DEFAULTS, METHODS, OPTIONS, SWITCHES
from gptlib.cli.finetune_texts import Old, Source, conversations, note_of_old, old_text, plain_text
from gptlib.cli.marked import sampling, with_marks
from gptlib.cli.plan import ROUND, given, vocabulary
from gptlib.cli.texts import load_writer, noted, noted_place, open_text
from gptlib.errors import CheckpointError, ConfigError, nearest
from gptlib.finetuning import Rehearsed, add_lora, train_new_rows, tune_last, weighted_loss
from gptlib.finetuning.examples import holds_conversations
from gptlib.finetuning.rehearsal import rehearsed_rows
from gptlib.model import GPT, GPTConfig
from gptlib.paths import kept_path, user_path
from gptlib.runs import initial_weights, run_folder
from gptlib.shards.splits import Split
from gptlib.task import Loss, Measure
from gptlib.tokenizers import Tokenizer, load_tokenizer
from gptlib.train_config import TrainConfig, with_changes


@dataclass
class Plan:
    """All that a `Trainer` is given, and the old text that is watched, if anyone knows it."""

    model: GPT
    tokenizer: Tokenizer
    config: TrainConfig
    train: Split | Batches
    val: Split | Measure
    separator: list[int] | None
    loss: Loss | None
    note: dict
    old: Old | None
    told: str


def begin(args: argparse.Namespace) -> Plan:
    """The plan of a new run."""
    if not args.run or not args.data:
        raise ConfigError(
            "which model, and what is it to learn? give gptlib finetune RUN --data FILE --out OUT"
        )
    chats = holds_conversations(args.data)
    settings = _settings(args, chats)
    _, base, manifest = load_writer(args.run)
    if chats:
        tokenizer = with_chat(base)
    else:
        tokenizer = with_marks(open_text(args.data, None).corpus, base)
    model = dict(manifest["model"])
    padding = None if tokenizer == base else -tokenizer.vocab_size % ROUND
    shape = GPTConfig.from_dict(
        model | given(args, GPTConfig) | vocabulary(tokenizer, model, padding)
    )
    source = _source(args.data, settings, tokenizer, shape)
    old = note_of_old(args.rehearse, manifest, run_folder(args.run), tokenizer, shape, args.out)
    note: dict[str, Any] = {
        "finetune": settings, "data": noted(args.data, args.out), "old": old,
        "first_new": base.vocab_size if tokenizer != base else None,
    }  # fmt: skip
    if settings["val"]:
        note["val_data"] = noted(settings["val"], args.out)
    hints = manifest.get("sampling", (manifest.get("note") or {}).get("sampling"))
    if not chats:
        note |= noted(args.data, args.out)  # where `gptlib eval` looks for a run's text
        hints = sampling(source.corpus) if source.corpus else hints
    if hints:
        note["sampling"] = hints
    config = _config(args, settings, source)
    torch.manual_seed(config.seed)
    network = GPT(shape)
    note["initial"] = initial_weights(network, args.run, tokenizer) | _beside(args.run, args.out)
    return _plan(network, tokenizer, config, source, settings, note, args.out, base)


def go_on(args: argparse.Namespace, saved: dict) -> Plan:
    """The plan of a run that is resumed: its own, for whatever was not given again.

    Raises:
        CheckpointError: it is no run of `gptlib finetune`, or something given again differs.
    """
    note = dict(saved["note"]) if isinstance(saved.get("note"), dict) else {}
    settings = note.get("finetune")
    if not isinstance(settings, dict) or not isinstance(note.get("initial"), dict):
        raise CheckpointError(
            f"{args.out} holds a run that `gptlib finetune` did not begin; go on with it by "
            "`gptlib train --resume`, or choose another folder"
        )
    again = {name: getattr(args, name) for name in (*OPTIONS, *SWITCHES)}
    known = settings | {"data": note["data"]["corpus"]}
    if args.run:
        again, known = again | {"run": args.run}, known | {"run": note["initial"]["run"]}
    # Runs of before noted whole paths.
    known = {name: kept_path(v) if isinstance(v, str) and v else v for name, v in known.items()}
    differences = [
        f"{name} was {known.get(name)!r} and is now {value!r}"
        for name, value in again.items()
        if value is not None and value != known.get(name)
    ]
    if differences:
        raise CheckpointError(
            f"{args.out} holds another run: {'; '.join(differences)}; use the same settings or "
            "another folder"
        )
    tokenizer = load_tokenizer(args.out / "tokenizer")
    shape = GPTConfig.from_dict(saved["model"] | given(args, GPTConfig))
    if settings["val"]:
        settings = settings | {"val": noted_place(note["val_data"], args.out)}
    source = _source(noted_place(note["data"], args.out), settings, tokenizer, shape)
    config = TrainConfig.from_dict(with_changes(saved["train"], given(args, TrainConfig)))
    network = GPT(shape)
    if settings["method"] != "full":  # a checkpoint holds only the part that is trained
        place = _base_place(note["initial"], args.out)
        initial_weights(network, place, tokenizer)
    return _plan(network, tokenizer, config, source, settings, note, args.out, None)


def _plan(
    model: GPT, tokenizer: Tokenizer, config: TrainConfig, source: Source, settings: dict,
    note: dict, out: Path, base: Tokenizer | None,
) -> Plan:  # fmt: skip
    """What both ways end in; `base` is the old tokenizer of a run that begins."""
    old = old_text(note["old"], out, tokenizer, base) if note["old"] else None
    if old and base is not None:
        note["old"]["before"] = old.measured(model, tokenizer)
    _tune(model, settings, note["first_new"], config)
    T, seed, loss = model.config.block_size, config.seed, None
    train: Split | Batches = source.train(config.batch_size, seed)
    if settings["rehearse"]:
        if old is None:
            raise CheckpointError(f"{out} does not say where its old text is; begin it anew")
        rows = rehearsed_rows(config.batch_size, settings["share"])
        tokens, starts = old.tokens(model.config)
        before = TokenBatches(tokens, rows, T, seed, starts=starts)
        train = Rehearsed(source.batches(config.batch_size - rows, seed), before, settings["share"])
        loss = weighted_loss
    return Plan(
        model, tokenizer, config, train, source.val, source.separator, loss, note, old, source.told
    )


def _source(data: str, settings: dict, tokenizer: Tokenizer, shape: GPTConfig) -> Source:
    if settings["conversations"]:
        return conversations(data, settings, tokenizer, shape.block_size)
    return plain_text(data, tokenizer, shape)


def _settings(args: argparse.Namespace, chats: bool) -> dict[str, Any]:
    """All options as the run notes them, those that were not given with their defaults.

    Raises:
        ConfigError: an unknown method, or an option that has no effect.
    """
    method = args.method or "full"
    if method not in METHODS:
        raise ConfigError(
            f"--method is {method!r}{nearest(method, METHODS)}; use one of {', '.join(METHODS)}"
        )
    holds = {
        "": True, "conversations": chats, "lora": method == "lora", "last": method == "last",
        "no --steps": args.steps is None, "--rehearse": args.rehearse is not None,
    }  # fmt: skip
    owner = {name: option.of for name, option in OPTIONS.items()}
    owner |= dict.fromkeys(SWITCHES, "conversations")
    for name, of in owner.items():
        if getattr(args, name) is not None and not holds[of]:
            need = f"--method {of}" if of in METHODS else of
            raise ConfigError(f"{flag_of(name)} goes with {need}; leave out one, or give that too")
    settings = {name: option.default if getattr(args, name) is None else getattr(args, name)
                for name, option in OPTIONS.items() if name != "data"}  # fmt: skip
    settings |= {name: getattr(args, name) is not False for name in SWITCHES}
    settings |= {"method": method, "conversations": chats}
    if settings["alpha"] is None:
        settings["alpha"] = 2.0 * settings["rank"]
    epochs = settings["epochs"] = None if args.steps is not None else settings["epochs"]
    if epochs is not None and not 0 < epochs < 1e6:
        raise ConfigError(f"--epochs is {epochs}; give a number above 0, such as 3")
    return settings


def _config(args: argparse.Namespace, settings: dict, source: Source) -> TrainConfig:
    """How to train: what was given, and otherwise what follows from the method and the data."""
    asked = given(args, TrainConfig)
    asked.pop("attend", None)
    batch = asked.get("batch_size", DEFAULTS["batch_size"])
    rows = batch
    if settings["rehearse"]:
        rows -= rehearsed_rows(batch, settings["share"])
    steps = asked.get("steps")
    if steps is None:
        TrainConfig(batch_size=batch)  # refuses one below 1
        steps = max(1, math.ceil(settings["epochs"] * source.rows_an_epoch / rows))
    lr = asked.get("lr", METHODS[settings["method"]])
    values = DEFAULTS | {
        "steps": steps, "lr": lr, "min_lr": lr / 10, "warmup": min(100, steps // 10),
        "eval_every": max(1, steps // 10), "attend": source.attend,
    }  # fmt: skip
    return TrainConfig.from_dict(values | asked)


def _tune(model: GPT, settings: dict, first_new: int | None, config: TrainConfig) -> None:
    """Freeze what is not to be trained."""
    if settings["method"] == "full":
        return
    if settings["method"] == "lora":
        targets = [name.strip() for name in settings["targets"].split(",")]
        add_lora(model, settings["rank"], settings["alpha"], targets, settings["lora_dropout"])
    else:
        tune_last(model, settings["last_blocks"])
    if first_new is not None:
        if config.weight_decay:
            raise ConfigError(
                f"--weight-decay is {config.weight_decay:g}, and the rows of new marks are trained "
                "in a table whose other rows are to stay as they are; leave it out"
            )
        train_new_rows(model, first_new)


def _beside(run: str, out: Path) -> dict:
    """Where the run that this one begins with is, as seen from here; nothing for one that ships."""
    folder = user_path(run)
    if not folder.is_dir() or run_folder(run) != folder:
        return {}
    if kept_path(folder)[:1] == "~" != kept_path(out.absolute())[:1]:
        return {}  # from out there, the way would name whose home it is
    try:
        return {"from_run": os.path.relpath(folder, out)}
    except ValueError:  # on another drive
        return {}


def _base_place(initial: dict, out: Path) -> str:
    """Where the run is that this one began with."""
    beside = initial.get("from_run")
    place = os.path.normpath(os.path.join(out, beside)) if isinstance(beside, str) else ""
    return place if place and os.path.isdir(place) else initial["run"]
