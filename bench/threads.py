"""How long a training step takes on several threads when the machine has something else to do.

    python bench/threads.py [--threads 2] [--rounds 8] [--steps 10]

One step of 12 windows of 64 characters by the 0.8M model, on one thread, and on several that wait
for one another in different ways: as torch's OpenMP does where nobody says (spinning for
milliseconds), asleep at once, and asleep after a number of turns, the last being what gptlib sets
(`gptlib.threads`). Each contender is a process that sleeps until it is its turn; the company is
none, a Python process that counts, and a torch process of as many threads. `vs_one_thread` is the
time against one thread's in the same company, to be at most 1.2 for gptlib, and `vs_torch_alone`
what gptlib's way costs against torch's own with nobody else at work: believe it if `load_before`,
the machine's load average, was near zero. The processes and their order are the same in every
round.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from timing import arguments, report

from gptlib import threads

SPINS = (100, 1000)
TORCH, GPTLIB = "torch's own", "gptlib"

COMPANY = {
    "nobody": None,
    "a busy process": "while os.getppid() == parent: pass",
    "a training": "import torch; torch.set_num_threads(int(sys.argv[1])); a = torch.randn(128, 768)"
    "\nwhile os.getppid() == parent: torch.nn.functional.gelu(a @ a.T)",
}
BEGIN = "import os, sys; parent = os.getppid()\n"  # company does not outlive the bench
SETTLE = 3.0  # seconds until company that imports torch is at work

# torch before gptlib, so that nothing but the contender's environment decides.
WORKER = """
import sys, time
import torch
from gptlib import GPT, GPTConfig
from gptlib.optim import make_optimizers

torch.set_num_threads(int(sys.argv[1]))
model = GPT(GPTConfig(64, 65, 4, 4, 128, bias=False))
(optimizer,) = make_optimizers(model, "adamw", 1e-3, 0.1, (0.9, 0.99))
ids = torch.randint(65, (12, 65))
for line in sys.stdin:
    began = time.perf_counter()
    for _ in range(int(line)):
        model(ids[:, :-1], ids[:, 1:])[1].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    print((time.perf_counter() - began) / int(line), flush=True)
"""


def contenders(n: int) -> dict[str, tuple[int, dict[str, str]]]:
    """Threads and environment of each contender, by name."""
    found = {"one thread": (1, {}), TORCH: (n, {}), "asleep": (n, {"OMP_WAIT_POLICY": "passive"})}
    found |= {f"{spins} turns": (n, {"GOMP_SPINCOUNT": str(spins)}) for spins in SPINS}
    return found | {GPTLIB: (n, threads.settings({}))}


class Worker:
    """A process that makes steps when it is asked to, and sleeps otherwise."""

    def __init__(self, n: int, environment: dict[str, str]) -> None:
        plain = {k: v for k, v in os.environ.items() if k not in threads.WAITING + threads.COUNTING}
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(n)], env=plain | environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def seconds(self, steps: int) -> float:
        """Mean seconds of `steps` steps, made now."""
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def company(program: str | None, n: int) -> Iterator[None]:
    """Have another process at work."""
    if program is None:
        yield
        return
    other = subprocess.Popen([sys.executable, "-c", BEGIN + program, str(n)])
    try:
        time.sleep(SETTLE)
        yield
    finally:
        other.kill()
        other.wait()


def measure(n: int, rounds: int, steps: int) -> dict[tuple[str, str], float]:
    """Median over the rounds of a step's seconds, by company and contender."""
    found: dict[tuple[str, str], list[float]] = {}
    with ExitStack() as stack:
        workers = {}
        for name, (count, environment) in contenders(n).items():
            workers[name] = Worker(count, environment)
            stack.callback(workers[name].stop)
            workers[name].seconds(3)  # warms up
        for _ in range(rounds):
            for with_whom, program in COMPANY.items():
                with company(program, n):
                    for name, worker in workers.items():
                        found.setdefault((with_whom, name), []).append(worker.seconds(steps))
    return {key: statistics.median(values) for key, values in found.items()}


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    args = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(args.threads, args.rounds, args.steps)
    rows = [
        {
            "company": with_whom,
            "waiting": name,
            "ms": 1000 * seconds,
            "vs_one_thread": seconds / found[with_whom, "one thread"],
        }
        for (with_whom, name), seconds in found.items()
    ]
    cost = found["nobody", GPTLIB] / found["nobody", TORCH]
    report("threads", rows, args.out, spins=threads.SPINS, vs_torch_alone=cost, load_before=load)


if __name__ == "__main__":
    main()
