"""The two splits that a trainer is given: token arrays or shards, checked against the model.

One job: `open_split`, which refuses what cannot be trained on before anything is, and
`split_sha256`, which tells one split from another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gptlib.batches import Tokens
from gptlib.errors import DataError
from gptlib.model import GPTConfig
from gptlib.shards.read import ShardedTokens, open_shards
from gptlib.tokenizers.base import Tokenizer

#: What a split may be given as: ids, or the folder of their shards.
Split = Tokens | Sequence[int] | str | Path


def open_split(
    tokens: Split, name: str, config: GPTConfig, tokenizer: Tokenizer | None = None
) -> np.ndarray | ShardedTokens:
    """Return a split as a 1-D array, or as shards where `tokens` is a shard folder.

    Args:
        tokens: 1-D array of ids, a shard folder, or what `open_shards` returned.
        name: "train" or "val". config: the model that will read it.

    Raises:
        DataError: not 1-D integers; too short for the model; ids outside its vocabulary; a shard
            folder that is damaged or was made with another tokenizer.
    """
    if isinstance(tokens, str | Path):
        tokens = open_shards(tokens, name, tokenizer)
    elif not isinstance(tokens, ShardedTokens):
        tokens = np.asarray(tokens)
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise DataError(
                f"{name} is {tokens.dtype} of shape {tokens.shape}; give 1-D integer ids"
            )
    need = config.block_size + 1 if name == "train" else 2
    if len(tokens) < need:
        raise DataError(
            f"the {name} split has {len(tokens)} tokens; it needs {need} or more "
            f"(block_size is {config.block_size}): use a longer text or a smaller block_size"
        )
    if isinstance(tokens, ShardedTokens):  # made of ids below its own vocabulary's size
        low, high = 0, tokens.vocab_size - 1
    else:
        low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.known_ids:
        padding = f", of which {config.padding_ids} are padding" if config.padding_ids else ""
        raise DataError(
            f"the {name} split has token ids from {low} to {high}, but vocab_size is "
            f"{config.vocab_size}{padding}; was it encoded by another tokenizer?"
        )
    return tokens


def split_sha256(tokens: Tokens) -> str:
    """The sha256 of the ids, whatever integer type they are kept in."""
    if isinstance(tokens, ShardedTokens):
        return tokens.sha256
    return hashlib.sha256(np.asarray(tokens, dtype="<i8").tobytes()).hexdigest()
