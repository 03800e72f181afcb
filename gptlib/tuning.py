"""What a run of fine-tuning keeps: the weights that it trains, and a hash of those it does not.

One job: `own_weights` of a model that says in `tuning` how it is tuned, their way back in
(`put_back`), and `complete`, which makes a plain model of them and of the one they were trained on.
Frozen weights are the same in every checkpoint, so none holds them: a run of LoRA on GPT-2 saves
one megabyte where a full one saves five hundred.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gptlib import checkpoint
from gptlib.errors import CheckpointError
from gptlib.model import GPT


def lora_scale(rank: int, alpha: float, rslora: bool = False) -> float:
    """What LoRA multiplies B A by: alpha / rank (Hu et al. 2021), or alpha / sqrt(rank), at which
    a layer learns as fast at every rank (rsLoRA: Kalajdzievski 2023)."""
    return alpha / (math.sqrt(rank) if rslora else rank)


def merged(weight: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    """One matrix (out, in) that does what `weight` (out, in) does with A (rank, in) and B (out,
    rank) beside it.

    Derived in chapter 8, *How many directions does a style have?*
    """
    return weight + B @ A * scale


def own_weights(model: GPT) -> dict[str, Tensor]:
    """What a checkpoint holds of a model: all of it, or what is trained where it is `tuning`."""
    if model.tuning is None:
        return checkpoint.plain_weights(model)
    own, first = checkpoint.plain_weights(model, _trained(model).__contains__), new_rows(model)
    return {name: t[first[name] :].clone() if name in first else t for name, t in own.items()}


def put_back(model: GPT, weights: dict[str, Tensor]) -> None:
    """Give a model, prepared as it was then, what `own_weights` said.

    Raises:
        CheckpointError: a tensor is missing, unknown, or of another shape.
    """
    if model.tuning is None:
        return checkpoint.load_weights(model, weights)
    if lost := sorted(_trained(model) - weights.keys()):
        raise CheckpointError(
            f"the checkpoint does not fit the model: {lost[0]} is missing; prepare the model as "
            "it was for the run"
        )
    tables = {
        name: torch.cat([model.get_parameter(name).detach()[:first].cpu(), weights[name]])
        for name, first in new_rows(model).items()
    }
    checkpoint.load_weights(model, weights | tables, part=True)


def new_rows(model: GPT) -> dict[str, int]:
    """The tables of which only the rows of new tokens are trained
    (`gptlib.finetuning.train_new_rows`), and the first of these rows."""
    return dict((model.tuning or {}).get("new_rows", {}))


def about(model: GPT) -> dict[str, Any] | None:
    """What a manifest tells of the tuning: how, and the hash of what it leaves alone; None where
    all is trained."""
    if model.tuning is None:
        return None
    trained = _trained(model)
    frozen = checkpoint.plain_weights(model, lambda name: name not in trained)
    tables = checkpoint.plain_weights(model, new_rows(model).__contains__)
    frozen |= {name: table[: new_rows(model)[name]] for name, table in tables.items()}
    return {**model.tuning, "frozen_sha256": _sha256(frozen)}


def complete(model: GPT, weights: Mapping[str, Tensor], tuning: Mapping[str, Any]) -> None:
    """Put what a run trained into a plain model that holds the rest, in place; LoRA is merged.

    Args:
        model: with the weights that the run began with.
        weights, tuning: the run's own, and what `about` said of them.

    Raises:
        CheckpointError: the run was trained on another model, or is not one of gptlib.
    """
    whole = checkpoint.plain_weights(model)
    frozen = {name: tensor for name, tensor in whole.items() if name not in weights}
    try:
        rows = {name: whole[name][:first] for name, first in tuning.get("new_rows", {}).items()}
        frozen |= rows
        if _sha256(frozen) != tuning["frozen_sha256"]:
            raise CheckpointError(
                "these weights were trained on another model than the one they are to complete: "
                f"the sha256 of what was frozen begins {tuning['frozen_sha256'][:8]} there and "
                f"{_sha256(frozen)[:8]} here; give the one that the run began with"
            )
        if tuning["method"] == "lora":
            scale = lora_scale(tuning["rank"], tuning["alpha"], tuning["rslora"])
            for name in [n.removesuffix(".lora_A") for n in weights if n.endswith(".lora_A")]:
                pair = weights[f"{name}.lora_A"], weights[f"{name}.lora_B"]
                whole[f"{name}.weight"] = merged(whole[f"{name}.weight"], *pair, scale)
        else:
            whole |= weights
        whole |= {name: torch.cat([old, weights[name]]) for name, old in rows.items()}
    except (KeyError, TypeError, ValueError, ZeroDivisionError, RuntimeError) as error:
        raise CheckpointError(
            f"what was trained does not say how it belongs to its model ({type(error).__name__}: "
            f"{error}); was it made by gptlib?"
        ) from error
    checkpoint.load_weights(model, whole)


def _trained(model: GPT) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


def _sha256(weights: Mapping[str, Tensor]) -> str:
    """The hash of weights by the names that they have in a plain model; in float32, since a model
    that was trained in fewer bits is loaded in these."""
    digest = hashlib.sha256()
    plain = {name.replace(".base.", "."): tensor for name, tensor in weights.items()}
    for name, tensor in sorted(plain.items()):
        tensor = tensor.float() if tensor.is_floating_point() else tensor
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
