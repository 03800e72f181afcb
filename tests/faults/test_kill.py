"""R1 and R6 in small: five kills; `bench/faults.py` makes two hundred."""

import json
import subprocess
import sys
from pathlib import Path


def test_killed_runs_end_as_if_they_had_been_left_alone():
    script = Path(__file__).with_name("campaign.py")
    done = subprocess.run(
        [sys.executable, str(script), "5", "0"], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == 5 and counts["inside_a_save"] >= 1
    assert counts["runs_equal_to_the_unbroken"] == counts["runs"]
    assert counts["logs_with_a_false_line"] == 0
    assert not counts["without_random_state_equal"]  # the comparison can tell
