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

# Settings that a resumed run may change: they say how to compute and when to save, not what.
FREE = (
    "accumulate", "device", "dtype", "compile", "parallel", "save_every", "save_minutes",
    "keep_last",
)  # fmt: skip

# Settings that it may change only when told to (`override`): the rest of the schedule is another.
OVERRIDABLE = ("steps", "lr", "min_lr", "patience")

MIN_LR = 1e-4  # where no min_lr is given


_CLIMBS = (
    "min_lr is {:g} and lr is {:g}, so the rate would climb to its end; give a min_lr of at most "
    "lr, such as a tenth of it"
)


@dataclass(frozen=True)
class TrainConfig:
    """How to train. Losses are in nats per token, learning rates per update.

    Attributes:
        steps: updates in the whole run, the length of the schedule.
        batch_size: windows an update. accumulate: micro-batches it is cut into to save memory.
        lr, min_lr, warmup, schedule, decay: see `gptlib.optim.learning_rate`. A min_lr left at its
            default follows an lr that is lower: it becomes a tenth of it.
        optimizer: "adamw" or "muon". embed_lr, head_lr: multiples of the rate for the tables and
            for an untied head. muon_parts: "packed", "qkv" or "heads". See
            `gptlib.optim.make_optimizers`.
        weight_decay, beta1, beta2, grad_clip: AdamW's; grad_clip 0 clips nothing.
        eval_every: steps between validations. eval_windows: windows a validation uses, 0 for the
            whole split. patience: stop after so many validations without a better one (0: never).
        save_every, save_minutes: save after so many steps (0: never) or minutes, whichever comes
            first; the best validation and the last step are always saved.
        keep_last: checkpoints to keep besides the best.
        seed: of the data's order and of dropout (weights are drawn when the model is made).
        sampling: "shuffled" or "random", see `gptlib.batches`.
        device, dtype: "auto" lets `Runtime.detect` choose; dtype "fast" takes bfloat16 on a CPU too
            where its products are fast. compile: use torch.compile.
        parallel: "ddp" copies the model into every process of a job, "fsdp" shards it over them;
            without torchrun there is one process, and it changes nothing.

    Raises:
        ConfigError: a value out of range.
    """

    steps: int = 1000
    batch_size: int = 32
    accumulate: int = 1
    lr: float = 1e-3
    min_lr: float = MIN_LR
    warmup: int = 100
    schedule: str = "cosine"
    decay: float = 0.2
    optimizer: str = "adamw"
    embed_lr: float = 1.0
    head_lr: float = 1.0
    muon_parts: str = "packed"
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    grad_clip: float = 1.0
    eval_every: int = 250
    eval_windows: int = 0
    patience: int = 0
    save_every: int = 0
    save_minutes: float = 5.0
    keep_last: int = 2
    seed: int = 0
    sampling: str = "shuffled"
    device: str = "auto"
    dtype: str = "auto"
    compile: bool = False
    parallel: str = "ddp"

    def __post_init__(self) -> None:
        for name, least in {
            "steps": 1, "batch_size": 1, "accumulate": 1, "warmup": 0, "eval_every": 1,
            "eval_windows": 0, "patience": 0, "save_every": 0, "keep_last": 1, "seed": 0,
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
            "parallel": STRATEGIES, "muon_parts": MUON_PARTS,
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
        if not isinstance(self.compile, bool):
            raise ConfigError(f"compile is {self.compile!r}; it must be True or False")
        if self.muon_parts != "packed" and self.optimizer != "muon":
            raise ConfigError(
                f"muon_parts is {self.muon_parts!r}, but optimizer is {self.optimizer!r}; use "
                "optimizer='muon', or leave it packed"
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
