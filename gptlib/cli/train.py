"""`gptlib train`: begin a run, or go on with one."""

from __future__ import annotations

import argparse
import json
import os
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from gptlib import checkpoint, mirror
from gptlib.cli.console import INTERRUPTED, progress, shell_line
from gptlib.cli.texts import (
    Text,
    load_writer,
    named_tokenizer,
    noted,
    noted_place,
    open_text,
)
from gptlib.errors import CheckpointError, ConfigError
from gptlib.files import may_not_read, take_lock
from gptlib.model import GPT, GPTConfig
from gptlib.presets import preset
from gptlib.progress import TrainingProgress
from gptlib.runs import initial_weights
from gptlib.tokenizers import BPETokenizer, CharTokenizer, Tokenizer, load_tokenizer
from gptlib.trackers import make_tracker
from gptlib.train_config import TrainConfig, with_changes
from gptlib.trainer import Trainer

MOST_THREADS = 1024  # more would end the process where the system has no more to give


@dataclass
class Plan:
    """What a run is made of: the two configs' fields, what to note of it, its text and tokenizer.

    `tokenizer` is None where the text has to say.
    """

    model: dict
    train: dict
    note: dict
    text: Text
    tokenizer: Tokenizer | None


def run(args: argparse.Namespace) -> int:
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise ConfigError(f"--threads is {args.threads}; give 1 to {MOST_THREADS}")
        torch.set_num_threads(args.threads)
    saved = saved_run(args.out, args.mirror_to) if args.resume else None
    if args.resume and saved is None and not args.corpus:
        raise CheckpointError(
            f"{args.out} holds no run to resume; give --corpus to begin one there, or check --out"
        )
    plan = begin(args) if saved is None else go_on(args, saved)
    tokenizer = plan.tokenizer or _tokenizer(args.tokenizer, plan.text)
    plan.model |= _given(args, GPTConfig) | {"vocab_size": tokenizer.vocab_size}
    config = TrainConfig.from_dict(with_changes(plan.train, _given(args, TrainConfig)))
    splits = plan.text.splits(tokenizer)
    torch.manual_seed(config.seed)
    model = GPT(GPTConfig.from_dict(plan.model))
    if args.init_from and saved is None:
        plan.note["initial"] = initial_weights(model, args.init_from, tokenizer)
    told = [make_tracker(args.tracker, args.out)] if args.tracker else []
    told += [TrainingProgress(lines=False)] if args.progress == "auto" else []
    report = None if args.progress == "none" else progress
    trainer = Trainer(
        model, *splits, config, args.out, tokenizer, report=report, note=plan.note,
        mirror_to=args.mirror_to, callbacks=told,
    )  # fmt: skip

    def began(step: int) -> None:
        if args.resume and report:
            what = f"goes on from step {step} of the run" if step else "begins a new run"
            report(f"{what} in {args.out}")

    done = trainer.fit(args.resume, args.stop_after, args.override, began)
    if trainer.leads:
        _show(args, done, plan.text)
    as_told = done.finished or done.step >= (args.stop_after or config.steps)
    return 0 if as_told else INTERRUPTED


def begin(args: argparse.Namespace) -> Plan:
    """The plan of a new run."""
    if not args.corpus:
        raise ConfigError("which text? give --corpus NAME or PATH (see `gptlib data list`)")
    name = args.preset or "cpu"
    chosen = preset(name)
    model_args, tokenizer = dict(chosen.model), None
    if args.init_from:
        _, tokenizer, manifest = load_writer(args.init_from)
        model_args = dict(manifest["model"])
    note = noted(args.corpus, args.out) | {
        "corpus_size": args.corpus_size, "preset": name, "init_from": args.init_from,
    }  # fmt: skip
    text = open_text(note["corpus"], args.corpus_size)
    if tokenizer is not None and args.tokenizer:
        _check_tokenizer(args.init_from, tokenizer, args.tokenizer, text)
    return Plan(model_args, dict(chosen.train), note, text, tokenizer)


def go_on(args: argparse.Namespace, saved: dict) -> Plan:
    """The plan of a run that is resumed: its own, for whatever was not given again.

    Raises:
        CheckpointError: something given again differs. What becomes part of the two configs is left
            to the trainer, which knows what may differ.
    """
    note = dict(saved["note"]) if isinstance(saved.get("note"), dict) else {}
    train_args = saved["train"]
    model_args = saved["model"]
    given = {"preset": args.preset, "corpus_size": args.corpus_size, "init_from": args.init_from}
    if args.preset and "preset" not in note:  # a run older than that note: go by what it says
        chosen = preset(given.pop("preset"))
        model_args, train_args = model_args | chosen.model, train_args | chosen.train
    if args.init_from and isinstance(note.get("initial"), dict):  # by another path, the same run?
        _, _, first = load_writer(args.init_from)
        if first["sha256"][checkpoint.MODEL] == note["initial"].get("weights_sha256"):
            del given["init_from"]
    differences = [
        f"{key} was {note.get(key)!r} and is now {value!r}"
        for key, value in given.items()
        if value is not None and value != note.get(key)
    ]
    if differences:
        raise CheckpointError(
            f"{args.out} holds another run: {'; '.join(differences)}; use the same settings or "
            "another folder"
        )
    if args.corpus:
        note |= noted(args.corpus, args.out)
    text = open_text(args.corpus or noted_place(note, args.out), note.get("corpus_size"))
    tokenizer = load_tokenizer(args.out / "tokenizer")
    if args.tokenizer:
        _check_tokenizer(args.out, tokenizer, args.tokenizer, text)
    return Plan(model_args, train_args, note, text, tokenizer)


def saved_run(out: Path, mirror_to: Path | None) -> dict | None:
    """What `config.json` of an earlier run says, or None where there is none; on a new machine it
    comes from the mirror.

    Raises:
        CheckpointError: it is damaged.
    """
    path = out / "config.json"
    if mirror_to:
        out.mkdir(parents=True, exist_ok=True)
        with take_lock(out / ".restoring", -1):  # the processes of a job arrive together
            if not os.path.isfile(path):
                mirror.pull(mirror_to, out)
    if not os.path.isfile(path):
        return None
    try:
        saved = json.loads(path.read_bytes())
        if not all(isinstance(saved[part], dict) for part in ("model", "train")):
            raise ValueError("its settings are no JSON objects")
    except PermissionError as error:
        raise may_not_read(out, error) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({str(error)[:100]}); expected the settings that `gptlib train` "
            "wrote: restore the file from a copy, or begin a run in another folder"
        ) from error
    for step in reversed(checkpoint.saved_steps(out)):  # what --override changed stands there alone
        with suppress(CheckpointError):  # said by whoever loads it
            manifest = checkpoint.verify(checkpoint.folder_of(out, step))
            return saved | ({"train": manifest["train"]} if "train" in manifest else {})
    return saved


def _given(args: argparse.Namespace, config: type) -> dict:
    """The fields of a config that the user set by a flag."""
    names = {f.name for f in fields(config)}
    return {k: v for k, v in vars(args).items() if k in names and v is not None}


def _tokenizer(choice: str | None, text: Text) -> Tokenizer:
    """The tokenizer that was asked for; shards bring their own, a text its characters."""
    if text.corpus is None and choice == "char":
        raise ConfigError(
            f"--tokenizer char learns the characters of a text, but {text.place} is a folder of "
            "shards, which are encoded already and bring their tokenizer; leave out --tokenizer"
        )
    if text.corpus is None:
        return named_tokenizer(choice or text.place)
    return (
        CharTokenizer.train(text.corpus.text)
        if choice in (None, "char")
        else named_tokenizer(choice)
    )


def _check_tokenizer(run: Path | str, saved: Tokenizer, choice: str, text: Text) -> None:
    """Refuse another tokenizer than a run's own.

    Raises:
        CheckpointError: they differ.
    """
    kind = {"char": CharTokenizer, "gpt2": BPETokenizer}.get(choice)
    if kind and not isinstance(saved, kind):
        now = choice  # need not be downloaded to differ
    else:
        other = _tokenizer(choice, text)
        if other == saved:
            return
        now = f"{other}, sha256 {other.sha256[:8]}"
    raise CheckpointError(
        f"{run} holds another run: tokenizer was {saved}, sha256 {saved.sha256[:8]}, and is now "
        f"{now}; leave out --tokenizer, or choose another folder"
    )


def _show(args: argparse.Namespace, done, text: Text) -> None:
    """Print what came of a run."""
    floor = text.corpus.val_floor if text.corpus is not None else None
    result = {
        "step": done.step, "finished": done.finished, "best_val": done.best_val,
        "best_step": done.best_step, "last_val": done.last_val, "floor_per_character": floor,
        "stopped_early": done.stopped_early,
    }  # fmt: skip
    if args.json:
        print(json.dumps(result))
        return
    print(f"best validation loss {done.best_val:.4f} nats per token, at step {done.best_step}")
    if floor is not None:
        print(f"the floor of this validation text is {floor:.4f} nats per character")
    if not done.finished:
        again = ["gptlib", "train", "--out", args.out, "--resume"]
        again += ["--mirror-to", args.mirror_to] if args.mirror_to else []
        again += ["--threads", args.threads] if args.threads else []
        print(f"stopped at step {done.step}; go on with: {shell_line(again)}")
