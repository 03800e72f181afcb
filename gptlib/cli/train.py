"""`gptlib train`: begin a run, or go on with one."""

from __future__ import annotations

import argparse
import json
import os
import sys

import torch

from gptlib.cli import run_file
from gptlib.cli.console import INTERRUPTED, progress, shell_line
from gptlib.cli.plan import add_file, begin, describe, go_on, names_a_text, saved_run
from gptlib.cli.texts import Text
from gptlib.cli.train_options import add_arguments
from gptlib.errors import CheckpointError, ConfigError
from gptlib.files import way_out, write_atomic
from gptlib.model import GPT, GPTConfig
from gptlib.progress import TrainingProgress
from gptlib.runs import Run, initial_weights
from gptlib.trackers import make_tracker
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

__all__ = ["add_arguments", "run"]
MOST_THREADS = 1024  # more would end the process where the system has no more to give


def run(args: argparse.Namespace) -> int:
    if args.config is not None:
        add_file(args, run_file.read(args.config, bool(args.corpus)))
    if args.threads is not None and not 1 <= args.threads <= MOST_THREADS:
        raise ConfigError(f"--threads is {args.threads}; give 1 to {MOST_THREADS}")
    if args.write_config is not None:
        return _write_config(args)
    if args.out is None:
        raise ConfigError("where to? give the run folder with --out FOLDER")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    saved = saved_run(args.out, args.mirror_to) if args.resume else None
    if args.resume and saved is None and not names_a_text(args):
        raise CheckpointError(
            f"{args.out} holds no run to resume; give --corpus to begin one there, or check --out"
        )
    plan = begin(args) if saved is None else go_on(args, saved)
    config = TrainConfig.from_dict(plan.train)
    train, val = plan.text.splits(plan.tokenizer)
    torch.manual_seed(config.seed)
    model = GPT(GPTConfig.from_dict(plan.model))
    if args.init_from and saved is None:
        plan.note["initial"] = initial_weights(model, args.init_from, plan.tokenizer)
    told = [make_tracker(args.tracker, args.out)] if args.tracker else []
    told += [TrainingProgress(lines=False)] if args.progress == "auto" else []
    report = None if args.progress == "none" else progress
    if plan.told and report:
        report(plan.told)
    trainer = Trainer(
        model, train, val, config, args.out, plan.tokenizer, report=report, note=plan.note,
        separator=plan.separator, mirror_to=args.mirror_to, callbacks=told,
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


def _write_config(args: argparse.Namespace) -> int:
    """Write the run that the flags describe as a file, and train nothing."""
    path = args.write_config
    if args.resume:
        raise ConfigError(
            "--write-config describes a run that begins; leave out --resume, or describe one that "
            f"is there with --config {args.out or 'RUN'}/config.json"
        )
    if str(path) != "-" and os.path.lexists(path):
        raise ConfigError(
            f"{path} is there already, and nothing is written over it; give another file, or "
            "remove that one"
        )
    values = describe(args)
    if str(path) == "-":
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        print(run_file.write(path, values, encoding), end="")
        return 0
    try:
        write_atomic(path, run_file.write(path, values).encode())
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written ({error.strerror}); {way_out(error)}"
        ) from error
    return 0


def _show(args: argparse.Namespace, done: Run, text: Text) -> None:
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
