"""A run described in one TOML file: what `--write-config` writes and `--config` reads.

One job: `read` and `write`. At the top stand the keys of `gptlib.cli.train_options.OPTIONS`, in
`[model]` the fields of `GPTConfig`, in `[train]` those of `TrainConfig`; each may be left out. A
relative path starts from the file's own folder, so that a file and what it names can be moved
together, and the command may be given from anywhere.
"""

from __future__ import annotations

import json
import os
import re
import textwrap
import tomllib
from pathlib import Path
from typing import Any

from gptlib.cli.arguments import flag_of
from gptlib.cli.texts import noted_place
from gptlib.cli.train_options import (
    CONFIGS,
    OF_A_CALL,
    OF_THE_VOCABULARY,
    OPTIONS,
    settings_of,
)
from gptlib.corpora.downloads import read_registry
from gptlib.errors import ConfigError, nearest
from gptlib.paths import kept_path
from gptlib.resources import data_path
from gptlib.tokenizers import learned_size, load_tokenizer
from gptlib.versions import package_version

PATHS = ("corpus", "tokenizer", "init_from", "out", "mirror_to")
KINDS: dict[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text in quotes",
}


def read(path: Path, other_text: bool = False) -> dict:
    """The settings of a file: the keys of `OPTIONS` that it has, and "model" and "train", two
    dictionaries. Paths are as seen from here.

    Args:
        other_text: a run's own text is not looked for, since another is given.

    Raises:
        ConfigError: it cannot be read, is no TOML, or has a key or a value that cannot be.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        if path.suffix == ".json":
            return _of_a_run(path.parent, json.loads(text), other_text)
        values = tomllib.loads(text)
    except IsADirectoryError as error:
        raise ConfigError(
            f"{path} is a folder; --config takes a TOML file, or a run's config.json"
        ) from error
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be read ({error.strerror}); --config takes a TOML file that "
            "--write-config wrote, or a run's config.json"
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML or nested without end
        raise ConfigError(
            f"{path} cannot be read as {path.suffix[1:].upper() or 'TOML'} ({str(error)[:150]}); "
            "`gptlib train --write-config FILE` writes one to start from"
        ) from error
    _check(path, values)
    for key in PATHS:
        if key in values:
            values[key] = _seen_from_here(key, values[key], path.parent)
    return {"model": {}, "train": {}} | values


def _of_a_run(folder: Path, saved: object, other_text: bool) -> dict:
    """The same from a run folder's `config.json`: its text, its tokenizer and all its settings."""
    parts = saved if isinstance(saved, dict) else {}
    note, data = (part if isinstance(part := parts.get(key), dict) else {}
                  for key in ("note", "data"))  # fmt: skip
    values: dict[str, Any] = {}
    for key in CONFIGS:
        if not isinstance(part := parts.get(key), dict):
            raise ValueError("no model and no train in it")
        values[key] = {k: v for k, v in part.items() if k not in OF_THE_VOCABULARY}
    keys = ("preset", "init_from", "separator") + (() if other_text else ("corpus_size",))
    values |= {key: note[key] for key in keys if note.get(key) is not None}
    if parts["model"].get("padding_ids"):  # a multiple of its own size is that size
        values["pad_vocab"] = note.get("pad_vocab") or parts["model"].get("vocab_size")
    if not other_text:
        values["corpus"] = noted_place(note, folder)
    if os.path.isdir(folder / "tokenizer"):
        values["tokenizer"] = str(folder / "tokenizer")
        if "separator" not in values and data.get("separator"):  # noted by its ids alone
            values["separator"] = load_tokenizer(folder / "tokenizer").decode(data["separator"])
    if isinstance(parts.get("threads"), int):
        values["threads"] = parts["threads"]
    _check(folder / "config.json", values)
    return values


def _check(path: Path, values: dict) -> None:
    """Refuse keys that nobody knows and values of another kind, all of them in one line.

    Raises:
        ConfigError: there is one.
    """
    wrong = []
    for key, value in values.items():
        if key in CONFIGS:
            if not isinstance(value, dict):
                wrong.append(f"{key} is {_shown(value)}, but [{key}] is a table")
                continue
            known = settings_of(key)
            for name, inner in value.items():
                if name not in known:
                    wrong.append(f"[{key}] has no {name}{_hint(name, key)}")
                elif not _is(inner, kind := type(known[name].default)):
                    wrong.append(f"[{key}] {name} is {_shown(inner)}, not {KINDS[kind]}")
        elif key not in OPTIONS:
            wrong.append(f"there is no {key}{_hint(key, '')}")
        elif not _is(value, kind := int if OPTIONS[key].type is int else str):
            wrong.append(f"{key} is {_shown(value)}, not {KINDS[kind]}")
    if wrong:
        raise ConfigError(f"{path} does not describe a run: {'; '.join(wrong)}")


def _is(value: object, kind: type) -> bool:
    if isinstance(value, bool) or kind is bool:
        return isinstance(value, bool) and kind is bool
    return isinstance(value, (int, float) if kind is float else kind)


def _shown(value: object) -> str:
    return repr(value)[:60]


def _hint(name: str, part: str) -> str:
    """Where a key that is not known here may have been meant to stand, in brackets."""
    if name in OF_THE_VOCABULARY:
        return " (pad_vocab decides it)" if "padding" in name else " (the tokenizer decides it)"
    if name in OF_A_CALL:
        return f" (it concerns one call: give it as {flag_of(name)})"
    known = {"": list(OPTIONS), **{other: list(settings_of(other)) for other in CONFIGS}}
    for other, names in known.items():
        if name in names:
            return f" (it belongs in [{other}])" if other else " (it belongs above the tables)"
    return nearest(name, known[part])


# --- paths ----------------------------------------------------------------------------------------


def _names(key: str) -> set[str]:
    """The words that are no paths where `key` takes a name or a path."""
    if key == "corpus":
        return set(read_registry())
    if key == "init_from":
        return {place.name for place in data_path("models").iterdir()}
    return {"char", "gpt2"} if key == "tokenizer" else set()


def _is_learned(key: str, value: str) -> bool:
    return key == "tokenizer" and learned_size(value) is not None


def _seen_from_here(key: str, value: str, folder: Path) -> str:
    if value in _names(key) or not value or _is_learned(key, value):
        return value
    return _as_path(key, os.path.join(folder, os.path.expanduser(value)))


def _seen_from(folder: Path, key: str, value: str) -> str:
    if value in _names(key) or _is_learned(key, value):
        return value
    if os.path.isabs(os.path.expanduser(value)):
        return kept_path(value)
    try:
        return _as_path(key, os.path.relpath(value, folder))
    except ValueError:  # on another drive
        return os.path.abspath(value)


def _as_path(key: str, path: str) -> str:
    """A path that is not taken for a name."""
    path = os.path.normpath(path)
    named = path in _names(key) or _is_learned(key, path)
    return os.path.join(os.curdir, path) if named else path


# --- writing --------------------------------------------------------------------------------------


def write(path: Path, values: dict, encoding: str = "utf-8") -> str:
    """The text of a file that `read` turns into `values`, to stand at `path` (in this folder where
    that is `-`), with the sentence of each setting above it.

    Args:
        encoding: of what it is written to; other characters are escaped.

    Raises:
        ConfigError: a text in it is no Unicode.
    """
    folder = Path(".") if str(path) == "-" else path.parent
    lines = [f"# A run of gptlib {package_version()}. Train it with: gptlib train --config FILE"]
    lines += ["# Flags overrule what stands here; relative paths start from this file's folder."]
    for key, option in OPTIONS.items():
        if (value := values.get(key)) is not None:
            value = _seen_from(folder, key, str(value)) if key in PATHS else value
            lines += _setting(key, value, option.help, encoding)
    for part in CONFIGS:
        lines += ["", f"[{part}]"]
        for name, field in settings_of(part).items():
            if name in values[part]:
                lines += _setting(name, values[part][name], field.metadata["help"], encoding)
    return "\n".join(lines) + "\n"


def _setting(name: str, value: object, text: str, encoding: str) -> list[str]:
    about = textwrap.wrap(f"{text}.", 97, initial_indent="# ", subsequent_indent="# ")
    return ["", *about, f"{name} = {_toml(value, encoding)}"]


def _toml(value: object, encoding: str) -> str:
    """A scalar as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return repr(value)
    quoted = json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    try:
        quoted.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"{_shown(value)} is no text that a file could keep; give a name in UTF-8"
        ) from error
    try:
        quoted.encode(encoding)
    except UnicodeEncodeError:
        quoted = re.sub(r"[^\x00-\x7f]", lambda c: f"\\U{ord(c[0]):08x}", quoted)
    return quoted
