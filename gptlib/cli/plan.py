"""What `gptlib train` is to do: a plan made of flags, a preset, a file, or what a run noted.

One job: `Plan`, and the three ways to one: `begin` a run, `go_on` with one, and `describe` one
without touching its text. Flags overrule a file, and a file a preset.
"""

from __future__ import annotations

import argparse
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from gptlib import checkpoint, mirror
from gptlib.cli.marked import ANYWHERE, sampling, where_windows_begin, with_marks
from gptlib.cli.texts import Text, load_writer, named_tokenizer, noted, noted_place, open_text
from gptlib.cli.train_options import DEFAULT_PRESET, OPTIONS
from gptlib.errors import CheckpointError, ConfigError
from gptlib.files import may_not_read, take_lock
from gptlib.model_config import GPTConfig
from gptlib.paths import kept_path
from gptlib.presets import Preset, preset
from gptlib.tokenizers import (
    BPETokenizer,
    CharTokenizer,
    Tokenizer,
    learn_tokenizer,
    learned_size,
    load_tokenizer,
)
from gptlib.train_config import TrainConfig, with_changes

ROUND = 64  # what a vocabulary that marks are added to is rounded up to a multiple of
MOST_PADDING = 1 << 20  # more than any tokenizer's ids
OF_ITS_TEXT = ("corpus", "corpus_size", "tokenizer", "separator")  # what a preset may name


@dataclass
class Plan:
    """What a run is made of: the two configs' fields, what to note of it, its text, its tokenizer,
    the ids of its separator if it has one, and a line to say before it begins."""

    model: dict
    train: dict
    note: dict
    text: Text
    tokenizer: Tokenizer
    separator: list[int] | None = None
    told: str = ""


def given(args: argparse.Namespace, config: type) -> dict:
    """The fields of a config that the user set."""
    names = {f.name for f in fields(config)}
    return {k: v for k, v in vars(args).items() if k in names and v is not None}


def add_file(args: argparse.Namespace, values: dict) -> None:
    """Fill in what a file says and no flag does."""
    train = with_changes(values["train"], given(args, TrainConfig))
    for name, value in train.items():
        setattr(args, name, value)
    for name, value in values["model"].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    for name, option in OPTIONS.items():
        if getattr(args, name) is None and name in values:
            setattr(args, name, option.type(values[name]))


def add_preset(args: argparse.Namespace) -> Preset:
    """Fill in the preset's text, with all that it says of it, where no other text is given, and how
    it pads the vocabulary, where no other run brings one."""
    args.preset = args.preset or DEFAULT_PRESET
    chosen = preset(args.preset)
    if args.pad_vocab is None and not args.init_from:
        args.pad_vocab = chosen.pad_vocab
    if not args.corpus and chosen.corpus:
        for name in OF_ITS_TEXT:
            brought = name == "tokenizer" and args.init_from  # by the other run
            if getattr(args, name) is None and not brought:
                setattr(args, name, getattr(chosen, name))
    return chosen


def names_a_text(args: argparse.Namespace) -> bool:
    return bool(args.corpus or (args.preset and preset(args.preset).corpus))


def describe(args: argparse.Namespace) -> dict:
    """All settings of the run that would begin, as `gptlib.cli.run_file.write` takes them.

    Raises:
        ConfigError: a setting that cannot be.
    """
    chosen = add_preset(args)
    model = dict(chosen.model)
    if args.init_from:
        model = dict(load_writer(args.init_from)[2]["model"])
    shape = GPTConfig.from_dict({"vocab_size": 1} | model | given(args, GPTConfig))
    train = TrainConfig.from_dict(with_changes(chosen.train, given(args, TrainConfig)))
    return {
        **{name: getattr(args, name) for name in OPTIONS},
        "model": shape.to_dict(),
        "train": asdict(train),
    }


def begin(args: argparse.Namespace) -> Plan:
    """The plan of a new run."""
    chosen = add_preset(args)
    if not args.corpus:
        raise ConfigError("which text? give --corpus NAME or PATH (see `gptlib data list`)")
    model_args, tokenizer = dict(chosen.model), None
    if args.init_from:
        _, tokenizer, manifest = load_writer(args.init_from)
        model_args = dict(manifest["model"])
    note = noted(args.corpus, args.out) | {
        "corpus_size": args.corpus_size, "preset": args.preset, "init_from": args.init_from,
        "tokenizer": args.tokenizer,
    }  # fmt: skip
    text = open_text(note["corpus"], args.corpus_size)
    if tokenizer is None:
        own = None if text.corpus is None or chosen.tokenizer == "char" else chosen.tokenizer
        tokenizer = _tokenizer(args.tokenizer or own, text)
    elif args.tokenizer:
        _check_tokenizer(args.init_from, tokenizer, args.tokenizer, text)
    known, tokenizer = tokenizer, with_marks(text.corpus, tokenizer)
    if args.init_from and tokenizer != known and args.pad_vocab is None:
        args.pad_vocab = ROUND
    if args.pad_vocab is not None:
        note["pad_vocab"] = args.pad_vocab
    if args.separator is None and text.corpus is not None:
        T = (model_args | given(args, GPTConfig)).get("block_size", GPTConfig.block_size)
        args.separator = where_windows_begin(text.corpus, tokenizer, T)
    marked = text.corpus is not None and bool(text.corpus.marks)
    separator = separator_ids(args.separator, tokenizer, text) if args.separator else None
    note["separator"] = args.separator if marked else args.separator or None
    if text.corpus is not None and marked:
        note["sampling"] = sampling(text.corpus)
    if text.corpus is not None and text.corpus.grammar is not None:
        note["val_floor"] = text.corpus.val_floor
    padding = None if args.pad_vocab is None else padding_ids(tokenizer.vocab_size, args.pad_vocab)
    return Plan(
        model_args | given(args, GPTConfig) | vocabulary(tokenizer, model_args, padding),
        with_changes(chosen.train, given(args, TrainConfig)), note, text, tokenizer, separator,
        ANYWHERE if marked and args.separator is None else "",
    )  # fmt: skip


def go_on(args: argparse.Namespace, saved: dict) -> Plan:
    """The plan of a run that is resumed: its own, for whatever was not given again.

    Raises:
        CheckpointError: something given again differs. What becomes part of the two configs is left
            to the trainer, which knows what may differ.
    """
    note = dict(saved["note"]) if isinstance(saved.get("note"), dict) else {}
    train_args = saved["train"]
    model_args = saved["model"]
    again = {"preset": args.preset, "corpus_size": args.corpus_size, "init_from": args.init_from}
    if args.preset and "preset" not in note:  # a run older than that note: go by what it says
        chosen = preset(again.pop("preset"))
        model_args, train_args = model_args | chosen.model, train_args | chosen.train
    if args.separator is not None and args.separator != (
        note.get("separator", args.separator) or ""
    ):
        again["separator"] = args.separator or None
    if args.init_from and isinstance(note.get("initial"), dict):  # by another path, the same run?
        _, _, first = load_writer(args.init_from)
        if first["sha256"][checkpoint.MODEL] == note["initial"].get("weights_sha256"):
            del again["init_from"]
    if note.get("init_from") and kept_path(note["init_from"]) == args.init_from:
        again.pop("init_from", None)  # runs of before noted whole paths
    differences = [
        f"{key} was {note.get(key)!r} and is now {value!r}"
        for key, value in again.items()
        if (value is not None or key == "separator") and value != note.get(key)
    ]
    if differences:
        raise CheckpointError(
            f"{args.out} holds another run: {'; '.join(differences)}; use the same settings or "
            "another folder"
        )
    if args.corpus:
        note |= noted(args.corpus, args.out)
    text = open_text(args.corpus or noted_place(note, args.out), note.get("corpus_size"))
    tokenizer = load_tokenizer(args.out / "tokenizer")
    if args.tokenizer and not (
        learned_size(args.tokenizer) and args.tokenizer == note.get("tokenizer")
    ):
        _check_tokenizer(args.out, tokenizer, args.tokenizer, text)
    data = saved["data"] if isinstance(saved.get("data"), dict) else {}
    separator = data.get("separator") or None
    if args.separator is not None:
        separator = tokenizer.encode(args.separator) or None
    padding = None if args.pad_vocab is None else padding_ids(tokenizer.vocab_size, args.pad_vocab)
    return Plan(
        model_args | given(args, GPTConfig) | vocabulary(tokenizer, model_args, padding),
        with_changes(train_args, given(args, TrainConfig)), note, text, tokenizer, separator,
    )  # fmt: skip


def padding_ids(ids: int, multiple: int) -> int:
    """How many more round a number of ids up to a multiple.

    Raises:
        ConfigError: the multiple is below 1, or too large for a vocabulary.
    """
    if not 1 <= multiple <= MOST_PADDING:
        raise ConfigError(
            f"--pad-vocab is {multiple}; give 1 to {MOST_PADDING:,}, such as 64 or 128 for a GPU"
        )
    return -ids % multiple


def vocabulary(tokenizer: Tokenizer, model: dict, padding: int | None) -> dict:
    """The two fields of a model's vocabulary: the tokenizer's ids and the padding, `model`'s own
    where none is given."""
    padding = model.get("padding_ids", 0) if padding is None else padding
    return {"vocab_size": tokenizer.vocab_size + padding, "padding_ids": padding}


def separator_ids(separator: str, tokenizer: Tokenizer, text: Text) -> list[int]:
    """The ids of what stands after every document.

    Raises:
        ConfigError: it stands nowhere. TokenizerError: it has a character that the text lacks.
    """
    for split, part in (("training", "train"), ("validation", "val")):
        if text.corpus is not None and separator not in getattr(text.corpus, part):
            raise ConfigError(
                f"the separator {separator!r} stands nowhere in the {split} text of {text.place}; "
                "give the text that follows every document, or leave out --separator"
            )
    return tokenizer.encode(separator)


def saved_run(out: Path, mirror_to: Path | None) -> dict | None:
    """What `config.json` of an earlier run says, or None where there is none; on a new machine it
    comes from the mirror.

    Raises:
        CheckpointError: it is damaged.
    """
    path = out / "config.json"
    if mirror_to:
        out.mkdir(parents=True, exist_ok=True)
        with take_lock(out / ".restoring", -1):  # the processes of a job arrive together
            if not os.path.isfile(path):
                mirror.pull(mirror_to, out)
    if not os.path.isfile(path):
        return None
    try:
        saved = json.loads(path.read_bytes())
        if not all(isinstance(saved[part], dict) for part in ("model", "train")):
            raise ValueError("its settings are no JSON objects")
    except PermissionError as error:
        raise may_not_read(out, error) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged ({str(error)[:100]}); expected the settings that `gptlib train` "
            "wrote: restore the file from a copy, or begin a run in another folder"
        ) from error
    for step in reversed(checkpoint.saved_steps(out)):  # what --override changed stands there alone
        with suppress(CheckpointError):  # said by whoever loads it
            manifest = checkpoint.verify(checkpoint.folder_of(out, step))
            return saved | ({"train": manifest["train"]} if "train" in manifest else {})
    return saved


def _tokenizer(choice: str | None, text: Text) -> Tokenizer:
    """The tokenizer that was asked for; shards bring their own, a text its characters."""
    choice = choice or ("char" if text.corpus is not None else text.place)
    size = learned_size(choice)
    if text.corpus is None and (choice == "char" or size):
        what = "char learns the characters" if choice == "char" else f"{choice} learns byte pairs"
        raise ConfigError(
            f"--tokenizer {what} of a text, but {text.place} is a folder of shards, which are "
            "encoded already and bring their tokenizer; leave out --tokenizer"
        )
    if text.corpus is None or not (choice == "char" or size):
        return named_tokenizer(choice)
    return learn_tokenizer(text.corpus, size) if size else CharTokenizer.train(text.corpus.text)


def _check_tokenizer(run: Path | str, saved: Tokenizer, choice: str, text: Text) -> None:
    """Refuse another tokenizer than a run's own.

    Raises:
        CheckpointError: they differ.
    """
    kind = {"char": CharTokenizer, "gpt2": BPETokenizer}.get(choice)
    if learned_size(choice) or (kind and not isinstance(saved, kind)):
        now = choice  # need not be learned or downloaded to differ
    else:
        other = _tokenizer(choice, text)
        if saved in (other, with_marks(text.corpus, other)) or other == with_marks(
            text.corpus, saved
        ):
            return
        now = f"{other}, sha256 {other.sha256[:8]}"
    raise CheckpointError(
        f"{run} holds another run: tokenizer was {saved}, sha256 {saved.sha256[:8]}, and is now "
        f"{now}; leave out --tokenizer, or choose another folder"
    )
