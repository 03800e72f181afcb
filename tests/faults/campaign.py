"""Kill training processes at random and compare what they leave with a run that was left alone.

    python tests/faults/campaign.py KILLS SEED        prints one line of JSON

One job: R1 and R6 of the fault table. A fresh interpreter imports everything once and then forks a
child for each attempt, so that two hundred real processes can die by a real SIGKILL in minutes.
Half of the kills come at a random instant from outside; half come from inside a save, between two
of its steps (`gptlib.checkpoint.reached`).
"""

from __future__ import annotations

import collections
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch

from gptlib import GPT, CharTokenizer, GPTConfig, TrainConfig, Trainer, checkpoint, runtime
from gptlib.runs import read_jsonl

TEXT = "the fox sat. the hen sat. the fox ran.\n" * 60
TOKENIZER = CharTokenizer.train(TEXT)
IDS = np.array(TOKENIZER.encode(TEXT), dtype=np.uint16)
STEPS = 30
CONFIG = TrainConfig(
    steps=STEPS, batch_size=4, accumulate=2, lr=3e-3, warmup=4, eval_every=5, save_every=3
)  # fmt: skip


def train(run_dir: Path, keep_random_state: bool = True) -> None:
    """One attempt, in the process that calls it: begin, or resume what is there, to the end."""
    if not keep_random_state:
        runtime.set_random_state = lambda state: None
    torch.manual_seed(1)
    V = TOKENIZER.vocab_size
    model = GPT(GPTConfig(16, V, 2, 2, 16, dropout=0.1, attn_dropout=0.1))
    Trainer(model, IDS[:2000], IDS[2000:], CONFIG, run_dir, TOKENIZER).fit()


def attempt(run_dir: Path, die_at: int | None = None, delay: float | None = None, **options) -> str:
    """Fork a child that trains; returns "finished", or how it died.

    Args:
        die_at: kill itself when a save reaches its step number `die_at` (counted over the run).
        delay: kill it from outside after so many seconds.
    """
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        seen = []

        def reached(point: str) -> None:
            seen.append(point)
            if len(seen) == die_at:
                os.write(write, point.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        checkpoint.reached = reached
        try:
            train(run_dir, **options)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(write)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with os.fdopen(read, "rb") as pipe:
        point = pipe.read().decode()
    if os.WIFSIGNALED(status):
        return point or "at a random instant"
    if os.WEXITSTATUS(status):
        raise RuntimeError(f"an attempt in {run_dir.name} failed")
    return "finished"


def fingerprint(run_dir: Path) -> dict:
    """All that must be equal: log, weights, state, pointers, and which checkpoints are kept."""
    place = checkpoint.folder_of(run_dir, STEPS)
    _, state, _ = checkpoint.load(place)
    digest = hashlib.sha256()
    _feed(digest, state)
    return {
        "log": hashlib.sha256((run_dir / "log.jsonl").read_bytes()).hexdigest(),
        "weights": hashlib.sha256((place / checkpoint.MODEL).read_bytes()).hexdigest(),
        "state": digest.hexdigest(),
        "best": (run_dir / "best").read_text(),
        "latest": (run_dir / "latest").read_text(),
        "kept": checkpoint.saved_steps(run_dir),
    }


def _feed(digest, value) -> None:
    """Hash a nest of dicts, lists, numbers and tensors by content."""
    if isinstance(value, dict):
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, list | tuple):
        for item in value:
            _feed(digest, item)
    elif isinstance(value, torch.Tensor):
        digest.update(value.contiguous().numpy().tobytes())
    else:
        digest.update(repr(value).encode())


def campaign(kills: int, seed: int) -> dict:
    """Kill `kills` attempts, spread over runs that die one to three times each.

    Returns the counts: kills made, inside a save and where, runs, runs that ended as the
    unbroken one did, and logs that told of a step the unbroken run does not know.
    """
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        begun = time.perf_counter()
        attempt(root / "unbroken")
        duration = time.perf_counter() - begun
        expected = fingerprint(root / "unbroken")
        lines = read_jsonl(root / "unbroken" / "log.jsonl")
        hit: collections.Counter = collections.Counter()
        runs = same = false_lines = 0
        while hit.total() < kills:
            run_dir = root / f"run_{runs}"
            for _ in range(rng.randint(1, 3)):
                if rng.random() < 0.5:
                    how = attempt(run_dir, die_at=rng.randint(1, 60))
                else:
                    how = attempt(run_dir, delay=rng.uniform(0, duration))
                if how == "finished" or hit.total() == kills:
                    break
                hit[how] += 1
                told = read_jsonl(run_dir / "log.jsonl")
                false_lines += told != lines[: len(told)]
            attempt(run_dir)
            runs += 1
            same += fingerprint(run_dir) == expected
            shutil.rmtree(run_dir)
        attempt(root / "control", die_at=40)
        attempt(root / "control", keep_random_state=False)
        control = fingerprint(root / "control")
    outside = hit.pop("at a random instant", 0)
    return {
        "kills": outside + hit.total(),
        "inside_a_save": hit.total(),
        "where": dict(hit),
        "runs": runs,
        "runs_equal_to_the_unbroken": same,
        "logs_with_a_false_line": false_lines,
        "without_random_state_equal": control["weights"] == expected["weights"],
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    print(json.dumps(campaign(int(sys.argv[1]), int(sys.argv[2]))))
