"""`gptlib sample`: let a trained model write, and show the text as it comes."""

from __future__ import annotations

import argparse
import itertools
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

from gptlib.cli.arguments import add_run, path, plain_text, typed_text
from gptlib.cli.texts import load_writer
from gptlib.errors import ConfigError, DataError, TokenizerError
from gptlib.model import GPT
from gptlib.sampling import stream
from gptlib.sampling.text_stream import until_stop
from gptlib.tokenizers import END_OF_TEXT, Tokenizer

HELP = """\
Let a trained model write. The text is shown as it comes, and ends at
--max-new-tokens, at a --stop, or where the model ends a document.

  gptlib sample tales --prompt "How " --seed 1
  gptlib sample runs/mine --prompt-file begin.txt --samples 3 --stop "The end."

`tales` is the model that ships with gptlib; ./tales is a run folder of that
name here."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    add_run(parser)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument(
        "--prompt", type=typed_text, default="", metavar="TEXT",
        help="how the text begins (default: nothing, where a document begins)",
    )  # fmt: skip
    prompt.add_argument(
        "--prompt-file", type=path, metavar="FILE",
        help="a UTF-8 file that says how it begins, - for stdin; a last newline does not count",
    )  # fmt: skip
    parser.add_argument(
        "--max-new-tokens", type=int, default=1000, metavar="N",
        help="where the text ends at the latest (default 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--temperature", type=float, default=0.8, metavar="X",
        help="how freely it draws: 0 always takes the likeliest token, 1 follows the model, more "
        "is wilder (default 0.8)",
    )  # fmt: skip
    parser.add_argument(
        "--top-k", type=int, metavar="N",
        help="draw from the N likeliest tokens only (default: from all)",
    )  # fmt: skip
    parser.add_argument(
        "--top-p", type=float, metavar="X",
        help="draw from the likeliest tokens that together reach probability X (default: from all)",
    )  # fmt: skip
    parser.add_argument(
        "--stop", type=typed_text, action="append", default=[], metavar="TEXT",
        help="end before this text, whatever its tokens; may be given again",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, metavar="N",
        help="the same seed writes the same text (default: another one every time)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=1, metavar="N",
        help="write so many texts, each below a line with its seed: --seed, --seed + 1, ... "
        "(default 1)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.samples < 1:
        raise ConfigError(f"--samples is {args.samples}; give 1 or more")
    if "" in args.stop:
        raise ConfigError("--stop is empty; give a text, or leave it out")
    prompt = args.prompt if args.prompt_file is None else read_prompt(args.prompt_file)
    model, tokenizer, manifest = load_writer(args.run, device=args.device)
    begin, stop = between_documents(manifest)
    ids = _ids(tokenizer, begin, prompt)
    stops = [*args.stop, stop] if stop else args.stop
    first = secrets.randbelow(2**32) if args.seed is None else args.seed
    seeds = range(first, first + args.samples)
    _text(model, tokenizer, ids, args, seeds[-1], stops)  # refused before anything is shown
    for number, seed in enumerate(seeds, 1):
        if args.samples > 1:
            print(f"=== sample {number} of {args.samples}, --seed {seed} ===")
        print(prompt, end="", flush=True)
        for piece in _text(model, tokenizer, ids, args, seed, stops):
            print(piece, end="", flush=True)
        print()
    return 0


def between_documents(manifest: dict) -> tuple[str, str]:
    """What a model trained on documents is shown before one, and writes after it; else empty.

    The model that ships says so itself; a run trained with --separator has it in its note.
    """
    hints, note = (manifest.get(part) for part in ("sampling", "note"))
    if isinstance(hints, dict):
        begin, stop = hints.get("begin"), hints.get("stop")
    else:
        begin = stop = note.get("separator") if isinstance(note, dict) else None
    return (begin if isinstance(begin, str) else ""), (stop if isinstance(stop, str) else "")


def _text(
    model: GPT,
    tokenizer: Tokenizer,
    ids: list[int],
    args: argparse.Namespace,
    seed: int,
    stops: list[str],
) -> Iterator[str]:
    """The pieces of one sample's text; its settings are checked at once."""
    new = stream(
        model, ids, args.max_new_tokens, args.temperature, args.top_k, args.top_p, seed=seed
    )
    end = tokenizer.special_tokens.get(END_OF_TEXT)
    return until_stop(tokenizer.decode_each(itertools.takewhile(lambda i: i != end, new)), stops)


def _ids(tokenizer: Tokenizer, begin: str, prompt: str) -> list[int]:
    """What the model is shown; a newline where that would be nothing."""
    ids = tokenizer.encode(begin) + tokenizer.encode(prompt)
    try:
        return ids or tokenizer.encode("\n")
    except TokenizerError as error:
        raise ConfigError(
            "the prompt is empty, and this model knows no newline to begin with; give --prompt "
            "at least one character that it was trained on"
        ) from error


def read_prompt(path: Path) -> str:
    """A prompt from a file, or from stdin where `path` is `-`; a last newline does not count.

    Raises:
        DataError: no such file, or not UTF-8.
    """
    if str(path) == "-" and sys.stdin is None:
        raise DataError("the prompt is to come from stdin, which is closed; give a file")
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        return plain_text(raw.decode("utf-8-sig")).removesuffix("\n")
    except OSError as error:
        raise DataError(
            f"the prompt file {path} cannot be read ({error.strerror}); give a file, or - for stdin"
        ) from error
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise DataError(
            f"the prompt file {path} is not UTF-8: byte 0x{byte:02x} at offset {error.start:,}; "
            "save it as UTF-8"
        ) from error
