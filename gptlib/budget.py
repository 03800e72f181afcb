"""What a training run will take: memory, hours and money, before it is begun.

One job: `plan_run`, which chooses how a run is cut into pieces that fit a device (`fit`) and counts
what it costs there. Nothing is trained. The memory is counted from the settings
(`gptlib.footprint`); the time is FLOPs over the FLOP/s that others, or a measurement, reached
(`gptlib.devices`); a price is never known here, and given with its date.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from gptlib import parallel, runtime
from gptlib.devices import Device
from gptlib.errors import ConfigError
from gptlib.footprint import Memory, Step, flops_per_token, memory, parameters
from gptlib.model_config import GPTConfig
from gptlib.train_config import TrainConfig

ENOUGH = 8192  # tokens that a GPU reads at a time before a larger piece gains nothing to speak of
CHUNK = 2048  # tokens of `loss_chunk` where it is needed
UPDATE = 28  # bytes a parameter that AdamW reads and writes: weight and two moments, the gradient
#: What may be done for memory, the cheapest first: (recompute, loss_chunk).
GEARS = ((False, 0), (False, CHUNK), (True, CHUNK))


@dataclass(frozen=True)
class Price:
    """What an hour of one device costs, in dollars, and when that was so."""

    per_hour: float
    date: str


@dataclass(frozen=True)
class Budget:
    """A run and what it takes.

    Attributes:
        config, train: the run's settings, with accumulate, dtype, recompute and loss_chunk chosen.
        device, processes: what it runs on. memory: of one process. fits: whether that has room.
        train_seconds, validation_seconds: of the whole run. price: or None.
    """

    config: GPTConfig
    train: TrainConfig
    device: Device
    processes: int
    memory: Memory
    fits: bool
    train_seconds: float
    validation_seconds: float
    price: Price | None

    @property
    def tokens_per_step(self) -> int:
        return self.train.batch_size * self.config.block_size

    @property
    def tokens(self) -> int:
        """Tokens trained on."""
        return self.train.steps * self.tokens_per_step

    @property
    def flops(self) -> float:
        """FLOPs of training, without those that are made twice to spare memory."""
        return float(self.tokens) * flops_per_token(self.config)

    @property
    def rows(self) -> int:
        """Windows that a process reads at a time."""
        return self.train.batch_size // self.processes // self.train.accumulate

    @property
    def tokens_per_s(self) -> float:
        """While it trains."""
        return self.tokens / self.train_seconds

    @property
    def hours(self) -> float:
        """From the first step to the last, validations among them."""
        return (self.train_seconds + self.validation_seconds) / 3600

    @property
    def dollars(self) -> float | None:
        """For all devices together, or None without a price."""
        if self.price is None:
            return None
        return self.hours * self.processes * self.price.per_hour

    @property
    def first_loss(self) -> float:
        """Nats per token before training: all V ids are equally likely, padding among them. What
        GPT-2's initialization adds, by logits that are not quite equal, is below 0.2."""
        return math.log(self.config.vocab_size)


def plan_run(
    config: GPTConfig,
    train: TrainConfig,
    device: Device,
    processes: int = 1,
    tokens: float | None = None,
    price: Price | None = None,
    keep: frozenset[str] = frozenset(),
) -> Budget:
    """Fit a run to a device and count what it takes.

    Derived in chapter 6, *What will it cost?*

    Args:
        tokens: how long to train, in whole steps; by default `train.steps`.
        keep: of accumulate, recompute and loss_chunk, those that are to stay as they are.

    Raises:
        ConfigError: fewer tokens than a step has, a batch that the processes cannot share, a
            number type that the device does not have, or one that cannot be sharded.
    """
    per_step = train.batch_size * config.block_size
    if tokens is not None:
        if not per_step <= tokens < 2**62:
            raise ConfigError(
                f"{tokens:,.0f} tokens are less than one step of {per_step:,}; give more tokens, "
                "or a smaller batch"
            )
        train = replace(train, steps=int(tokens // per_step))
    if processes < 1 or train.batch_size % processes:
        raise ConfigError(
            f"batch_size is {train.batch_size}, which {processes} processes cannot share equally; "
            "choose a divisor"
        )
    train = replace(train, dtype=number_type(train, device))
    if processes > 1 and train.parallel == "fsdp":
        parallel.check_sharding(train.dtype, train.optimizer)
    train, held = fit(config, train, device, processes, keep)
    seconds = step_seconds(config, train, device, processes) * train.steps
    looks = 1 + math.ceil(train.steps / train.eval_every) if train.eval_windows else 0
    read = looks * train.eval_windows * config.block_size
    forward = flops_per_token(config) / 3 / device.flops[train.dtype] / processes
    return Budget(
        config, train, device, processes, held, held.total <= device.usable, seconds,
        read * forward, price,
    )  # fmt: skip


def number_type(train: TrainConfig, device: Device) -> str:
    """What a run computes in on a device.

    Raises:
        ConfigError: it was told to use what the device does not have.
    """
    if train.dtype in device.flops:
        return train.dtype
    if train.dtype in runtime.DTYPES:
        raise ConfigError(
            f"dtype is {train.dtype}, which is not what a {device.name} trains in; use "
            f"{' or '.join(device.flops)}, or leave it out"
        )
    return device.dtype


def fit(
    config: GPTConfig,
    train: TrainConfig,
    device: Device,
    processes: int = 1,
    keep: frozenset[str] = frozenset(),
) -> tuple[TrainConfig, Memory]:
    """Choose how a batch is cut into pieces that fit, and what is done for memory; `train` has a
    number type of the device.

    The largest piece that fits is taken, with nothing computed twice if it has `ENOUGH` tokens;
    else the loss is made in chunks; else blocks are recomputed too. Where nothing fits, the
    smallest memory is returned: compare it with `device.usable`.
    """
    share = train.batch_size // processes
    parts = [n for n in range(1, share + 1) if share % n == 0]
    if "accumulate" in keep:
        parts = [train.accumulate]
        if share % train.accumulate:
            raise ConfigError(
                f"{processes} processes have {share} windows each, which accumulate "
                f"{train.accumulate} does not divide; choose a divisor"
            )
    found = []
    for recompute, chunk in GEARS:
        recompute = train.recompute if "recompute" in keep else recompute
        chunk = train.loss_chunk if "loss_chunk" in keep else chunk
        cut = replace(train, recompute=recompute, loss_chunk=chunk)
        found.append(_largest(config, cut, device, processes, parts))
        cut, held = found[-1]
        enough = share // cut.accumulate * config.block_size >= ENOUGH
        if held.total <= device.usable and (enough or cut.accumulate == parts[0]):
            return found[-1]
    with_room = [pair for pair in found if pair[1].total <= device.usable]
    return min(with_room, key=lambda pair: pair[0].accumulate) if with_room else found[-1]


def _largest(
    config: GPTConfig, train: TrainConfig, device: Device, processes: int, parts: list[int]
) -> tuple[TrainConfig, Memory]:
    """The run cut into as few of `parts` as fit, into the most where none does; and its memory."""
    for accumulate in parts:
        cut = replace(train, accumulate=accumulate)
        held = memory(config, as_step(cut, device, processes))
        if held.total <= device.usable or accumulate == parts[-1]:
            return cut, held
    raise AssertionError("a batch has at least one part")


def as_step(train: TrainConfig, device: Device, processes: int) -> Step:
    """The step of a run, as its memory depends on it."""
    rows = train.batch_size // processes // train.accumulate
    return Step(
        rows, train.accumulate, train.dtype, device.kind, train.optimizer, train.recompute,
        train.loss_chunk, processes, train.parallel,
    )  # fmt: skip


def step_seconds(config: GPTConfig, train: TrainConfig, device: Device, processes: int) -> float:
    """Seconds of one update: FLOPs at the rate that is reached, those that are made twice among
    them; the optimizer's reading and writing; and the gradients' way around the processes, as if
    none of it were hidden."""
    own = parameters(config)
    head = 6 * config.vocab_size * config.n_embd
    blocks = flops_per_token(config) - head
    flops = head * (4 / 3 if train.loss_chunk else 1) + blocks * (4 / 3 if train.recompute else 1)
    tokens = train.batch_size * config.block_size / processes
    update = UPDATE * own.total / device.bandwidth / (processes if train.parallel == "fsdp" else 1)
    ring = 2 * (processes - 1) / processes * 4 * own.total / device.link
    return tokens * flops / device.flops[train.dtype] + update + ring
