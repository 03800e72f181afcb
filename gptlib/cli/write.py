"""`gptlib data write`: texts to train on, asked of a server that speaks OpenAI's protocol.

One job: from flags to `gptlib.writing`, what is said before money is spent, and the summary.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from gptlib.cli.arguments import count, path, typed_text
from gptlib.cli.console import INTERRUPTED, tell
from gptlib.errors import ConfigError, DataError
from gptlib.files import way_out
from gptlib.progress import progress
from gptlib.stopping import stop_signals
from gptlib.writing import asking
from gptlib.writing.asking import Tally, ask_all
from gptlib.writing.blocks import write_blocks
from gptlib.writing.cost import NOTHING, Budget, Prices, about, at_most
from gptlib.writing.key import DEFAULT, NONE, Key, find_key
from gptlib.writing.ledger import Ledger
from gptlib.writing.near import NearDuplicates
from gptlib.writing.pace import Pace
from gptlib.writing.questions import Question, from_file, from_template
from gptlib.writing.server import OPENAI, Server

HELP = """\
Ask a server for texts to train on, one for each prompt, and keep those that
are new.

  gptlib data write --template "Describe a {tone} {theme} in 150 words." \\
    --field theme=harbor,mill --field tone=cold,warm --n 200 \\
    --model gpt-4o-mini --prices 0.15 0.60 --max-cost 1 --out places.jsonl
  gptlib data write --prompts prompts.jsonl --model gemma3 --key none \\
    --base-url http://localhost:11434/v1 --out places.jsonl

Nothing is asked before the cost was said and confirmed. Stop it at any time:
the same command goes on with the questions that have no answer yet. Beside
OUT.jsonl stand OUT.dropped.jsonl, texts too much like one that was kept, and
OUT.failed.jsonl, questions that have no text, each with its reason.

The key is read from an environment variable, or from a Colab secret where this
is called in the notebook itself, and is never stored or shown. It needs openai
and datasketch: pip install openai datasketch."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = HELP
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--prompts", type=path, metavar="FILE",
        help="ask each line of a text file, or of a .jsonl, where a line is a JSON string or an "
        'object with "prompt", whose other entries are kept with the text',
    )  # fmt: skip
    asked.add_argument(
        "--template", type=typed_text, metavar="TEXT",
        help="ask this, each {name} in it filled by a value of that --field",
    )  # fmt: skip
    parser.add_argument(
        "--field", type=_field, action="append", default=[], metavar="NAME=A,B",
        help="the values of a field of the template, separated by commas; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--n", type=count, metavar="N",
        help="how many to ask: the first N prompts (default all), or N fillings of the template",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="draws the values of fields (default 0)"
    )
    parser.add_argument(
        "--system", type=typed_text, default="", metavar="TEXT",
        help="an instruction that precedes every prompt (default none)",
    )  # fmt: skip
    parser.add_argument(
        "--out", required=True, type=path, metavar="FILE.jsonl",
        help="where the texts are written, a JSON object a line",
    )  # fmt: skip
    parser.add_argument(
        "--blocks", type=path, metavar="FILE",
        help="at the end, write all texts to this file too, as <LOC> blocks that begin with a "
        "control token for each field",
    )  # fmt: skip
    parser.add_argument(
        "--near", type=float, default=0.5, metavar="X",
        help="drop a text whose runs of three words are to this share those of another, from 0 "
        "(exclusive) to 1, the same text (default 0.5)",
    )  # fmt: skip
    server = parser.add_argument_group("the server")
    server.add_argument("--model", required=True, metavar="NAME", help="the model's name there")
    server.add_argument(
        "--base-url", default=OPENAI, metavar="URL",
        help=f"where it is (default {OPENAI})",
    )  # fmt: skip
    server.add_argument(
        "--key", default=DEFAULT, metavar="NAME",
        help="the environment variable or the Colab secret that has the key, not the key itself; "
        f"{NONE} where there is none (default {DEFAULT})",
    )  # fmt: skip
    server.add_argument(
        "--max-tokens", type=count, default=512, metavar="N",
        help="the most that an answer may have (default 512)",
    )  # fmt: skip
    server.add_argument(
        "--temperature", type=float, metavar="X",
        help="how freely it draws (default: the server's own)",
    )  # fmt: skip
    server.add_argument(
        "--workers", type=count, default=4, metavar="N",
        help="questions under way at a time (default 4)",
    )  # fmt: skip
    server.add_argument(
        "--tries", type=count, default=5, metavar="N",
        help="tries of a question whose failure may pass (default 5)",
    )  # fmt: skip
    server.add_argument(
        "--timeout", type=count, default=120, metavar="N",
        help="seconds without a byte before a try is given up (default 120)",
    )  # fmt: skip
    money = parser.add_argument_group("the money")
    money.add_argument(
        "--prices", type=float, nargs=2, metavar=("IN", "OUT"),
        help="dollars per million tokens that are sent, and that are written",
    )  # fmt: skip
    money.add_argument(
        "--max-cost", type=float, metavar="X",
        help="ask no more where the answer might bring the cost of OUT above so many dollars",
    )  # fmt: skip
    money.add_argument("--yes", action="store_true", help="do not ask whether to go on")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def _field(text: str) -> tuple[str, list[str]]:
    name, equals, values = typed_text(text).partition("=")
    if not (equals and name.isidentifier()):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is no field; write theme=harbor,mill")
    return name, [value.strip() for value in values.split(",")]


def run(args: argparse.Namespace) -> int:
    for package in ("openai", "datasketch"):
        if find_spec(package) is None:
            raise ConfigError(
                f"asking for texts needs {package}, which is not installed: "
                "pip install openai datasketch"
            )
    questions = _questions(args)
    key = find_key(args.key)
    _check_key_is_nowhere(args, key, questions)
    server = Server(
        args.base_url, key, args.model, system=args.system, max_tokens=args.max_tokens,
        temperature=args.temperature, timeout=args.timeout,
    )  # fmt: skip
    near = NearDuplicates(args.near)
    prices = None if args.prices is None else Prices(*args.prices)
    with Ledger(args.out, _made_by(args), questions) as ledger:
        budget = Budget(prices, args.max_cost, ledger.spent())
        for record in ledger.records("kept"):
            near.add(record["number"], record["text"])
        left = ledger.open(args.max_tokens)
        if left:
            _confirm(args, server, _estimate(left, server, ledger, prices))
        tally = _ask(args, left, len(questions), server, ledger, near, budget)
        unfit = _write_blocks(args.blocks, ledger) if args.blocks else 0
        _summarize(args, tally, ledger, budget, len(questions), unfit)
    if tally.ended == asking.INTERRUPTED:
        return INTERRUPTED
    if tally.ended:
        line = f"{tally.ended}; the same command goes on from here"
        if tally.ended != asking.OVER_BUDGET:
            raise ConfigError(line)
        tell(f"gptlib data write: {line}")
    return 0


def _questions(args: argparse.Namespace) -> list[Question]:
    names = [name for name, _ in args.field]
    if len(set(names)) < len(names):
        raise ConfigError(f"--field is given twice for one name, of {', '.join(names)}")
    if args.prompts is not None:
        if names:
            raise ConfigError("--field goes with --template; the prompts of a file are complete")
        return from_file(args.prompts, args.n)
    if args.n is None:
        raise ConfigError("--template goes with --n, which says how many texts to ask for")
    return from_template(args.template, dict(args.field), args.n, args.seed)


def _check_key_is_nowhere(args: argparse.Namespace, key: Key, questions: list[Question]) -> None:
    """A key that was typed where a text belongs would be stored with every answer."""
    key.check([("--model", args.model), ("--system", args.system), ("--out", str(args.out))])
    key.check(
        (f"prompt {question.number + 1}", json.dumps([question.prompt, dict(question.fields)]))
        for question in questions
    )


def _made_by(args: argparse.Namespace) -> str:
    """A hash of all that an answer is drawn with, beside its prompt and its length."""
    about = [args.model, args.system, args.temperature]
    return hashlib.sha256(json.dumps(about).encode()).hexdigest()[:16]


def _estimate(left: list[Question], server: Server, ledger: Ledger, prices: Prices | None) -> str:
    """What these questions will cost, in a sentence. How long answers are is known from those that
    are there."""
    sent = [server.system + question.prompt for question in left]
    most = sum((at_most(text, server.max_tokens) for text in sent), NOTHING)
    known = [
        record["tokens_out"] for kind in ("kept", "dropped") for record in ledger.records(kind)
    ]
    mean = statistics.fmean(known) if known else server.max_tokens
    guess = sum((about(text, mean) for text in sent), NOTHING)
    line = f"{len(left):,} questions, about {guess.sent:,} tokens to send and "
    line += f"about {guess.written:,}" if known else f"at most {guess.written:,}"
    line += " to be written: "
    if prices is None:
        return line + "no --prices, so the cost is not known"
    line += f"about ${prices.cost(guess):,.2f}, " if known else ""
    return line + f"at most ${prices.cost(most):,.2f}"


def _confirm(args: argparse.Namespace, server: Server, estimate: str) -> None:
    """Say what is going to be asked, and go on only if that is wanted."""
    tell(f"{args.model} at {server.name}: {estimate}")
    if args.max_cost is not None:
        tell(f"no question is asked that might bring the cost above ${args.max_cost:,.2f}")
    if args.yes:
        return
    if sys.stdin is None or not sys.stdin.isatty():
        raise ConfigError("nobody is there to confirm the cost; --yes goes on without asking")
    sys.stderr.write("Ask? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was asked, since the answer was not y")


def _ask(
    args: argparse.Namespace,
    left: list[Question],
    total: int,
    server: Server,
    ledger: Ledger,
    near: NearDuplicates,
    budget: Budget,
) -> Tally:
    before = total - len(left)
    with stop_signals() as stopped, progress("asking", total, "questions", done=before) as bar:

        def advanced(done: int, note: str) -> None:
            bar.note = note
            bar.at(before + done)

        return ask_all(
            left, server, ledger, near, budget, Pace(stopped.wait, time.monotonic),
            workers=args.workers, tries=args.tries, stopped=stopped,
            report=lambda line: tell(f"gptlib data write: {line}"), advanced=advanced,
        )  # fmt: skip


def _write_blocks(place: Path, ledger: Ledger) -> int:
    try:
        return write_blocks(place, ledger.records("kept"))
    except OSError as error:
        raise DataError(f"cannot write {place} ({error.strerror}); {way_out(error)}") from error


def _summarize(
    args: argparse.Namespace,
    tally: Tally,
    ledger: Ledger,
    budget: Budget,
    total: int,
    unfit: int,
) -> None:
    """What there is by now, and what this call tried again."""
    left = len(ledger.open(args.max_tokens))
    failures = ledger.failures()
    kept, dropped = (len(ledger.records(kind)) for kind in ("kept", "dropped"))
    if args.json:
        about = {
            "questions": total, "texts": kept, "near_duplicates": dropped, "left": left,
            "failed": dict(failures), "tried_again": dict(tally.again),
            "tokens_in": budget.spent.sent, "tokens_out": budget.spent.written,
            "cost": budget.cost, "ended": tally.ended, "not_in_blocks": unfit,
        }  # fmt: skip
        print(json.dumps(about))
        return
    print(f"{args.out}: {kept:,} texts of {total:,} questions, {left:,} without an answer yet")
    if dropped:
        print(f"{ledger.paths['dropped']}: {dropped:,} near-duplicates")
    if failures:
        print(f"{ledger.paths['failed']}: {_counts(failures)}")
    if tally.again:
        print(f"tried again: {_counts(tally.again)}")
    if args.blocks:
        print(f"{args.blocks}: {kept - unfit:,} blocks" + f", {unfit} unfit" * bool(unfit))
    cost = "" if budget.cost is None else f", ${budget.cost:,.4f}"
    print(f"in all: {budget.spent.sent:,} tokens sent, {budget.spent.written:,} written{cost}")


def _counts(reasons: dict[str, int]) -> str:
    return ", ".join(f"{reason} {n:,}" for reason, n in sorted(reasons.items()))
