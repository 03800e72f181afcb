"""Two files of texts for the same prompts, and a reader's votes between them.

One job: `Ballot`, which shows two texts without saying whose each is, keeps each vote in a file at
once, and counts. Which text stands left is a coin for each pair, thrown by the seed and the texts
themselves, so that a page that is opened again shows the same. A votes file is lines of JSON:

    {"item": "3f2a…", "vote": "left", "left": "b", "winner": "b"}

A line is whole or not there, so a vote is kept or was never cast. Who goes on with the same files
is asked for what has no vote yet.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptlib.corpora.text_file import read_text
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.intervals import sign_test, wilson
from gptlib.files import append_line, mend_jsonl, way_out

CHOICES = ("left", "right", "tie")


@dataclass(frozen=True)
class Item:
    """A prompt, the text of either file, a name made of all three, and whether b stands left."""

    prompt: str
    a: str
    b: str
    key: str
    swapped: bool


@dataclass(frozen=True)
class Shown:
    """What a reader sees: which pair it is, its number from 1, and the texts without names."""

    key: str
    number: int
    prompt: str
    left: str
    right: str


@dataclass(frozen=True)
class Tally:
    """The votes so far.

    Attributes:
        a, b, ties: how many pairs each file won, and how many nobody. open: pairs without a vote.
        left: of the pairs that were decided, how many went to the text that stood left; far from a
            half of them means that the reader voted by the place.
        same: pairs of equal texts, which nobody is asked about.
    """

    a: int
    b: int
    ties: int
    open: int
    left: int
    same: int

    @property
    def decided(self) -> int:
        return self.a + self.b

    @property
    def p_value(self) -> float:
        """How often two equally good models would part the decided votes so unevenly."""
        return sign_test(self.a, self.b)

    @property
    def ci95(self) -> tuple[float, float]:
        """Wilson's 95% interval of a's share of the decided votes; all of [0, 1] without any."""
        return wilson(self.a, self.decided) if self.decided else (0.0, 1.0)

    def lines(self, a: str, b: str) -> list[str]:
        """The result in words, for the two files' names."""
        low, high = self.ci95
        told = [f"{a} won {self.a}, {b} won {self.b}, {self.ties} {_of(self.ties, 'tie')}."]
        if self.decided:
            told += [
                f"Of {self.decided} decided {_of(self.decided, 'vote')} {a} has "
                f"{self.a / self.decided:.0%}, 95% interval {low:.0%} to {high:.0%}.",
                f"Sign test: p = {self.p_value:.2g}. The text on the left won {self.left} of "
                f"{self.decided}.",
            ]
        told += [f"{self.open} {_of(self.open, 'pair')} without a vote."] * bool(self.open)
        told += [f"{self.same} {_of(self.same, 'pair')} of equal texts left out."] * bool(self.same)
        return told


class Ballot:
    """Pairs of texts, some of which have a vote.

    Args:
        a, b: files of texts, as `read_texts` reads them, for the same prompts.
        votes: the file of votes; it need not exist. No second process may write it meanwhile.
        seed: of the coins that place the texts.

    Raises:
        DataError: a file that cannot be read, a line that is no text, prompts that only one file
            has, or a vote on a pair that these files do not have or that has one already.
    """

    def __init__(self, a: Path, b: Path, votes: Path, seed: int = 0) -> None:
        items, self._same = pair_up(read_texts(a), read_texts(b), (a, b), seed)
        self._items = {item.key: item for item in items}
        self._path, self._lock = votes, threading.Lock()
        self._votes: dict[str, tuple[str, bool]] = {}  # who won, and whether that one stood left
        try:
            lines: list[Any] = mend_jsonl(votes)
        except OSError as error:
            raise self._cannot_write(error) from error
        for number, line in enumerate(lines, 1):
            self._recall(line, f"line {number} of {votes}")

    def _recall(self, line: Any, where: str) -> None:
        item = self._items.get(str(line.get("item"))) if isinstance(line, dict) else None
        if item is None:
            raise DataError(
                f"{where} is no vote on texts of these two files; give the files that it was cast "
                "on, or another --votes"
            )
        if item.key in self._votes:
            raise DataError(f"{where} is the second vote on one pair; remove one of the two lines")
        winner, left = line.get("winner"), line.get("left")
        if winner not in ("a", "b", "tie") or left not in ("a", "b"):
            raise DataError(f"{where} does not say who won and who stood left; remove the line")
        self._votes[item.key] = winner, winner == left

    @property
    def total(self) -> int:
        """How many pairs there are to vote on."""
        return len(self._items)

    def next(self) -> Shown | None:
        """The first pair without a vote, or None."""
        with self._lock:
            for number, item in enumerate(self._items.values(), 1):
                if item.key not in self._votes:
                    left, right = (item.b, item.a) if item.swapped else (item.a, item.b)
                    return Shown(item.key, number, item.prompt, left, right)
        return None

    def vote(self, key: str, choice: str) -> bool:
        """Keep a vote; it is on the disk when this returns.

        Returns:
            True; or False where the pair has a vote already, from another tab or a second press of
            a key: the first one stays.

        Raises:
            ConfigError: the choice is none of `CHOICES`, or there is no such pair.
            DataError: the vote cannot be written.
        """
        item = self._items.get(key)
        if choice not in CHOICES or item is None:
            raise ConfigError(
                f"the vote is {choice!r} on pair {key!r}; give one of {', '.join(CHOICES)} and a "
                "pair of these files"
            )
        left, right = ("b", "a") if item.swapped else ("a", "b")
        winner = {"left": left, "right": right, "tie": "tie"}[choice]
        with self._lock:
            if key in self._votes:
                return False
            line = {"item": key, "vote": choice, "left": left, "winner": winner}
            try:
                append_line(self._path, line)
            except OSError as error:
                raise self._cannot_write(error) from error
            self._votes[key] = winner, winner == left
        return True

    def tally(self) -> Tally:
        """Count the votes."""
        with self._lock:
            won = Counter(winner for winner, _ in self._votes.values())
            left = sum(stood_left for _, stood_left in self._votes.values())
            missing = self.total - len(self._votes)
        return Tally(won["a"], won["b"], won["tie"], missing, left, self._same)

    def status(self) -> dict[str, int]:
        """How many votes there are, of how many."""
        with self._lock:
            return {"votes": len(self._votes), "of": self.total}

    def _cannot_write(self, error: OSError) -> DataError:
        return DataError(f"cannot write {self._path} ({error.strerror}); {way_out(error)}")


def read_texts(path: Path) -> list[tuple[str, str]]:
    """Prompts and texts of a `.jsonl`: `prompt` and `text`, as `gptlib sample --out` writes them,
    or `messages`, whose last is the assistant's.

    Raises:
        DataError: it cannot be read, has no lines, or one that is neither, named by its number.
    """
    found = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            found.append(_text(line, f"line {number} of {path}"))
    if not found:
        raise DataError(f"{path} has no texts in it; give a file with one in each line")
    return found


def _text(line: str, where: str) -> tuple[str, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({str(error)[:80]}); mend it there") from error
    item: dict[str, Any] = value if isinstance(value, dict) else {}
    prompt, text = item.get("prompt"), item.get("text")
    messages = item.get("messages")
    if isinstance(messages, list) and messages and all(isinstance(m, dict) for m in messages):
        if messages[-1].get("role") == "assistant":
            asked = [m.get("content") for m in messages[:-1] if m.get("role") == "user"]
            text = messages[-1].get("content")
            prompt = asked[-1] if asked else ""
    if not isinstance(prompt, str) or not isinstance(text, str):
        raise DataError(
            f'{where} is no text for a prompt; give {{"prompt": "…", "text": "…"}}, or messages '
            "that end with the assistant's"
        )
    return prompt, text


def pair_up(
    a: Sequence[tuple[str, str]], b: Sequence[tuple[str, str]], names: tuple[Path, Path], seed: int
) -> tuple[list[Item], int]:
    """The pairs for each prompt, in a's order: its first text with the first of b, and so on; and
    how many pairs of equal texts were left out.

    Raises:
        DataError: one file has a prompt more often than the other, or all texts are equal.
    """
    of_b: dict[str, list[str]] = {}
    for prompt, text in b:
        of_b.setdefault(prompt, []).append(text)
    asked_a, asked_b = Counter(prompt for prompt, _ in a), Counter(prompt for prompt, _ in b)
    for prompt in [*asked_a, *asked_b]:
        if asked_a[prompt] != asked_b[prompt]:
            raise DataError(
                f"{names[0]} has {asked_a[prompt]} and {names[1]} {asked_b[prompt]} texts for the "
                f"prompt {prompt[:60]!r}; let both models write to the same prompts"
            )
    items: dict[str, Item] = {}
    same = 0
    for prompt, text in a:
        other = of_b[prompt].pop(0)
        if text == other:
            same += 1
            continue
        digest = hashlib.sha256(json.dumps([prompt, text, other]).encode())
        while (key := digest.hexdigest()[:16]) in items:  # the same three once more
            digest.update(b"again")
        coin = hashlib.sha256(f"{seed} {key}".encode()).digest()[0] % 2
        items[key] = Item(prompt, text, other, key, bool(coin))
    if not items:
        raise DataError(f"the {same} texts of both files are equal; there is nothing to choose")
    return list(items.values()), same


def _of(count: int, word: str) -> str:
    return word if count == 1 else word + "s"
