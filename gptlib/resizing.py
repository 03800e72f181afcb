"""More ids for a model that is trained already, such as the marks of stories.

One job: `resize_vocab`. What the model knew stays, bit for bit. A new token's row begins as the
mean of the old ones (Hewitt 2021): its score is then the mean of theirs, and k such tokens divide
no probability by more than 1 + k / V. A row drawn at random scores about zero, which is higher than
all others in a model whose scores lie far below zero, as GPT-2's do.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from gptlib.errors import ConfigError
from gptlib.model import GPT
from gptlib.tokenizers import Tokenizer

BEGINNINGS = ("mean", "random")


def resize_vocab(
    model: GPT, size: int | Tokenizer, multiple: int = 64, new: str = "mean", seed: int = 0
) -> GPT:
    """A model with rows for more tokens, in its token table and in an untied head.

    Derived in chapter 7, *How does a trained model learn a new mark?*

    Args:
        model: stays as it is.
        size: tokens that the new model is to know, or the tokenizer that has them, such as
            `tokenizer.with_special(marks)`: its ids below `model.config.known_ids` must mean what
            they meant.
        multiple: what the rows are rounded up to a multiple of; those that are no token are the new
            `padding_ids`, which are never drawn.
        new: how new rows begin: as the "mean" of the old tokens' rows, or "random", as in a model
            that knows nothing, from N(0, 0.02).
        seed: of what is drawn.

    Returns:
        A GPT on the same device, of the same number type and in the same mode. Its first
        `known_ids` rows and all other weights are the old ones. Old padding is no token's row: it
        becomes a new token's, or padding, and begins as all new rows do.

    Raises:
        ConfigError: fewer tokens than the model knows, a multiple below 1, an unknown `new`, or a
            model that only a part of is trained.
    """
    if model.tuning is not None:
        raise ConfigError(
            "the model is tuned in part, and new rows would be frozen as they begin; resize it "
            "first, or merge its LoRA with merge_lora"
        )
    known = model.config.known_ids
    wanted = size if isinstance(size, int) else size.vocab_size
    if isinstance(wanted, bool) or wanted < known:
        raise ConfigError(
            f"the new vocabulary has {wanted!r} ids and the model knows {known}; it can only grow: "
            "give a tokenizer made of the old one by with_special"
        )
    if type(multiple) is not int or multiple < 1:
        raise ConfigError(f"multiple is {multiple!r}; give a whole number of 1 or more, such as 64")
    if new not in BEGINNINGS:
        raise ConfigError(f"new is {new!r}; use one of {', '.join(BEGINNINGS)}")
    padding = -wanted % multiple
    config = replace(model.config, vocab_size=wanted + padding, padding_ids=padding)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        grown = GPT(config).to(model.device, model.dtype)
    weights = model.state_dict()
    for name, drawn in grown.state_dict().items():
        if name in ("transformer.wte.weight", "lm_head.weight"):
            weights[name] = _rows(weights[name][:known], drawn, new)
    grown.load_state_dict(weights)
    grown.recompute, grown.loss_chunk = model.recompute, model.loss_chunk
    return grown.train(model.training)


def _rows(old: Tensor, drawn: Tensor, new: str) -> Tensor:
    """The old rows (known, C), and below them new ones: (V, C) like `drawn`."""
    below = drawn[len(old) :].clone()
    if new == "mean":
        below[:] = old.double().mean(0).to(old.dtype)
    return torch.cat([old, below])
