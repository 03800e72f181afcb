"""Training: one plain loop, and nothing lost when it is interrupted.

One job: `Trainer.fit`. Read `fit` and `_update`; the rest is book-keeping. A run of N steps ends
with the same weights, bit for bit, as the same run killed at any instant and resumed (on a CPU with
the same thread count; on CUDA kernels may add in another order unless deterministic ones are
asked for). Evaluation draws no random number from training's generators.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from gptlib import checkpoint, mirror, runtime
from gptlib.batches import TokenBatches, document_starts
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.evaluation import split_loss
from gptlib.model import GPT, GPTConfig
from gptlib.optim import learning_rate, make_optimizers
from gptlib.runs import Run, check_same_run, read_jsonl
from gptlib.runtime import Runtime
from gptlib.sharded_tokens import ShardedTokens, open_shards
from gptlib.train_config import TrainConfig


class Trainer:
    """Train a `GPT` on token arrays and keep everything in a run folder.

    Args:
        model: the network; its weights are replaced when a run is resumed.
        train, val: 1-D arrays of token ids, or a shard folder (or what `open_shards` returns),
            which is read as it is needed. config: how to train.
        run_dir: folder for `config.json`, `log.jsonl`, `speed.jsonl`, `tokenizer/`,
            `checkpoints/`, `best` and `latest`; made if it is not there.
        tokenizer: saved beside the run, so that `load_run` can decode; None for bare ids.
        report: called with one line of progress at each validation.
        note: JSON to keep with the run, e.g. which corpus it was.
        separator: the ids that stand after every document. Windows then begin at a separator, in
            training and in validation, so that a document is seen from its beginning.
        mirror_to: a folder on another disk, such as Colab's mounted Drive, that gets a verified
            copy of every checkpoint; an empty run folder is restored from it.

    Raises:
        DataError: a split is too short for the model, or has ids outside its vocabulary; a shard
            folder that is damaged or was made with another tokenizer.
    """

    def __init__(
        self,
        model: GPT,
        train,
        val,
        config: TrainConfig,
        run_dir: str | Path,
        tokenizer=None,
        report: Callable[[str], None] | None = None,
        note: dict | None = None,
        separator: Sequence[int] | None = None,
        mirror_to: str | Path | None = None,
    ) -> None:
        self.note, self.mirror_to = note, Path(mirror_to) if mirror_to else None
        self.config, self.run_dir, self.tokenizer = config, Path(run_dir), tokenizer
        self.report = report or (lambda line: None)
        self.runtime = Runtime.detect(config.device, config.dtype)
        self.model = model.to(self.runtime.device)
        self.train = _as_tokens(train, "train", tokenizer)
        self.val = _as_tokens(val, "val", tokenizer)
        for name, tokens in (("train", self.train), ("val", self.val)):
            _check_split(name, tokens, model.config)
        starts = [document_starts(t, separator) for t in (self.train, self.val) if separator]
        self.separator, self.val_starts = separator, starts[1] if starts else None
        self.batches = TokenBatches(
            self.train, config.batch_size, model.config.block_size, config.seed, config.sampling,
            starts[0] if starts else None,
        )  # fmt: skip

    # --- the loop ---------------------------------------------------------------------------------

    def fit(
        self, resume: bool = True, stop_after: int | None = None, override: bool = False
    ) -> Run:
        """Train to the end of the schedule, from the newest whole checkpoint if there is one.

        Args:
            resume: continue what the folder holds; False refuses a folder that holds a run.
            stop_after: stop at this step, with a checkpoint, and leave the rest for later.
            override: let a resumed run change what `train_config.OVERRIDABLE` names.

        SIGTERM and Ctrl-C finish the step, save, and return with `Run.finished` False.

        Raises:
            CheckpointError: the folder is in use, holds another run, or every checkpoint in it is
                damaged. DataError: the loss is no longer a number.
        """
        c = self.config
        if stop_after is not None and (type(stop_after) is not int or stop_after < 1):
            raise ConfigError(f"stop_after is {stop_after!r}; give a step, 1 or more, or None")
        with checkpoint.only_writer(self.run_dir), _stop_signals() as stopped:
            self._begin(resume, override)
            self._clock = time.perf_counter()
            if self.step == 0:
                self._evaluate()
            last = min(c.steps, stop_after or c.steps)
            while self.step < last and not stopped.is_set():
                self._loss, norm = self._update()
                self.step += 1
                self._write_log(norm)
                improved = False
                if self.step % c.eval_every == 0 or self.step == c.steps:
                    improved = self._evaluate()
                if improved or self._save_is_due():
                    self._save()
            if self.step not in checkpoint.saved_steps(self.run_dir):
                self._save(passing=True)  # asked to stop between two regular saves
        finished = self.step == c.steps
        if not finished:
            self.report(f"stopped at step {self.step} of {c.steps} and saved; resume to go on")
        return Run(
            self.run_dir, self.model, self.step, finished, self.best["val"], self.best["step"],
            self.last_val, read_jsonl(self.run_dir / "log.jsonl"),
        )  # fmt: skip

    def _update(self) -> tuple[float, float]:
        """One optimizer step; returns the mean loss and the gradient's norm before clipping."""
        c, device = self.config, self.runtime.device
        lr = learning_rate(self.step, c.steps, c.lr, c.min_lr, c.warmup, c.schedule)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        self.compute.train()
        total = 0.0
        for micro in range(c.accumulate):
            x, y = self.batches.batch(self.step, micro=micro, accumulate=c.accumulate)
            with self.runtime.autocast():
                _, loss = self.compute(x.to(device), y.to(device), return_logits=False)
            self.scaler.scale(loss / c.accumulate).backward()
            total += loss.detach() / c.accumulate
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.grad_clip or math.inf)
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        total, norm = total.item(), norm.item()
        # In float16 a gradient may overflow: the scaler leaves that update out and scales less.
        if not math.isfinite(total) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self._lost(f"the loss is {total} and its gradient's norm {norm}", lr)
        return total, norm

    def _lost(self, what: str, lr: float) -> DataError:
        return DataError(
            f"{what} at step {self.step} with learning rate {lr:.3g}; expected finite numbers. "
            "What was saved is untouched: resume it with a smaller lr (--lr X --override), or "
            "begin again with a longer warmup"
        )

    def _evaluate(self) -> bool:
        """Validate, log it, and say whether it is the best so far."""
        c, trained = self.config, time.perf_counter() - self._clock
        val = split_loss(
            self.model, self.val, windows=c.eval_windows or None,
            autocast=self.runtime.autocast, starts=self.val_starts,
        )  # fmt: skip
        if not math.isfinite(val):
            raise self._lost(f"the validation loss is {val}", c.lr)
        self.last_val = val
        improved = val < self.best["val"]
        if improved:
            self.best = {"val": val, "step": self.step}
        self._append("log.jsonl", {"step": self.step, "val": val})
        self._report_speed(val, trained)
        self._clock = time.perf_counter()  # validation is not training time
        return improved and self.step > 0

    # --- starting and saving ----------------------------------------------------------------------

    def _begin(self, resume: bool, override: bool) -> None:
        """Set up the optimizer and every random generator, from a checkpoint or from the seed."""
        c = self.config
        self.step, self.best, self.last_val = 0, {"val": math.inf, "step": 0}, math.inf
        self._seconds, self._timed_from, self._saved_at = 0.0, 0, time.monotonic()
        self.optimizers = make_optimizers(
            self.model, c.optimizer, c.lr, c.weight_decay, (c.beta1, c.beta2)
        )
        self.scaler = self.runtime.grad_scaler()
        self.compute = torch.compile(self.model) if c.compile else self.model
        self.about = {
            "model": self.model.config.to_dict(),
            "train": asdict(c),
            "data": {
                "train": _hash(self.train),
                "val": _hash(self.val),
                "separator": list(self.separator) if self.separator else None,
            },
            "tokenizer": getattr(self.tokenizer, "sha256", None),
            "note": self.note,
            "threads": torch.get_num_threads(),
            "versions": {"torch": torch.__version__, "gptlib": package_version()},
        }
        if self.mirror_to and not checkpoint.saved_steps(self.run_dir):
            mirror.pull(self.mirror_to, self.run_dir)
        loaded = checkpoint.load_newest(self.run_dir)
        if loaded is None:
            runtime.seed_everything(c.seed)
            self._cut("log.jsonl", 0)
            self._cut("speed.jsonl", 0)
            if self.tokenizer is not None:
                self.tokenizer.save(self.run_dir / "tokenizer")
            about = json.dumps(self.about, indent=1, sort_keys=True) + "\n"
            checkpoint.write_atomic(self.run_dir / "config.json", about.encode())
            return
        if not resume:
            raise CheckpointError(
                f"{self.run_dir} already holds a run; resume it, or choose another folder"
            )
        weights, state, manifest = loaded
        check_same_run(manifest, self.about, override)
        checkpoint.load_weights(self.model, weights)
        try:
            for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.best, self.last_val = state["step"], state["best"], state["last_val"]
            self._timed_from = self.step
            self._cut("log.jsonl", state["log_bytes"])
            runtime.set_random_state(state["random"])
            checkpoint.repair_pointers(self.run_dir, self.step, self.best["step"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CheckpointError(
                f"step {manifest['step']} in {self.run_dir} has a state that this trainer "
                f"cannot go on from ({type(error).__name__}: {error}); it expects one that it "
                "saved itself: use the version of gptlib that wrote it, or a new folder"
            ) from error

    def _save(self, passing: bool = False) -> None:
        """Write a checkpoint of this instant, and delete those no longer needed.

        A `passing` one exists because the run was interrupted; it displaces no regular one, so an
        interrupted run ends with the same checkpoints as one that was left alone.
        """
        state = {
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best": self.best,
            "last_val": self.last_val,
            "log_bytes": self._sync_log(),
            "random": runtime.random_state(),
        }
        weights = checkpoint.plain_weights(self.model)
        about = {**self.about, "passing": passing}
        place = checkpoint.save(self.run_dir, self.step, weights, state, about)
        if self.best["step"] == self.step:
            checkpoint.point(self.run_dir, "best", self.step)
        checkpoint.prune(self.run_dir, self.config.keep_last, {self.best["step"]})
        if self.mirror_to:
            mirror.push(place, self.run_dir, self.mirror_to)
        self._saved_at = time.monotonic()

    def _save_is_due(self) -> bool:
        c = self.config
        by_step = c.save_every and self.step % c.save_every == 0
        by_time = c.save_minutes and time.monotonic() - self._saved_at > 60 * c.save_minutes
        return bool(by_step or by_time or self.step == c.steps)

    # --- log and speed ----------------------------------------------------------------------------

    def _write_log(self, norm: float) -> None:
        c = self.config
        lr = learning_rate(self.step - 1, c.steps, c.lr, c.min_lr, c.warmup, c.schedule)
        tokens = self.step * c.batch_size * self.model.config.block_size
        line = {"step": self.step, "loss": self._loss, "lr": lr, "grad_norm": norm}
        self._append("log.jsonl", {**line, "tokens": tokens})

    def _append(self, name: str, line: dict) -> None:
        with open(self.run_dir / name, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def _sync_log(self) -> int:
        """Flush the log to disk before a checkpoint that counts on it; returns its bytes."""
        with open(self.run_dir / "log.jsonl", "ab") as file:
            os.fsync(file.fileno())
            return file.tell()

    def _cut(self, name: str, size: int) -> None:
        """Cut a log to `size` bytes: what came after them will be made again."""
        with open(self.run_dir / name, "ab") as file:
            file.truncate(min(size, file.tell()))

    def _report_speed(self, val: float, seconds: float) -> None:
        """Write tokens/s and MFU of the `seconds` since the last validation; report one line."""
        c, T = self.config, self.model.config.block_size
        steps, self._timed_from = self.step - self._timed_from, self.step
        line = f"step {self.step}/{c.steps}  val {val:.4f}"
        if steps:
            line += f"  train {self._loss:.4f}"
            self._seconds += seconds
            rate = steps * c.batch_size * T / seconds
            peak = self.runtime.peak_flops()
            mfu = rate * self.model.flops_per_token(T) / peak if peak else None
            left = (c.steps - self.step) * seconds / steps
            speed = {"step": self.step, "seconds": self._seconds, "tokens_per_s": rate, "mfu": mfu}
            self._append("speed.jsonl", speed)
            known = "unknown" if mfu is None else f"{mfu:.1%}"
            line += f"  {rate:,.0f} tokens/s  MFU {known}  {left / 60:.1f} min left"
        self.report(line)


def package_version() -> str:
    try:
        return version("gptlib")
    except PackageNotFoundError:
        return "not installed"


def _as_tokens(tokens, name: str, tokenizer) -> np.ndarray | ShardedTokens:
    if isinstance(tokens, str | Path):
        return open_shards(tokens, name, tokenizer)
    if isinstance(tokens, ShardedTokens):
        return tokens
    array = np.asarray(tokens)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise DataError(f"{name} is {array.dtype} of shape {array.shape}; give 1-D integer ids")
    return array


def _check_split(name: str, tokens: np.ndarray | ShardedTokens, config: GPTConfig) -> None:
    need = config.block_size + 1 if name == "train" else 2
    if len(tokens) < need:
        raise DataError(
            f"the {name} split has {len(tokens)} tokens; it needs {need} or more "
            f"(block_size is {config.block_size}): use a longer text or a smaller block_size"
        )
    if isinstance(tokens, ShardedTokens):  # made of ids below its own vocabulary's size
        low, high = 0, tokens.vocab_size - 1
    else:
        low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= config.vocab_size:
        raise DataError(
            f"the {name} split has token ids from {low} to {high}, but vocab_size is "
            f"{config.vocab_size}; was it encoded by another tokenizer?"
        )


def _hash(tokens: np.ndarray | ShardedTokens) -> str:
    if isinstance(tokens, ShardedTokens):
        return tokens.sha256
    return hashlib.sha256(np.ascontiguousarray(tokens, dtype="<i8").tobytes()).hexdigest()


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Turn SIGTERM and Ctrl-C into a flag that the loop reads between steps."""
    stopped, before = threading.Event(), {}

    def handle(number, frame) -> None:
        if stopped.is_set():  # asked twice: stop at once
            raise KeyboardInterrupt
        stopped.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, handle)
    try:
        yield stopped
    finally:
        for number, old in before.items():
            signal.signal(number, old)
