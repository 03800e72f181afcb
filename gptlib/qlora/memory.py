"""What tuning a Llama keeps in memory: QLoRA, LoRA and all weights, before anything is fetched.

One job: `tuning_memory`, counted from the shape and the settings alone, as `gptlib.footprint` does
for a `GPT`. What autograd keeps was read off the operations of transformers' Llama with peft's
layers. In float32 it is what autograd does keep, and the weights are those of a loaded model, byte
for byte (`tests/test_qlora_memory.py`). In half precision and on a GPU it is an estimate: beside
litgpt's published 21.3, 14.1 and 13.8 GB for Llama-2-7B it counts 20.5, 11.3 and 11.0, without the
overhead. The step from single to double quantization is met; what is missing in four bits, by a
fifth, is in part what older versions of bitsandbytes kept of each layer's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gptlib.errors import ConfigError
from gptlib.footprint import OVERHEAD, WIDE, Memory
from gptlib.qlora.config import LINEAR
from gptlib.quantization.nf4 import BLOCK, GROUP

METHODS = ("qlora", "lora", "full")
_TABLES = 4 * 16 + 4 * 256 + 4  # bytes beside each matrix: both kinds of levels, the mean


@dataclass(frozen=True)
class LlamaShape:
    """The sizes of a Llama: blocks, channels, the MLP's hidden layer, heads of queries and of keys
    and values, ids; `tied` where the head is the token table."""

    layers: int
    width: int
    hidden: int
    heads: int
    kv_heads: int
    vocab: int
    tied: bool = False

    @property
    def kv_width(self) -> int:
        """Numbers in the keys of a position."""
        return self.width // self.heads * self.kv_heads

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """(inputs, outputs) of a block's linear layers."""
        C, F, K = self.width, self.hidden, self.kv_width
        forms = [(C, C), (C, K), (C, K), (C, C), (C, F), (C, F), (F, C)]
        return dict(zip(LINEAR, forms, strict=True))

    @property
    def in_matrices(self) -> int:
        """How many weights the linear layers of all blocks have."""
        return self.layers * sum(inputs * outputs for inputs, outputs in self.matrices.values())

    @property
    def in_tables(self) -> int:
        """How many the token table and a head of its own have."""
        return self.vocab * self.width * (1 if self.tied else 2)

    @property
    def in_norms(self) -> int:
        return (2 * self.layers + 1) * self.width

    @property
    def total(self) -> int:
        return self.in_matrices + self.in_tables + self.in_norms

    def adapter(self, rank: int, targets: tuple[str, ...] = LINEAR) -> int:
        """How many weights an adapter of a rank has."""
        forms = (self.matrices[name] for name in targets)
        return self.layers * rank * sum(inputs + outputs for inputs, outputs in forms)

    @classmethod
    def of(cls, config: Any) -> LlamaShape | None:
        """The shape in a config of transformers', or None of one that has other parts."""
        if config.model_type not in ("llama", "mistral"):
            return None
        heads = config.num_attention_heads
        if (config.head_dim or config.hidden_size // heads) * heads != config.hidden_size:
            return None
        return cls(
            config.num_hidden_layers, config.hidden_size, config.intermediate_size, heads,
            config.num_key_value_heads, config.vocab_size, config.tie_word_embeddings,
        )  # fmt: skip


LLAMAS = {
    "Llama-3.1-8B": LlamaShape(32, 4096, 14336, 32, 8, 128256),
    "Llama-2-7B": LlamaShape(32, 4096, 11008, 32, 32, 32000),
}


@dataclass(frozen=True)
class Tuning:
    """How a model is tuned, as far as its memory depends on it.

    Attributes:
        method: one of `METHODS`. context: tokens of a row. rows: that are read at a time.
        rank, targets, dropout: of the adapter. recompute: blocks keep nothing but what they read.
        double: scales of four-bit weights in eight bits. dtype: of what is computed, and of the
            base of LoRA. kind: "cuda" or "cpu".

    Raises:
        ConfigError: an unknown method or target.
    """

    method: str = "qlora"
    context: int = 1024
    rows: int = 1
    rank: int = 16
    targets: tuple[str, ...] = LINEAR
    dropout: bool = True
    recompute: bool = True
    double: bool = True
    dtype: str = "bfloat16"
    kind: str = "cuda"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"method is {self.method!r}; use one of {', '.join(METHODS)}")
        if unknown := [name for name in self.targets if name not in LINEAR]:
            raise ConfigError(f"a Llama has no {unknown[0]!r}; its layers are {', '.join(LINEAR)}")

    @property
    def size(self) -> int:
        """Bytes of a number that is computed."""
        return WIDE if self.dtype == "float32" else 2


def nf4_bytes(count: int, double: bool = True) -> int:
    """Bytes of a matrix of `count` weights in NF4, as bitsandbytes holds it on a device."""
    blocks = -(-count // BLOCK)
    scales = blocks + WIDE * -(-blocks // GROUP) if double else WIDE * blocks
    return -(-count // 2) + scales + (_TABLES if double else 4 * 16)


def base_bytes(shape: LlamaShape, tuning: Tuning) -> int:
    """Bytes of the weights that were trained before; all in float32 where they are trained on."""
    if tuning.method == "full":
        return WIDE * shape.total
    size = tuning.size
    rest = size * (shape.in_tables + shape.in_norms)
    if tuning.method == "lora":
        return size * shape.in_matrices + rest
    forms = shape.matrices.values()
    return shape.layers * sum(nf4_bytes(a * b, tuning.double) for a, b in forms) + rest


def kept_by_layer(shape: LlamaShape, tuning: Tuning) -> int:
    """Bytes a token that the backward pass of one block needs, and autograd therefore keeps.

    What both norms read, in float32; queries, keys, values and what attention returns, with the
    logarithm of its sum for each head; three layers of the MLP, before and after its activation and
    the other factor. A frozen matrix needs nothing to hand a gradient on, but an adapter's needs
    what it read: the same for all that read it, unless dropout gives each a copy and a mask.
    """
    C, F, e = shape.width, shape.hidden, tuning.size
    size = 2 * (WIDE * C + WIDE) + e * (2 * C + 2 * shape.kv_width + 3 * F) + WIDE * shape.heads
    if tuning.method == "full":  # inputs of all matrices, and what the norms scale
        return size + e * (2 * C + F) + e * 2 * C
    targets = set(tuning.targets)
    size += e * tuning.rank * len(targets)
    if tuning.dropout:
        mask = e if tuning.kind == "cpu" else 1  # numbers on a CPU, bytes elsewhere
        return size + sum((e + mask) * shape.matrices[name][0] for name in targets)
    once = {"q_proj": C, "gate_proj": C, "down_proj": F}  # what attention returned is kept anyway
    readers = ({"q_proj", "k_proj", "v_proj"}, {"gate_proj", "up_proj"}, {"down_proj"})
    read = zip(once.values(), readers, strict=True)
    return size + e * sum(width for width, names in read if targets & names)


def tuning_memory(shape: LlamaShape, tuning: Tuning) -> Memory:
    """The memory of a tuning step in bytes, by what it is for, on one device.

    The terms are not all at their largest at the same moment, so their sum is a little too high.
    """
    tokens, e = tuning.rows * tuning.context, tuning.size
    full, half = tuning.method == "full", tuning.size != WIDE
    learned = shape.total if full else shape.adapter(tuning.rank, tuning.targets)
    layer = kept_by_layer(shape, tuning)
    blocks = shape.layers * e * shape.width + layer if tuning.recompute else shape.layers * layer
    largest = max(a * b for a, b in shape.matrices.values())
    copies = e * (shape.in_matrices + shape.in_tables) if half else 0
    terms = {
        "base": base_bytes(shape, tuning),
        "copies in half precision": copies if full else 0,
        "one matrix in full": e * largest if tuning.method == "qlora" else 0,
        "adapter": 0 if full else WIDE * learned,
        "gradients": WIDE * learned,
        "optimizer": 2 * WIDE * learned,
        "activations": tokens * blocks,
        "logits and loss": tokens * shape.vocab * (e + 2 * WIDE),
        "overhead": OVERHEAD[tuning.kind],
    }
    return Memory({name: size for name, size in terms.items() if size}, "all terms together")
