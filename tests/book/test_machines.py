"""What is printed here is printed everywhere: the guard of notebooks, and the machines it plays."""

import os
import subprocess
import sys

import pytest

from book.machines import GUARDS, MACHINES, environment
from book.notebooks import NotPortable, execute, notebook_of

CELL = """\
import torch

torch.manual_seed(0)
x, y = torch.randn(256, 8), torch.randn(256)
model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
for _ in range(30):
    loss = (model(x).squeeze() - y).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
print(f"trained to {loss.item():.DIGITSf}")
"""


def write_chapter(folder, digits: int):
    source = folder / "chapters" / "src" / "01_trained.md"
    source.parent.mkdir(parents=True)
    cell = CELL.replace("DIGITS", str(digits))
    source.write_text(f"# Trained\n\n```{{code-cell}}\n{cell}```\n", encoding="utf-8")
    return source


def test_a_notebook_with_ten_digits_of_a_trained_loss_is_refused(tmp_path):
    source = write_chapter(tmp_path, 10)
    with pytest.raises(NotPortable) as refused:
        execute(source, tmp_path)
    said = str(refused.value)
    assert "01_trained" in said and any(name in said for name in GUARDS) and "Cell 0" in said
    assert said.count("trained to ") >= 2, "what it printed each time"
    assert not list(source.parent.parent.glob("*.ipynb")) and not notebook_of(source).exists()


PROBE = """
import torch
torch.manual_seed(0)
a, b = torch.randn(64, 64), torch.randn(64, 64)
picked = torch.eye(64)[torch.arange(63, -1, -1)]
print(torch.equal(picked @ a, a.flip(0)), torch.ones(9, 3).sum(0).tolist())
state = torch.get_rng_state()
one, two = a @ b, a @ b
print(torch.equal(one, two), torch.equal(state, torch.get_rng_state()))
off = (one.double() / (a.double() @ b.double()) - 1).abs().median()
print(bool(0 < off < 1e-6))
print(one.sum().item().hex(), torch.backends.cpu.get_cpu_capability())
"""


@pytest.fixture(scope="module")
def probed() -> dict[str, list[str]]:
    """What a small program prints here and as on each machine."""

    def printed(variables: dict[str, str]) -> list[str]:
        command = [sys.executable, "-c", PROBE]
        ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
        assert not ran.stderr
        return ran.stdout.splitlines()

    here = {k: v for k, v in os.environ.items() if k not in MACHINES["plainest"]}
    names = ("noise-1", "noise-2", "plainest")
    return {"here": printed(here)} | {name: printed(environment(name)) for name in names}


def test_noise_moves_what_was_rounded_and_nothing_else(probed):
    for name in ("noise-1", "noise-2"):
        exact, repeats, close, _ = probed[name]
        assert exact == "True [9.0, 9.0, 9.0]", "sums of whole numbers and picked rows are exact"
        assert repeats == "True True", "one seed is one machine, and no generator is touched"
        assert close == "True"


def test_each_machine_is_another(probed):
    bits = {name: lines[-1].split()[0] for name, lines in probed.items()}
    assert len({bits["here"], bits["noise-1"], bits["noise-2"]}) == 3 or os.environ.get(
        "GPTLIB_ROUNDING_NOISE"
    )
    assert probed["plainest"][-1].split()[1] == "DEFAULT"
