"""A small Llama from the file that llama2.c reads, as `transformers` has it, and its tokenizer.

One job: `from_llama2c`. llama2.c (Karpathy 2023) keeps a model as seven whole numbers and a row of
float32s, and a tokenizer as pieces of text with scores. Its smallest models were really trained, on
TinyStories, and a quarter of a million weights are enough to tune on a processor: a true base model
to practice on where an 8B one does not fit.

The file, all in little-endian order, as `legacy_export` of llama2.c writes it: dim, hidden_dim,
n_layers, n_heads, n_kv_heads, vocab_size (negative where the head is a table of its own), seq_len;
then the token table; of all layers the attention's norms, queries, keys, values, outputs, the MLP's
norms, w1, w2, w3; the last norm; the cosines and sines of the rotation, which are computed here;
the head, if it is one of its own.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from gptlib.errors import CheckpointError, ConfigError, TokenizerError
from gptlib.paths import user_path

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

UNKNOWN, BEGIN = 0, 1  # ids; BEGIN stands between stories, so it also ends one
_FIRST_PIECE = 3 + 256  # after <unk>, <s>, </s> and a piece for every byte
_HEADER = struct.Struct("<7i")


def from_llama2c(
    path: str | Path, tokenizer: str | Path | None = None
) -> tuple[LlamaForCausalLM, PreTrainedTokenizerFast | None]:
    """Load a model that llama2.c can run.

    Args:
        path: its `.bin`. tokenizer: the `.bin` of its tokenizer, if it is wanted.

    Returns:
        (model in evaluation mode, in float32 on the CPU; tokenizer or None). Text begins with the
        id 1, and ends with it too: that is how these models were trained, and where llama2.c stops.

    Raises:
        CheckpointError: no such file, or one that is no model of this format, or cut short.
        TokenizerError: the same of the tokenizer, or it has other ids than the model.
        ConfigError: the package `transformers` is not installed.
    """
    transformers = _transformers()
    shape, weights = _read_model(user_path(path))
    dim, hidden, layers, heads, kv_heads, vocab, context = shape
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=dim, intermediate_size=hidden, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, max_position_embeddings=context,
        rms_norm_eps=1e-5, tie_word_embeddings="lm_head.weight" not in weights,
        bos_token_id=BEGIN, eos_token_id=BEGIN, pad_token_id=None,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.LlamaForCausalLM(config)
    model = model.to_empty(device="cpu")
    model.model.rotary_emb = type(model.model.rotary_emb)(config)  # its buffer was empty as well
    model.load_state_dict(weights, strict=False)
    model.tie_weights()
    known = None if tokenizer is None else _tokenizer(user_path(tokenizer), transformers)
    if known is not None and len(known) != vocab:
        raise TokenizerError(
            f"{tokenizer} has {len(known):,} ids and the model {vocab:,}; give the tokenizer that "
            "the model was trained with"
        )
    return model.eval(), known


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ConfigError(
            f"a Llama needs transformers ({error}); pip install 'gptlib[hub]'"
        ) from error
    return transformers


def _read_model(path: Path) -> tuple[list[int], dict[str, Tensor]]:
    """The seven numbers of the header, vocab_size without its sign, and the weights by the names
    of `LlamaForCausalLM`."""
    data = _read(path, CheckpointError)
    wrong = CheckpointError(
        f"{path} is no model of llama2.c, or it is cut short; give a file of its first format, "
        "which `export.py --version 0` of llama2.c writes"
    )
    if len(data) < _HEADER.size:
        raise wrong
    dim, hidden, layers, heads, kv_heads, vocab, context = _HEADER.unpack_from(data)
    own_head, vocab = vocab < 0, abs(vocab)
    sizes = (dim, hidden, layers, heads, kv_heads, vocab, context)
    if min(sizes) < 1 or max(sizes) > 1 << 24 or dim % heads or heads % kv_heads:
        raise wrong
    size, kv = dim // heads, dim // heads * kv_heads  # of a head; of all keys of a position
    parts = {  # in the order of the file
        "embed_tokens": (vocab, dim), "input_layernorm": (layers, dim),
        "self_attn.q_proj": (layers, dim, dim), "self_attn.k_proj": (layers, kv, dim),
        "self_attn.v_proj": (layers, kv, dim), "self_attn.o_proj": (layers, dim, dim),
        "post_attention_layernorm": (layers, dim), "mlp.gate_proj": (layers, hidden, dim),
        "mlp.down_proj": (layers, dim, hidden), "mlp.up_proj": (layers, hidden, dim),
        "norm": (dim,), "rotation": (2, context, size // 2),
    } | ({"lm_head": (vocab, dim)} if own_head else {})  # fmt: skip
    counts = [int(np.prod([int(n) for n in form], dtype=object)) for form in parts.values()]
    if len(data) != _HEADER.size + 4 * sum(counts):
        raise wrong
    numbers = torch.from_numpy(np.frombuffer(data, "<f4", offset=_HEADER.size).astype(np.float32))
    pieces = zip(parts.items(), numbers.split(counts), strict=True)
    found = {name: piece.view(form) for (name, form), piece in pieces}
    del found["rotation"]
    found["self_attn.q_proj"] = _halves(found["self_attn.q_proj"], heads)
    found["self_attn.k_proj"] = _halves(found["self_attn.k_proj"], kv_heads)
    weights = {}
    for name, tensor in found.items():
        if name == "lm_head":
            weights["lm_head.weight"] = tensor
        elif name in ("embed_tokens", "norm"):
            weights[f"model.{name}.weight"] = tensor
        else:
            weights |= {f"model.layers.{i}.{name}.weight": t for i, t in enumerate(tensor)}
    return list(sizes), weights


def _halves(matrices: Tensor, heads: int) -> Tensor:
    """Reorder the rows (layers, heads * size, dim) of each head: llama2.c rotates neighbors, the
    pairs (0, 1), (2, 3), ..., and transformers the first half with the second."""
    layers, rows, dim = matrices.shape
    pairs = matrices.view(layers, heads, rows // heads // 2, 2, dim)
    return pairs.transpose(2, 3).reshape(layers, rows, dim)


def _tokenizer(path: Path, transformers: Any) -> PreTrainedTokenizerFast:
    """The tokenizer: of all pairs of neighbors the one whose joint piece has the highest score is
    joined, until none is known. A piece's score orders the merges that give it; where two pairs
    give the same piece, llama2.c takes the first in the text, and here their ids decide."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    pieces = _read_pieces(path)
    texts = [text for text, _ in pieces]
    ids = {text: n for n, text in enumerate(texts)}
    merges = []
    for text, score in pieces[_FIRST_PIECE:]:
        cuts = ((text[:n], text[n:]) for n in range(1, len(text)))
        known = sorted((ids[a], ids[b]) for a, b in cuts if a in ids and b in ids)
        merges += [(-score, texts[a], texts[b]) for a, b in known]
    merges.sort(key=lambda merge: merge[0])  # stable: the file's order where scores are equal
    fast = Tokenizer(
        models.BPE(
            ids, [(a, b) for _, a, b in merges], unk_token=texts[UNKNOWN], byte_fallback=True
        )
    )
    fast.normalizer = normalizers.Prepend(" ")  # as every word has one before it
    fast.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    begin = texts[BEGIN]
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=fast, unk_token=texts[UNKNOWN], bos_token=begin, eos_token=begin,
        pad_token=texts[UNKNOWN], clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _read_pieces(path: Path) -> list[tuple[str, float]]:
    """Every piece with its score, by id: the length of the longest, then score, length, bytes."""
    data, at, pieces = _read(path, TokenizerError), 4, []
    try:
        while at < len(data):
            score, length = struct.unpack_from("<fi", data, at)
            text = data[at + 8 : at + 8 + length]
            if length < 1 or len(text) != length:
                raise ValueError(f"a piece of {length} bytes at {at}")
            pieces.append((text.decode().strip("\n") if len(pieces) < 3 else text.decode(), score))
            at += 8 + length
        if len(pieces) <= _FIRST_PIECE or len({text for text, _ in pieces}) != len(pieces):
            raise ValueError(f"{len(pieces)} pieces, or some of them twice")
    except (struct.error, ValueError) as error:
        raise TokenizerError(
            f"{path} is no tokenizer of llama2.c, or it is cut short ({error}); give the file that "
            "its `tokenizer.py` writes, such as tok512.bin"
        ) from error
    return pieces


def _read(path: Path, kind: type[CheckpointError] | type[TokenizerError]) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise kind(f"cannot read {path} ({error.strerror}); give a file of llama2.c") from error
