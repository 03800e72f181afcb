"""A small Llama in llama2.c's files, written here in the format that llama2.c documents."""

import struct
from pathlib import Path

import numpy as np

#: dim, hidden_dim, n_layers, n_heads, n_kv_heads, context; the vocabulary is the tokenizer's.
SHAPE = (64, 128, 2, 4, 2, 96)
WORDS = [" a", " the", "th", "in", " l", "ou", "er", " cold", "he", " ", "a", "c", "d", "e", "h",
         "i", "l", "n", "o", "r", "t", "u", "\n"]  # fmt: skip


def write_tokenizer(path: Path) -> int:
    """Write a tokenizer file and return how many ids it has."""
    pieces = ["<unk>", "\n<s>\n", "\n</s>\n", *(f"<0x{n:02X}>" for n in range(256)), *WORDS]
    pieces += [" co", "ld"]  # what " cold" is made of
    with path.open("wb") as file:
        file.write(struct.pack("<i", max(len(piece) for piece in pieces)))
        for n, piece in enumerate(pieces):
            raw = piece.encode()
            file.write(struct.pack("<fi", -float(n) if n > 258 else 0.0, len(raw)) + raw)
    return len(pieces)


def write_model(path: Path, vocab: int, own_head: bool = False, shape=SHAPE) -> dict:
    """Write a model file of random weights and return them by their names in llama2.c."""
    dim, hidden, layers, heads, kv_heads, context = shape
    kv = dim // heads * kv_heads
    dice = np.random.default_rng(0)
    parts = {
        "table": (vocab, dim), "att_norm": (layers, dim), "wq": (layers, dim, dim),
        "wk": (layers, kv, dim), "wv": (layers, kv, dim), "wo": (layers, dim, dim),
        "ffn_norm": (layers, dim), "w1": (layers, hidden, dim), "w2": (layers, dim, hidden),
        "w3": (layers, hidden, dim), "norm": (dim,), "cos_sin": (2, context, dim // heads // 2),
    } | ({"head": (vocab, dim)} if own_head else {})  # fmt: skip
    weights = {
        name: (dice.normal(size=form) * (0.3 if name == "table" else 0.15)).astype(np.float32)
        + (1 if "norm" in name else 0)
        for name, form in parts.items()
    }
    header = dim, hidden, layers, heads, kv_heads, -vocab if own_head else vocab, context
    with path.open("wb") as file:
        file.write(struct.pack("<7i", *header))
        for weight in weights.values():
            file.write(weight.astype("<f4").tobytes())
    return weights


def small_base(folder: Path, shape=SHAPE) -> Path:
    """Write such a model and its tokenizer as a folder of transformers' and return it."""
    from gptlib.hub.llama2c import from_llama2c
    from gptlib.qlora import save_base

    vocab = write_tokenizer(folder / "tok.bin")
    write_model(folder / "model.bin", vocab, shape=shape)
    return save_base(*from_llama2c(folder / "model.bin", folder / "tok.bin"), folder / "base")
