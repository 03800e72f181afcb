"""A QLoRA run: an adapter learns from pairs, and may be killed at any moment.

One job: `train_adapter`. A checkpoint has all that changes while it goes on: the adapter, the
optimizer, the gradient scaler and every random generator; which pairs come next follows from the
step. So a run that was killed and resumed is the run that was left alone, bit for bit, on a CPU
with the same threads. On CUDA the order of sums is not promised by its kernels, and a resumed
optimizer's state is no longer paged.

    run/checkpoints/step_00000050/{model.safetensors, state.pt, manifest.json}    the adapter's
    run/log.jsonl       a line an update; run/adapter/   at the end, as peft reads it
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib import checkpoint, runtime
from gptlib.errors import CheckpointError, DataError
from gptlib.optim import learning_rate
from gptlib.paths import user_path
from gptlib.qlora.base import adapter_weights, mark_of, put_adapter, save_adapter
from gptlib.qlora.config import QLoRAConfig
from gptlib.qlora.libraries import qlora_libraries
from gptlib.qlora.pairs import IGNORE, EncodedPair, answer_tokens, collate, pairs_of_step, sha256_of
from gptlib.run_log import RunLog
from gptlib.stopping import stop_signals
from gptlib.versions import package_version

if TYPE_CHECKING:
    from peft import PeftModel


def train_adapter(
    model: PeftModel,
    pairs: Sequence[EncodedPair],
    config: QLoRAConfig,
    run_dir: str | Path,
    held_out: Sequence[EncodedPair] = (),
    resume: bool = False,
    report: Callable[[str], None] | None = None,
    advanced: Callable[[int], None] | None = None,
) -> bool:
    """Train the adapter of a model that `add_adapter` made, in place.

    Args:
        pairs: to learn from. held_out: measured before the first step and at every checkpoint.
        run_dir: a new folder, or with `resume` that of the same run. report: told of each
            measurement. advanced: told the step after each update.

    Returns:
        whether the run is complete; one that SIGTERM or Ctrl-C ended has saved where it was.

    Raises:
        DataError: no pairs, or one that is longer than `max_length`.
        CheckpointError: the folder holds another run, or one that is not to be resumed, or cannot
            be written; nothing in it is whole.
    """
    run_dir = user_path(run_dir)
    _check(pairs, config)
    here = _runtime(model)
    optimizer, scaler = _optimizer(model, config), here.grad_scaler()
    about = {
        "qlora": asdict(config) | {"targets": list(config.targets)},
        "base": {"name": model.peft_config["default"].base_model_name_or_path,
                 "mark": mark_of(model)},
        "pairs": sha256_of(pairs), "held_out": sha256_of(held_out),
    }  # fmt: skip
    log = RunLog(run_dir, True, report)

    def save(step: int) -> None:
        state = {
            "optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(),
            "random": runtime.random_state(), "log": log.sync(),
        }  # fmt: skip
        versions = {"torch": torch.__version__, "gptlib": package_version()}
        told = about | {"threads": torch.get_num_threads(), "versions": versions}
        checkpoint.save(run_dir, step, adapter_weights(model), state, told)
        checkpoint.prune(run_dir, config.keep, set())

    def measure(step: int) -> None:
        if held_out:
            nats = held_out_loss(model, held_out, config.batch_size // config.accumulate)
            log.write({"step": step, "held_out": nats})
            log.report(f"step {step}: {nats:.4f} nats per answer token held out")

    with checkpoint.only_writer(run_dir), stop_signals() as stopped:
        saved = _saved(run_dir, about, resume)
        if saved is None:
            runtime.seed_everything(config.seed)
            step = 0
            log.cut(0)
            measure(0)
            save(0)
        else:
            weights, state, manifest = saved
            step = manifest["step"]
            put_adapter(model, weights)
            optimizer.load_state_dict(state["optimizer"])
            scaler.load_state_dict(state["scaler"])
            runtime.set_random_state(state["random"])
            log.cut(state["log"])
        model.train()
        while step < config.steps and not stopped.is_set():
            chosen = pairs_of_step(step, len(pairs), config.batch_size, config.seed)
            line = _update(model, [pairs[n] for n in chosen], step, config, optimizer, scaler, here)
            step += 1
            log.write({"step": step} | line)
            if advanced:
                advanced(step)
            due = step % config.save_every == 0 or step == config.steps
            if due:
                measure(step)
            if due or stopped.is_set():
                save(step)
        if step == config.steps:
            shutil.rmtree(run_dir / "adapter", ignore_errors=True)  # of a kill after it was made
            save_adapter(model, run_dir / "adapter")
    model.eval()
    return step == config.steps


def _update(
    model: PeftModel,
    pairs: list[EncodedPair],
    step: int,
    config: QLoRAConfig,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    here: runtime.Runtime,
) -> dict[str, Any]:
    """One update; returns what the log tells of it.

    The loss is the mean over all answer tokens of the batch, however it is cut: each part adds its
    sum divided by the number of all, so a part with long answers counts for more than a short one.
    """
    rate = learning_rate(step, config.steps, config.lr, 0.0, config.warmup, "cosine")
    for group in optimizer.param_groups:
        group["lr"] = rate
    count, loss = answer_tokens(pairs), 0.0
    rows = config.batch_size // config.accumulate
    for first in range(0, len(pairs), rows):
        with here.autocast():
            part = answer_loss(model, collate(pairs[first : first + rows])) / count
        scaler.scale(part).backward()
        loss += part.item()
    scaler.unscale_(optimizer)
    torch.nn.utils.clip_grad_norm_(_trained(model), config.clip)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    return {"loss": loss, "lr": rate, "answer_tokens": count}


def answer_loss(model: torch.nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """The summed loss () in nats of the answers of a batch, as `collate` makes it.

    The logits at a position speak of the next one, so a label is compared with those before it.
    """
    device = next(model.parameters()).device
    moved = {name: tensor.to(device) for name, tensor in batch.items()}
    labels = moved.pop("labels")[:, 1:]
    logits = model(**moved).logits[:, :-1]
    return F.cross_entropy(
        logits.flatten(0, 1).float(), labels.flatten(), ignore_index=IGNORE, reduction="sum"
    )


@torch.no_grad()
def held_out_loss(model: torch.nn.Module, pairs: Sequence[EncodedPair], rows: int = 1) -> float:
    """Nats per answer token of pairs, without dropout; the model's mode is put back."""
    training = model.training
    model.eval()
    total = sum(
        float(answer_loss(model, collate(pairs[first : first + rows])))
        for first in range(0, len(pairs), rows)
    )
    model.train(training)
    return total / answer_tokens(pairs)


def _check(pairs: Sequence[EncodedPair], config: QLoRAConfig) -> None:
    if not pairs:
        raise DataError("there are no pairs to learn from; give at least one")
    longest = max(len(pair.ids) for pair in pairs)
    if longest > config.max_length:
        raise DataError(
            f"a pair has {longest} tokens and max_length is {config.max_length}; cut it, or raise "
            "max_length"
        )


def _runtime(model: PeftModel) -> runtime.Runtime:
    """What the base was loaded to compute in."""
    base = model.get_base_model()
    dtype = next(name for name, kind in runtime.DTYPES.items() if kind == base.config.dtype)
    return runtime.Runtime(str(base.device), dtype)


def _trained(model: torch.nn.Module) -> Iterable[torch.nn.Parameter]:
    return [p for p in model.parameters() if p.requires_grad]


def _optimizer(model: PeftModel, config: QLoRAConfig) -> torch.optim.Optimizer:
    params = list(_trained(model))
    paged = config.paged if config.paged is not None else params[0].device.type == "cuda"
    if not paged:
        return torch.optim.AdamW(params, lr=config.lr, weight_decay=config.weight_decay)
    _, _, bitsandbytes = qlora_libraries()
    optimizer = bitsandbytes.optim.PagedAdamW32bit(
        params, lr=config.lr, weight_decay=config.weight_decay
    )
    optimizer._cpu_paged_warned = True  # that a CPU does not page is said in `QLoRAConfig`
    return optimizer


def _saved(run_dir: Path, about: dict, resume: bool) -> tuple[dict, dict, dict] | None:
    """The checkpoint to go on from, or None for a new run.

    Raises:
        CheckpointError: there is one and it is not to be resumed, or it is of another run.
    """
    saved = checkpoint.load_newest(run_dir)
    if saved is None:
        return None
    if not resume:
        raise CheckpointError(f"{run_dir} holds a run already; resume it, or give a new folder")
    manifest = saved[2]
    for part, now in about.items():
        before = manifest.get(part)
        if before == now:
            continue
        what = f"{part} is another"
        if isinstance(before, dict) and isinstance(now, dict):
            differs = [key for key in now if before.get(key) != now[key]]
            what = "; ".join(
                f"{key} was {before.get(key)!r} and is {now[key]!r}" for key in differs
            )
        raise CheckpointError(
            f"{run_dir} holds another run: {what}; use the same settings, base and pairs, or a new "
            "folder"
        )
    checkpoint.repair_pointers(run_dir, manifest["step"], -1)
    return saved
