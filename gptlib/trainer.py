"""Training: one plain loop, and nothing lost when it is interrupted.

One job: `Trainer.fit`. Read `fit` and `_update`; the rest is book-keeping. A run of N steps ends
with the same weights, bit for bit, as the same run killed at any instant and resumed (on a CPU with
the same thread count; on CUDA kernels may add in another order unless deterministic ones are
asked for). Evaluation draws no random number from training's generators.
"""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from gptlib import checkpoint, mirror, parallel, runtime
from gptlib.batches import TokenBatches, document_starts
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.evaluation import split_loss
from gptlib.model import GPT
from gptlib.optim import learning_rate, make_optimizers, set_learning_rate
from gptlib.paths import user_path
from gptlib.runs import Run, check_same_run, read_jsonl
from gptlib.runtime import Runtime
from gptlib.splits import open_split, split_sha256
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
        self.note, self.mirror_to = note, user_path(mirror_to) if mirror_to else None
        self.config, self.run_dir, self.tokenizer = config, user_path(run_dir), tokenizer
        self.runtime = Runtime.detect(config.device, config.dtype)
        parallel.check_strategy(config.parallel, self.runtime, config.optimizer)
        self.leads = self.runtime.rank == 0  # one process writes and speaks for all
        self.report = report if report and self.leads else lambda line: None
        self.model = model
        self.train = open_split(train, "train", model.config, tokenizer)
        self.val = open_split(val, "val", model.config, tokenizer)
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
        self.batches.rows(self.runtime.world_size, c.accumulate)
        lock = checkpoint.only_writer(self.run_dir) if self.leads else nullcontext()
        with lock, _stop_signals() as stopped, parallel.joined(self.runtime):
            self._begin(resume, override)
            self._clock = time.perf_counter()
            if self.step == 0:
                self._evaluate()
            last = min(c.steps, stop_after or c.steps)
            stop = False
            while self.step < last and not stop:
                loss, norm = self._update()
                self.step += 1
                save, stop = self._agree(loss, norm, stopped.is_set())
                if self.step % c.eval_every == 0 or self.step == c.steps:
                    save |= self._evaluate()
                if save:
                    self._save()
            if self._saved_step != self.step:
                self._save(passing=True)  # asked to stop between two regular saves
        finished = self.step == c.steps
        if not finished:
            self.report(f"stopped at step {self.step} of {c.steps} and saved; resume to go on")
        return Run(
            self.run_dir, self.model, self.step, finished, self.best["val"], self.best["step"],
            self.last_val, read_jsonl(self.run_dir / "log.jsonl"),
        )  # fmt: skip

    def _update(self) -> tuple[float, float]:
        """One optimizer step; returns this process's mean loss and the gradient's norm."""
        c, device = self.config, self.runtime.device
        set_learning_rate(self.optimizers, self._rate(self.step))
        self.compute.train()
        total = 0.0
        for micro in range(c.accumulate):
            x, y = self.batches.batch(
                self.step, self.runtime.rank, self.runtime.world_size, micro, c.accumulate
            )
            with parallel.sync_gradients(self.compute, micro == c.accumulate - 1):
                with self.runtime.autocast():
                    _, loss = self.compute(x.to(device), y.to(device), return_logits=False)
                self.scaler.scale(loss / c.accumulate).backward()
            total += loss.detach() / c.accumulate
        for optimizer in self.optimizers:
            self.scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.grad_clip or math.inf)
        norm = parallel.whole(norm).item()
        for optimizer in self.optimizers:
            self.scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        self.scaler.update()
        return total.item(), norm

    def _rate(self, step: int) -> float:
        """The learning rate of the update that follows `step` others."""
        c = self.config
        return learning_rate(max(0, step), c.steps, c.lr, c.min_lr, c.warmup, c.schedule, c.decay)

    def _agree(self, loss: float, norm: float, asked_to_stop: bool) -> tuple[bool, bool]:
        """Log a step; returns what all processes do next: (save, stop)."""
        overdue = self.leads and self._save_is_overdue()  # one clock counts
        loss, overdue, stop = parallel.sums(loss, overdue, asked_to_stop)
        c, self._loss = self.config, loss / self.runtime.world_size
        # In float16 a gradient may overflow: the scaler leaves that update out and scales less.
        if not math.isfinite(self._loss) or not (math.isfinite(norm) or self.scaler.is_enabled()):
            raise self._lost(f"the loss is {self._loss} and its gradient's norm {norm}")
        self._write_log(norm)
        due = c.save_every and self.step % c.save_every == 0
        return bool(due or overdue or self.step == c.steps), bool(stop)

    def _lost(self, what: str) -> DataError:
        lr = self._rate(self.step - 1)
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
            autocast=self.runtime.autocast, starts=self.val_starts, shared=True,
        )  # fmt: skip
        if not math.isfinite(val):
            raise self._lost(f"the validation loss is {val}")
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
        self._seconds, self._timed_from, self._saved_step = 0.0, 0, None
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        self.about = {
            "model": self.model.config.to_dict(),
            "train": asdict(c),
            "data": {
                "train": split_sha256(self.train),
                "val": split_sha256(self.val),
                "separator": list(self.separator) if self.separator else None,
            },
            "tokenizer": getattr(self.tokenizer, "sha256", None),
            "note": self.note,
            "threads": torch.get_num_threads(),
            "versions": {"torch": torch.__version__, "gptlib": package_version()},
        }
        if self.leads and self.mirror_to and not checkpoint.saved_steps(self.run_dir):
            mirror.pull(self.mirror_to, self.run_dir)
        parallel.gather(None)  # nobody looks for checkpoints before they are there
        loaded = checkpoint.load_newest(self.run_dir)
        found = loaded and f"step {loaded[2]['step']}, {loaded[2]['sha256'][checkpoint.MODEL][:8]}"
        parallel.check_same(found, "the newest checkpoint to be")
        if loaded is not None:
            if not resume:
                raise CheckpointError(
                    f"{self.run_dir} already holds a run; resume it, or choose another folder"
                )
            check_same_run(loaded[2], self.about, override)
            checkpoint.load_weights(self.model, loaded[0])
        if c.parallel == "ddp" or self.runtime.world_size == 1:
            self.model.to(self.runtime.device)  # FSDP moves its shards itself
        self.compute = parallel.wrap(self.model, self.runtime, c.parallel, c.compile)
        self.optimizers = make_optimizers(
            self.model, c.optimizer, c.lr, c.weight_decay, (c.beta1, c.beta2),
            c.embed_lr, c.head_lr, c.muon_parts,
        )  # fmt: skip
        self.scaler = self.runtime.grad_scaler()
        if loaded is not None:
            try:
                self._go_on(loaded[1], loaded[2]["step"])
            except (
                KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError,
            ) as error:  # fmt: skip
                raise CheckpointError(
                    f"step {loaded[2]['step']} in {self.run_dir} has a state that this trainer "
                    f"cannot go on from ({type(error).__name__}: {error}); it expects one that it "
                    "saved itself: use the version of gptlib that wrote it, or a new folder"
                ) from error
            return
        runtime.seed_everything(c.seed + self.runtime.rank)
        if self.leads:
            self._cut("log.jsonl", 0)
            self._cut("speed.jsonl", 0)
            if self.tokenizer is not None:
                self.tokenizer.save(self.run_dir / "tokenizer")
            about = json.dumps(self.about, indent=1, sort_keys=True) + "\n"
            checkpoint.write_atomic(self.run_dir / "config.json", about.encode())

    def _go_on(self, state: dict, step: int) -> None:
        """Put back everything but the weights, which are loaded before the model is shared out."""
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            parallel.load_optimizer(optimizer, saved)
        self.scaler.load_state_dict(state["scaler"])
        best, self.last_val = state["best"], float(state["last_val"])
        self.best = {"val": float(best["val"]), "step": int(best["step"])}
        if state["step"] != step:
            raise ValueError(f"its state is of step {state['step']}")
        self.step = step
        self._timed_from = self._saved_step = self.step
        rank, world_size = self.runtime.rank, self.runtime.world_size
        if len(state["random"]) == world_size:
            runtime.set_random_state(state["random"][rank])
        else:
            runtime.seed_everything(self.config.seed + (self.step << 16) + rank)
            self.report(
                f"saved by {len(state['random'])} processes, goes on in {world_size}: the batches "
                "stay the same, dropout draws anew"
            )
        if self.leads:
            self._cut("log.jsonl", state["log_bytes"])
            checkpoint.repair_pointers(self.run_dir, self.step, self.best["step"])
            also = {self.best["step"], self.step}  # a kill may have come before the last pruning
            checkpoint.prune(self.run_dir, self.config.keep_last, also)

    def _save(self, passing: bool = False) -> None:
        """Write a checkpoint of this instant, and delete those no longer needed.

        A `passing` one exists because the run was interrupted; it displaces no regular one, so an
        interrupted run ends with the same checkpoints as one that was left alone.
        """
        begun = time.monotonic()
        state = {
            "optimizers": parallel.whole([o.state_dict() for o in self.optimizers]),
            "scaler": self.scaler.state_dict(),
            "step": self.step,
            "best": self.best,
            "last_val": self.last_val,
            "random": parallel.gather(runtime.random_state()),
        }
        weights = checkpoint.plain_weights(self.model)
        self._saved_step = self.step
        if not self.leads:
            return
        state["log_bytes"] = self._sync_log()
        about = {**self.about, "passing": passing}
        place = checkpoint.save(self.run_dir, self.step, weights, state, about)
        if self.best["step"] == self.step:
            checkpoint.point(self.run_dir, "best", self.step)
        checkpoint.prune(self.run_dir, self.config.keep_last, {self.best["step"]})
        if self.mirror_to:
            mirror.push(place, self.run_dir, self.mirror_to)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - begun

    def _save_is_overdue(self) -> bool:
        """Say whether the interval is over; on a slow disk it grows, so that saving never takes
        more than a fiftieth of the time."""
        interval = max(60 * self.config.save_minutes, 50 * self._save_seconds)
        return bool(self.config.save_minutes and time.monotonic() - self._saved_at > interval)

    # --- log and speed ----------------------------------------------------------------------------

    def _write_log(self, norm: float) -> None:
        c = self.config
        lr = self._rate(self.step - 1)
        tokens = self.step * c.batch_size * self.model.config.block_size
        line = {"step": self.step, "loss": self._loss, "lr": lr, "grad_norm": norm}
        self._append("log.jsonl", {**line, "tokens": tokens})

    def _append(self, name: str, line: dict) -> None:
        if not self.leads:
            return
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
            flops = rate * self.model.flops_per_token(T) / self.runtime.world_size
            mfu = flops / peak if peak else None
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
