"""LoRA: a frozen matrix and, beside it, a small change of low rank that is all that is trained.

One job: `add_lora` and `merge_lora` (Hu et al. 2021), in place, and `tune_last`, the plain rival
that trains the last blocks. A layer y = W x becomes y = W x + B A x · scale with A (rank, in) and
B (out, rank). B begins at zero, so the adapted model is the old one until the first update. Equal
to `peft` in outputs, gradients and merged weights. What is trained is all that a `Trainer` saves
(`gptlib.tuning`), `load_run` merges it into its model, and an optimizer never sees the rest.

A base in eight bits works as well: quantize first, then add LoRA, or the other way round. What is
quantized cannot be merged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.errors import ConfigError, nearest
from gptlib.model import GPT
from gptlib.quantization.int8 import Int8Linear
from gptlib.tuning import lora_scale, merged

ALL = "all-linear"


class LoRALinear(nn.Module):
    """A linear layer (…, in) -> (…, out) that is frozen, and two thin matrices that are trained.

    Derived in chapter 8, *How many directions does a style have?*

    Dropout thins out what A reads, in training only; the frozen layer always reads all of it.
    """

    def __init__(
        self, base: nn.Linear | Int8Linear, rank: int, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.base, self.scale = base.requires_grad_(False), scale
        self.lora_A = nn.Parameter(torch.empty(rank, base.in_features))
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))  # so B A is zero at first
        # As in the authors' own code and peft. Were A zero too, neither would have a gradient.
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        change = F.linear(F.linear(self.dropout(x), self.lora_A), self.lora_B)  # never (out, in)
        return self.base(x) + change * self.scale


def add_lora(
    model: GPT,
    rank: int,
    alpha: float,
    targets: str | Sequence[str] = ("c_attn",),
    dropout: float = 0.0,
    rslora: bool = False,
) -> GPT:
    """Freeze a model and put LoRA beside its linear layers, in place.

    Args:
        model: its weights become those that are never changed.
        rank: of the change, from 1 to the shorter side of each matrix.
        alpha: the change is multiplied by alpha / rank, so that another rank needs no other
            learning rate at once. 2 * rank is usual.
        targets: which layers: "c_attn", "c_proj" (of attention and of the MLP; "attn.c_proj" is
            the first alone), "c_fc", an untied "lm_head"; or "all-linear": all but the head.
        dropout: the share of A's inputs that are left out in training.
        rslora: divide alpha by sqrt(rank) instead, which suits high ranks.

    Returns:
        The model. Its parameters are named `….lora_A` and `….lora_B`, so sorted as peft's are.
        A is drawn by torch's generator.

    Raises:
        ConfigError: it is tuned already, a target is none of its layers, or a number cannot be.
    """
    refuse_tuned(model)
    targets = target_names(model, targets)
    layers = chosen_layers(model, targets)
    check_numbers(layers, rank, alpha, dropout)
    model.requires_grad_(False)
    for name, layer in layers.items():
        adapted = LoRALinear(layer, rank, lora_scale(rank, alpha, rslora), dropout)
        adapted.to(device=model.device, dtype=model.dtype).train(layer.training)
        model.set_submodule(name, adapted)
    model.tuning = {
        "method": "lora", "rank": rank, "alpha": alpha, "dropout": dropout, "rslora": rslora,
        "targets": sorted({*targets}),
    }  # fmt: skip
    return model


def merge_lora(model: GPT) -> GPT:
    """Add what LoRA learned to the weights beside it, in place.

    Derived in chapter 8, *How many directions does a style have?*

    Returns:
        The model: plain linear layers again, all of it trainable, as fast as before; its outputs
        are those of the adapted one, within rounding.

    Raises:
        ConfigError: it has no LoRA, or its weights are in eight bits, where most of the change
            would be lost in rounding.
    """
    layers = lora_layers(model)
    for name, layer in layers.items():
        if not isinstance(layer.base, nn.Linear):
            raise ConfigError(
                f"{name} is in eight bits, whose steps are wider than most of what LoRA changes; "
                "merge into the model as it was before quantize_model, then quantize the result"
            )
    for name, layer in layers.items():
        weight: Tensor = layer.base.weight  # pyrefly: ignore[bad-assignment]  checked above
        with torch.no_grad():
            weight.copy_(merged(weight, layer.lora_A, layer.lora_B, layer.scale))
        model.set_submodule(name, layer.base)
    model.requires_grad_(True)
    model.tuning = None
    return model


def tune_last(model: GPT, n: int) -> GPT:
    """Freeze all of a model but its last n blocks, the final norm and a head of its own, in place.

    A head that is the token table as well stays frozen: to train it is to change what the first
    block reads.

    Raises:
        ConfigError: it is tuned already, or has fewer blocks.
    """
    refuse_tuned(model)
    blocks = model.transformer.h
    if type(n) is not int or not 1 <= n <= len(blocks):
        raise ConfigError(f"n is {n!r}; give 1 to {len(blocks)}, which is all the model's blocks")
    model.requires_grad_(False)
    head = [] if model.config.tied_head else [model.lm_head]
    for module in (*blocks[-n:], model.transformer.ln_f, *head):
        module.requires_grad_(True)
    model.tuning = {"method": "last", "blocks": n}
    return model


def trainable(model: GPT) -> tuple[int, int]:
    """(Parameters that are trained, all of them), LoRA's among both."""
    return model.num_params(trainable=True), model.num_params()


def lora_layers(model: GPT) -> dict[str, LoRALinear]:
    """The layers with LoRA by name.

    Raises:
        ConfigError: there is none.
    """
    found = {name: m for name, m in model.named_modules() if isinstance(m, LoRALinear)}
    if not found:
        raise ConfigError("the model has no LoRA; add it with add_lora, or load it with load_lora")
    return found


def refuse_tuned(model: GPT) -> None:
    """Raise a ConfigError where `add_lora` or `tune_last` have been."""
    if model.tuning is not None:
        raise ConfigError(
            f"the model is tuned already ({', '.join(f'{k} {v}' for k, v in model.tuning.items())})"
            "; merge_lora makes a plain model of one with LoRA, or load the model anew"
        )


def target_names(model: GPT, targets: str | Sequence[str]) -> list[str]:
    """Targets as a list of layers' names; "all-linear" spelled out."""
    names = [targets] if isinstance(targets, str) else list(targets)
    if names == [ALL]:
        return sorted({name.rpartition(".")[2] for name in _linears(model)} - {"lm_head"})
    return names


def chosen_layers(model: GPT, targets: str | Sequence[str]) -> dict[str, nn.Linear | Int8Linear]:
    """The layers that targets mean, by name: a target is the end of a name, as in peft.

    Raises:
        ConfigError: a target is none of them, or there is no target.
    """
    linears = _linears(model)
    known = sorted({name.rpartition(".")[2] for name in linears})
    names, chosen = target_names(model, targets), set()
    for target in names:
        matching = {n for n in linears if f".{n}".endswith(f".{target}")}
        if not matching or not target:
            tied = " (the head is the token table)" if target == "lm_head" else ""
            raise ConfigError(
                f"targets has {target!r}, and the model's linear layers are {', '.join(known)}"
                f"{tied}; give some of these, or {ALL!r}{nearest(target, known)}"
            )
        chosen |= matching
    if not chosen:
        raise ConfigError(f"targets is empty; give some of {', '.join(known)}, or {ALL!r}")
    return {name: layer for name, layer in linears.items() if name in chosen}


def _linears(model: GPT) -> dict[str, nn.Linear | Int8Linear]:
    """A model's linear layers by name, without a head that is the token table as well."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Int8Linear)
        and not (name == "lm_head" and model.config.tied_head)
    }


def check_numbers(
    layers: dict[str, nn.Linear | Int8Linear], rank: object, alpha: object, dropout: object
) -> None:
    """Refuse numbers that make no LoRA.

    Raises:
        ConfigError: see `add_lora`.
    """
    name, most = min(
        ((name, min(m.in_features, m.out_features)) for name, m in layers.items()),
        key=lambda pair: pair[1],
    )
    if type(rank) is not int or not 1 <= rank <= most:
        raise ConfigError(
            f"rank is {rank!r}; give 1 to {most}, the shorter side of {name}: no matrix of that "
            "shape has a higher rank"
        )
    if not (isinstance(alpha, int | float) and math.isfinite(alpha) and alpha > 0):
        raise ConfigError(f"alpha is {alpha!r}; give a number above 0, such as {2 * rank}")
    if not (isinstance(dropout, int | float) and 0 <= dropout < 1):
        raise ConfigError(f"dropout is {dropout!r}; give a share from 0 up to, not including, 1")
