"""The settings of a QLoRA run.

One job: `QLoRAConfig`, checked when it is made.
"""

from __future__ import annotations

from dataclasses import dataclass

from gptlib.errors import ConfigError

#: Every linear layer of a Llama block. QLoRA needs them all to equal full fine-tuning (Dettmers et
#: al. 2023, section 4), where the first LoRA took queries and values.
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class QLoRAConfig:
    """How an adapter is trained.

    Attributes:
        rank, alpha: an adapter adds (alpha / rank) · B A to a matrix, where A has `rank` rows.
        dropout: of what A reads. targets: the ends of the names of the layers that get one.
        steps: updates. batch_size: pairs an update learns from. accumulate: into how many parts
            they are cut; the gradient is that of the whole. max_length: tokens of a pair at most.
        lr: the rate after `warmup` steps, which falls to 0 in half a cosine. An 8B model on a novel
            overfitted within an epoch at 1e-5 and was well served by 1e-6; a tiny one wants 1e-3.
        weight_decay: of the adapter. clip: the longest gradient. seed: of A, dropout and order.
        save_every: steps between checkpoints. keep: how many of them stay.
        recompute: keep what a block read and make the rest again in the backward pass.
        paged: an optimizer whose state may leave a full GPU for the machine's memory; None is yes
            on CUDA. On a CPU there is nowhere to go, and the state stays.

    Raises:
        ConfigError: a setting that cannot be.
    """

    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = LINEAR
    steps: int = 100
    batch_size: int = 4
    accumulate: int = 1
    max_length: int = 1024
    lr: float = 1e-6
    warmup: int = 0
    weight_decay: float = 0.0
    clip: float = 1.0
    seed: int = 0
    save_every: int = 50
    keep: int = 2
    recompute: bool = True
    paged: bool | None = None

    def __post_init__(self) -> None:
        counts = ("rank", "steps", "batch_size", "accumulate", "max_length", "save_every", "keep")
        for name in counts:
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; give 1 or more")
        for name in ("alpha", "lr", "clip"):
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} is {getattr(self, name):g}; give a number above 0")
        if not 0 <= self.dropout < 1:
            raise ConfigError(f"dropout is {self.dropout:g}; give a share from 0 to below 1")
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"accumulate is {self.accumulate}, which does not divide the batch_size of "
                f"{self.batch_size}; choose a divisor"
            )
        if not self.targets:
            raise ConfigError(f"no targets; name layers that get an adapter, such as {LINEAR[0]}")
