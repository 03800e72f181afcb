"""What a training step keeps in memory, counted from the settings alone.

One job: `parameters`, how many numbers a model has and where, and `memory`, the bytes of each thing
that is held while a step is made. Nothing is allocated, so a model that this machine could not hold
is counted too. What autograd keeps was read off the operations of `gptlib.model` and is compared,
tensor by tensor, with what it does keep (`tests/test_budget.py`), and with the memory of whole
processes (`bench/budget.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.model_config import GPTConfig

WIDE = 4  # bytes of a float32: weights, gradients, moments, and the residual stream
#: Bytes beside the tensors: on a GPU the CUDA context, cuBLAS's workspaces and what the allocator
#: cannot hand out again, an assumption; on a CPU Python and torch, as `bench/budget.py` measures.
OVERHEAD = {"cuda": 1.5e9, "cpu": 0.35e9}


@dataclass(frozen=True)
class Parameters:
    """How many numbers a model learns, by where they are.

    Attributes:
        matrices: of the blocks. vectors: biases and norms. tokens, positions: the two tables.
        head: of its own; 0 where it shares the token table.
    """

    matrices: int
    vectors: int
    tokens: int
    positions: int
    head: int

    @property
    def total(self) -> int:
        return self.matrices + self.vectors + self.tokens + self.positions + self.head


def parameters(config: GPTConfig) -> Parameters:
    """Count the parameters of a shape; the total is `GPT(config).num_params()`.

    Derived in chapter 3, *How many numbers is that?*
    """
    L, C, V = config.n_layer, config.n_embd, config.vocab_size
    shift = config.bias and config.norm == "layernorm"
    norms = (2 * L + 1) * C * (2 if shift else 1)
    biases = 9 * C * L if config.bias else 0  # 3C + C of attention, 4C + C of the MLP
    return Parameters(
        matrices=12 * C * C * L,
        vectors=norms + biases,
        tokens=V * C,
        positions=0 if config.rotary else config.block_size * C,
        head=0 if config.tied_head else V * C,
    )


def flops_per_token(config: GPTConfig) -> int:
    """FLOPs of training on a token of a full context, as `GPT.flops_per_token` counts them."""
    own = parameters(config)
    multiplies = own.total - own.positions - (0 if config.tied_head else own.tokens)
    return 6 * multiplies + 12 * config.n_layer * config.n_embd * config.block_size


@dataclass(frozen=True)
class Step:
    """How a step is computed, as far as its memory depends on it.

    Attributes:
        rows: windows that one process reads at a time. accumulate: how often before an update.
        dtype: of the products. kind: "cuda" or "cpu". optimizer: "adamw" or "muon".
        recompute: blocks keep nothing but what they read. loss_chunk: tokens whose logits are made
            at a time; 0 is all. processes: that share a batch. parallel: how, "ddp" or "fsdp".
    """

    rows: int
    accumulate: int = 1
    dtype: str = "float32"
    kind: str = "cpu"
    optimizer: str = "adamw"
    recompute: bool = False
    loss_chunk: int = 0
    processes: int = 1
    parallel: str = "ddp"


@dataclass(frozen=True)
class Memory:
    """The bytes that are held at the worst moment of a step, by what they are for.

    Attributes:
        terms: what for, in words, to bytes. moment: when that is.
    """

    terms: dict[str, float]
    moment: str

    @property
    def total(self) -> float:
        return sum(self.terms.values())


def kept_by_block(config: GPTConfig, step: Step) -> int:
    """Bytes a token that the backward pass of one block needs, and autograd therefore keeps.

    In units of C: what both norms read (the stream, float32) and what both first products read;
    queries, keys, values and what attention returns; the MLP's hidden layer before and after its
    activation. Attention's (T, T) weights are not among them: the fused kernel keeps one number a
    query and head, the logarithm of its softmax's sum.
    """
    C, H, half, cpu = config.n_embd, config.n_head, step.dtype != "float32", step.kind == "cpu"
    e = 2 if half else WIDE
    stats = 2 if config.norm == "layernorm" else 1  # mean and deviation, or the deviation
    size = 2 * (WIDE * C + e * C + WIDE * stats)
    if config.norm == "rmsnorm" and cpu:
        size += 2 * WIDE * C  # made of several operations there
    on_cpu_wide = half and cpu  # where attention runs in float32, on copies
    size += (WIDE if on_cpu_wide else e) * 4 * C + WIDE * H
    if on_cpu_wide:
        size += e * C  # what attention returned, once more in half precision
    if (config.rotary or config.qk_norm) and not on_cpu_wide:
        # Queries and keys anew, the old ones stay with the values; and what is returned lies as
        # they do, head by head, so that the last product reads a copy.
        size += e * 3 * C
    if config.qk_norm:
        size += 2 * WIDE * H + (2 * WIDE * C if half else 0)  # normed in float32
    hidden = {"gelu_tanh": 2, "gelu": 2, "relu": 1, "relu2": 2}[config.activation]
    size += hidden * 4 * C * e
    if config.activation == "relu2" and half and not cpu:
        size += 4 * C * WIDE  # autocast squares in float32 on a GPU
    if config.dropout:
        size += 2 * C * (e if cpu else 1)  # masks: numbers on a CPU, bits elsewhere
    if config.attn_dropout and cpu:  # no fused kernel there: the weights, dropped and not
        size += 3 * WIDE * H * config.block_size
    return size


def kept_at_the_ends(config: GPTConfig, step: Step) -> int:
    """Bytes a token that is kept below and above the blocks, without the logits: both rows of ids,
    what the last norm and the head read, and the mask of the embeddings' dropout."""
    C, e = config.n_embd, 2 if step.dtype != "float32" else WIDE
    stats = 2 if config.norm == "layernorm" else 1
    size = 2 * 8 + WIDE * C + e * C + WIDE * stats
    if config.norm == "rmsnorm" and step.kind == "cpu":
        size += WIDE * C
    return size + (C * (WIDE if step.kind == "cpu" else 1) if config.dropout else 0)


def kept_of_logits(config: GPTConfig, step: Step) -> int:
    """Bytes a token of the loss: the logarithms of the probabilities, always in float32."""
    e = 2 if step.dtype != "float32" else WIDE
    return config.vocab_size * (WIDE + (e if config.softcap else 0))


def memory(config: GPTConfig, step: Step) -> Memory:
    """The memory of a training step at its worst moment, in bytes, of one process.

    Derived in chapter 6, *What fits on a card?*

    There are few such moments. At the loss everything that was kept is still there, and the
    logits' gradient is made: three numbers of 4 bytes for each logit. At the end of the backward
    pass all gradients are there, a tied table's three times: the head's, the look-up's, and their
    sum. In the update Muon holds its moves.
    """
    own, N = parameters(config), step.rows * config.block_size
    half = step.dtype != "float32"
    parts = step.processes if step.parallel == "fsdp" else 1
    muon = step.optimizer == "muon"
    fixed = {
        "weights, float32": WIDE * own.total / parts,
        "optimizer": WIDE * (2 * own.total - (own.matrices if muon else 0)) / parts,
        "overhead": OVERHEAD[step.kind],
    }
    gradients = WIDE * own.total / parts
    if step.processes > 1 and step.parallel == "ddp":
        fixed["gradients on their way"] = WIDE * own.total
    copies = 2 * (own.matrices + config.vocab_size * config.n_embd) if half else 0
    if parts > 1:  # one block at a time is whole, and the tables
        whole = own.matrices // config.n_layer + own.tokens + own.head
        fixed["whole weights"] = WIDE * whole
    chunk = min(step.loss_chunk or N, N)
    one, ends = kept_by_block(config, step), kept_at_the_ends(config, step)
    blocks = config.n_layer * (WIDE * config.n_embd if step.recompute else one)
    again = one if step.recompute else 0  # the one that is being made anew
    e = 2 if half else WIDE
    bend = 8 * config.n_embd * e + 2 * WIDE * config.n_embd  # gradients inside one MLP
    table = WIDE * config.vocab_size * config.n_embd / parts
    logits = chunk * (kept_of_logits(config, step) + 2 * WIDE * config.vocab_size)
    through_head = chunk * config.vocab_size * (WIDE + (e if half else 0)) + table * (1 + half / 2)
    if step.loss_chunk:  # the head's gradient is gathered from chunk to chunk
        logits += table + WIDE * config.n_embd * N
    held = gradients if step.accumulate > 1 else 0
    names = ("copies in half precision", "activations", "logits and loss", "gradients")
    moments = {
        "at the loss": (copies, (blocks + ends) * N, max(logits, through_head), held),
        "in the blocks' backward pass": (
            copies, (blocks + ends + again + bend) * N, 0, max(held, table),
        ),
        "at the end of the backward pass": (
            0, WIDE * config.n_embd * N, 0, gradients + (2 * table if config.tied_head else 0),
        ),
        "in the update": (0, 0, 0, gradients + (_moves(config) if muon else 0)),
    }  # fmt: skip
    moment = max(moments, key=lambda name: sum(moments[name]))
    terms = fixed | dict(zip(names, moments[moment], strict=True))
    order = ("weights, float32", names[0], "gradients", "gradients on their way", "whole weights",
             "optimizer", "activations", "logits and loss", "overhead")  # fmt: skip
    return Memory({name: terms[name] for name in order if terms.get(name)}, moment)


def _moves(config: GPTConfig) -> float:
    """Bytes of Muon's update: every matrix's move, and for the shape with the most numbers a stack
    of them, scaled and turned, in the wider of the number types that it may use."""
    C = config.n_embd
    stack = 8 * C * C * config.n_layer  # both matrices of every MLP are of one shape
    return WIDE * 12 * C * C * config.n_layer + 3 * WIDE * stack
