"""Every command of the course ends with a result or with one line."""

import argparse
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gptlib.course import command, recipes, sweep
from gptlib.course.multi_head import ladder
from gptlib.course.multi_head import runs as presets_runs
from gptlib.course.multi_head import tales as tales_run
from gptlib.course.speedrun import ablation as speedrun
from gptlib.course.speedrun import races, step_times
from gptlib.errors import DataError

COMMANDS = [ladder, races, recipes, speedrun, step_times, sweep, tales_run]
PLAN = 'corpus = "gulls.txt"\n[extra.alone]\nn_embd = 4\nn_head = 1\nn_layer = 1\nblock_size = 8\n'


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "gulls.txt").write_text("the goose sat on the gull.\n" * 60)
    (tmp_path / "short.txt").write_text("goose")
    (tmp_path / "tiny.toml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ending(module, line: str, capsys) -> tuple[int, str]:
    """How a command ends: its exit code and what it wrote to stderr."""
    with pytest.raises(SystemExit) as end:
        command.answer(lambda: module.main(line.split()))
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("module", "line", "message"),
    [
        (speedrun, "--corpus gulls.txt --only NOTHING --out a", "no run's name contains 'NOTHING'"),
        (speedrun, "--corpus nowhere.txt --out a", "no such file"),
        (speedrun, "--preset nothing --out a", "nothing"),
        (races, "--only NOTHING --out a", "no race's name contains 'NOTHING'; there are"),
        (sweep, "tiny.toml --only NOTHING --out a", "no run's name contains 'NOTHING'; 1 are"),
        (sweep, "nothing.toml", "no sweep file nothing.toml"),
        (sweep, "tiny.toml --corpus nowhere.txt --out a", "no such file"),
        (ladder, "nowhere.txt a", "no such file"),
        (ladder, "short.txt a", "characters for validation"),
        (step_times, "--corpus nowhere.txt --out a", "no such file"),
        (recipes, "ladder-german --out a", "meyer_juerg_jenatsch.txt"),
    ],
)
def test_a_mistake_is_answered_in_one_line(place, capsys, module, line, message):
    code, said = ending(module, line, capsys)
    assert code == 2 and message in said and said.count("\n") == 1
    assert not (place / "a").exists()


def interrupt(*args, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("module", "line", "within"),
    [
        (speedrun, "--corpus gulls.txt --out a", "run_sweep"),
        (races, "--out a", "run_race"),
        (sweep, "tiny.toml --out a", "load_texts"),
        (ladder, "gulls.txt a", "run_rung"),
        (step_times, "--corpus gulls.txt --out a", "load_texts"),
        (recipes, "kalevala-bigram --out a", "run_recipe"),
        (tales_run, "--record a", "train_tales"),
    ],
)
def test_an_interrupt_is_answered_in_one_line(place, capsys, monkeypatch, module, line, within):
    monkeypatch.setattr(module, within, interrupt)
    code, said = ending(module, line, capsys)
    assert code == 130 and re.fullmatch(r".*: stopped by Ctrl-C\n", said)
    assert not (place / "a").exists()


def stop_in_training(monkeypatch, module) -> None:
    fit = module.Trainer.fit
    monkeypatch.setattr(module.Trainer, "fit", lambda self: fit(self, stop_after=1))


def test_a_stop_in_the_first_run_of_an_ablation(place, capsys, monkeypatch):
    stop_in_training(monkeypatch, sweep)
    monkeypatch.setattr(speedrun, "TEST_CHARACTERS", 500)
    line = "--corpus gulls.txt --steps 3 --seeds 1 --only base-s0 --out a --work w"
    code, _ = ending(speedrun, line, capsys)
    assert code == "stopped; the same command goes on from there" and not (place / "a").exists()


def test_steps_that_were_stopped_are_not_timed(place, capsys, monkeypatch):
    stop_in_training(monkeypatch, step_times)
    code, _ = ending(step_times, "--corpus gulls.txt --out a --steps 3 --rounds 1", capsys)
    assert code == 130 and not (place / "a").exists()


def test_a_recipe_makes_no_record_of_a_run_that_was_stopped(place, monkeypatch):
    stop_in_training(monkeypatch, presets_runs)
    with pytest.raises(SystemExit, match="stopped before the end; nothing is kept"):
        presets_runs.train_preset("cpu", "gulls.txt", seed=0)


def test_a_race_whose_command_fails(place, monkeypatch):
    monkeypatch.setattr(races, "RACES", {"goose": ("nowhere.txt", "cpu", {"steps": 1})})
    failed = subprocess.CompletedProcess([], 3)
    monkeypatch.setattr(races.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(
        DataError, match="`gptlib train --corpus nowhere.txt .*ended with exit code 3"
    ):
        races.run_race("goose", 0)


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_every_command_ends_so(module):
    source = Path(module.__file__).read_text("utf8")
    assert source.endswith('if __name__ == "__main__":\n    answer(main)\n')


def test_a_whole_process(place):
    done = subprocess.run(
        [sys.executable, "-m", "gptlib.course.sweep", "tiny.toml", "--only", "NOTHING"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2 and re.fullmatch(r"sweep: no run's name .*\n", done.stderr)


def test_a_command_that_ends_well(capsys):
    with pytest.raises(SystemExit) as end:
        command.answer(lambda: None)
    assert end.value.code == 0 and capsys.readouterr().err == ""


def test_a_number_of_seeds():
    assert command.at_least_one("3") == 3
    for text in ("0", "-1", "1.5", "", "x", "²"):
        with pytest.raises(argparse.ArgumentTypeError, match="no whole number of 1 or more"):
            command.at_least_one(text)
