"""The texts of `gptlib finetune`: what is new to the model, and what it has read before.

One job: `Source`, what is learned, from conversations or from plain text; and `Old`, on which it is
measured what was forgotten, and which may be rehearsed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gptlib.batches import Batches, TokenBatches, Tokens, document_starts
from gptlib.chat import CHAT
from gptlib.cli.marked import ANYWHERE, where_windows_begin
from gptlib.cli.texts import UNREAD_SEED, Text, encoded, noted, noted_place, open_text
from gptlib.corpora import Corpus, load_corpus
from gptlib.corpora.downloads import read_registry
from gptlib.errors import GptlibError
from gptlib.evaluation import measure_split
from gptlib.finetuning import AnswerBatches, AnswerLoss, deal, read_examples
from gptlib.model import GPT, GPTConfig
from gptlib.shards.read import open_shards
from gptlib.shards.splits import Split, open_split
from gptlib.task import Measure
from gptlib.tokenizers import Tokenizer

OLD_SIZE = 500_000  # characters of a grammar's text that are drawn as old text
OLD_WINDOWS = 100  # of the old validation text, spread evenly, that are measured


@dataclass(frozen=True)
class Source:
    """What is learned.

    Attributes:
        train: (rows a step, seed) to what a `Trainer` is given; batches: to batches, for a part of
            each step. val: what it is validated on. rows_an_epoch: until all was seen once.
        separator, attend: as for a `Trainer`. corpus: it is, if it is one of texts with marks.
        told: a line to say before it begins.
    """

    train: Callable[[int, int], Split | Batches]
    batches: Callable[[int, int], Batches]
    val: Split | Measure
    rows_an_epoch: int
    separator: list[int] | None
    attend: str = "window"
    corpus: Corpus | None = None
    told: str = ""


def conversations(data: str, settings: dict, tokenizer: Tokenizer, T: int) -> Source:
    """Conversations from a file; those that validate are a part of it, or another file.

    Raises:
        DataError: bad lines, by their numbers.
    """
    examples = read_examples(data, tokenizer, T, settings["mask_prompt"])
    if settings["val"]:
        train = [example for example in examples if example.split in (None, "train")]
        val = read_examples(settings["val"], tokenizer, T, settings["mask_prompt"])
    else:
        train, val = deal(examples)
    said = {example.ids.tobytes() for example in train}
    again = sum(example.ids.tobytes() in said for example in val)

    def batches(rows: int, seed: int) -> AnswerBatches:
        return AnswerBatches(train, rows, T, settings["pack"], seed)

    return Source(
        batches, batches, AnswerLoss(val), batches(1, 0).rows_an_epoch,
        [tokenizer.special_tokens[CHAT]], "document" if settings["pack"] else "window",
        told=f"{again:,} of {len(val):,} conversations to validate on are among those to learn: "
        "the validation tells less than it seems" if again else "",
    )  # fmt: skip


def plain_text(data: str, tokenizer: Tokenizer, shape: GPTConfig) -> Source:
    """A text, as `gptlib train` reads it: windows begin at documents where it has marks."""
    text = open_text(data, None)
    train, val = text.splits(tokenizer)
    tokens = open_split(train, "train", shape, tokenizer)
    mark = text.corpus and where_windows_begin(text.corpus, tokenizer, shape.block_size)
    separator = tokenizer.encode(mark) if mark else None
    starts = document_starts(tokens, separator) if separator else None

    def batches(rows: int, seed: int) -> TokenBatches:
        return TokenBatches(tokens, rows, shape.block_size, seed, starts=starts)

    marked = text.corpus if text.corpus is not None and text.corpus.marks else None
    return Source(
        lambda rows, seed: train, batches, val, batches(1, 0).windows, separator, corpus=marked,
        told=ANYWHERE if marked and not separator else "",
    )  # fmt: skip


@dataclass(frozen=True)
class Old:
    """A text that a model has read, or one like it.

    Attributes:
        name: of the text. text: where it is. separator: the ids that its documents begin with.
        train, val: its parts, as `Trainer` takes them.
    """

    name: str
    text: Text
    separator: list[int] | None
    train: Split
    val: Split

    def tokens(self, shape: GPTConfig) -> tuple[Tokens, np.ndarray | None]:
        """Its training part, and where windows begin in it."""
        tokens = open_split(self.train, "train", shape)
        return tokens, document_starts(tokens, self.separator) if self.separator else None

    def measured(self, model: GPT, tokenizer: Tokenizer) -> dict[str, float]:
        """What its validation part costs a model: {"loss": nats per token, "bits_per_byte"}."""
        val = open_split(self.val, "val", model.config)
        starts = document_starts(val, self.separator) if self.separator else None
        found = measure_split(model, val, tokenizer, windows=OLD_WINDOWS, starts=starts)
        return {"loss": found.loss, "bits_per_byte": found.bits_per_byte}


def note_of_old(
    rehearse: str | None, manifest: dict, run: Path, tokenizer: Tokenizer, shape: GPTConfig,
    out: Path,
) -> dict[str, Any] | None:  # fmt: skip
    """What a run notes of the old text: the one to rehearse, or the one that its model was trained
    on; None where nobody knows or it is gone."""
    note = manifest.get("note")
    note = note if isinstance(note, dict) else {}
    if rehearse is not None:
        name, size = rehearse, None
    else:
        try:
            name, size = noted_place(note, run), note.get("corpus_size")
        except GptlibError:
            return None
    data = manifest.get("data")
    separator = data.get("separator") if isinstance(data, dict) and rehearse is None else None
    told = noted(name, out) | {"corpus_size": size, "separator": separator}
    if separator is None:
        with suppress(GptlibError):  # said by whoever opens it
            corpus = _opened(name, size).corpus
            mark = corpus and where_windows_begin(corpus, tokenizer, shape.block_size)
            told["separator"] = tokenizer.encode(mark) if mark else None
    return told


def old_text(note: dict, out: Path, tokenizer: Tokenizer, base: Tokenizer | None) -> Old | None:
    """The old text that a run noted.

    Args:
        base: the tokenizer that shards of it were made with, to be checked; None checks nothing.
    """
    name = note["corpus"] if base is not None else noted_place(note, out)
    text = _opened(name, note["corpus_size"])
    if text.corpus is None:
        if base is not None:
            open_shards(text.place, "val", base)  # refuses those of another tokenizer
        return Old(name, text, note["separator"], text.place, text.place)
    train, val = (encoded(tokenizer, part) for part in (text.corpus.train, text.corpus.val))
    return Old(name, text, note["separator"], train, val)


def _opened(name: str, size: int | None) -> Text:
    """The text of that name; of a grammar, a sample that no run has read."""
    entry = read_registry().get(name)
    if entry is not None and entry.kind == "embedded":
        size = min(size or OLD_SIZE, OLD_SIZE)
        return Text(name, load_corpus(name, size=size, seed=UNREAD_SEED))
    return open_text(name, size)
