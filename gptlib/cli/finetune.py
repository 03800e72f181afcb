"""`gptlib finetune`: go on with a trained model on something of one's own."""

from __future__ import annotations

import argparse
import json
import os

import torch

from gptlib import checkpoint, tuning
from gptlib.cli.console import INTERRUPTED, progress, shell_line
from gptlib.cli.finetune_options import add_arguments
from gptlib.cli.finetune_plan import Plan, begin, go_on
from gptlib.cli.plan import saved_run
from gptlib.cli.train import MOST_THREADS
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.finetuning import save_lora
from gptlib.hub.pretrained import write_run
from gptlib.progress import TrainingProgress
from gptlib.runs import Run, load_run
from gptlib.trainer import Trainer

__all__ = ["add_arguments", "run"]
ADAPTER = "adapter"  # in the run folder: what LoRA learned, in peft's format


def run(args: argparse.Namespace) -> int:
    if args.out is None:
        raise ConfigError("where to? give the run folder with --out FOLDER")
    if args.threads is not None:
        if not 1 <= args.threads <= MOST_THREADS:
            raise ConfigError(f"--threads is {args.threads}; give 1 to {MOST_THREADS}")
        torch.set_num_threads(args.threads)
    if args.merge is not None and os.path.lexists(args.merge):
        raise DataError(f"--merge {args.merge} is there already; give a new folder")
    saved = saved_run(args.out, None) if args.resume else None
    if args.resume and saved is None and not args.run:
        raise CheckpointError(
            f"{args.out} holds no run to resume; give RUN and --data to begin one there, or check "
            "--out"
        )
    plan = begin(args) if saved is None else go_on(args, saved)
    report = None if args.progress == "none" else progress
    if report:
        report(_trained(plan))
        if plan.told:
            report(plan.told)
    trainer = Trainer(
        plan.model, plan.train, plan.val, plan.config, args.out, plan.tokenizer, report=report,
        note=plan.note, separator=plan.separator, loss=plan.loss, keep_first=True,
        callbacks=[TrainingProgress(lines=False)] if args.progress == "auto" else [],
    )  # fmt: skip
    done = trainer.fit(args.resume, args.stop_after, args.override)
    if trainer.leads:
        if done.finished:
            _leave(args, trainer)
        _show(args, done, plan)
    as_told = done.finished or done.step >= (args.stop_after or plan.config.steps)
    return 0 if as_told else INTERRUPTED


def _trained(plan: Plan) -> str:
    """What is trained, in a line."""
    some, all_of_it = plan.model.num_params(trainable=True), plan.model.num_params()
    rows = tuning.new_rows(plan.model)
    some -= sum(first * plan.model.config.n_embd for first in rows.values())
    marks = ", the rows of new marks among them" if rows else ""
    c = plan.config
    return (
        f"trains {some:,} of {all_of_it:,} parameters{marks}, in {c.steps:,} steps of "
        f"{c.batch_size} rows at a rate of {c.lr:g}"
    )


def _leave(args: argparse.Namespace, trainer: Trainer) -> None:
    """What a finished run leaves beside its checkpoints: what LoRA learned, and a merged run."""
    model = trainer.model
    if (model.tuning or {}).get("method") == "lora" and not tuning.new_rows(model):
        best = checkpoint.pointed(args.out, "best")
        if best is not None:
            tuning.put_back(model, checkpoint.load_model(best)[0])
            save_lora(model, args.out / ADAPTER)
    if args.merge is not None:
        best_model, tokenizer, manifest = load_run(args.out)
        if tokenizer is not None:
            note = {
                key: manifest["note"][key] for key in ("sampling",) if key in manifest["note"]
            } | {"finetuned": args.out.name}
            write_run(best_model, tokenizer, note, args.merge)


def _show(args: argparse.Namespace, done: Run, plan: Plan) -> None:
    """Print what was gained, and what was forgotten."""
    first = next((line["val"] for line in done.log if "val" in line), None)
    result: dict = {
        "step": done.step, "finished": done.finished, "best_step": done.best_step,
        "stopped_early": done.stopped_early, "new": {"before": first, "after": done.best_val},
        "old": None,
    }  # fmt: skip
    if plan.old is not None and done.finished:
        model, tokenizer, _ = load_run(args.out)
        assert tokenizer is not None  # the run was begun with one
        before, after = plan.note["old"]["before"], plan.old.measured(model, tokenizer)
        result["old"] = {"text": plan.old.name, "before": before, "after": after}
    if args.json:
        print(json.dumps(result))
        return
    print(f"new text: {first:.4f} nats per token before, {done.best_val:.4f} at the best, step "
          f"{done.best_step}")  # fmt: skip
    if result["old"]:
        was, now = (result["old"][when]["bits_per_byte"] for when in ("before", "after"))
        word = "forgotten" if now > was else "gained"
        print(f"old text ({plan.old.name if plan.old else ''}): {was:.4f} bits per byte before, "
              f"{now:.4f} after, {abs(now - was):.4f} {word}")  # fmt: skip
    if not done.finished:
        again = ["gptlib", "finetune", "--out", args.out, "--resume"]
        again += ["--threads", args.threads] if args.threads else []
        print(f"stopped at step {done.step}; go on with: {shell_line(again)}")
