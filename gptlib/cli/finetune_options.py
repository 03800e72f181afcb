"""What `gptlib finetune` can be told, and the help that explains it.

One job: `OPTIONS`, what fine-tuning is beside a `TrainConfig`, and `add_arguments`. Of the fields
of `TrainConfig` it has those in `SETTINGS`, whose sentences are the fields' own.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from gptlib.cli.arguments import flag_of, noted_name, path
from gptlib.cli.train_options import add_field
from gptlib.settings import GROUPS
from gptlib.train_config import OVERRIDABLE, TrainConfig

HELP = """\
Go on with a trained model on something of your own, and measure what it gains
and what it forgets.

  plain text, such as `gptlib train --init-from` reads it:
    gptlib finetune runs/base --data my.txt --out runs/mine
  questions and answers; only the answers are learned:
    gptlib finetune stories --data pairs.jsonl --out runs/answers
    gptlib sample runs/answers --chat "Write a cold harbor."
  a few thousand weights instead of all, and some old text against forgetting:
    gptlib finetune stories --data pairs.jsonl --out runs/lora --method lora \\
        --rehearse stories --share 0.1
  go on after an interruption:
    gptlib finetune --out runs/lora --resume

RUN is a run folder, or a model that ships: stories or tales; `gptlib import`
makes one of GPT-2. Its best weights are where this begins, and they are the
checkpoint of step 0: where training only makes it worse, they remain the best.

A file that ends in .jsonl has a conversation in each line, of either form:
  {"messages": [{"role": "user", "content": "..."},
                {"role": "assistant", "content": "..."}]}
  {"prompt": "...", "completion": "..."}
A line that cannot be learned is named by its number before anything begins."""

#: Where fine-tuning begins, for each method: smaller parts take larger steps.
METHODS = {"full": 3e-4, "lora": 3e-3, "last": 1e-3}


class Option(NamedTuple):
    """An option: how a word is read, what holds where it is not given, and its help. `of` names
    the value of another option that it belongs to, such as a method."""

    type: Callable[[str], Any]
    default: Any
    metavar: str
    help: str
    of: str = ""


OPTIONS = {
    "data": Option(
        noted_name, None, "FILE",
        "what to learn: a .jsonl file of conversations; or a text as `gptlib train` takes it",
    ),
    "val": Option(
        noted_name, None, "FILE",
        "more conversations, to validate on (default: every tenth of --data, if its lines name no "
        "split)", "conversations",
    ),
    "method": Option(
        str, "full", "NAME",
        "what is trained: full, all weights; lora, two thin matrices beside each of --targets; or "
        "last, the last blocks (default full)",
    ),
    "rank": Option(int, 8, "N", "lora: the rank of a matrix's change (default 8)", "lora"),
    "alpha": Option(
        float, None, "X", "lora: the change is multiplied by X / rank (default 2 * rank)", "lora"
    ),
    "targets": Option(
        str, "c_attn", "NAMES",
        "lora: the layers that are changed: c_attn, c_proj, c_fc, some of them with commas "
        "between, or all-linear (default c_attn)", "lora",
    ),
    "lora_dropout": Option(
        float, 0.0, "X", "lora: share of what the thin matrices read that is dropped (default 0.0)",
        "lora",
    ),
    "last_blocks": Option(int, 1, "N", "last: so many of the last blocks (default 1)", "last"),
    "epochs": Option(
        float, 3.0, "X", "passes over the data, in place of --steps (default 3)", "no --steps"
    ),
    "rehearse": Option(
        noted_name, None, "NAME",
        "old text that is read beside the new, so that less of it is forgotten: a corpus, a file "
        "or a shard folder (default: none)",
    ),
    "share": Option(
        float, 0.1, "X", "the share of every step's loss that is old text (default 0.1)",
        "--rehearse",
    ),
}  # fmt: skip
SWITCHES = {
    "mask_prompt": "conversations: learn the answers alone, not the questions (default on)",
    "pack": "conversations: as many in a row as fit, each reading itself alone; off gives each a "
    "row, padded to the longest of the batch: the same loss, in more time (default on)",
}
#: The fields of `TrainConfig` that are flags here.
SETTINGS = (
    "steps", "batch_size", "lr", "min_lr", "warmup", "schedule", "decay", "weight_decay",
    "optimizer", "beta1", "beta2", "grad_clip", "eval_every", "patience", "seed", "save_every",
    "save_minutes", "keep_last", "accumulate", "device", "dtype", "recompute", "loss_chunk",
)  # fmt: skip
#: What is another default here than in a `TrainConfig`. A pull toward zero is one away from what
#: the model knows.
DEFAULTS = {"batch_size": 16, "weight_decay": 0.0}
SHOWN: dict[str, Any] = {
    **DEFAULTS, "steps": "3 epochs",
    "lr": ", ".join(f"{rate:g} for {name}" for name, rate in METHODS.items()),
    "min_lr": "a tenth of lr", "warmup": "a tenth of the steps, 100 at most",
    "eval_every": "a tenth of the steps",
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "%(prog)s RUN --data FILE --out FOLDER [--method NAME] [flags]"
    parser.description = HELP
    parser.add_argument(
        "run", type=noted_name, nargs="?", metavar="RUN", help="the model to begin with"
    )
    groups = {name: parser.add_argument_group(title) for name, title in GROUPS.items()
              if name != "shape"}  # fmt: skip
    what, saving = groups["what"], groups["saving"]
    for name, option in OPTIONS.items():
        what.add_argument(
            flag_of(name), type=option.type, metavar=option.metavar,
            help=option.help.replace("%", "%%"),
        )  # fmt: skip
    for name, text in SWITCHES.items():
        what.add_argument(
            flag_of(name), action=argparse.BooleanOptionalAction, help=text, default=None
        )
    what.add_argument(
        "--out",
        type=path,
        metavar="FOLDER",
        help="the run folder, which is made if it is not there",
    )
    for field in fields(TrainConfig):
        if field.name in SETTINGS:
            shown = SHOWN.get(field.name, field.default)
            add_field(groups[field.metadata["group"]], "train", field, shown)
    groups["training"].add_argument(
        "--dropout", type=float, metavar="X",
        help="share that is dropped in training (default: that of RUN)",
    )  # fmt: skip
    groups["machine"].add_argument(
        "--threads", type=int, metavar="N", help="CPU threads to compute with (default: all)"
    )
    what.add_argument("--progress", choices=["auto", "lines", "none"], default="auto",
                      help="as in `gptlib train` (default auto)")  # fmt: skip
    what.add_argument("--json", action="store_true", help="print the result as JSON, for scripts")
    saving.add_argument(
        "--resume", action="store_true",
        help="go on with the run in --out by its own settings, or begin it if RUN is given",
    )  # fmt: skip
    saving.add_argument(
        "--override", action="store_true", help=f"let --resume change {', '.join(OVERRIDABLE)}"
    )
    saving.add_argument(
        "--stop-after", type=int, metavar="N",
        help="pause at this step, saved; --resume goes on (default: its end)",
    )  # fmt: skip
    saving.add_argument(
        "--merge", type=path, metavar="FOLDER",
        help="at the end, write the best model as a run of its own there, with LoRA merged into "
        "its weights: what --method lora and last leave in --out needs RUN beside it",
    )  # fmt: skip
