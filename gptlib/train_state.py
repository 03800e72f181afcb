"""What changes while a run goes on, besides the weights: all that a resumed run needs back.

One job: `TrainState`; `same_runtime`, what it goes on in; and `describe`, what a manifest tells of
the run. Every random generator, the optimizers, the gradient scaler, the step and the best
validation so far; the data's order and the learning rate follow from the step.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import torch

from gptlib import parallel, runtime, tuning
from gptlib.errors import DeviceError
from gptlib.model import GPT
from gptlib.runtime import Runtime
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.versions import package_version


@dataclass
class TrainState:
    """The state of a run between two steps.

    Attributes:
        optimizers, scaler: as made for the model, moved on by every update.
        step: updates made. best: {"val": nats per token, "step": where}. last_val: the latest.
    """

    optimizers: list[torch.optim.Optimizer]
    scaler: torch.amp.GradScaler
    step: int = 0
    best: dict = field(default_factory=lambda: {"val": math.inf, "step": 0})
    last_val: float = math.inf

    def validated(self, val: float) -> bool:
        """Take in a validation; says whether it is the best so far."""
        self.last_val, improved = val, val < self.best["val"]
        if improved:
            self.best = {"val": val, "step": self.step}
        return improved

    def waited(self, eval_every: int) -> int:
        """Validations since the best one."""
        return self.step // eval_every - self.best["step"] // eval_every

    def to_dict(self) -> dict:
        """The state in types that a checkpoint keeps; all processes must call it."""
        return {
            "optimizers": parallel.full_tensors([o.state_dict() for o in self.optimizers]),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best": self.best,
            "last_val": self.last_val,
            "random": parallel.gather(runtime.random_state()),
        }

    def restore(self, saved: dict, step: int, here: Runtime, seed: int) -> str:
        """Put back what `to_dict` gave of `step`; returns what is no longer exact, if anything.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError: it was not
                saved by this class.
        """
        for optimizer, state in zip(self.optimizers, saved["optimizers"], strict=True):
            parallel.load_optimizer(optimizer, state)
        if saved["scaler"]:  # a run that did not need one has none: this one's is fresh
            self.scaler.load_state_dict(saved["scaler"])
        best, self.last_val = saved["best"], float(saved["last_val"])
        self.best = {"val": float(best["val"]), "step": int(best["step"])}
        if saved["step"] != step:
            raise ValueError(f"its state is of step {saved['step']}")
        self.step = step
        if len(saved["random"]) == here.world_size:
            runtime.set_random_state(saved["random"][here.rank])
            return ""
        runtime.seed_everything(seed + (step << 16) + here.rank)
        return (
            f"saved by {len(saved['random'])} processes, goes on in {here.world_size}: the batches "
            "stay the same, dropout draws anew"
        )


def same_runtime(now: Runtime, asked: str, before: object) -> tuple[Runtime, str]:
    """Compute as a run did so far, where the machine can and no other number type was asked for.

    Args:
        now: what would be chosen for a new run. asked: the dtype of the settings.
        before: the `runtime` of the checkpoint's manifest: {"device": kind, "dtype": name}.

    Returns:
        What to go on with, and a line about what is not as before, or "".
    """
    if not isinstance(before, dict) or not isinstance(before.get("dtype"), str):
        return now, ""  # saved by a version that did not tell
    device, dtype, why = before.get("device"), before["dtype"], ""
    if asked in ("auto", "fast") and dtype != now.dtype:  # a choice that was left to the machine
        try:
            kept = Runtime.detect(now.device, dtype)
        except DeviceError as error:
            why = f" ({error})"
        else:
            if kept.kind == device:
                return kept, f"goes on in {dtype}, as before; a new run would be in {now.dtype}"
            now = kept
    if (now.kind, now.dtype) == (device, dtype):
        return now, ""
    return now, (
        f"computed so far on {device} in {dtype}, goes on on {now.kind} in {now.dtype}{why}: it is "
        "no longer exact"
    )


def describe(
    model: GPT, config: TrainConfig, data: dict, tokenizer: Tokenizer | None, note: dict | None
) -> dict:
    """What the manifest of a checkpoint tells of its run."""
    part = tuning.about(model)
    return ({"tuning": part} if part else {}) | {
        "model": model.config.to_dict(),
        "train": asdict(config),
        "data": data,
        "tokenizer": getattr(tokenizer, "sha256", None),
        "note": note,
        "threads": torch.get_num_threads(),
        "versions": {"torch": torch.__version__, "gptlib": package_version()},
    }
