"""Another task than the next token of a text: batches, a loss and a measure of one's own."""

import inspect
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.batches import Batches
from gptlib.errors import CheckpointError, ConfigError, DataError

SHAPE = dict(block_size=16, vocab_size=20, n_layer=2, n_head=2, n_embd=16)


class Answers(Batches):
    """Questions and answers of many lengths; only the answers carry loss."""

    def __init__(self, batch_size: int = 8, seed: int = 0, block_size: int = 16) -> None:
        self.batch_size, self.seed, self.block_size = batch_size, seed, block_size
        self.tokens_per_step = batch_size * block_size
        self.sha256 = f"answers of seed {seed}"

    def batch(self, step, rank=0, world_size=1, micro=0, accumulate=1):
        rng = np.random.default_rng([self.seed, step])
        ids = torch.from_numpy(rng.integers(0, 20, (self.batch_size, self.block_size + 1)))
        x, y = ids[:, :-1], ids[:, 1:].clone()
        for row, answered in enumerate(rng.integers(1, self.block_size + 1, self.batch_size)):
            y[row, :-answered] = -1  # the question: from 1 to all of the targets are left
        rows = self.rows(world_size, accumulate)
        first = (micro * world_size + rank) * rows
        return x[first : first + rows], y[first : first + rows]


def squared_error(model, batch):
    """A loss that the library does not have: the squared distance of p(target) from 1."""
    x, y = batch
    logits, _ = model(x)
    p = logits.softmax(dim=-1).gather(-1, y.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return ((1 - p) ** 2)[y >= 0].mean()


def validation(model) -> float:
    torch.rand(3)  # a measure may draw; training does not notice
    return squared_error(model, Answers(seed=99).batch(0)).item()


def trainer(run_dir, loss=squared_error, val=validation, train=None, **changes) -> Trainer:
    settings = dict(steps=8, batch_size=8, lr=1e-2, warmup=2, eval_every=2, seed=3) | changes
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE, dropout=settings.pop("dropout", 0.0)))
    return Trainer(model, train or Answers(), val, TrainConfig(**settings), run_dir, loss=loss)


def gradients_of_first_step(run_dir, **changes) -> dict[str, torch.Tensor]:
    found = {}
    one = trainer(run_dir, loss=None, steps=1, grad_clip=0.0, **changes)
    for name, weight in one.model.named_parameters():
        weight.register_post_accumulate_grad_hook(
            lambda w, name=name: found.__setitem__(name, w.grad.clone())
        )
    one.fit()
    return found


@pytest.mark.parametrize("accumulate", [2, 4, 8])
def test_ragged_answers_give_one_gradient_however_a_batch_is_cut(tmp_path, accumulate):
    x, y = Answers().batch(0)
    counted = (y >= 0).sum(dim=1)
    assert len(set(counted.tolist())) > 3, "the masks are ragged"
    whole = gradients_of_first_step(tmp_path / "whole")
    parts = gradients_of_first_step(tmp_path / "parts", accumulate=accumulate)
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=2e-5, atol=2e-7)
    # and it is the one that is written down: the mean over all answered tokens
    torch.manual_seed(0)
    model = GPT(GPTConfig(**SHAPE))
    logits, _ = model(x)
    F.cross_entropy(logits.flatten(0, 1), y.flatten(), ignore_index=-1).backward()
    for name, weight in model.named_parameters():
        torch.testing.assert_close(whole[name], weight.grad, rtol=2e-5, atol=2e-7)


def test_a_mean_of_means_would_be_another_gradient(tmp_path):
    """What the weights are for: without them the cut of the batch shows."""
    x, y = Answers().batch(0)
    model = GPT(GPTConfig(**SHAPE))
    losses = [model(x[i : i + 2], y[i : i + 2])[1] for i in range(0, 8, 2)]
    assert abs(torch.stack(losses).mean() - model(x, y)[1]) > 1e-3


def test_another_loss_is_killed_and_resumed_bit_for_bit(tmp_path):
    """A process of its own is killed with SIGKILL, twice; gptlib knows nothing of the task."""
    program = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[1]); import test_task, torch\n"
        "torch.set_num_threads(1)\n"
        "test_task.run_and_die(sys.argv[2], int(sys.argv[3]))"
    )
    for step in (3, 6):
        command = [sys.executable, "-c", program, str(Path(__file__).parent), tmp_path / "killed"]
        done = subprocess.run([*map(str, command), str(step)], check=False, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()[-2000:]
    run = whole_run(tmp_path / "killed")
    assert run.finished and run.step == 8
    whole_run(tmp_path / "whole")
    logs = [(tmp_path / name / "log.jsonl").read_text() for name in ("killed", "whole")]
    assert logs[0] == logs[1] and len(logs[0].splitlines()) == 8 + 5
    weights = [
        load_file(tmp_path / name / "checkpoints/step_00000008/model.safetensors")
        for name in ("killed", "whole")
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def whole_run(run_dir, callbacks=()):
    one = trainer(run_dir, accumulate=2, dropout=0.2, save_every=2, save_minutes=0)
    one.log.callbacks = list(callbacks)
    return one.fit()


def run_and_die(run_dir: str, step: int) -> None:
    from gptlib.callbacks import Callback

    class Death(Callback):
        def stepped(self, line):
            if line["step"] == step:
                os.kill(os.getpid(), signal.SIGKILL)

    whole_run(run_dir, [Death()])


def test_a_measure_of_ones_own_changes_no_weight(tmp_path):
    often = trainer(tmp_path / "often", eval_every=1, dropout=0.2).fit()
    seldom = trainer(tmp_path / "seldom", eval_every=8, dropout=0.2).fit()
    for a, b in zip(often.model.parameters(), seldom.model.parameters(), strict=True):
        assert torch.equal(a, b)
    assert often.best_val < often.log[0]["val"]


def test_another_task_is_refused_in_its_folder(tmp_path):
    trainer(tmp_path).fit(stop_after=2)
    with pytest.raises(CheckpointError, match="train was 'answers of seed 0' and is now"):
        trainer(tmp_path, train=Answers(seed=1)).fit()
    with pytest.raises(CheckpointError, match="loss"):
        trainer(tmp_path, loss=None).fit()
    assert trainer(tmp_path).fit().finished


def test_a_batch_without_a_target_is_refused(tmp_path):
    class Questions(Answers):
        def batch(self, *place):
            x, y = super().batch(*place)
            return x, torch.full_like(y, -1)

    with pytest.raises(DataError, match="no target counts in a micro-batch of step 1"):
        trainer(tmp_path, train=Questions()).fit()


def test_two_batch_sizes_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="batches have batch_size 4 and the TrainConfig has 8"):
        trainer(tmp_path, train=Answers(batch_size=4))


def test_the_loop_fits_on_a_screen():
    """It grew no longer by learning other tasks: 50 and 28 lines before, docstrings included."""
    assert len(inspect.getsource(Trainer.fit).splitlines()) <= 50
    assert len(inspect.getsource(Trainer._update).splitlines()) <= 28


def test_callbacks_hear_what_the_log_says(tmp_path):
    from gptlib.callbacks import Callback

    heard = []

    class Ear(Callback):
        def began(self, about, step, steps):
            heard.append(("began", about["train"]["steps"], step, steps))

        def stepped(self, line):
            heard.append(line)

        def validated(self, line):
            heard.append({key: line[key] for key in ("step", "val")})

        def ended(self, step, finished):
            heard.append(("ended", step, finished))

    one = trainer(tmp_path)
    one.log.callbacks = [Ear()]
    one.fit(stop_after=3)
    two = trainer(tmp_path)
    two.log.callbacks = [Ear()]
    two.fit()
    told = [line for line in heard if isinstance(line, dict)]
    assert told == [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line for line in heard if isinstance(line, tuple)] == [
        ("began", 8, 0, 8), ("ended", 3, False), ("began", 8, 3, 8), ("ended", 8, True),
    ]  # fmt: skip
