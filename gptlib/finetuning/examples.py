"""Conversations in a file: read, checked line by line, and dealt out.

One job: `read_examples`, and `make_examples` of what is in memory. A line is JSON, of one of two
forms; `split` may say where it belongs.

    {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}
    {"prompt": "…", "completion": "…", "split": "val"}

Nothing is mended and nothing is left out in silence: a line that cannot be learned as it stands is
named by its number with what is wrong with it, and so are its companions, before anything is
trained.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from gptlib.chat import IGNORED, Message, checked, has_chat, render
from gptlib.corpora.text_file import read_text
from gptlib.corpora.titled import EVERY, SPLITS
from gptlib.errors import ConfigError, DataError
from gptlib.paths import user_path
from gptlib.tokenizers import Tokenizer

MOST_SHOWN = 5  # bad lines that are named; the others are counted
KEYS = ("messages", "prompt")  # one of them tells a line of conversations from one of stories


class Example(NamedTuple):
    """A conversation as it is learned.

    Attributes:
        messages: what was said. ids, targets: (n,) int64, as `gptlib.chat.render` gives them.
        line: where it stands in its file. split: "train", "val" or "test", if the line says so.
    """

    messages: list[Message]
    ids: np.ndarray
    targets: np.ndarray
    line: int = 0
    split: str | None = None


def holds_conversations(path: str | Path) -> bool:
    """Say whether a file is one of conversations: its name ends in .jsonl, and its first line that
    can be read is no story's.

    Raises:
        DataError: the file cannot be read.
    """
    path = user_path(path)
    if path.suffix.lower() != ".jsonl" or path.is_dir():
        return False
    for _, found in _objects(path):
        if isinstance(found, dict):
            return any(key in found for key in KEYS) or "text" not in found
    return True


def read_examples(
    path: str | Path, tokenizer: Tokenizer, block_size: int, mask_prompt: bool = True
) -> list[Example]:
    """The conversations of a `.jsonl` file; blank lines do not count.

    Args:
        tokenizer: with the marks of a conversation, see `gptlib.chat.with_chat`.
        block_size: the longest that a conversation may be, in tokens, marks included.
        mask_prompt: False learns the questions too.

    Raises:
        DataError: bad lines, each with its number: not JSON, neither form, a turn out of order, an
            unknown role, an empty answer, a mark inside what is said, longer than the context. A
            file that is empty, cannot be read, or is not UTF-8. ConfigError: no marks.
    """
    path = user_path(path)
    return _examples(
        _objects(path), f"lines of {path.name}", "line", tokenizer, block_size, mask_prompt
    )


def make_examples(
    chats: Iterable[Mapping[str, object]],
    tokenizer: Tokenizer,
    block_size: int,
    mask_prompt: bool = True,
) -> list[Example]:
    """Conversations as the objects that lines of a file would be; `line` is then their number.

    Args, Raises: as for `read_examples`.
    """
    numbered = ((number, dict(chat)) for number, chat in enumerate(chats, 1))
    return _examples(numbered, "conversations", "conversation", tokenizer, block_size, mask_prompt)


def _examples(
    found: Iterable[tuple[int, dict | str]], what: str, each: str, tokenizer: Tokenizer,
    block_size: int, mask_prompt: bool,
) -> list[Example]:  # fmt: skip
    """An example of each object, or an error that names all from which there is none."""
    if not has_chat(tokenizer):
        raise ConfigError(f"{tokenizer!r} lacks the marks of a conversation; use chat.with_chat")
    examples, wrong = [], []
    for number, item in found:
        try:
            if isinstance(item, str):
                raise DataError(item)
            examples.append(_example(item, number, tokenizer, block_size, mask_prompt))
        except DataError as error:
            wrong.append(f"{each} {number}: {error}")
    if wrong:
        rest = len(wrong) - MOST_SHOWN
        more = f"; and {rest:,} more" if rest > 0 else ""
        raise DataError(
            f"{len(wrong):,} of {len(examples) + len(wrong):,} {what} cannot be learned from: "
            f"{'; '.join(wrong[:MOST_SHOWN])}{more}"
        )
    if not examples:
        raise DataError(f"there are no {what}; give at least one conversation, as JSON")
    return examples


def deal(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """The examples to train on and those to validate on.

    Where lines name a split, it holds, and those of "test" are in neither; else every tenth
    validates, or the last one of fewer than ten.

    Raises:
        DataError: one of the two is empty, or only some lines name a split.
    """
    named = [example for example in examples if example.split]
    if named and len(named) < len(examples):
        line = next(example.line for example in examples if not example.split)
        raise DataError(f"line {line} names no split, and others do; name it in all or in none")
    if named:
        train, val = ([e for e in examples if e.split == part] for part in ("train", "val"))
    else:
        last = min(EVERY, len(examples)) - 1
        train = [e for n, e in enumerate(examples) if n % EVERY != last]
        val = [e for n, e in enumerate(examples) if n % EVERY == last]
    if not train or not val:
        raise DataError(
            f"{len(train)} conversations to train on and {len(val)} to validate on; it takes at "
            "least one of each"
        )
    return train, val


def _objects(path: Path) -> Iterator[tuple[int, dict | str]]:
    """Each line that is not blank, with its number: its object, or what is wrong with it."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"not JSON ({str(error)[:80]})"
            continue
        if isinstance(found, dict):
            yield number, found
        else:
            yield number, f'{type(found).__name__}, not an object such as {{"messages": […]}}'


def _example(
    found: dict, line: int, tokenizer: Tokenizer, block_size: int, mask_prompt: bool
) -> Example:
    """The example of a line.

    Raises:
        DataError: what is wrong with it.
    """
    split = found.get("split")
    if split is not None and (not isinstance(split, str) or split.lower() not in SPLITS):
        raise DataError(f"the split is {str(split)[:40]!r}; use one of {', '.join(SPLITS)}")
    messages = checked(_said(found))
    ids, targets = render(tokenizer, messages, mask_prompt)
    if len(ids) > block_size:
        raise DataError(
            f"{len(ids):,} tokens, and the context has {block_size:,}; shorten it, or leave it out"
        )
    part = SPLITS[split.lower()] if split else None
    return Example(messages, np.array(ids), np.array(targets), line, part)


def _said(found: dict) -> object:
    """The messages of either form."""
    if "messages" in found:
        return found["messages"]
    if "prompt" not in found or "completion" not in found:
        keys = ", ".join(map(str, found))[:80] or "none"
        raise DataError(f"no messages, and no prompt with its completion (found keys: {keys})")
    return [
        {"role": "user", "content": found["prompt"]},
        {"role": "assistant", "content": found["completion"]},
    ]


def learned(examples: Sequence[Example]) -> int:
    """How many tokens of these carry loss."""
    return sum(int((example.targets != IGNORED).sum()) for example in examples)
