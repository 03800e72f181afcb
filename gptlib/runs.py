"""Run folders: what a training run leaves behind, and how to get a model back from one.

One job: `Run`, `load_run`, reading the folder's files, and telling one run from another.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gptlib import checkpoint, tuning
from gptlib.errors import CheckpointError, ConfigError
from gptlib.files import may_not_read
from gptlib.files import read_jsonl as read_jsonl  # the logs of a run folder are read by this name
from gptlib.model import GPT, GPTConfig
from gptlib.paths import kept_path, user_path
from gptlib.resizing import resize_vocab
from gptlib.resources import data_path
from gptlib.runtime import find_device
from gptlib.tokenizers import BPETokenizer, Tokenizer, load_tokenizer
from gptlib.train_config import FREE, OVERRIDABLE, TrainConfig

# A setting that is younger than a run had its default then.
DEFAULTS = {"model": asdict(GPTConfig()), "train": asdict(TrainConfig())}


@dataclass(frozen=True)
class Run:
    """What `Trainer.fit` returns.

    Attributes:
        run_dir: the folder. model: the network as it is after the last step.
        step: updates made so far. finished: False if the run was stopped and can be resumed.
        best_val, best_step: lowest validation loss in nats per token, and where it was.
        last_val: the latest validation loss. log: the lines of `log.jsonl`.
        stopped_early: it finished before the end of the schedule, for want of `patience`.
    """

    run_dir: Path
    model: GPT
    step: int
    finished: bool
    best_val: float
    best_step: int
    last_val: float
    log: list[dict]
    stopped_early: bool = False

    def __repr__(self) -> str:
        return (
            f"Run({self.run_dir}, step {self.step}, best {self.best_val:.4f} at step "
            f"{self.best_step}, last {self.last_val:.4f})"
        )


def load_run(
    run_dir: str | Path,
    which: str = "best",
    device: str = "cpu",
    base: GPT | str | Path | None = None,
) -> tuple[GPT, Tokenizer | None, dict]:
    """Load a trained model, ready to sample.

    Args:
        run_dir: a run folder, or the name of a model that ships with gptlib ("stories", "tales").
            A name wins over a folder of that name; "./tales" or a Path means the folder.
        which: "best" (lowest validation loss) or "latest".
        device: where to put the model: "cpu", "cuda", "cuda:1", "mps", or "auto" for the fastest.
        base: the model that a run of LoRA or of the last blocks began with, or its run folder,
            since such a run holds only what it trained; None for the folder that its note names
            (`initial_weights`). What is returned is whole and plain, with LoRA merged into it.

    Returns:
        (model in evaluation mode, tokenizer, manifest of the checkpoint). The tokenizer is None
        where the run was trained on bare ids.

    Raises:
        CheckpointError: no such folder, nothing saved in it yet, the checkpoint is damaged or may
            not be read, or its weights or the tokenizer beside it are of another model; the base
            is another one than the run began with, or nobody says which.
        ConfigError: `which` is neither "best" nor "latest".
        DeviceError: this machine does not have the device.
    """
    if which not in ("best", "latest"):
        raise ConfigError(f"which is {which!r}; use 'best' or 'latest'")
    device = find_device(device)
    folder = run_folder(run_dir)
    weights, manifest = _first_whole(folder, which)
    try:
        config = GPTConfig.from_dict(manifest["model"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{run_dir} does not say what model it holds ({error}); was it made by gptlib?"
        ) from error
    part = manifest.get("tuning")
    if part is None:
        _check_size(config, weights)
    model = GPT(config)
    if part is None:
        checkpoint.load_weights(model, weights)
    tokenizer = _tokenizer_of(folder, manifest)
    if part is not None:
        _load_base(model, folder, manifest, tokenizer, base)
        tuning.complete(model, weights, part)
    return model.eval().to(device), tokenizer, manifest


def _tokenizer_of(folder: Path, manifest: dict) -> Tokenizer | None:
    """The tokenizer beside a run, if it had one."""
    if manifest.get("tokenizer", "") is None and not os.path.isdir(folder / "tokenizer"):
        return None
    tokenizer = load_tokenizer(folder / "tokenizer")
    if manifest.get("tokenizer") not in (None, tokenizer.sha256):
        raise CheckpointError(
            f"{folder} has another tokenizer than the one it was trained with: its sha256 begins "
            f"{tokenizer.sha256[:8]}, not {str(manifest['tokenizer'])[:8]}; copy the run again"
        )
    return tokenizer


def _load_base(
    model: GPT, folder: Path, manifest: dict, tokenizer: Tokenizer | None,
    base: GPT | str | Path | None,
) -> None:  # fmt: skip
    """Give a model the weights that a run of one of its parts began with."""
    if isinstance(base, GPT):
        return checkpoint.load_weights(model, checkpoint.plain_weights(base))
    note = manifest.get("note")
    initial = note.get("initial") if isinstance(note, dict) else None
    initial = initial if isinstance(initial, dict) else {}
    named, beside = base or initial.get("run"), initial.get("from_run")
    if base is None and isinstance(beside, str) and os.path.isdir(folder / beside):
        named = folder / beside  # seen from here, whoever looks from where
    way_out = f"give it: load_run({str(folder)!r}, base=…), a model or its run folder"
    if not isinstance(named, str | Path):
        raise CheckpointError(
            f"{folder} holds only what it trained, and does not say of which model; {way_out}"
        )
    try:
        if run_folder(named).resolve() == folder.resolve():
            raise CheckpointError("that is this folder itself")
        initial_weights(model, named, tokenizer)
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} holds only what it trained of {named}, and {error}; {way_out}"
        ) from error


def initial_weights(model: GPT, run: str | Path, tokenizer: Tokenizer | None = None) -> dict:
    """Give a new model the weights of a finished run, to train it on from there.

    Args:
        model: of the run's shape; what is left out in training may differ (dropout).
        run: a run folder, or a model that ships with gptlib; its best checkpoint is taken.
        tokenizer: of the new run; it has to be the old one, since ids mean nothing else, or the old
            one with more special tokens, whose rows begin as `gptlib.resizing` says.

    Returns:
        What to keep in the new run's note: which run, which step and which weights, and the special
        tokens that were added.

    Raises:
        CheckpointError: it cannot be loaded, or is of another shape or another tokenizer.
    """
    source, old_tokenizer, manifest = load_run(run)
    added: list[str] = []
    if isinstance(tokenizer, BPETokenizer) and old_tokenizer is not None:
        added = tokenizer.added_to(old_tokenizer)
        if added:
            source = resize_vocab(source, tokenizer, model.config.vocab_size)
            old_tokenizer = tokenizer
    old, new = source.config.to_dict(), model.config.to_dict()
    differences = [
        f"{name} is {old[name]!r} there and {new[name]!r} here"
        for name in old
        if old[name] != new[name] and name not in ("dropout", "attn_dropout")
    ]
    if tokenizer is not None and old_tokenizer is not None and tokenizer != old_tokenizer:
        differences.append(
            f"the tokenizer's sha256 begins {old_tokenizer.sha256[:8]} there and "
            f"{tokenizer.sha256[:8]} here"
        )
    if differences:
        raise CheckpointError(
            f"{run} cannot be where this run begins: {'; '.join(differences)}; give the new run "
            "the same shape and the tokenizer of the old one"
        )
    checkpoint.load_weights(model, checkpoint.plain_weights(source))
    weights = manifest["sha256"][checkpoint.MODEL]
    note = {"run": kept_path(run), "step": manifest["step"], "weights_sha256": weights}
    return note | ({"added_tokens": added} if added else {})


def _is_there(folder: Path) -> bool:
    """Like `Path.exists`, without an error where a name is too long.

    Raises:
        CheckpointError: only a permission is missing to tell.
    """
    try:
        os.stat(folder)
    except PermissionError as error:
        raise may_not_read(folder, error) from error
    except (OSError, ValueError):
        return False
    return True


def run_folder(run_dir: str | Path) -> Path:
    """The folder of a shipped model's name or of a path: the rule of `load_corpus`."""
    if isinstance(run_dir, str) and (shipped := _shipped(run_dir)):
        if os.path.isdir(run_dir):
            warnings.warn(
                f"{run_dir} is the model that ships with gptlib; the folder of that name here is "
                f"./{run_dir}",
                stacklevel=3,
            )
        return shipped
    folder = user_path(run_dir)
    if not _is_there(folder):
        raise CheckpointError(
            f"{str(run_dir)[:200]} is neither a run folder nor a model that ships with gptlib "
            "(stories, tales); check the path, or train one with `gptlib train --out`"
        )
    return folder


def _shipped(name: str) -> Path | None:
    """The folder of a model that ships with gptlib, or None where none has that name."""
    return next((p for p in data_path("models").iterdir() if p.name == name), None)


class _Unfilled(TorchFunctionMode):
    """Inside it modules are made without drawing weights, which on the meta device would import
    torch's compiler."""

    def __torch_function__(
        self, func: Callable, types: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _check_size(config: GPTConfig, weights: dict[str, Tensor]) -> None:
    """Refuse a config that the weights do not fill before memory is taken for it."""
    found, expected = sum(w.numel() for w in weights.values()), None
    if config.n_layer <= len(weights):
        with torch.device("meta"), _Unfilled(), suppress(RuntimeError):  # sizes that overflow
            learned = GPT(replace(config, rotary=False))
            positions = learned.transformer.wpe.weight.numel() if config.rotary else 0
            expected = learned.num_params() - positions  # rotary ones have no weights
    if found != expected:
        raise CheckpointError(
            f"the checkpoint has {found:,} weights, and its manifest speaks of a model of "
            f"{config.n_layer} layers with {'more' if expected is None else f'{expected:,}'}; "
            "was it made by gptlib?"
        )


def _first_whole(folder: Path, which: str) -> tuple[dict, dict]:
    """The weights and manifest of the checkpoint asked for, or of the newest that is whole."""
    steps = reversed(checkpoint.saved_steps(folder))
    places = [checkpoint.pointed(folder, which), *(checkpoint.folder_of(folder, s) for s in steps)]
    problems = []
    for place in dict.fromkeys(p for p in places if p is not None):
        try:
            found = checkpoint.load_model(place)
        except CheckpointError as error:
            if isinstance(error.__cause__, PermissionError):
                raise  # to be mended, not passed over
            problems.append(str(error))
            continue
        if problems:
            warnings.warn(f"passed over: {problems[0]}; using {place.name}", stacklevel=3)
        return found
    reason = "; ".join(problems[:3]) or "nothing was saved yet"
    raise CheckpointError(
        f"{folder} has no whole checkpoint to load: {reason}; restore one from a copy, or train "
        "it for longer"
    )


def check_same_run(before: dict, now: dict, override: bool = False) -> None:
    """Refuse to resume under other settings; warn when only the thread count differs.

    Args:
        before, now: what a run's manifest says of it, and what the trainer was given.
        override: let the settings in `train_config.OVERRIDABLE` differ too.

    Raises:
        CheckpointError: a setting outside `train_config.FREE`, the shape, the data or the tokenizer
            differs; the message spells out each difference.
    """
    free = (*FREE, *OVERRIDABLE) if override else FREE
    differences = []
    for part in ("model", "train", "data", "tokenizer", "tuning"):
        old, new = before.get(part), now.get(part)
        if part in DEFAULTS and isinstance(old, dict):
            old = DEFAULTS[part] | old
        if not isinstance(old, dict) or not isinstance(new, dict):
            old, new = {part: old}, {part: new}
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key) and not (part == "train" and key in free):
                differences.append(f"{key} was {old.get(key)!r} and is now {new.get(key)!r}")
    if differences:
        raise CheckpointError(
            f"this folder holds another run: {'; '.join(differences)}; use the same settings or "
            f"another folder (--override lets {', '.join(OVERRIDABLE)} change)"
        )
    if before.get("threads") != now["threads"]:
        warnings.warn(
            f"the run began with {before.get('threads')} threads and goes on with "
            f"{now['threads']}: sums may round differently, so it is no longer exact",
            stacklevel=4,
        )
