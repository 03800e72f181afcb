"""`gptlib import`: make a run folder of weights that others trained."""

from __future__ import annotations

import argparse

from gptlib.cli.arguments import name_or_path, path
from gptlib.cli.console import shell_line
from gptlib.hub.pretrained import SHAPES, import_run

HELP = """\
Make a run folder of weights that others trained, to sample, measure and train
on from.

  gptlib import gpt2 --out runs/gpt2
  gptlib sample runs/gpt2 --prompt "The meaning of life is"
  gptlib train --corpus my.txt --init-from runs/gpt2 --out runs/mine

OpenAI's GPT-2 is downloaded once, and used only if its sha256 is right; a
download that was cut off goes on where it stopped. A folder is one that
save_pretrained or `gptlib export --to hf` wrote: config.json,
model.safetensors and the tokenizer's files. A name wins over a folder of that
name; ./gpt2 is the folder. A file that ends in .gguf is a GPT-2 for llama.cpp,
which `gptlib export --to gguf` wrote or another program; its weights become
float32, rounded as they were."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument(
        "name", type=name_or_path, metavar="NAME",
        help=f"{', '.join(SHAPES)}, a folder, or a .gguf file",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, type=path, metavar="FOLDER", help="the run folder, a new one"
    )


def run(args: argparse.Namespace) -> int:
    model, tokenizer = import_run(args.name, args.out)
    c = model.config
    print(f"{model.num_params():,} parameters: {c.n_layer} layers, {c.n_head} heads, "
          f"{c.n_embd} channels, context {c.block_size}")  # fmt: skip
    print(f"tokenizer {tokenizer!r}")
    print(f"let it write: {shell_line(['gptlib', 'sample', args.out, '--prompt', 'The '])}")
    return 0
