"""HellaSwag: which of four endings goes on with a text?

One job: `hellaswag`, the share of its items (Zellers et al. 2019) where a model finds the right
ending the likeliest, in the three ways that such shares are published, and `read_items`, which
reads them. Chance is one in four.

An item is put to the model in one of two forms. "lm-eval" is what EleutherAI's evaluation harness
does in its task `hellaswag`: "activity: context", where the second half of the context begins with
a capital, and [header], [step] and [title], which the items from WikiHow have, are taken out.
"plain" is the context and the endings as they stand, as build-nanogpt puts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gptlib.corpora.downloads import fetch
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation.choices import Pair, score_pairs
from gptlib.evaluation.intervals import wilson
from gptlib.model import GPT
from gptlib.paths import user_path
from gptlib.tokenizers import Tokenizer

FORMS = ("lm-eval", "plain")
PARTS = ("activity_label", "ctx_a", "ctx_b")  # what the form "lm-eval" is made of
ENDINGS = 4
MEASURES = ("acc", "acc_norm", "acc_norm_tokens")


@dataclass(frozen=True)
class Item:
    """A context, four endings, which of them is right, 0 to 3, and in which form they are."""

    context: str
    endings: tuple[str, ...]
    label: int
    form: str = "plain"


@dataclass(frozen=True)
class Scored:
    """What a model made of one item.

    Attributes:
        logprobs: log p(ending | context) of each ending, in nats. characters, tokens: how many
            each has; a character is a code point, and the space before the ending is not counted.
        label: the right ending. cut: the context was too long for the model and lost its beginning.
    """

    logprobs: tuple[float, ...]
    characters: tuple[int, ...]
    tokens: tuple[int, ...]
    label: int
    cut: bool = False

    @property
    def choices(self) -> dict[str, int]:
        """The ending that each measure prefers; the first of several that are equal."""
        p = np.array(self.logprobs)
        per = (p, p / np.array(self.characters), p / np.array(self.tokens))
        return {name: int(values.argmax()) for name, values in zip(MEASURES, per, strict=True)}

    def to_dict(self) -> dict:
        """Plain JSON values: the fields, and for each measure whether it chose the right ending."""
        right = {name: choice == self.label for name, choice in self.choices.items()}
        return {**{name: getattr(self, name) for name in self.__dataclass_fields__}, **right}


@dataclass(frozen=True)
class Result:
    """How often a model was right, in three measures; each has its 95% interval in `ci95`.

    Attributes:
        items: what it made of each, in order. form: how the items were put to it.
        acc: by the probability of the whole ending, which favors short ones.
        acc_norm: per character of the ending, lm-eval's `acc_norm`.
        acc_norm_tokens: per token, the completion style of build-nanogpt.
    """

    items: tuple[Scored, ...]
    form: str

    @property
    def n(self) -> int:
        """How many items."""
        return len(self.items)

    def right(self, measure: str) -> list[bool]:
        """For each item, whether this measure chose the right ending; see `intervals.compare`."""
        return [item.choices[measure] == item.label for item in self.items]

    @property
    def acc(self) -> float:
        return sum(self.right("acc")) / self.n

    @property
    def acc_norm(self) -> float:
        return sum(self.right("acc_norm")) / self.n

    @property
    def acc_norm_tokens(self) -> float:
        return sum(self.right("acc_norm_tokens")) / self.n

    @property
    def ci95(self) -> dict[str, tuple[float, float]]:
        """Wilson's interval of each measure: what drawing the items by chance makes of it."""
        return {name: wilson(sum(self.right(name)), self.n) for name in MEASURES}

    @property
    def cut(self) -> int:
        """How many items were too long for the model's context."""
        return sum(item.cut for item in self.items)

    def to_dict(self) -> dict:
        """The figures as plain JSON values, without the items."""
        figures = {name: getattr(self, name) for name in MEASURES}
        ci95 = {name: list(interval) for name, interval in self.ci95.items()}
        return {**figures, "ci95": ci95, "n": self.n, "chance": 1 / ENDINGS,
                "form": self.form, "cut": self.cut}  # fmt: skip


def hellaswag(
    model: GPT,
    tokenizer: Tokenizer,
    items: Sequence[Item],
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> Result:
    """Ask a model which ending of each item is the likeliest.

    Derived in chapter 6, *Does it know anything?*

    `acc` and `acc_norm` are those of lm-eval's task, item by item: an ending follows its context
    after a space, and its tokens are those that the context's text gains by it. Neither the batch
    size nor the order of the items moves a score beyond rounding.

    Args:
        items: from `read_items`, all of one form.
        batch_size: texts that the model reads at a time.
        progress: called with how many endings are scored, and of how many.

    Raises:
        DataError: no items, items of both forms, or an ending without a token, or with more than
            the model's context.
        TokenizerError: a character that the tokenizer does not know.
    """
    forms = sorted({item.form for item in items})
    if len(forms) != 1:
        raise DataError(
            f"there are {len(items)} items of {len(forms)} forms ({', '.join(forms)}); give one "
            "or more, all of one form: their scores cannot be compared"
        )
    pairs: list[Pair] = []
    for number, item in enumerate(items):
        pairs += _item_pairs(model, tokenizer, item, number)
    sums = score_pairs(model, pairs, batch_size, progress)
    scored = []
    for number, item in enumerate(items):
        here = slice(ENDINGS * number, ENDINGS * (number + 1))
        cut = any(len(head) + len(tail) > model.config.block_size + 1 for head, tail in pairs[here])
        scored.append(
            Scored(
                logprobs=tuple(sums[here]),
                characters=tuple(len(ending) for ending in item.endings),
                tokens=tuple(len(tail) for _, tail in pairs[here]),
                label=item.label,
                cut=cut,
            )
        )
    return Result(tuple(scored), forms[0])


def _item_pairs(model: GPT, tokenizer: Tokenizer, item: Item, number: int) -> list[Pair]:
    """The ids of the context, and of each ending after it.

    The text is encoded whole, since a space belongs to the word after it: one at the end of the
    context goes to the ending, and of the ending's first token the context has no part.
    """
    context = item.context.rstrip()
    blank = item.context[len(context) :]
    head, pairs = tokenizer.encode_ordinary(context), []
    for ending in item.endings:
        tail = tokenizer.encode_ordinary(f"{context}{blank} {ending}")[len(head) :]
        if not head or not 0 < len(tail) <= model.config.block_size:
            raise DataError(
                f"item {number} has {len(head)} tokens of context and {len(tail)} of the ending "
                f"{ending[:40]!r}; a model with block_size {model.config.block_size} can score 1 "
                "to so many after a context of 1 or more: leave the item out, or take a longer "
                "context"
            )
        pairs.append((head, tail))
    return pairs


def read_items(
    path: str | Path | None = None, limit: int | None = None, form: str | None = None
) -> list[Item]:
    """Read HellaSwag's items, one JSON record a line.

    Args:
        path: None is the official validation part, 10,042 items, downloaded once and checked.
        limit: only so many, the first; of the official file the first 3,243 are captions of
            videos (ActivityNet) and all others from WikiHow, so a few are no fair sample.
        form: "lm-eval" or "plain"; None is "lm-eval" where the first record has `activity_label`,
            `ctx_a` and `ctx_b`, as the official ones do, and "plain" where it has only `ctx`.

    Raises:
        DataError: no such file, or none that can be read; no items; a record that lacks something,
            with its line.
        ConfigError: a limit below 1, or an unknown form.
    """
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ConfigError(f"the limit is {limit!r}; give a whole number of items, 1 or more")
    if form not in (None, *FORMS):
        raise ConfigError(f"the form is {form!r}; use one of {', '.join(FORMS)}")
    path = fetch("hellaswag") if path is None else user_path(path)
    items: list[Item] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if len(items) == limit:
                    break
                if line.strip():
                    item = _item(line, f"{path.name}, line {number}", form)
                    form = item.form
                    items.append(item)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read ({error.strerror}); give a file of HellaSwag items, one JSON "
            "record a line"
        ) from error
    if not items:
        raise DataError(f"{path} has no items; give a file with one JSON record a line")
    return items


def _item(line: bytes, where: str, form: str | None) -> Item:
    """One record as an item, in this form, or in the one that its fields allow."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON ({str(error)[:80]}); copy the file again") from error
    if not isinstance(record, dict):
        raise DataError(f"{where} is no record but {str(record)[:40]}; copy the file again")
    if form is None:
        form = "lm-eval" if all(name in record for name in PARTS) else "plain"
    needed = PARTS if form == "lm-eval" else ("ctx",)
    texts: dict[str, str] = {}
    for name in needed:
        text = record.get(name)
        if not isinstance(text, str):
            raise DataError(
                f"{where}: {name} is {_short(text)}, and the form {form!r} is made of "
                f"{', '.join(needed)}; give it, or choose another form for all items"
            )
        texts[name] = text
    endings, label = record.get("endings"), record.get("label")
    whole = isinstance(endings, list) and len(endings) == ENDINGS
    if not whole or not all(isinstance(ending, str) for ending in endings):
        raise DataError(f"{where}: endings are {_short(endings)}; give a list of {ENDINGS} texts")
    if isinstance(label, str) and label.isascii() and label.isdigit():
        label = int(label)  # as the copy on Hugging Face has them
    if type(label) is not int or not 0 <= label < ENDINGS:
        raise DataError(
            f"{where}: label is {_short(label)}; give the number of the right ending, 0 to "
            f"{ENDINGS - 1} (the test part has none: its answers were not published)"
        )
    if form == "lm-eval":
        context = f"{texts['ctx_a']} {texts['ctx_b'].capitalize()}"
        context = clean(f"{texts['activity_label']}: {context}")
        endings = [clean(ending) for ending in endings]
    else:
        context = texts["ctx"]
    if not context.strip() or not all(ending.strip() for ending in endings):
        raise DataError(f"{where} has an empty context or ending; give text for each")
    return Item(context, tuple(endings), label, form)


def clean(text: str) -> str:
    """Take WikiHow's marks out of a text, exactly as lm-eval does; its rest of them is kept too."""
    text = text.strip().replace(" [title]", ". ")
    return re.sub(r"\[.*?\]", "", text).replace("  ", " ")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
