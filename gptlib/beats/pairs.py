"""Pairs of beats and prose, in the form in which a chat model is tuned.

One job: `Pair`, its line in a file and back, and a split in which no chapter stands on two sides:

    {"messages": [{"role": "system", "content": …}, {"role": "user", "content": "- …"},
                  {"role": "assistant", "content": prose}], "chapter": "The Mill", "chunk": 2}

`transformers`, `trl` and `mlx-lm` read `messages` and leave the other names alone. They tell a
reader, and `find_leaks`, where a pair comes from.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptlib.corpora.text_file import read_text
from gptlib.errors import ConfigError, DataError
from gptlib.files import write_atomic

SYSTEM = "You write the scene that the beats outline, in full prose, and tell every beat in order."
SHARES = {"train": 0.8, "val": 0.1, "test": 0.1}

_TITLE = "Title: "
_ITEM = re.compile(r"\s*(?:[-*•–]|\d{1,2}[.)])\s+(\S.*)")


@dataclass(frozen=True)
class Pair:
    """Beats and the prose that tells them.

    Attributes:
        chapter: where it comes from; what is split is chapters. chunk: its number there.
        title: of the text, if the writer is to know it.
    """

    beats: tuple[str, ...]
    prose: str
    chapter: str = ""
    chunk: int = 1
    title: str = ""

    @property
    def where(self) -> str:
        """The pair in words, for a message."""
        return f"{self.chapter}, chunk {self.chunk}" if self.chapter else f"chunk {self.chunk}"

    @property
    def prompt(self) -> str:
        """What the user says: the title if there is one, and a beat in each line."""
        titled = [_TITLE + self.title] if self.title else []
        return "\n".join([*titled, *(f"- {beat}" for beat in self.beats)])

    def record(self, system: str = SYSTEM) -> dict[str, Any]:
        """The pair as an object of a file."""
        said = [("system", system), ("user", self.prompt), ("assistant", self.prose)]
        messages = [{"role": role, "content": content} for role, content in said]
        return {"messages": messages, "chapter": self.chapter, "chunk": self.chunk}


def write_pairs(path: Path, pairs: Iterable[Pair], system: str = SYSTEM) -> None:
    """Write a file of pairs, a line each, whole or not at all."""
    lines = [json.dumps(pair.record(system), ensure_ascii=False) + "\n" for pair in pairs]
    write_atomic(path, "".join(lines).encode())


def read_pairs(path: Path) -> list[Pair]:
    """Read what `write_pairs` wrote, or another's `messages` with beats for the user's words.

    Raises:
        DataError: it cannot be read, has no lines, or one that is no pair, named by its number.
    """
    pairs = [_pair(item, where) for item, where in json_lines(path)]
    if not pairs:
        raise DataError(f"{path.name} has no pairs in it; give a file with one in each line")
    return pairs


def json_lines(path: Path) -> list[tuple[dict[str, Any], str]]:
    """The objects of a file, each with the words for where it stands.

    Raises:
        DataError: it cannot be read, or a line is no object; the message names it.
    """
    items = []
    for number, line in enumerate(read_text(path).split("\n"), 1):
        where = f"line {number} of {path.name}"
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{where} is not JSON ({str(error)[:80]}); mend it there") from error
        if not isinstance(item, dict):
            raise DataError(f"{where} is {type(item).__name__}, not an object; mend it there")
        items.append((item, where))
    return items


def beats_in(text: str) -> list[str]:
    """The items of a list in a text: lines that begin with `-`, `*` or a number; others are passed
    over, as a model likes to say something first."""
    return [found[1].strip() for line in text.split("\n") if (found := _ITEM.fullmatch(line))]


def _pair(item: dict[str, Any], where: str) -> Pair:
    messages = item.get("messages")
    if not isinstance(messages, list) or not all(_is_message(message) for message in messages):
        raise DataError(
            f'{where} has no messages; give {{"messages": [{{"role": "user", "content": "- …"}}, '
            '{"role": "assistant", "content": "…"}]}'
        )
    roles = [message["role"] for message in messages]
    if roles not in (["user", "assistant"], ["system", "user", "assistant"]):
        raise DataError(
            f"{where} has the roles {', '.join(roles)[:80] or 'of nobody'}; a pair is one of the "
            "user and one of the assistant, perhaps after the system's"
        )
    asked, prose = messages[-2]["content"], messages[-1]["content"]
    beats = beats_in(asked)
    if not beats:
        raise DataError(f"{where} has no beats; write each in a line of its own, after '- '")
    if not prose.strip():
        raise DataError(f"{where} has beats and no prose; write it, or remove the line")
    chapter, chunk = item.get("chapter", ""), item.get("chunk", 1)
    if not isinstance(chapter, str) or isinstance(chunk, bool) or not isinstance(chunk, int):
        raise DataError(f"{where}: chapter is a name and chunk a whole number; mend them there")
    first = asked.split("\n", 1)[0]
    title = first.removeprefix(_TITLE).strip() if first.startswith(_TITLE) else ""
    return Pair(tuple(beats), prose, chapter, chunk, title)


def _is_message(message: Any) -> bool:
    return isinstance(message, dict) and all(
        isinstance(message.get(name), str) for name in ("role", "content")
    )


def split_by_chapter(pairs: Sequence[Pair], seed: int = 0) -> dict[str, list[Pair]]:
    """Deal whole chapters into train, val and test, so that 8, 1 and 1 tenths of the words of the
    prose come there as nearly as chapters allow.

    Neighboring chunks share people, places and sentences begun and ended; chunks dealt one by one
    would measure how well a model remembers the page before. Chapters go, in an order that the seed
    draws, each to the side that is furthest from its share.

    Args:
        pairs: of one novel or several; pairs of one `chapter` stay together.

    Returns:
        "train", "val" and "test", each in the order of `pairs`, none empty.

    Raises:
        DataError: fewer than three chapters.
        ConfigError: a seed that is no whole number of 0 or more.
    """
    if seed < 0:
        raise ConfigError(f"seed is {seed}; give a whole number of 0 or more")
    words: dict[str, int] = {}
    for pair in pairs:
        words[pair.chapter] = words.get(pair.chapter, 0) + len(pair.prose.split())
    if len(words) < len(SHARES):
        raise DataError(
            f"the pairs come from {len(words)} chapters ({', '.join(words)[:80]}); it takes three, "
            "one to train on, one to validate on and one to test on"
        )
    order = random.Random(seed).sample(sorted(words), len(words))
    lacking = {side: share * sum(words.values()) for side, share in SHARES.items()}
    side_of: dict[str, str] = {}
    for left, chapter in zip(range(len(order), 0, -1), order, strict=True):
        empty = [side for side in SHARES if side not in side_of.values()]
        side = max(empty if left == len(empty) else SHARES, key=lacking.__getitem__)
        side_of[chapter] = side
        lacking[side] -= words[chapter]
    return {side: [p for p in pairs if side_of[p.chapter] == side] for side in SHARES}
