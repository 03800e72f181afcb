"""`gptlib sample`: let a trained model write, and show the text as it comes."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gptlib.chat import chat_head
from gptlib.cli import sample_many
from gptlib.cli.arguments import add_run, count, flag_of, path, plain_text, typed_text
from gptlib.cli.sample_options import add_options, settings_of, temperature_of
from gptlib.cli.texts import load_writer
from gptlib.cli.writer import Writer, between_documents
from gptlib.errors import ConfigError, DataError, TokenizerError
from gptlib.model import GPT
from gptlib.sampling import Sampling, beam_search, speculate, stream
from gptlib.sampling.marked import has_marks, story_head
from gptlib.sampling.settings import More
from gptlib.stories.marks import END

HELP = """\
Let a trained model write. The text is shown as it comes, and ends at
--max-new-tokens, at a --stop, or where the model ends a document.

  gptlib sample tales --prompt "How " --seed 1
  gptlib sample runs/mine --prompt-file begin.txt --samples 3 --stop "The end."
  gptlib sample runs/mine --prompts many.jsonl --out texts.jsonl
  gptlib sample runs/stories --title "A bell and a goat" --genre barter

--prompts has a prompt in each line; in a file that ends in .jsonl a line is
JSON, a string or an object with "prompt". --out gets a JSON record for each
text, as it is written, and the same command goes on after a kill.

--chat asks a model that `gptlib finetune` taught to answer; --prompt is how the
answer begins.

  gptlib sample runs/answers --chat "Write a cold harbor."

--title and --genre ask a model for a story, if its texts had the marks of
stories. Its title is shown as a line and the marks are not, except for --marks.

`stories` and `tales` are models that ship with gptlib; ./tales is a run folder
of that name here."""


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
    prompt.add_argument(
        "--prompts", type=path, metavar="FILE",
        help="a UTF-8 file with a prompt in each line, or JSON in each; goes with --out or --json",
    )  # fmt: skip
    parser.add_argument(
        "--title", type=typed_text, metavar="TEXT",
        help="ask for a story with this title; --prompt is how its text begins",
    )  # fmt: skip
    parser.add_argument(
        "--chat", type=typed_text, metavar="TEXT",
        help="ask this of a model that was fine-tuned on conversations, and write its answer",
    )  # fmt: skip
    parser.add_argument(
        "--genre", metavar="NAME",
        help="ask for a story of this kind, one of those that the model was trained on",
    )  # fmt: skip
    parser.add_argument(
        "--marks", action="store_true",
        help="show the marks of a story, such as <|title|>; in --json also those it began with",
    )  # fmt: skip
    parser.add_argument(
        "--max-new-tokens", type=int, default=1000, metavar="N",
        help="where the text ends at the latest (default 1000)",
    )  # fmt: skip
    add_options(parser)
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
        "(default 1); of --prompts, so many of each",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=path, metavar="FILE",
        help="add the texts of --prompts to this file, a JSON record a line; goes on where it ends",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=count, metavar="N",
        help="prompts of --prompts that are read at a time (default 8)",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="print a JSON record for each text, for scripts"
    )


def run(args: argparse.Namespace) -> int:
    _check(args)
    prompt = args.prompt if args.prompt_file is None else read_prompt(args.prompt_file)
    model, tokenizer, manifest = load_writer(args.run, device=args.device)
    begin, stop = between_documents(manifest)
    stops = [*args.stop, stop] if stop else args.stop
    asked = {
        name: value for name in ("title", "genre") if (value := getattr(args, name)) is not None
    }
    if asked or args.marks or has_marks(tokenizer):
        head = story_head(tokenizer, args.title, args.genre)  # refused where there are no marks
        begin = head if asked else begin or head
    if args.chat is not None:
        begin, stops = chat_head(tokenizer, args.chat), [*args.stop, END]
        asked = {"chat": args.chat}
    more = settings_of(args, tokenizer)
    length, temperature = args.max_new_tokens, temperature_of(args)
    writer = Writer(model, tokenizer, begin, stops, length, temperature, more, asked, args.marks)
    if args.prompts is not None:
        return sample_many.run(args, writer)
    if args.num_beams is not None:
        return _search(args, writer, prompt)
    draft = _draft(args, writer)
    ids = writer.ids(prompt)
    first = secrets.randbelow(2**32) if args.seed is None else args.seed
    seeds = range(first, first + args.samples)
    _tokens(writer, draft, ids, args, seeds[-1])  # refused before anything is shown
    for number, seed in enumerate(seeds, 1):
        if args.json:
            new = list(writer.until_end(_tokens(writer, draft, ids, args, seed)))
            print(json.dumps(writer.record(prompt, new, seed=seed)), flush=True)
            continue
        if args.samples > 1:
            print(f"=== sample {number} of {args.samples}, --seed {seed} ===")
        print(writer.shown(prompt), end="", flush=True)
        for piece in writer.pieces(_tokens(writer, draft, ids, args, seed)):
            print(piece, end="", flush=True)
        print()
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuse what has no effect, before a model is loaded."""
    for name in ("title", "genre", "prompts"):
        if args.chat is not None and getattr(args, name) is not None:
            raise ConfigError(f"--chat and {flag_of(name)} ask for two things; leave out one")
    if args.samples < 1:
        raise ConfigError(f"--samples is {args.samples}; give 1 or more")
    if "" in args.stop:
        raise ConfigError("--stop is empty; give a text, or leave it out")
    if args.prompts is None:
        for name in ("out", "batch_size"):
            if getattr(args, name) is not None:
                raise ConfigError(
                    f"{flag_of(name)} goes with --prompts, a file of them; give that too"
                )
    elif args.out is None and not args.json:
        raise ConfigError(
            "--prompts writes to --out FILE, or to the terminal with --json; give one"
        )
    elif args.draft is not None or args.num_beams is not None:
        flag = "--draft" if args.draft is not None else "--num-beams"
        raise ConfigError(f"{flag} takes one prompt at a time; leave out --prompts, or {flag}")


def _draft(args: argparse.Namespace, writer: Writer) -> GPT | None:
    if args.draft is None:
        return None
    draft, tokenizer, _ = load_writer(args.draft, device=args.device)
    if tokenizer != writer.tokenizer:
        raise ConfigError(
            f"{args.draft} has another tokenizer than {args.run}; a draft has to write in the same "
            "tokens"
        )
    return draft


def _tokens(
    writer: Writer, draft: GPT | None, ids: list[int], args: argparse.Namespace, seed: int
) -> Iterator[int]:
    """The new tokens of one sample; its settings are checked at once."""
    model, n, temperature, more = (
        writer.model,
        writer.max_new_tokens,
        writer.temperature,
        writer.more,
    )
    if draft is None:
        return stream(model, ids, n, temperature, seed=seed, **more)
    guesses = 4 if args.guesses is None else args.guesses
    return speculate(model, draft, ids, n, temperature, seed=seed, guesses=guesses, **more)


def _search(args: argparse.Namespace, writer: Writer, prompt: str) -> int:
    """Write the best texts that beams find, each below a line with its score."""
    ids = writer.ids(prompt)
    stop: list[list[int]] = [] if writer.end is None else [[writer.end]]
    for text in writer.stops:
        with suppress(TokenizerError):  # what it cannot spell it cannot write
            stop.append(writer.tokenizer.encode(text))
    more: More = {**writer.more, "num_samples": args.samples}
    Sampling(args.max_new_tokens, writer.temperature, stop=stop, **more)  # refuses a temperature
    found = beam_search(writer.model, ids, args.max_new_tokens, stop=stop, **more)
    for number, (row, length, score) in enumerate(
        zip(found.ids.tolist(), found.lengths, found.scores, strict=True), 1
    ):
        record = writer.record(prompt, row[len(ids) : length], score=score)
        if args.json:
            print(json.dumps(record))
            continue
        if args.samples > 1:
            print(f"=== text {number} of {args.samples}, score {score:.4f} ===")
        print(writer.shown(prompt) + record["text"])
    return 0


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
