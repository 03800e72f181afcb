"""`gptlib compare`: a reader chooses between two models' texts and does not know whose they are."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import Timeout

from gptlib.cli.arguments import path
from gptlib.errors import ConfigError, DataError
from gptlib.files import take_lock, way_out
from gptlib.serving.ballot import Ballot
from gptlib.serving.server import open_port, serve_page

HELP = """\
A page for a reader who does not know which text is whose: for each prompt two
texts, left and right by a coin, and a vote by button or arrow key. Each vote
is kept at once; the same command goes on with what has none yet. At the end it
says who won how often, and how sure that is. Ctrl-C ends it.

  gptlib sample runs/base --prompts beats.jsonl --out base.jsonl
  gptlib sample runs/tuned --prompts beats.jsonl --out tuned.jsonl
  gptlib compare base.jsonl tuned.jsonl --votes votes.jsonl

A line of a file of texts is an object with "prompt" and "text", or "messages"
that end with the assistant's. Only this machine can reach the page. It needs
gradio: pip install gradio."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    parser.add_argument("a", type=path, metavar="A.jsonl", help="texts of one model")
    parser.add_argument("b", type=path, metavar="B.jsonl", help="the other's, for the same prompts")
    parser.add_argument(
        "--votes", type=path, required=True, metavar="FILE",
        help="where the votes are kept, a .jsonl; one that exists is gone on with",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N",
        help="of the coins that place the texts (default 0)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=7861, metavar="N",
        help="the port to listen at, 0 for any that is free (default 7861)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    names = _names(args.a, args.b)
    votes: Path = args.votes
    try:
        votes.parent.mkdir(parents=True, exist_ok=True)
        lock = take_lock(votes.with_name(f".{votes.name}.lock"))
    except Timeout:
        raise DataError(f"another process is writing {votes}; wait for it, or stop it") from None
    except OSError as error:
        raise DataError(f"cannot write {votes} ({error.strerror}); {way_out(error)}") from error
    with lock:
        ballot = Ballot(args.a, args.b, votes, args.seed)
        try:
            if ballot.next() is not None:
                _serve(ballot, names, args.port)
        finally:
            print(*ballot.tally().lines(*names), sep="\n", flush=True)
    return 0


def _names(a: Path, b: Path) -> tuple[str, str]:
    """What the files are called in the result: their names, or where these are one, their paths."""
    return (a.name, b.name) if a.name != b.name else (str(a), str(b))


def _serve(ballot: Ballot, names: tuple[str, str], port: int) -> None:
    if find_spec("gradio") is None:
        raise ConfigError("a page needs gradio, which is not installed: pip install gradio")

    def build() -> tuple[Any, str]:
        from gptlib.serving.booth import CSS, build_booth

        return build_booth(ballot, names), CSS

    def ready(address: str) -> None:
        print(f"Vote at {address} (Ctrl-C ends it)", flush=True)

    with open_port("127.0.0.1", port) as listening:
        serve_page(build, listening, ready, ballot.status, lambda: None)
