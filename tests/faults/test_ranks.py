"""Many processes, one run: the same losses whatever their number, and none of them irreplaceable.

Real processes over gloo on this machine; `ranks.py` has the scenarios.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest

from gptlib import checkpoint
from gptlib.runs import read_jsonl

LOST = "lost the others: one of them died or cannot be reached"


def scenario(name: str) -> dict:
    script = Path(__file__).with_name("ranks.py")
    done = subprocess.run(
        [sys.executable, str(script), name], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def largest_difference(one: dict, other: dict) -> float:
    """Of any loss, weight or optimizer moment of two runs that logged the same steps."""
    assert [line["step"] for line in one["log"]] == [line["step"] for line in other["log"]]
    losses = [[x.get("loss", x.get("val")) for x in run["log"]] for run in (one, other)]
    pairs = [losses, *([one[k], other[k]] for k in ("weights", "moments"))]
    return max(float(np.abs(np.subtract(a, b)).max()) for a, b in pairs)


def test_one_two_and_four_processes_give_the_same_losses():
    jobs = scenario("same_losses")
    assert set(jobs) == {"1", "2", "4", "2 fsdp"}
    for name, run in jobs.items():
        assert not any(run["words"]), run["words"]
        assert largest_difference(run, jobs["1"]) < 1e-5, name


def test_less_memory_gives_the_same_losses_with_any_number_of_processes():
    """Logits in chunks and recomputed blocks, copied into two and four processes and sharded."""
    jobs = scenario("same_losses_in_less_memory")
    assert set(jobs) == {"1", "2", "4", "2 fsdp", "4 fsdp"}
    for name, run in jobs.items():
        assert not any(run["words"]), run["words"]
        assert largest_difference(run, jobs["1"]) < 1e-5, name


def test_a_run_goes_on_with_another_number_of_processes():
    seen = scenario("changed_number")
    assert not any(seen["words"]), seen["words"]
    assert largest_difference(seen["changing"], seen["alone"]) < 1e-5


def test_a_job_that_was_stopped_goes_on_exactly_with_dropout():
    seen = scenario("exact")
    assert not any(seen["words"]), seen["words"]
    assert seen["whole"]["log"] == seen["parts"]["log"]
    assert seen["whole"]["weights"] == seen["parts"]["weights"]


def test_a_process_that_dies_ends_the_job_and_the_job_resumes():
    seen = scenario("death")
    assert seen["died"][1] == seen["leader"][0] == "killed"
    assert LOST in seen["died"][0] and LOST in seen["leader"][1]
    assert not any(seen["words"]), seen["words"]
    assert seen["run"] == seen["alone"]
    assert largest_difference(seen["with_one"], seen["alone"]) < 1e-5


def test_what_cannot_be_shared_is_refused_in_every_process():
    seen = scenario("refused")
    assert all("choose a multiple of 6" in words for words in seen["batch"])
    assert all("needs each matrix whole" in words for words in seen["muon"])
    assert not any(seen["muon_copied"])


# --- the commands of the book, as they are typed --------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def gptlib_train(out: Path, steps: int = 6) -> list[str]:
    words = "--corpus tales --corpus-size 30000 --n-layer 1 --n-head 2 --n-embd 16 --block-size 32"
    schedule = f"--steps {steps} --batch-size 8 --warmup 2 --eval-every 3 --eval-windows 8"
    return ["-m", "gptlib", "train", *words.split(), *schedule.split(), "--out", str(out)]


def torchrun(*words: str) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", *words]


ONE_NODE = ("--standalone", "--nproc-per-node=2")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "GPTLIB_TIMEOUT_MINUTES": "1"}


def test_torchrun_trains_speaks_once_and_stops_cleanly(tmp_path):
    command = torchrun(*ONE_NODE, *gptlib_train(tmp_path / "run", steps=100_000))
    job = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT
    )
    log = tmp_path / "run" / "log.jsonl"
    while job.poll() is None and not any(x["step"] >= 3 for x in read_jsonl(log)):
        time.sleep(0.1)
    job.send_signal(signal.SIGTERM)  # what a scheduler sends before it takes the machine
    said, heard = job.communicate(timeout=120)
    steps = checkpoint.saved_steps(tmp_path / "run")
    last = max(line["step"] for line in read_jsonl(log))
    assert steps and steps[-1] == last, (heard, steps, last)
    assert heard.count("and saved; resume to go on") == 1, heard
    assert said.count("go on with: gptlib train") <= 1


def network(folder: Path):
    """Two machines on one cable: network namespaces, or None where this user may not make them."""
    names = [f"gpt{uuid.uuid4().hex[:6]}" for _ in range(2)]
    if os.geteuid() or not shutil.which("ip"):
        return None
    steps = [f"ip netns add {n}" for n in names] + [
        f"ip link add {names[0]}v netns {names[0]} type veth peer name {names[1]}v netns {names[1]}"
    ]
    for i, n in enumerate(names):
        steps += [
            f"ip -n {n} addr add 10.77.0.{i + 1}/24 dev {n}v",
            f"ip -n {n} link set {n}v up",
            f"ip -n {n} link set lo up",
        ]
    for step in steps:
        if subprocess.run(step.split(), capture_output=True).returncode:
            remove(names)
            return None
    return names


def remove(names) -> None:
    for n in names or ():
        subprocess.run(["ip", "netns", "del", n], capture_output=True)


@pytest.fixture
def nodes(tmp_path):
    names = network(tmp_path)
    yield names
    remove(names)


def test_two_machines_train_one_model(nodes, tmp_path):
    """In two network namespaces, or, where those may not be made, as two agents on loopback."""
    address = "10.77.0.1" if nodes else "127.0.0.1"
    port, agents = free_port(), []
    for i in range(2):
        prefix = ["ip", "netns", "exec", nodes[i]] if nodes else []
        card = {"GLOO_SOCKET_IFNAME": f"{nodes[i]}v"} if nodes else {}
        words = (
            "--nnodes=2", f"--node-rank={i}", "--nproc-per-node=1",
            f"--master-addr={address}", f"--master-port={port}",
        )  # fmt: skip
        agents.append(
            subprocess.Popen(
                [*prefix, *torchrun(*words, *gptlib_train(tmp_path / "two"))],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                env={**ENVIRONMENT, **card},
            )
        )  # fmt: skip
    heard = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], heard
    alone = [sys.executable, *gptlib_train(tmp_path / "one")]
    subprocess.run(alone, check=True, capture_output=True, env=ENVIRONMENT)
    two, one = (read_jsonl(tmp_path / n / "log.jsonl") for n in ("two", "one"))
    assert len(two) == len(one) > 6
    for a, b in zip(two, one, strict=True):
        assert a.get("loss", a.get("val")) == pytest.approx(b.get("loss", b.get("val")), abs=1e-5)
