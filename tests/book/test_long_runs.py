"""The experiment on the page of long runs does, command by command, what the page says."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT


@pytest.mark.skipif(
    os.name == "nt" or not shutil.which("bash"), reason="the page's commands are for bash"
)
def test_a_killed_run_and_a_flipped_bit_end_as_the_page_says(tmp_path):
    text = (ROOT / "long_runs.md").read_text("utf8")
    section = text.partition("## What if the machine had died?")[2].partition("\n## ")[0]
    killed, resumed, damaged = re.findall(r"^```bash\n(.*?)^```$", section, re.M | re.S)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])

    def bash(commands: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", commands], cwd=tmp_path, env=os.environ | {"PATH": path},
            capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    bash(killed)
    log = tmp_path / "runs" / "killed" / "log.jsonl"
    steps = len(log.read_text("utf8").splitlines())
    assert 100 <= steps < 400, "killed after it had saved, and before it was done"
    answer = bash(resumed)
    assert re.search(r"goes on from step [123]00 ", answer.stdout + answer.stderr), answer
    assert answer.stdout.endswith("equal logs\nequal weights\n"), answer
    answer = bash(damaged)
    said = "step_00000400/model.safetensors is damaged: its sha256 is wrong"
    assert said in answer.stdout and said in answer.stderr, answer
    assert "using step_00000300" in answer.stderr and "How " in answer.stdout
    assert bash("gptlib info runs/killed").returncode == 1
