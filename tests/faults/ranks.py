"""Train one tiny model with several processes, as torchrun would start them, and without.

    python tests/faults/ranks.py SCENARIO        prints one line of JSON

One job: the scenarios of test_ranks.py. One interpreter imports everything once and forks the
processes of each job, so that a dozen jobs take seconds. They talk over gloo on this machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from gptlib import GPT, CharTokenizer, GPTConfig, TrainConfig, Trainer, checkpoint
from gptlib.errors import GptlibError
from gptlib.runs import read_jsonl

TEXT = "the fox sat. the hen sat. the fox ran.\n" * 60
TOKENIZER = CharTokenizer.train(TEXT)
IDS = np.array(TOKENIZER.encode(TEXT), dtype=np.uint16)
CONFIG = TrainConfig(
    steps=12, batch_size=16, accumulate=2, lr=3e-3, warmup=4, eval_every=4, save_every=4
)  # fmt: skip


def train(run_dir: Path, stop_after: int | None = None, dropout: float = 0.0, **changes) -> None:
    torch.manual_seed(1)
    model = GPT(GPTConfig(16, TOKENIZER.vocab_size, 2, 2, 16, dropout=dropout))
    config = replace(CONFIG, **changes)
    Trainer(model, IDS[:2000], IDS[2000:], config, run_dir, TOKENIZER).fit(stop_after=stop_after)


def job(run_dir: Path, processes: int, die: tuple[int, int] | None = None, **options) -> list[str]:
    """Fork `processes` that train together; returns how each ended: "" or its last words.

    Args:
        die: (rank, step): this process is killed in that step's update.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    children = [_fork(run_dir, rank, processes, port, die, options) for rank in range(processes)]
    words = []
    for child, pipe in children:
        with os.fdopen(pipe, "rb") as reader:
            said = reader.read().decode()
        _, status = os.waitpid(child, 0)
        words.append("killed" if os.WIFSIGNALED(status) else said)
    return words


def _fork(run_dir, rank, processes, port, die, options) -> tuple[int, int]:
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(write)
        return child, read
    os.environ |= {
        "RANK": str(rank), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(rank),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GPTLIB_TIMEOUT_MINUTES": "1",
    }  # fmt: skip
    if die and rank == die[0]:
        update = Trainer._update

        def last_update(trainer):
            if trainer.step == die[1]:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(trainer)

        Trainer._update = last_update
    said = ""
    try:
        train(run_dir, **options)
    except GptlibError as error:
        said = f"{type(error).__name__}: {error}"
    except BaseException as error:
        said = f"not gptlib's: {type(error).__name__}: {error}"
    os.write(write, said.encode()[:60_000])
    os._exit(0)


def result(run_dir: Path) -> dict:
    """Losses by step, and the last weights."""
    steps = checkpoint.saved_steps(run_dir)
    weights, state, _ = checkpoint.load(checkpoint.folder_of(run_dir, steps[-1]))
    flat = torch.cat([w.flatten() for _, w in sorted(weights.items())])
    moments = [v["exp_avg"] for _, v in sorted(state["optimizers"][0]["state"].items())]
    return {
        "log": read_jsonl(run_dir / "log.jsonl"),
        "weights": flat.tolist(),
        "moments": torch.cat([m.flatten() for m in moments]).tolist(),
        "steps": steps,
    }


def same_losses(root: Path) -> dict:
    """The same global batch with 1, 2 and 4 processes, copied and sharded."""
    jobs = {"1": (1, {}), "2": (2, {}), "4": (4, {}), "2 fsdp": (2, {"parallel": "fsdp"})}
    return _all_of(jobs, root)


def same_losses_in_less_memory(root: Path) -> dict:
    """The same batch with logits in chunks and blocks that run again, alone, copied and sharded."""
    both = {"recompute": True, "loss_chunk": 24}  # 2 to 6 chunks, one of them smaller
    jobs = {
        "1": (1, {}), "2": (2, both), "4": (4, both),
        "2 fsdp": (2, both | {"parallel": "fsdp"}), "4 fsdp": (4, both | {"parallel": "fsdp"}),
    }  # fmt: skip
    return _all_of(jobs, root)


def _all_of(jobs: dict[str, tuple[int, dict]], root: Path) -> dict:
    out = {}
    for name, (processes, options) in jobs.items():
        words = job(root / name, processes, **options)
        out[name] = {"words": words, **(result(root / name) if not any(words) else {})}
    return out


def changed_number(root: Path) -> dict:
    """Two processes begin, one goes on, then four, then two that shard; and two throughout."""
    run = root / "changing"
    words = job(run, 2, stop_after=3) + job(run, 1, stop_after=6) + job(run, 4, stop_after=9)
    words += job(run, 2, parallel="fsdp")
    words += job(root / "alone", 1)
    return {"words": words, "changing": result(run), "alone": result(root / "alone")}


def exact(root: Path) -> dict:
    """Two processes with dropout, stopped and started again: bit for bit as if never stopped."""
    words = job(root / "whole", 2, dropout=0.2)
    words += job(root / "parts", 2, dropout=0.2, stop_after=5) + job(root / "parts", 2, dropout=0.2)
    return {"words": words, "whole": result(root / "whole"), "parts": result(root / "parts")}


def death(root: Path) -> dict:
    """One of two is killed in step 7; the job is started again, with two and, a copy, with one."""
    run = root / "run"
    died = job(run, 2, die=(1, 7))
    again = job(run, 2)
    leader = job(root / "leader", 2, die=(0, 7))
    words = job(root / "leader", 1) + job(root / "alone", 2)
    return {
        "died": died, "leader": leader, "words": again + words, "run": result(run),
        "with_one": result(root / "leader"), "alone": result(root / "alone"),
    }  # fmt: skip


def refused(root: Path) -> dict:
    """What cannot work says so in every process, before the first step."""
    return {
        "batch": job(root / "a", 3),
        "muon": job(root / "b", 2, parallel="fsdp", optimizer="muon"),
        "muon_copied": job(root / "c", 2, optimizer="muon", stop_after=2),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    scenario = globals()[sys.argv[1]]
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(scenario(Path(folder))))
