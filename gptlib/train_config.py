"""How to train: the settings of a run, and which of them a resumed run may change.

One job: `TrainConfig`, which refuses what cannot work before anything is trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from gptlib.batches import SAMPLING
from gptlib.errors import ConfigError, nearest
from gptlib.optim import MUON_PARTS, OPTIMIZERS, SCHEDULES
from gptlib.parallel import STRATEGIES
from gptlib.settings import explained, machine, saving, training

# Settings that a resumed run may change: they say how to compute and when to save, not what.
FREE = (
    "accumulate", "device", "dtype", "compile", "parallel", "save_every", "save_minutes",
    "keep_last", "recompute", "loss_chunk",
)  # fmt: skip

# Settings that it may change only when told to (`override`): the rest of the schedule is another.
OVERRIDABLE = ("steps", "lr", "min_lr", "patience")

ATTEND = ("window", "document")

MIN_LR = 1e-4  # where no min_lr is given


_CLIMBS = (
    "min_lr is {:g} and lr is {:g}, so the rate would climb to its end; give a min_lr of at most "
    "lr, such as a tenth of it"
)


@explained
@dataclass(frozen=True)
class TrainConfig:
    """How to train. Losses are in nats per token, learning rates per update.

    Raises:
        ConfigError: a value out of range.
    """

    steps: int = training(
        1000,
        "updates in the whole run, the length of the schedule; to pause earlier, use stop_after",
    )
    batch_size: int = training(
        32, "windows an update; a larger batch is steadier and takes longer a step"
    )
    accumulate: int = machine(1, "micro-batches that a batch is cut into; more need less memory")
    lr: float = training(
        1e-3,
        "the highest learning rate of the schedule; lower it if the loss climbs or is not finite",
    )
    min_lr: float = training(
        MIN_LR,
        "the learning rate at the end; left at its default, it becomes a tenth of an lr that is "
        "lower",
    )
    warmup: int = training(
        100, "steps in which the rate climbs from 0 to lr; more, if the start is unruly"
    )
    schedule: str = training(
        "cosine", "how the rate falls: cosine; wsd, level and then down in a line; or constant"
    )
    decay: float = training(0.2, "share of the steps in which wsd falls, in (0, 1]")
    optimizer: str = training(
        "adamw",
        "adamw, or muon, which takes the matrices of the blocks and leaves the rest to AdamW",
    )
    embed_lr: float = training(1.0, "multiple of the rate for the embedding tables")
    head_lr: float = training(1.0, "multiple of the rate for an untied head")
    muon_parts: str = training(
        "packed",
        "what muon takes for one matrix of queries, keys and values: packed (all), qkv or heads",
    )
    weight_decay: float = training(
        0.1, "pull of the matrices toward zero, times the rate, at every update"
    )
    beta1: float = training(0.9, "AdamW's memory of the gradient, in [0, 1)")
    beta2: float = training(
        0.95, "AdamW's memory of the gradient's square, in [0, 1); 0.99 for small batches"
    )
    grad_clip: float = training(
        1.0, "the longest that a gradient may be, as a norm; 0 clips nothing"
    )
    eval_every: int = training(250, "steps between validations")
    eval_windows: int = training(
        0, "windows of the validation split that are used, to spare time; 0 is all of them"
    )
    patience: int = training(0, "stop after so many validations without a better one; 0 never does")
    save_every: int = saving(
        0,
        "save after so many steps; 0 leaves it to save_minutes (the best validation and the last "
        "step are always saved)",
    )
    save_minutes: float = saving(
        5.0, "save after so many minutes, however many steps; 0 leaves it to save_every"
    )
    keep_last: int = saving(
        2, "checkpoints to keep besides the best, each up to three times the model's size"
    )
    seed: int = training(
        0, "of the data's order and of dropout (and, on the command line, of the first weights)"
    )
    sampling: str = training(
        "shuffled",
        "how windows are drawn: shuffled, each once in a pass over the text; random; or in order, "
        "as they lie on the disk",
    )
    device: str = machine("auto", "cpu, cuda, cuda:1, mps; auto takes the fastest")
    dtype: str = machine(
        "auto",
        "float32, bfloat16 or float16 for the products; auto takes what suits the device, fast "
        "takes bfloat16 on a CPU too where it is fast there",
    )
    compile: bool = machine(
        False, "compile the model with torch.compile: slow to begin, then faster"
    )
    parallel: str = machine(
        "ddp", "under torchrun, ddp copies the model into every process, fsdp shards it over them"
    )
    recompute: bool = machine(
        False,
        "keep less of each block for the backward pass and compute it again there: the same "
        "gradients in less memory, for a third more time",
    )
    loss_chunk: int = machine(
        0,
        "tokens whose logits are made at a time, such as 1024 where the vocabulary is large; less "
        "memory for one more product with the head; 0 is all at once",
    )
    attend: str = training(
        "window",
        "how far back a token may look: window, to its first token; or document, to the separator "
        "of one token that its document begins with",
    )

    def __post_init__(self) -> None:
        for name, least in {
            "steps": 1, "batch_size": 1, "accumulate": 1, "warmup": 0, "eval_every": 1,
            "eval_windows": 0, "patience": 0, "save_every": 0, "keep_last": 1, "seed": 0,
            "loss_chunk": 0,
        }.items():  # fmt: skip
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not whole or not least <= value < 2**62:
                raise ConfigError(f"{name} is {value!r}; it must be a whole number >= {least}")
        finite = (
            "lr", "min_lr", "embed_lr", "head_lr", "weight_decay", "grad_clip", "save_minutes",
        )  # fmt: skip
        for name, most in {**dict.fromkeys(finite, math.inf), "beta1": 1, "beta2": 1}.items():
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (number and 0 <= value < most):
                raise ConfigError(f"{name} is {value!r}; it must be >= 0 and less than {most:g}")
        if not (isinstance(self.decay, int | float) and 0 < self.decay <= 1):
            raise ConfigError(f"decay is {self.decay!r}; it must be above 0 and at most 1")
        choices = {
            "schedule": SCHEDULES, "sampling": SAMPLING, "optimizer": OPTIMIZERS,
            "parallel": STRATEGIES, "muon_parts": MUON_PARTS, "attend": ATTEND,
        }  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}; use one of {', '.join(allowed)}"
                )
        if self.schedule != "constant" and self.min_lr > self.lr:
            if self.min_lr != MIN_LR:
                raise ConfigError(_CLIMBS.format(self.min_lr, self.lr))
            object.__setattr__(self, "min_lr", self.lr / 10)
        for name in ("compile", "recompute"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigError(f"{name} is {getattr(self, name)!r}; it must be True or False")
        if self.muon_parts != "packed" and self.optimizer != "muon":
            raise ConfigError(
                f"muon_parts is {self.muon_parts!r}, but optimizer is {self.optimizer!r}; use "
                "optimizer='muon', or leave it packed"
            )
        if self.attend == "document" and self.compile:
            raise ConfigError(
                "attend is 'document', where the shapes of a step follow from its documents, and "
                "compile is on, which wants them the same at every step; leave out one"
            )
        if self.batch_size % self.accumulate:
            raise ConfigError(
                f"batch_size is {self.batch_size} and accumulate is {self.accumulate}; "
                "an update is cut into equal micro-batches, so choose a divisor"
            )

    @classmethod
    def from_dict(cls, values: dict) -> TrainConfig:
        """Rebuild a config from `asdict`; what an older version did not know has its default.

        Raises:
            ConfigError: a key that this version does not know.
        """
        known = [f.name for f in fields(cls)]
        for name in values:
            if name not in known:
                raise ConfigError(
                    f"a TrainConfig has no {name}{nearest(name, known)}; check the name, or update "
                    "gptlib"
                )
        return cls(**values)


def with_changes(values: dict, changes: dict) -> dict:
    """`values` of a `TrainConfig` with some changed, as a flag changes a preset.

    Where `lr` alone is changed and falls below the min_lr that was there, min_lr keeps its share of
    lr: a preset of 2e-3 and 2e-4, at an lr of 1e-5, goes down to 1e-6. A min_lr that is given is
    taken as it is.

    Raises:
        ConfigError: a min_lr was given that is above lr.
    """
    changed = values | changes
    lr, low, before = changed.get("lr"), values.get("min_lr"), values.get("lr")
    number = int | float
    if not (isinstance(lr, number) and isinstance(low, number) and isinstance(before, number)):
        return changed
    if "min_lr" not in changes and low > lr and before > 0:
        changed["min_lr"] = lr * min(1.0, low / before)
    given = changes.get("min_lr", 0.0)  # also one that equals the default, which would follow lr
    if isinstance(given, float) and given > lr and changed.get("schedule") != "constant":
        raise ConfigError(_CLIMBS.format(given, lr))
    return changed
