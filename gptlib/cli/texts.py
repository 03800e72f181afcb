"""Which text a command means, and where it is now.

One job: from what was typed, or what a run noted of its text, to a corpus or a shard folder. A name
that gptlib knows is that corpus, for every command; `./name` is a file or folder of that name. A
relative path is kept as seen from the run folder too, so that the text is found from elsewhere; one
in the home folder is kept with a `~`, so that a run says nothing of whose it is.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gptlib.corpora import Corpus, load_corpus
from gptlib.corpora.downloads import read_registry
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.model import GPT
from gptlib.paths import kept_path
from gptlib.runs import load_run
from gptlib.shards.read import is_shard_folder
from gptlib.shards.splits import Split
from gptlib.tokenizers import BPETokenizer, Tokenizer, load_tokenizer

UNREAD_SEED = 1  # of a grammar's sample that no run has read: they all draw with seed 0


@dataclass(frozen=True)
class Text:
    """A corpus, or the shard folder `place` where `corpus` is None."""

    place: str
    corpus: Corpus | None

    def splits(self, tokenizer: Tokenizer) -> tuple[Split, Split]:
        """The training and the validation part, as `Trainer` takes them."""
        if self.corpus is None:
            return self.place, self.place
        return encoded(tokenizer, self.corpus.train), encoded(tokenizer, self.corpus.val)


def encoded(tokenizer: Tokenizer, text: str) -> Tensor:
    """The ids of a text, (N,) int64."""
    return torch.tensor(tokenizer.encode(text))


def open_text(name: str, size: int | None) -> Text:
    """Open a corpus by name, a text file or a shard folder.

    Raises:
        ConfigError: a size for shards. DataError: what `load_corpus` refuses.
    """
    if name not in read_registry() and is_shard_folder(name):
        if size:
            raise ConfigError("--corpus-size does not go with shards; they are used whole")
        return Text(name, None)
    return Text(name, load_corpus(name, size=size))


def noted(name: str, run_dir: Path) -> dict:
    """What a run notes of where its text is."""
    note: dict = {"corpus": name, "corpus_from_run": None}
    if name and name not in read_registry() and not os.path.isabs(os.path.expanduser(name)):
        try:
            note["corpus_from_run"] = os.path.relpath(name, run_dir)
        except ValueError:  # on another drive
            note["corpus"] = kept_path(os.path.abspath(name))
    return note


def noted_place(note: dict, run_dir: Path | str) -> str:
    """The name or the path of a run's own text, which may have been noted in another folder.

    Raises:
        ConfigError: the run does not say. DataError: the text is no longer where it was.
    """
    name, from_run = note.get("corpus"), note.get("corpus_from_run")
    if not isinstance(name, str):
        raise ConfigError(f"{run_dir} does not say which text it was trained on; give --corpus")
    if name in read_registry():
        return name
    places = [name]
    if isinstance(from_run, str):
        places.insert(0, os.path.normpath(os.path.join(run_dir, from_run)))
    places = list(dict.fromkeys(places))
    for place in places:
        if os.path.exists(os.path.expanduser(place)):
            return place
    raise DataError(
        f"{run_dir} was trained on {name}, and there is no {' nor '.join(places)}; say where that "
        "text is now with --corpus"
    )


def load_writer(run: str, which: str = "best", device: str = "cpu") -> tuple[GPT, Tokenizer, dict]:
    """`load_run` for a command that reads or writes text.

    Raises:
        CheckpointError: what `load_run` raises, or the run was trained on bare ids.
    """
    model, tokenizer, manifest = load_run(run, which, device)
    if tokenizer is None:
        raise CheckpointError(
            f"{run} was trained on token ids without a tokenizer, so it has no text; sample or "
            "measure it in Python, with load_run and the ids"
        )
    return model, tokenizer, manifest


def named_tokenizer(choice: str) -> Tokenizer:
    """GPT-2's tokenizer by its name, or one that was saved in a folder."""
    return BPETokenizer.gpt2() if choice == "gpt2" else load_tokenizer(choice)
