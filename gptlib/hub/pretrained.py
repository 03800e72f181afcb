"""Weights that others trained, as a `GPT` and as a run folder.

One job: `from_pretrained` and `import_run`. OpenAI's four GPT-2s are known by name
(`data/pretrained.toml`): one file each, of a named revision, used only if its sha256 is right.
Anything else is a folder that `transformers` saved, or a GGUF file. A pickle is never read: it may
run any program when it is opened.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from gptlib import checkpoint
from gptlib.corpora.downloads import fetch
from gptlib.errors import CheckpointError, ConfigError
from gptlib.hub.gguf_read import SUFFIX, from_gguf
from gptlib.hub.new_folder import new_folder
from gptlib.hub.tokenizer_file import read_fast
from gptlib.hub.transformers_folder import CONFIG, WEIGHTS
from gptlib.hub.weights import from_weights, without_padding
from gptlib.model import GPT
from gptlib.paths import user_path
from gptlib.resources import data_path
from gptlib.tokenizers import BPETokenizer, Tokenizer
from gptlib.versions import package_version

#: Layers, heads and channels of each GPT-2; context and vocabulary are the same. The dropout of
#: its training was not published: a run that goes on from it says its own.
SHAPES = {
    "gpt2": (12, 12, 768), "gpt2-medium": (24, 16, 1024), "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}  # fmt: skip
_NO_DROPOUT = {"resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0}


def from_pretrained(name: str | Path, registry: str | Path | None = None) -> tuple[GPT, Tokenizer]:
    """Load weights that others trained, ready to sample.

    Args:
        name: "gpt2", "gpt2-medium", "gpt2-large" or "gpt2-xl", which are downloaded once (see
            `gptlib.corpora.downloads`), or a folder with `config.json`, `model.safetensors` and
            the tokenizer's files, as `save_pretrained` and `gptlib export --to hf` write it. A name
            wins over a folder of that name; "./gpt2" or a Path means the folder. Or a file whose
            name ends in .gguf, which `gptlib.hub.gguf_read` reads.
        registry: a registry other than the one that ships with gptlib.

    Returns:
        (model in evaluation mode, in float32 on the CPU; tokenizer). Rows of the vocabulary that
        the tokenizer has no id for are left out.

    Raises:
        DataError: a download that failed, or gave another file than the one that is known.
        CheckpointError: no such folder; a file of it is missing, cut short, or a pickle.
        ConfigError: it is no GPT-2, or one with an option that `GPT` does not have.
        TokenizerError: its tokenizer is missing or none that gptlib has.
    """
    if isinstance(name, str) and name in SHAPES:
        tokenizer: Tokenizer = BPETokenizer.gpt2()
        path = fetch(name, registry or data_path("pretrained.toml"))
        n_layer, n_head, n_embd = SHAPES[name]
        settings = _NO_DROPOUT | {"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd}
    elif Path(name).suffix.lower() == SUFFIX and not user_path(name).is_dir():
        return from_gguf(name)
    else:
        folder = _folder(name)
        settings = _settings(folder)
        path = _weights_file(folder)
        tokenizer = read_fast(folder)
    model = from_weights(settings, _read(path)).eval()
    return without_padding(model, tokenizer.vocab_size), tokenizer


def import_run(
    name: str | Path, out: str | Path, registry: str | Path | None = None
) -> tuple[GPT, Tokenizer]:
    """Write what `from_pretrained` loads as a run folder, to sample, measure and train on from.

    It has one checkpoint, of step 0, that is both `best` and `latest`, and nothing of a training.

    Args:
        name, registry: as for `from_pretrained`. out: a new folder; it appears whole or not at all.

    Returns:
        (model, tokenizer).

    Raises:
        what `from_pretrained` raises, and DataError: the folder is there already, or cannot be
            written.
    """
    with new_folder(out) as temporary:
        model, tokenizer = from_pretrained(name, registry)
        _fill(temporary, model, tokenizer, {"imported": Path(name).name or str(name)})
    return model, tokenizer


def write_run(model: GPT, tokenizer: Tokenizer, note: dict, out: str | Path) -> None:
    """Write a model as a run folder of its own, as `import_run` does.

    Args:
        note: JSON to keep with it. out: a new folder; it appears whole or not at all.

    Raises:
        DataError: the folder is there already, or cannot be written.
    """
    with new_folder(out) as temporary:
        _fill(temporary, model, tokenizer, note)


def _fill(folder: Path, model: GPT, tokenizer: Tokenizer, note: dict) -> None:
    about: dict[str, Any] = {
        "model": model.config.to_dict(),
        "tokenizer": tokenizer.sha256,
        "note": note,
        "versions": {"gptlib": package_version()},
    }
    tokenizer.save(folder / "tokenizer")
    checkpoint.save_weights(folder, 0, checkpoint.plain_weights(model), about)
    checkpoint.point(folder, "best", 0)


def _folder(name: str | Path) -> Path:
    folder = user_path(name)
    try:
        there = folder.is_dir()
    except (OSError, ValueError):  # a name too long for the disk, or with a null byte
        there = False
    if not there:
        raise CheckpointError(
            f"{str(name)[:200]} is no folder and none of {', '.join(SHAPES)}; give a folder with "
            f"{CONFIG}, {WEIGHTS} and a tokenizer, or one of these names"
        )
    return folder


def _settings(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    if not path.is_file():
        raise CheckpointError(
            f"{folder} has no {CONFIG}; give the folder that save_pretrained or `gptlib export` "
            "wrote, or copy the file from where the model came"
        )
    try:
        settings = json.loads(path.read_bytes())
        kind = settings.get("model_type")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error)[:100]}); copy it again from where it came"
        ) from error
    if kind != "gpt2":
        raise ConfigError(
            f"{folder} holds a model of the kind {str(kind)[:40]!r}, and gptlib reads 'gpt2'; give "
            "a model of GPT-2's architecture"
        )
    return settings


def _weights_file(folder: Path) -> Path:
    path = folder / WEIGHTS
    if path.is_file():
        return path
    suffixes = {file.suffix for file in folder.iterdir()}
    if suffixes & {".bin", ".pt", ".pth", ".ckpt", ".pkl"}:
        raise CheckpointError(
            f"{folder} has its weights as a pickle, which may run any program when it is opened, "
            f"so it is not read; save them as {WEIGHTS}: model.save_pretrained(FOLDER)"
        )
    if path.suffix in suffixes:
        raise CheckpointError(
            f"{folder} has its weights in several files; save them as one: "
            "model.save_pretrained(FOLDER, max_shard_size='100GB')"
        )
    raise CheckpointError(f"{folder} has no {WEIGHTS}; copy it from where the model came")


def _read(path: Path) -> dict[str, Tensor]:
    try:
        return safetensors.torch.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{path} is cut short or no safetensors file ({str(error)[:100]}); copy it again from "
            "where it came"
        ) from error
