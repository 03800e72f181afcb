"""Training: one plain loop, and nothing lost when it is interrupted.

One job: `Trainer.fit`. Read `fit` and `_update`; the rest is book-keeping, and what of it is not of
the loop stands in `gptlib.train_state` and `gptlib.run_log`. A run of N steps ends
with the same weights, bit for bit, as the same run killed at any instant and resumed (on a CPU with
the same thread count; on CUDA kernels may add in another order unless deterministic ones are
asked for). Evaluation draws no random number from training's generators.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch

from gptlib import checkpoint, mirror, parallel, runtime, tuning
from gptlib.batches import Batches
from gptlib.callbacks import Callback
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.model import GPT
from gptlib.optim import learning_rate, make_optimizers, set_learning_rate
from gptlib.paths import user_path
from gptlib.run_log import LOG, SPEED, RunLog
from gptlib.runs import Run, check_same_run, read_jsonl
from gptlib.runtime import Runtime
from gptlib.shards.splits import Split
from gptlib.stopping import stop_signals
from gptlib.task import Loss, Measure, document_start, open_task
from gptlib.tokenizers import Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.train_state import TrainState, describe, same_runtime


class Trainer:
    """Train a `GPT` on token arrays and keep everything in a run folder.

    Derived in chapter 6, *And if the machine is taken away?*

    Args:
        model: the network; its weights are replaced when a run is resumed. Of one that is tuned in
            part (`gptlib.finetuning`) a checkpoint holds that part alone; to resume, give it anew
            on the same weights.
        train, val: 1-D arrays of token ids, or a shard folder (or what `open_shards` returns),
            which is read as it is needed. For another task, `train` is a `Batches` of one's own
            and `val` may be a function of the model that returns a number, the lower the better.
        config: how to train.
        run_dir: folder for `config.json`, `log.jsonl`, `speed.jsonl`, `tokenizer/`,
            `checkpoints/`, `best` and `latest`; made if it is not there.
        tokenizer: saved beside the run, so that `load_run` can decode; None for bare ids.
        report: called with one line of progress at each validation.
        note: JSON to keep with the run, e.g. which corpus it was.
        separator: the ids that stand after every document. Windows then begin at a separator, in
            training and in validation, so that a document is seen from its beginning.
        loss: (model, batch on the device) to the mean loss of a batch, a scalar tensor; None for
            that of the next token. A resumed run knows it, as it does a function `val`, by name.
        callbacks: told of each step and validation, in the process that leads.
        keep_first: save the model as it is before the first step, since it is worth keeping: it is
            trained already. `best` is then that one where no validation is better.
        mirror_to: a folder on another disk, such as Colab's mounted Drive, that gets a verified
            copy of every checkpoint; an empty run folder is restored from it.

    Raises:
        DataError: a split is too short for the model, or has ids outside its vocabulary; a shard
            folder that is damaged or was made with another tokenizer.
        ConfigError: `Batches` of another batch_size than the config's; attention within documents
            and no separator of one token.
        DeviceError: `config.compile`, and this machine cannot.
    """

    def __init__(
        self,
        model: GPT,
        train: Split | Batches,
        val: Split | Measure,
        config: TrainConfig,
        run_dir: str | Path,
        tokenizer: Tokenizer | None = None,
        report: Callable[[str], None] | None = None,
        note: dict | None = None,
        separator: Sequence[int] | None = None,
        mirror_to: str | Path | None = None,
        loss: Loss | None = None,
        callbacks: Sequence[Callback] = (),
        keep_first: bool = False,
    ) -> None:
        self.keep_first = keep_first
        self.note, self.mirror_to = note, user_path(mirror_to) if mirror_to else None
        self.config, self.run_dir, self.tokenizer = config, user_path(run_dir), tokenizer
        if self.mirror_to:
            mirror.check_apart(self.mirror_to, self.run_dir)
        self.runtime = Runtime.detect(config.device, config.dtype)
        parallel.check_strategy(config.parallel, self.runtime, config.optimizer)
        self.leads = self.runtime.rank == 0  # one process writes and speaks for all
        self.log = RunLog(self.run_dir, self.leads, report, callbacks)
        self.report = self.log.report
        self.model = model
        self.document_start = document_start(config, separator)
        self.task = open_task(model.config, train, val, config, tokenizer, separator, loss)
        self.batches = self.task.batches
        if config.compile:
            parallel.check_compiler(self.runtime)

    @property
    def step(self) -> int:
        """Updates made so far."""
        return self.state.step

    # --- the loop ---------------------------------------------------------------------------------

    def fit(
        self,
        resume: bool = True,
        stop_after: int | None = None,
        override: bool = False,
        began: Callable[[int], None] | None = None,
    ) -> Run:
        """Train to the end of the schedule, from the newest whole checkpoint if there is one.

        Args:
            resume: continue what the folder holds; False refuses a folder that holds a run.
            stop_after: stop at this step, with a checkpoint, and leave the rest for later.
            override: let a resumed run change what `train_config.OVERRIDABLE` names.
            began: called once, in the process that speaks for all, with the step that training
                goes on from: everything has been checked by then.

        SIGTERM, Ctrl-C and a closed terminal (SIGHUP) finish the step, save, and return with
        `Run.finished` False.

        Raises:
            CheckpointError: the folder is in use, holds another run, or every checkpoint in it is
                damaged. DataError: the loss is no longer a number.
        """
        c = self.config
        if stop_after is not None and (type(stop_after) is not int or stop_after < 1):
            raise ConfigError(f"stop_after is {stop_after!r}; give a step, 1 or more, or None")
        self.batches.rows(self.runtime.world_size, c.accumulate)
        lock = checkpoint.only_writer(self.run_dir) if self.leads else nullcontext()
        with lock, stop_signals() as stopped, parallel.joined(self.runtime), self.log.listened():
            self._begin(resume, override)
            state = self.state
            if began and self.leads:
                began(state.step)
            self.log.begin(self.about, state.step, c.steps)
            if self._saved_step is None and self._evaluate():  # a new run
                self._save()
            last = min(c.steps, stop_after or c.steps)
            stop = self._is_out_of_patience()
            while state.step < last and not stop:
                loss, norm = self._update()
                state.step += 1
                save, stop = self._agree(loss, norm, stopped.is_set())
                if state.step % c.eval_every == 0 or state.step == c.steps:
                    save |= self._evaluate()
                    stop |= self._is_out_of_patience()
                if save:
                    self._save()
            if self._saved_step != state.step:
                self._save(passing=True)  # asked to stop between two regular saves
        return self._result()

    def _update(self) -> tuple[float, float]:
        """One optimizer step; returns this process's mean loss and the gradient's norm."""
        c, device, scaler = self.config, self.runtime.device, self.state.scaler
        set_learning_rate(self.state.optimizers, self._rate(self.step))
        self.compute.train()
        total, micros = 0.0, self._micro_batches()
        for n, (batch, share) in enumerate(micros, 1):
            with parallel.sync_gradients(self.compute, n == len(micros)):
                with self.runtime.autocast():
                    loss = self.task.loss(self.compute, tuple(part.to(device) for part in batch))
                scaler.scale(loss / share).backward()
            total += loss.detach() / share
        for optimizer in self.state.optimizers:
            scaler.unscale_(optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), c.grad_clip or math.inf)
        norm = parallel.full_tensor(norm).item()
        # In float16 a gradient may overflow. The scaler leaves out the optimizer that it belongs
        # to and scales less; the other optimizers must not go on without it.
        overflow = scaler.is_enabled() and not math.isfinite(norm)
        for optimizer in self.state.optimizers:
            if not overflow:
                scaler.step(optimizer)
            optimizer.zero_grad(set_to_none=True)
        scaler.update()
        return float(total), norm

    def _micro_batches(self) -> list[tuple[tuple, float]]:
        """This process's part of the step: each batch, and what to divide its mean loss by.

        A mean of means is the mean of all only where equally many targets count in each. So a loss
        is weighted by its targets, over all processes, and cutting a batch in parts changes nothing
        but the memory it takes.
        """
        rank, processes, parts = self.runtime.rank, self.runtime.world_size, self.config.accumulate
        cut = [self.batches.batch(self.step, rank, processes, m, parts) for m in range(parts)]
        weights = [self.batches.weight(batch) for batch in cut]
        total, empty = parallel.all_reduce_sum(sum(weights), not all(weights))
        if empty:
            raise DataError(
                f"no target counts in a micro-batch of step {self.step + 1}; give each example at "
                "least one target that is not -1"
            )
        return [
            (batch, total / processes / weight) for batch, weight in zip(cut, weights, strict=True)
        ]

    def _rate(self, step: int) -> float:
        """The learning rate of the update that follows `step` others."""
        c = self.config
        return learning_rate(max(0, step), c.steps, c.lr, c.min_lr, c.warmup, c.schedule, c.decay)

    def _agree(self, loss: float, norm: float, asked_to_stop: bool) -> tuple[bool, bool]:
        """Log a step; returns what all processes do next: (save, stop)."""
        overdue = self.leads and self._save_is_overdue()  # one clock counts
        loss, overdue, stop = parallel.all_reduce_sum(loss, overdue, asked_to_stop)
        c, self._loss = self.config, loss / self.runtime.world_size
        sound = math.isfinite(norm) or self.state.scaler.is_enabled()
        if not (sound and math.isfinite(self._loss)):
            raise self._lost(f"the loss is {self._loss} and its gradient's norm {norm}")
        line = {"step": self.step, "loss": self._loss, "lr": self._rate(self.step - 1)}
        self.log.step(
            {**line, "grad_norm": norm, "tokens": self.step * self.batches.tokens_per_step}
        )
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
        """Validate, log it, and say whether to save: it is the best so far, or the last."""
        state = self.state
        self.log.stop_clock()
        val = self.task.validate(self.model, self.runtime)
        if not math.isfinite(val):
            raise self._lost(f"the validation loss is {val}")
        improved, ends = state.validated(val), self._is_out_of_patience()
        T, peak = self.model.config.block_size, self.runtime.peak_flops()
        flops = self.model.flops_per_token(T) / self.runtime.world_size
        counts = peak and self.model.tuning is None  # what is frozen has no gradient to compute
        utilization = flops / peak if counts else 0
        self.log.validated(val, self._loss, self.batches.tokens_per_step, utilization, ends)
        self.log.start_clock()  # validation is not training time
        return (improved and (self.step > 0 or self.keep_first)) or ends

    def _is_out_of_patience(self) -> bool:
        """Have as many validations as `patience` gone by without a better one, before the end?"""
        c = self.config
        waited = self.state.waited(c.eval_every)
        return bool(c.patience) and waited >= c.patience and self.step < c.steps

    def _result(self) -> Run:
        """Say how `fit` ended."""
        steps, state, early = self.config.steps, self.state, self._is_out_of_patience()
        if early:
            self.report(
                f"stopped early at step {state.step} of {steps}: no better validation since step "
                f"{state.best['step']} ({state.best['val']:.4f}), which is the best"
            )
        elif state.step < steps:
            self.report(f"stopped at step {state.step} of {steps} and saved; resume to go on")
        if state.best["step"] == 0 < state.step:
            best = "the model as it began" if self.keep_first else "the newest"
            self.report(f"no validation was better than before training: `best` is {best}")
        return Run(
            self.run_dir, self.model, state.step, early or state.step == steps, state.best["val"],
            state.best["step"], state.last_val, read_jsonl(self.run_dir / LOG), early,
        )  # fmt: skip

    # --- starting and saving ----------------------------------------------------------------------

    def _begin(self, resume: bool, override: bool) -> None:
        """Set up the optimizer and every random generator, from a checkpoint or from the seed."""
        c = self.config
        self._loss = math.nan
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        self._saved_step = None
        self.about = describe(self.model, c, self.task.data, self.tokenizer, self.note)
        if self.leads and self.mirror_to and not checkpoint.has_whole(self.run_dir):
            mirror.pull(self.mirror_to, self.run_dir)
        parallel.gather(None)  # nobody looks for checkpoints before they are there
        loaded = checkpoint.load_newest(self.run_dir)
        found = loaded and f"step {loaded[2]['step']}, {loaded[2]['sha256'][checkpoint.MODEL][:8]}"
        parallel.check_same(found, "the newest checkpoint to be")
        if loaded is not None:
            self._check_resumable(loaded[2], resume, override)
            tuning.put_back(self.model, loaded[0])
        self.about["runtime"] = {"device": self.runtime.kind, "dtype": self.runtime.dtype}
        self.model.recompute, self.model.loss_chunk = c.recompute, c.loss_chunk
        self.model.document_start = self.document_start
        if c.parallel == "ddp" or self.runtime.world_size == 1:
            self.model.to(self.runtime.device)  # FSDP moves its shards itself
        self.compute = parallel.wrap(self.model, self.runtime, c.parallel, c.compile)
        optimizers = make_optimizers(
            self.model, c.optimizer, c.lr, c.weight_decay, (c.beta1, c.beta2),
            c.embed_lr, c.head_lr, c.muon_parts,
        )  # fmt: skip
        self.state = TrainState(optimizers, self.runtime.grad_scaler())
        if loaded is None:
            self._start()
        else:
            self._go_on(loaded[1], loaded[2]["step"])

    def _check_resumable(self, manifest: dict, resume: bool, override: bool) -> None:
        """Refuse a checkpoint that is not to be continued; compute in what it was computed in."""
        c, step = self.config, manifest["step"]
        if not resume:
            raise CheckpointError(
                f"{self.run_dir} already holds a run; resume it, or choose another folder"
            )
        check_same_run(manifest, self.about, override)
        if step > c.steps:
            raise CheckpointError(
                f"{self.run_dir} is at step {step}, beyond the {c.steps} steps that are asked for; "
                f"give it {step} steps or more, or train the shorter run in another folder"
            )
        self.runtime, line = same_runtime(self.runtime, c.dtype, manifest.get("runtime"))
        if line:
            self.report(line)
        parallel.check_strategy(c.parallel, self.runtime, c.optimizer)

    def _start(self) -> None:
        """Begin a new run in the folder."""
        runtime.seed_everything(self.config.seed + self.runtime.rank)
        if not self.leads:
            return
        self.log.cut(0)
        self.log.cut(0, SPEED)
        if self.tokenizer is not None:
            self.tokenizer.save(self.run_dir / "tokenizer")
        about = json.dumps(self.about, indent=1, sort_keys=True) + "\n"
        with checkpoint.writing(self.run_dir):
            checkpoint.write_atomic(self.run_dir / "config.json", about.encode())

    def _go_on(self, saved: dict, step: int) -> None:
        """Put back everything but the weights, which are loaded before the model is shared out."""
        try:
            line = self.state.restore(saved, step, self.runtime, self.config.seed)
            if self.leads:
                self.log.cut(saved["log_bytes"])
        except (
            KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError,
        ) as error:  # fmt: skip
            raise CheckpointError(
                f"step {step} in {self.run_dir} has a state that this trainer cannot go on from "
                f"({type(error).__name__}: {error}); it expects one that it saved itself: use the "
                "version of gptlib that wrote it, or a new folder"
            ) from error
        if line:
            self.report(line)
        self._saved_step = step
        if self.leads:
            best = self.state.best["step"]
            with checkpoint.writing(self.run_dir):
                checkpoint.repair_pointers(self.run_dir, step, best)
                # a kill may have come before the last pruning
                checkpoint.prune(self.run_dir, self.config.keep_last, {best, step})

    def _save(self, passing: bool = False) -> None:
        """Write a checkpoint of this instant, and delete those no longer needed.

        A `passing` one exists because the run was interrupted; it displaces no regular one, so an
        interrupted run ends with the same checkpoints as one that was left alone.
        """
        begun = time.monotonic()
        state, step, best = self.state.to_dict(), self.step, self.state.best["step"]
        weights = tuning.own_weights(self.model)
        self._saved_step = step
        if not self.leads:
            return
        state["log_bytes"] = self.log.sync()
        about = {**self.about, "passing": passing}
        place = checkpoint.save(self.run_dir, step, weights, state, about)
        with checkpoint.writing(self.run_dir):
            if best == step:
                checkpoint.point(self.run_dir, "best", step)
            checkpoint.prune(self.run_dir, self.config.keep_last, {best})
        if self.mirror_to:
            mirror.push(place, self.run_dir, self.mirror_to)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - begun

    def _save_is_overdue(self) -> bool:
        """Say whether the interval is over; on a slow disk it grows, so that saving never takes
        more than a fiftieth of the time."""
        interval = max(60 * self.config.save_minutes, 50 * self._save_seconds)
        return bool(self.config.save_minutes and time.monotonic() - self._saved_at > interval)
