"""Many questions at a time, each until it has an end.

One job: `ask_all`. Each question has a thread of its own while it is asked; this one alone starts
them and writes down what they bring, so lines never mix. It stops early if nothing is left of the
budget, if it is told to, or if going on would be of no use; what is under way then is waited for
and written down.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Protocol

from gptlib.writing.cost import NOTHING, Budget, Tokens, at_most
from gptlib.writing.ledger import Ledger
from gptlib.writing.near import NearDuplicates
from gptlib.writing.pace import Pace
from gptlib.writing.questions import Question
from gptlib.writing.server import AGAIN, STOP, Reply

IN_A_ROW = 20  # questions without a text, after which something is wrong with all of them
PATIENCE = 600  # seconds; who is asked to wait longer can come back
LIMITS = 100  # times that a question may be told when to come back
INTERRUPTED = "it was interrupted"
OVER_BUDGET = "the next answer might cost more than what is left of --max-cost"


class Asked(Protocol):
    """What is needed of a `gptlib.writing.server.Server`."""

    model: str
    system: str
    max_tokens: int

    def ask(self, prompt: str) -> Reply: ...


@dataclass
class Tally:
    """What came of it.

    Attributes:
        kept: texts that are new. dropped: near-duplicates. failed: questions without a text, by
            reason. again: tries that were followed by another, by reason.
        ended: why it stopped before the end, or "".
    """

    kept: int = 0
    dropped: int = 0
    failed: Counter[str] = field(default_factory=Counter, init=False)
    again: Counter[str] = field(default_factory=Counter, init=False)
    ended: str = ""


@dataclass(frozen=True)
class _End:
    """How a question ended: its last reply, None if nobody waited for it; and all it cost."""

    question: Question
    reply: Reply | None
    tokens: Tokens
    again: Counter[str]


def ask_all(
    questions: Sequence[Question],
    server: Asked,
    ledger: Ledger,
    near: NearDuplicates,
    budget: Budget,
    pace: Pace,
    *,
    workers: int = 4,
    tries: int = 5,
    stopped: threading.Event | None = None,
    report: Callable[[str], object] = lambda line: None,
    advanced: Callable[[int, str], object] = lambda done, note: None,
) -> Tally:
    """Ask each question until it is answered, refused or given up, and write down its end.

    Args:
        near: has the texts that were kept before, and gets the new ones.
        workers: questions under way at a time. tries: of a question, if it fails for a reason that
            may pass. How often the server says when to come back does not count, up to a hundred.
        stopped: set from outside, no other question is asked.
        report: gets a line for each wait that the server asks for. advanced: is told at least once
            a second how many questions have ended, and how long all wait yet.

    Raises:
        DataError: a file cannot be written.
    """
    stopped, tally = stopped or threading.Event(), Tally()
    news: SimpleQueue[_End | str | Exception] = SimpleQueue()
    asker = _Asker(server, budget, pace, tries, stopped, news)
    todo = iter(questions)
    coming, flying, ended, in_a_row = next(todo, None), 0, 0, 0
    while True:
        if stopped.is_set() and not tally.ended:
            tally.ended = INTERRUPTED
            report(f"waiting for {flying} answers under way; a second Ctrl-C does not")
        while coming and flying < workers and not tally.ended:
            if budget.take(asker.most(coming)):
                threading.Thread(target=asker.run, args=(coming,), daemon=True).start()
                coming, flying = next(todo, None), flying + 1
            elif flying > 0:
                break  # what is under way may cost less than was set aside for it
            else:
                tally.ended = OVER_BUDGET
        if not flying:
            return tally
        try:
            piece = news.get(timeout=1)
        except Empty:
            advanced(ended, _note(pace))
            continue
        if isinstance(piece, Exception):
            raise piece
        if isinstance(piece, str):
            report(piece)
            continue
        flying, ended = flying - 1, ended + 1
        if (reply := piece.reply) is not None:
            _write_down(piece, reply, tally, ledger, near, server)
            in_a_row = in_a_row + 1 if reply.reason else 0
            tally.ended = tally.ended or _useless(reply, in_a_row)
        advanced(ended, _note(pace))


def _write_down(
    end: _End, reply: Reply, tally: Tally, ledger: Ledger, near: NearDuplicates, server: Asked
) -> None:
    """Add a question's end to the files and to the tally."""
    question = end.question
    tally.again += end.again
    if reply.reason:
        tally.failed[reply.reason] += 1
        why = {"reason": reply.reason, "detail": reply.detail}
        cut = {"text": reply.text} if reply.text else {}
        ledger.add("failed", question, end.tokens, **why, **cut, max_tokens=server.max_tokens)
    elif like := near.nearest(reply.text):
        tally.dropped += 1
        about = {"resembles": like[0], "similarity": round(like[1], 3)}
        ledger.add("dropped", question, end.tokens, text=reply.text, **about, model=server.model)
    else:
        tally.kept += 1
        ledger.add("kept", question, end.tokens, text=reply.text, model=server.model)
        near.add(question.number, reply.text)


def _useless(reply: Reply, in_a_row: int) -> str:
    """Why it is of no use to ask on, or ""."""
    why = f"{reply.reason}: {reply.detail}" if reply.detail else reply.reason
    if reply.reason in STOP:
        return f"{why}; {STOP[reply.reason]}"
    if reply.wait is not None and reply.wait > PATIENCE:
        return f"the server asks to wait for {reply.wait / 60:,.0f} minutes ({why})"
    if in_a_row >= IN_A_ROW:
        return f"{in_a_row} questions in a row had no text ({why})"
    return ""


def _note(pace: Pace) -> str:
    left = pace.left()
    return f"waiting {left:.0f} s, as the server asked" if left >= 1 else ""


class _Asker:
    """What runs in the threads."""

    def __init__(
        self,
        server: Asked,
        budget: Budget,
        pace: Pace,
        tries: int,
        stopped: threading.Event,
        news: SimpleQueue[_End | str | Exception],
    ) -> None:
        self._server, self._budget, self._pace = server, budget, pace
        self._tries, self._stopped, self._news = tries, stopped, news

    def most(self, question: Question) -> Tokens:
        """What to set aside for asking this once."""
        return at_most(self._server.system + question.prompt, self._server.max_tokens)

    def run(self, question: Question) -> None:
        """Bring the end of a question, for which the most was set aside already."""
        try:
            self._news.put(self._end(question))
        except Exception as error:  # raised again by who waits for it
            self._news.put(error)

    def _end(self, question: Question) -> _End:
        most, used = self.most(question), NOTHING
        again: Counter[str] = Counter()
        reply, failures, told = None, 0, 0
        while True:
            self._pace.wait()
            if self._stopped.is_set():
                self._budget.settle(most, NOTHING)
                break
            reply = self._server.ask(question.prompt)
            billed = most if reply.tokens is None else reply.tokens
            self._budget.settle(most, billed)
            used = used + billed
            failures, told = failures + (reply.wait is None), told + (reply.wait is not None)
            over = failures >= self._tries or told >= LIMITS or (reply.wait or 0) > PATIENCE
            if reply.reason not in AGAIN or over or not self._budget.take(most):
                break
            again[reply.reason] += 1
            if reply.wait is None:
                self._pace.back_off(failures)
            elif self._pace.hold(reply.wait):
                self._news.put(f"{reply.reason}: waiting {reply.wait:.0f} s, as the server asks")
        return _End(question, reply, used, again)
