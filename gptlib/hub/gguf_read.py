"""A GGUF file as a `GPT` and its tokenizer: what `gptlib export --to gguf` wrote, or who else did.

One job: `from_gguf`. Of llama.cpp's architectures it knows the one that a `GPT` is, "gpt2". The
weights become float32, whatever they were rounded to: quantized ones are read exactly as llama.cpp
reads them, so that what is measured here is that file. (llama.cpp also rounds what flows through a
quantized matrix, to eight bits.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gptlib.errors import CheckpointError, ConfigError, TokenizerError
from gptlib.hub.gguf_file import PARTS, TABLES, TRANSPOSED, gguf_package
from gptlib.hub.tokenizer_file import bpe_of_merges
from gptlib.hub.weights import from_weights, without_padding
from gptlib.model import GPT
from gptlib.paths import user_path
from gptlib.tokenizers import BPETokenizer

SUFFIX = ".gguf"
_SHAPE = {
    "n_positions": "context_length", "n_embd": "embedding_length", "n_layer": "block_count",
    "n_head": "attention.head_count", "n_inner": "feed_forward_length",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}  # fmt: skip
_PART_OF = {theirs: ours for ours, theirs in PARTS.items()}
_TABLE_OF = {theirs: ours for ours, theirs in TABLES.items()}


def from_gguf(path: str | Path) -> tuple[GPT, BPETokenizer]:
    """Load a GPT-2 from a GGUF file.

    A model whose biases are all zero comes back without any: a file does not say which it was. The
    dropout of its training is not in the file either.

    Args:
        path: the file.

    Returns:
        (model in evaluation mode, in float32 on the CPU; tokenizer).

    Raises:
        CheckpointError: no such file, or one that is cut short or no GGUF.
        ConfigError: another architecture than GPT-2's, or weights in a form that is not known; the
            package `gguf` is not installed.
        TokenizerError: its tokenizer is none that gptlib has.
    """
    gguf = gguf_package("reading")
    path = user_path(path)
    try:
        reader = gguf.GGUFReader(path)
        fields = {name: field.contents() for name, field in reader.fields.items()}
    except (OSError, ValueError, IndexError, KeyError, OverflowError) as error:
        raise CheckpointError(
            f"{path} is cut short or no GGUF file ({type(error).__name__}: {str(error)[:100]}); "
            "copy it again from where it came"
        ) from error
    kind = fields.get("general.architecture")
    if kind != "gpt2":
        raise ConfigError(
            f"{path} holds a model of the architecture {str(kind)[:40]!r}, and gptlib reads 'gpt2' "
            "alone; give a model of GPT-2's"
        )
    try:
        tokenizer = _tokenizer(fields, gguf)
        settings = {ours: fields[f"gpt2.{theirs}"] for ours, theirs in _SHAPE.items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} does not say all that a GPT-2's file has to ({type(error).__name__}: "
            f"{str(error)[:100]}); convert it again"
        ) from error
    weights = _weights(reader, path, gguf)
    head = weights.pop("lm_head.weight", None)
    table = weights.get("transformer.wte.weight")
    tied = head is None or (table is not None and torch.equal(head, table))  # older files have both
    rows = table.size(0) if table is not None and table.dim() else 0
    if head is not None and not tied:
        weights["lm_head.weight"] = head
    settings |= {
        "layer_norm_epsilon": round(settings["layer_norm_epsilon"], 12),  # a float32 in the file
        "vocab_size": rows, "tie_word_embeddings": tied, "bias": False, "resid_pdrop": 0.0,
        "embd_pdrop": 0.0, "attn_pdrop": 0.0,
    }  # fmt: skip
    return without_padding(from_weights(settings, weights).eval(), tokenizer.vocab_size), tokenizer


def _tokenizer(fields: dict[str, Any], gguf: Any) -> BPETokenizer:
    kind = fields["tokenizer.ggml.model"], fields.get("tokenizer.ggml.pre", "gpt-2")
    if kind != ("gpt2", "gpt-2"):
        raise TokenizerError(
            f"the file's tokenizer is {kind[0]!r}, cut as {kind[1]!r}; gptlib reads a byte-level "
            "BPE that is cut as 'gpt-2'"
        )
    tokens = fields["tokenizer.ggml.tokens"]
    types = fields["tokenizer.ggml.token_type"]
    known = [n for n, t in enumerate(types) if t != gguf.TokenType.UNUSED]  # padding
    special = [
        {"content": tokens[n], "id": n}
        for n in known
        if types[n] in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED)
    ]
    vocab = {tokens[n]: n for n in known}
    return bpe_of_merges(vocab, fields["tokenizer.ggml.merges"], special)


def _weights(reader: Any, path: Path, gguf: Any) -> dict[str, Tensor]:
    """The weights by the names of `GPT2LMHeadModel` and in its layout, in float32."""
    found = {}
    for tensor in reader.tensors:
        try:
            weight = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ConfigError(
                f"{path} has {tensor.name} as {tensor.tensor_type.name}, which the package gguf "
                "cannot turn back into floats; take a file in Q8_0, Q4_0, F16 or F32"
            ) from error
        name, turned = _name(tensor.name)
        weight = torch.from_numpy(np.array(weight, dtype=np.float32))
        found[name] = weight.t() if turned else weight
    return found


def _name(theirs: str) -> tuple[str, bool]:
    """Their name for a tensor as GPT-2's own, and whether that one is stored the other way."""
    if theirs in _TABLE_OF:
        return _TABLE_OF[theirs], False
    _, _, rest = theirs.partition(".")
    layer, _, part = rest.partition(".")
    part, _, kind = part.rpartition(".")
    name = f"transformer.h.{layer}.{_PART_OF.get(part, part)}.{kind}"
    return name, f"{part}.{kind}" in TRANSPOSED
