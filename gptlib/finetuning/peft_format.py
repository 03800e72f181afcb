"""LoRA on a disk in peft's format: two files that peft loads, and that gptlib loads from peft.

One job: `save_lora` and `load_lora`. `adapter_config.json` says what was added where,
`adapter_model.safetensors` holds every A and B under the names of a `GPT2LMHeadModel`. peft itself
is not needed. transformers stores GPT-2's matrices transposed (`Conv1D`), but A and B are (rank,
in) and (out, rank) on both sides: only a merge has to turn B A, and `fan_in_fan_out` says so.

The config is written last and removed first: a folder that has one is whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from gptlib.errors import CheckpointError, ConfigError
from gptlib.files import may_not_read, sync_folder, way_out, write_atomic
from gptlib.finetuning.lora import (
    add_lora,
    check_numbers,
    chosen_layers,
    lora_layers,
    refuse_tuned,
)
from gptlib.model import GPT
from gptlib.paths import user_path

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
#: What peft's config has to say, or not to say, of what is no plain LoRA.
_PLAIN: dict[str, tuple] = {
    "bias": ("none",), "use_dora": (False,), "modules_to_save": (None, []),
    "layers_to_transform": (None, []), "exclude_modules": (None, []), "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None), "layer_replication": (None, []), "use_qalora": (False,),
    "trainable_token_indices": (None, [], {}), "target_parameters": (None, []),
    "lora_bias": (False,), "alora_invocation_tokens": (None, []), "use_bdlora": (None,),
    "velora_config": (None,), "arrow_config": (None,), "kasa_config": (None,),
    "monteclora_config": (None,),
}  # fmt: skip


def save_lora(model: GPT, folder: str | Path) -> None:
    """Write what LoRA learned, without the model, to be loaded by peft or by `load_lora`.

    `PeftModel.from_pretrained(to_hf(base), folder)` is then the adapted model in transformers. What
    the folder held in peft's format is replaced.

    Raises:
        ConfigError: the model has no LoRA.
        CheckpointError: the folder cannot be written.
    """
    layers, folder, settings = lora_layers(model), user_path(folder), model.tuning or {}
    weights = {
        f"{_PREFIX}{name}.{part}.weight": getattr(layer, part).detach().cpu().contiguous()
        for name, layer in layers.items()
        for part in ("lora_A", "lora_B")
    }
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": None,
        "r": settings["rank"], "lora_alpha": settings["alpha"],
        "lora_dropout": settings["dropout"], "use_rslora": settings["rslora"],
        "target_modules": settings["targets"], "fan_in_fan_out": True, "bias": "none",
        "init_lora_weights": True, "inference_mode": True,
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).unlink(missing_ok=True)
        sync_folder(folder)
        data = safetensors.torch.save(weights, metadata={"format": "pt"})
        write_atomic(folder / WEIGHTS, data)
        write_atomic(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())
    except OSError as error:
        raise CheckpointError(
            f"LoRA could not be saved in {folder} ({error.strerror or error}); {way_out(error)}"
        ) from error


def load_lora(model: GPT, folder: str | Path) -> GPT:
    """Add to a model the LoRA that `save_lora` or peft's `save_pretrained` wrote, in place.

    It is the model that LoRA was trained on, or all is in vain: the files do not say which.

    Returns:
        The model, frozen but for its LoRA, as from `add_lora`.

    Raises:
        CheckpointError: the folder is not whole, or was made for a model of another shape; the
            model is as it was.
        ConfigError: it holds what gptlib does not have, such as DoRA, or the model is tuned
            already.
    """
    folder = user_path(folder)
    refuse_tuned(model)
    settings = _settings(folder)
    weights = _weights(folder)
    try:
        layers = chosen_layers(model, settings["targets"])
        check_numbers(layers, settings["rank"], settings["alpha"], settings["dropout"])
    except ConfigError as error:
        raise CheckpointError(f"{folder} does not fit the model: {error}") from error
    rank = settings["rank"]
    shapes: dict[str, tuple[int, int]] = {}
    for name, layer in layers.items():
        shapes[f"{name}.lora_A"] = rank, layer.in_features
        shapes[f"{name}.lora_B"] = layer.out_features, rank
    problems = [f"{name} is missing" for name in shapes if name not in weights] + [
        f"{name} is {tuple(tensor.shape)} there and {shapes.get(name, 'unknown')} here"
        for name, tensor in weights.items()
        if tuple(tensor.shape) != shapes.get(name)
    ]
    if problems:
        raise CheckpointError(
            f"{folder} does not fit the model: {'; '.join(problems[:3])}; give the model that it "
            "was trained on"
        )
    add_lora(model, **settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                parameter.copy_(weights[name])
    return model


def _settings(folder: Path) -> dict[str, Any]:
    """What `add_lora` is to be given, from the config."""
    config = _read_config(folder / CONFIG)
    if config.get("peft_type") != "LORA":
        raise ConfigError(
            f"{folder / CONFIG} is of the kind {str(config.get('peft_type'))[:40]!r}, and gptlib "
            "has LoRA alone; load it with peft"
        )
    odd = [f"{key}={config[key]!r}"[:60] for key, plain in _PLAIN.items()
           if key in config and config[key] not in plain]  # fmt: skip
    if odd:
        raise ConfigError(
            f"{folder / CONFIG} has {', '.join(odd)}, which gptlib's LoRA does not do; load it "
            "with peft and merge it there"
        )
    targets = config.get("target_modules")
    if not (isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets)):
        raise ConfigError(
            f"{folder / CONFIG} has target_modules {str(targets)[:60]!r}, and gptlib reads a list "
            "of names; save it again with one"
        )
    return {
        "rank": config.get("r"), "alpha": config.get("lora_alpha"), "targets": sorted(targets),
        "dropout": config.get("lora_dropout", 0.0), "rslora": config.get("use_rslora") is True,
    }  # fmt: skip


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_bytes())
        if not isinstance(config, dict):
            raise ValueError("no object")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path.parent} has no {CONFIG}; give the folder that save_lora or peft's "
            "save_pretrained wrote, and if a save was cut off, save again"
        ) from error
    except PermissionError as error:
        raise may_not_read(path.parent, error) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error)[:100]}); copy it again from where it came"
        ) from error
    return config


def _weights(folder: Path) -> dict[str, Tensor]:
    """Every A and B by its name in gptlib."""
    path = folder / WEIGHTS
    try:
        saved = safetensors.torch.load(path.read_bytes())
    except PermissionError as error:
        raise may_not_read(folder, error) from error
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({str(error)[:100]}); save it as safetensors, or copy it again "
            "from where it came"
        ) from error
    return {name.removeprefix(_PREFIX).removesuffix(".weight"): t for name, t in saved.items()}
