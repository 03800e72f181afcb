"""The three files of texts that were asked for, which a kill leaves whole.

One job: `Ledger`. A question's end is one line in one file: the text in OUT.jsonl, a text too much
like another in OUT.dropped.jsonl, and why there is none in OUT.failed.jsonl. A line is flushed to
the disk when it is added, and half a line that a kill left is cut off. So the files alone say what
is still to be asked: what was under way is asked again, and nothing that was answered.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import Timeout

from gptlib.errors import DataError
from gptlib.files import append_line, mend_jsonl, take_lock, way_out
from gptlib.writing.cost import Tokens
from gptlib.writing.questions import Question
from gptlib.writing.server import FINAL

KINDS = ("kept", "dropped", "failed")


class Ledger:
    """The files, while a `with` block lasts; no other process writes them then.

    Args:
        out: the file of texts, a `.jsonl`. made_by: a hash of what is asked beside the prompts;
            files that were begun with another are refused.

    Raises:
        DataError: another name; a file that cannot be read or written; another process has them; a
            line that this command would not write.
    """

    def __init__(self, out: Path, made_by: str, questions: Sequence[Question]) -> None:
        if out.suffix != ".jsonl":
            raise DataError(f"--out is {out}; give a name that ends in .jsonl")
        self.paths = {"kept": out} | {
            kind: out.with_suffix(f".{kind}.jsonl") for kind in KINDS if kind != "kept"
        }
        self._made_by, self._questions = made_by, questions
        self._records: dict[str, list[dict]] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Ledger:
        out = self.paths["kept"]
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            self._stack.enter_context(take_lock(out.with_name(f".{out.name}.lock")))
            self._records = {kind: mend_jsonl(path) for kind, path in self.paths.items()}
            for kind in KINDS:
                has = "reason" if kind == "failed" else "text"
                for line, record in enumerate(self._records[kind], 1):
                    self._check(record, has, f"line {line} of {self.paths[kind]}")
        except Timeout:
            raise DataError(f"another process is writing {out}; wait for it, or stop it") from None
        except OSError as error:
            self._stack.close()
            raise self._cannot_write(out, error) from error
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _check(self, record: Any, has: str, where: str) -> None:
        whole = isinstance(record, dict) and {"number", "tokens_in", "tokens_out", has} <= set(
            record
        )
        number = record["number"] if whole else None
        own = isinstance(number, int) and number >= 0 and record.get("made_by") == self._made_by
        asked = self._questions[number : number + 1] if own else []  # a smaller --n asks for fewer
        if not own or any(record.get("prompt") != question.prompt for question in asked):
            raise DataError(
                f"{where} is not what this command writes there (another prompt, model, system or "
                "temperature); give another --out, or remove that file"
            )

    def records(self, kind: str) -> list[dict]:
        """The lines of a file, in the order in which they came."""
        return self._records[kind]

    def open(self, max_tokens: int) -> list[Question]:
        """The questions that have no end yet. An answer that was cut off is asked for again if it
        may be longer now, and so is whatever failed for a reason that may have passed."""
        ended = {record["number"] for kind in ("kept", "dropped") for record in self.records(kind)}
        for record in self.records("failed"):
            longer = record["reason"] == "cut off" and record.get("max_tokens", 0) < max_tokens
            if record["reason"] in FINAL and not longer:
                ended.add(record["number"])
        return [question for question in self._questions if question.number not in ended]

    def failures(self) -> Counter[str]:
        """The questions that were asked and have no text, by the last reason of each."""
        reasons = {record["number"]: record["reason"] for record in self.records("failed")}
        for record in [*self.records("kept"), *self.records("dropped")]:
            reasons.pop(record["number"], None)
        return Counter(reasons.values())

    def spent(self) -> Tokens:
        """The tokens of all that is in the files."""
        lines = [record for kind in KINDS for record in self.records(kind)]
        return Tokens(sum(x["tokens_in"] for x in lines), sum(x["tokens_out"] for x in lines))

    def add(self, kind: str, question: Question, tokens: Tokens, **about: object) -> None:
        """Add a line to a file; it is on the disk when this returns.

        Raises:
            DataError: it cannot be written.
        """
        asked = {"prompt": question.prompt, "number": question.number, "made_by": self._made_by}
        used = {"tokens_in": tokens.sent, "tokens_out": tokens.written}
        record = {**about, **question.fields, **asked, **used}
        try:
            append_line(self.paths[kind], record)
        except OSError as error:
            raise self._cannot_write(self.paths[kind], error) from error
        self._records[kind].append(record)

    def _cannot_write(self, path: Path, error: OSError) -> DataError:
        return DataError(f"cannot write {path} ({error.strerror}); {way_out(error)}")
