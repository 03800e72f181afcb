"""`gptlib serve`: a page on which a trained model writes, for a browser on this machine."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from gptlib.cli.arguments import add_run, count
from gptlib.cli.console import tell
from gptlib.cli.texts import load_writer
from gptlib.cli.writer import between_documents
from gptlib.errors import ConfigError
from gptlib.serving.desk import Desk, Limits
from gptlib.serving.server import is_loopback, open_port, serve

HELP = """\
A page to write with: how a text begins, how it is drawn, and what the model
would write next. Ctrl-C ends it.

  gptlib serve tales
  gptlib serve runs/stories --port 8000
  gptlib serve runs/stories --host 0.0.0.0 --password "a long one"

Only this machine can reach the page, unless --host says otherwise: then
everybody who can reach that address can use it, so give a --password. It
travels as it is; outside a network that you trust, put a server with HTTPS
before it.

It needs gradio: pip install gradio."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    add_run(parser)
    parser.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS",
        help="the address to listen at: 0.0.0.0 for all of this machine's (default 127.0.0.1, "
        "which only this machine can reach)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=int, default=7860, metavar="N",
        help="the port to listen at, 0 for any that is free (default 7860)",
    )  # fmt: skip
    parser.add_argument(
        "--password", metavar="TEXT", help="what a browser has to say first, with any user name"
    )
    parser.add_argument(
        "--workers", type=count, default=1, metavar="N",
        help="texts that grow at a time, each token in turn (default 1; others wait)",
    )  # fmt: skip
    parser.add_argument(
        "--waiting", type=count, default=20, metavar="N",
        help="readers who may wait for their turn (default 20)",
    )  # fmt: skip
    parser.add_argument(
        "--max-new-tokens", type=count, default=1000, metavar="N",
        help="the most tokens that a text may have (default 1000)",
    )  # fmt: skip
    parser.add_argument(
        "--max-seconds", type=count, default=120, metavar="N",
        help="the most seconds that a text may take (default 120)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if find_spec("gradio") is None:
        raise ConfigError("a page needs gradio, which is not installed: pip install gradio")
    if args.password == "":
        raise ConfigError("--password is empty; give one, or leave it out")
    with open_port(args.host, args.port) as listening:
        model, tokenizer, manifest = load_writer(args.run, device=args.device)
        begin, stop = between_documents(manifest)
        limits = Limits(tokens=args.max_new_tokens, seconds=args.max_seconds)
        desk = Desk(model, tokenizer, begin, stop, limits)
        if not is_loopback(args.host) and args.password is None:
            tell(
                f"gptlib serve: warning: everybody who can reach {args.host} can use this page; "
                "give a --password, or leave out --host"
            )

        def ready(address: str) -> None:
            print(f"Write at {address} (Ctrl-C ends it)", flush=True)

        name = Path(args.run).name or args.run
        serve(desk, name, listening, ready, args.password, args.workers, args.waiting)
    return 0
