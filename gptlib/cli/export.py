"""`gptlib export`: write a trained model for another program."""

from __future__ import annotations

import argparse

from gptlib.cli.arguments import name_or_path, path
from gptlib.hub.export import FORMATS, QUANTS, export_run
from gptlib.progress import progress

HELP = """\
Write a trained model and its tokenizer for another program, in a new folder
with a README.md that says how to run it.

  gptlib export runs/mine --to hf exported/mine
  gptlib export tales --to onnx exported/tales
  gptlib export runs/mine --to gguf --quant q8_0 exported/small

hf     safetensors, config and tokenizer.json, which Hugging Face's
       transformers opens; `gptlib import` reads it back
onnx   a graph for onnxruntime; needs pip install onnx onnxscript
gguf   one file for llama.cpp and what is built on it; needs pip install gguf;
       with --quant q8_0 a quarter of the bytes, with q4_0 an eighth, and faster
       there; `gptlib import` reads it back

hf and gguf have GPT-2's parts alone; onnx has the newer ones too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument(
        "run", type=name_or_path, help="a run folder, or a model that ships: stories or tales"
    )
    parser.add_argument(
        "folder", type=path, metavar="DIR", help="where it is written, a new folder"
    )
    parser.add_argument(
        "--to", required=True, choices=list(FORMATS), help="for which program: see above"
    )
    parser.add_argument(
        "--quant", choices=list(QUANTS),
        help="gguf: matrices of 8 or 4 bits, in blocks of 32 weights with a scale each (default: "
        "none, float32)",
    )  # fmt: skip
    parser.add_argument(
        "--which", default="best", metavar="NAME",
        help="which checkpoint: best, of the lowest validation loss, or latest (default best)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    with progress(f"writing {args.to}"):
        folder = export_run(args.run, args.to, args.folder, args.which, args.quant)
    for file in sorted(folder.iterdir()):
        print(f"{file.name:<24} {file.stat().st_size:>14,} bytes")
    return 0
