"""A sweep that is killed and begun again ends with the record of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr

import pytest
import torch
from terminal import FakeTerminal, Screen

from gptlib.course import jobs
from gptlib.course import sweep as sweeps
from gptlib.course.records import read_record
from gptlib.errors import ConfigError, DataError
from gptlib.resources import data_path

TEXT = "the goose sat on the ladder. the gull sat on the goose.\n" * 60
PLAN = """
corpus = "goose.txt"
seeds = [0, 1]
[settings]
block_size = 8
n_layer = 1
n_head = 1
batch_size = 4
evals = 2
save_every = 10
warmup = 2
[grid.size]
narrow = { n_embd = 4 }
wide = { n_embd = 8, lr = 2e-3 }
[grid.read]
little = { tokens = 320 }
more = { tokens = 960, characters = 800 }
[extra.alone]
n_embd = 6
steps = 4
"""
TIMES = ("seconds", "tokens_per_s")


@pytest.fixture
def place(tmp_path, monkeypatch):
    (tmp_path / "goose.txt").write_text(TEXT)
    (tmp_path / "tiny.toml").write_text(PLAN)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def timeless(folder):
    """A record without what differs between two runs of one command: how long they took."""
    about = json.loads((folder / "record.json").read_text())
    for part in (about["result"], *about["result"]["runs"]):
        for key in TIMES:
            assert part.pop(key)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return about, [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


def test_a_plan_is_all_combinations_and_the_extras(place):
    plan = sweeps.read_sweep("tiny.toml")
    names = [point.name for point in plan.points]
    assert names[:4] == ["narrow-little-s0", "narrow-little-s1", "narrow-more-s0", "narrow-more-s1"]
    assert len(names) == len(set(names)) == 10 and names[-1] == "alone-s1"
    wide = next(p for p in plan.points if p.name == "wide-more-s1")
    assert wide.seed == 1 and wide.settings["lr"] == 2e-3 and wide.settings["characters"] == 800
    config = sweeps.train_config(wide, block_size=8)
    assert config.steps == 30 and config.eval_every == 15 and config.seed == 1


def test_a_part_of_a_text_is_its_beginning_or_pieces_from_everywhere():
    ids = torch.arange(100)
    assert sweeps.part(ids, None).tolist() == list(range(100))
    assert sweeps.part(ids, 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert sweeps.part(ids, 6, pieces=3).tolist() == [0, 1, 33, 34, 66, 67]
    for characters in (None, 7, 102):
        with pytest.raises(ConfigError, match="a multiple of `pieces`"):
            sweeps.part(ids, characters, pieces=3)


def test_a_value_may_have_seeds_of_its_own(place):
    plan = PLAN.replace("tokens = 320 }", "tokens = 320, seeds = [5] }")
    (place / "own.toml").write_text(plan)
    points = sweeps.read_sweep("own.toml").points
    assert [p.name for p in points][:3] == ["narrow-little-s5", "narrow-more-s0", "narrow-more-s1"]
    assert "seeds" not in points[0].settings


def test_killed_and_begun_again_it_ends_with_the_same_record(place):
    command = [sys.executable, "-m", "gptlib.course.sweep", "tiny.toml", "--out", "killed"]
    log = place / "killed" / "tiny" / "log.jsonl"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (log.is_file() and log.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log.read_bytes()
    with open(log, "ab") as file:
        file.write(b'{"name": "narrow-mo')  # a line that the kill tore
    sweeps.main(["tiny.toml", "--out", "killed"])
    sweeps.main(["tiny.toml", "--out", "alone", "--work", "elsewhere"])
    killed, alone = (timeless(place / out / "tiny") for out in ("killed", "alone"))
    assert killed == alone
    assert log.read_bytes().startswith(before), "a finished run was run again"
    assert not list((place / "runs").glob("*/*")) and len(alone[1]) == 10


def test_a_stopped_run_keeps_its_checkpoint_and_goes_on(place, monkeypatch):
    plan = sweeps.read_sweep("tiny.toml")
    fit = sweeps.Trainer.fit
    monkeypatch.setattr(sweeps.Trainer, "fit", lambda self: fit(self, stop_after=7))
    assert sweeps.run_sweep(plan, place / "record", place / "work", "narrow-little-s0") is True
    assert not (place / "record").exists() and (place / "work" / "narrow-little-s0").is_dir()
    begun = []
    monkeypatch.setattr(sweeps.Trainer, "fit", lambda self: fit(self))
    begin = sweeps.Trainer._begin

    def watched(self, *options):
        begin(self, *options)
        begun.append(self.step)

    monkeypatch.setattr(sweeps.Trainer, "_begin", watched)
    assert sweeps.run_sweep(plan, place / "record", place / "work", "narrow-little-s0") is False
    assert begun == [7]


def test_a_pool_begins_nothing_more_when_its_owner_is_killed(place):
    command = [sys.executable, "-u", "-m", "gptlib.course.sweep", "tiny.toml", "--jobs", "2"]
    owner = subprocess.Popen([*command, "--out", "out"], stdout=subprocess.PIPE)
    owner.stdout.readline()  # one run has ended; up to three more wait in the pool's queue
    owner.kill()
    owner.stdout.read()  # ends when the last process that holds the pipe has ended
    owner.wait()
    unfinished = list((place / "runs").glob("*/*"))
    assert len(unfinished) <= 2, "a process of the pool began another run after its owner's death"


def test_only_some_runs_and_what_is_missing(place):
    (place / "tiny.toml").write_text('prompt = "the "' + PLAN)
    sweeps.main(["tiny.toml", "--only", "alone", "--out", "out"])
    record = read_record(place / "out" / "tiny")
    assert [run["name"] for run in record.result["runs"]] == ["alone-s0", "alone-s1"]
    assert len(record.result["not_run"]) == 8 and record.result["floor"] is None
    run = record.result["runs"][0]
    assert run["tokens"] == 4 * 4 * 8 and run["passes"] == run["tokens"] / int(0.9 * len(TEXT))
    assert run["best_val"] == min(val for step, val in run["curve"] if step)
    assert run["params"] * 6 * run["tokens"] * 0.5 < run["flops"] < run["params"] * 12 * 128
    assert {sample["which"] for sample in record.samples} == {"best", "latest"}
    assert record.samples[0]["text"].startswith("the ") and record.config["corpus"] == "goose.txt"
    assert record.command == "python -m gptlib.course.sweep tiny"


def test_two_processes_make_the_same_record(place):
    for out, count in (("one", "1"), ("two", "2")):
        options = ["--only", "narrow-little", "--out", out, "--work", out, "--jobs", count]
        sweeps.main(["tiny.toml", *options])
    (one, lines), (two, others) = (timeless(place / out / "tiny") for out in ("one", "two"))
    assert one == two and lines == sorted(others, key=lambda line: line["name"])


def plain_line(name: str) -> dict:
    """What the record needs of a run."""
    return {
        "name": name, "seed": 0, "settings": {}, "val": 1.0, "best_val": 1.0, "best_step": 1,
        "seconds": 1.0, "tokens_per_s": 1.0, "floor": None, "sha256": "x",
    }  # fmt: skip


def planned(*names: str) -> sweeps.Sweep:
    return sweeps.Sweep("tiny", {"corpus": "x"}, tuple(sweeps.Point(n, 0, {}) for n in names))


def recorded(folder) -> list[str]:
    log = folder / "log.jsonl"
    return (
        [json.loads(line)["name"] for line in log.read_text().splitlines()] if log.exists() else []
    )


def test_a_line_is_on_the_disk_before_its_runs_folder_goes(tmp_path, monkeypatch):
    events, rmtree, fsync = [], sweeps.shutil.rmtree, os.fsync
    monkeypatch.setattr(os, "fsync", lambda file: events.append("sync") or fsync(file))

    def run_point(about, point, folder):
        folder.mkdir(parents=True)
        return plain_line(point.name)

    def killed(folder, **options):
        if folder.exists():
            assert recorded(tmp_path / "record") == ["a"] and events[-1] == "sync"
            raise KeyboardInterrupt

    monkeypatch.setattr(sweeps, "run_point", run_point)
    monkeypatch.setattr(sweeps.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        sweeps.run_sweep(planned("a", "b"), tmp_path / "record", tmp_path / "work")
    assert (tmp_path / "work" / "a").is_dir()
    monkeypatch.setattr(sweeps.shutil, "rmtree", rmtree)
    assert not sweeps.run_sweep(planned("a", "b"), tmp_path / "record", tmp_path / "work")
    assert recorded(tmp_path / "record") == ["a", "b"] and not list((tmp_path / "work").iterdir())


@pytest.fixture
def threads(monkeypatch):
    """Threads in place of processes, which a test can hold up; they run what it says."""
    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda n, *_: ThreadPoolExecutor(n))

    def run_points(**how):
        def run_point(about, point, folder):
            folder.mkdir(parents=True)
            how[point.name]()
            return plain_line(point.name) if point.name != "stopped" else None

        monkeypatch.setattr(sweeps, "run_point", run_point)

    return run_points


def test_a_run_has_its_line_when_it_ends_whatever_began_before_it(tmp_path, threads):
    later = threading.Event()
    threads(slow=lambda: later.wait(20), quick=lambda: None, last=lambda: None)
    seen = []

    def report(line):
        seen.append(recorded(tmp_path / "record"))
        later.set()

    plan = planned("slow", "quick", "last")
    sweeps.run_sweep(plan, tmp_path / "record", tmp_path / "work", jobs=2, report=report)
    assert seen[0] == ["quick"] and sorted(seen[-1]) == ["last", "quick", "slow"]
    assert not list((tmp_path / "work").iterdir())


def fail() -> None:
    raise DataError("no such text")


@pytest.mark.parametrize("first", ["stopped", "failed"])
def test_nothing_is_begun_after_a_stop_or_an_error_and_what_runs_gets_its_line(
    tmp_path, threads, first
):
    both = threading.Barrier(2)  # both have begun
    ended = threading.Event()

    def end():
        both.wait(20)
        ended.set()
        if first == "failed":
            fail()

    def outlast():
        both.wait(20)
        ended.wait(20)
        time.sleep(0.05)  # the other's end is seen first

    threads(**{first: end}, runs=outlast, waits=lambda: None)
    plan = planned(first, "runs", "waits")
    folders = tmp_path / "record", tmp_path / "work"
    if first == "failed":
        with pytest.raises(DataError, match="no such text"):
            sweeps.run_sweep(plan, *folders, jobs=2)
    else:
        assert sweeps.run_sweep(plan, *folders, jobs=2) is True
    assert recorded(tmp_path / "record") == ["runs"]
    assert [folder.name for folder in folders[1].iterdir()] == [first]


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_a_process_hears_ctrl_c_once_it_can_answer(monkeypatch):
    """A new process inherits what is blocked; until its imports are done, Ctrl-C has to wait."""
    masks = []

    class Pool(ThreadPoolExecutor):
        def submit(self, *task):
            masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            return super().submit(*task)

    monkeypatch.setattr(jobs, "ProcessPoolExecutor", lambda n, *_: Pool(n))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert sorted(jobs.results(lambda n: {"n": n}, [(1,), (2,), (3,)], 2), key=str) == [
        {"n": 1}, {"n": 2}, {"n": 3},
    ]  # fmt: skip
    assert len(masks) == 3 and all(signal.SIGINT in mask for mask in masks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    code = (
        "import os, signal; from gptlib.course.jobs import _deaf_children, _end_with_owner\n"
        "import multiprocessing; multiprocessing.parent_process = lambda: type('P', (), "
        "{'join': lambda self: __import__('time').sleep(60)})()\n"
        "with _deaf_children():\n"
        "    os.kill(os.getpid(), signal.SIGINT); print('deaf', flush=True); _end_with_owner()\n"
        "print('not reached')"
    )
    # A thread that is there before the signal is blocked would hear it; in a new process none is.
    alone = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=alone)
    assert (done.returncode, done.stdout, done.stderr) == (130, "deaf\n", "")


@pytest.mark.parametrize("options", [{"only": "nobody"}, {"jobs": 0}])
def test_a_sweep_of_nothing_is_refused(tmp_path, options):
    with pytest.raises(ConfigError, match="no run's name contains 'nobody'; 2 are|jobs is 0"):
        sweeps.run_sweep(planned("a", "b"), tmp_path / "record", tmp_path / "work", **options)


def test_a_recorded_run_with_other_settings_is_refused(place):
    sweeps.main(["tiny.toml", "--only", "alone", "--out", "out"])
    (place / "tiny.toml").write_text(PLAN.replace("steps = 4", "steps = 5"))
    with pytest.raises(DataError, match="holds alone-s0 with other settings.*delete that line"):
        sweeps.main(["tiny.toml", "--out", "out"])


def test_validation_is_cut_between_documents_and_has_its_own_floor():
    *_, val, floor = sweeps._texts("tales", 60_000, 2_000)
    corpus = sweeps.load_corpus("tales", size=60_000)
    whole = "".join(d + corpus.grammar.separator for d in corpus.val_documents)
    assert 2_000 <= len(val) < 3_500 and whole.startswith(corpus.val[: len(val)])
    surprise = -sum(
        corpus.grammar.score(document)
        for document in corpus.val[: len(val)].split(corpus.grammar.separator)
        if document
    )
    assert floor == pytest.approx(surprise / len(val))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("n_embd = 4", "n_emb = 4"), "sets n_emb for narrow-little; a setting is a field"),
        (("[settings]", "[setings]"), "has setings; a sweep needs a corpus"),
        (('corpus = "goose.txt"', ""), "has no corpus"),
    ],
)
def test_a_misspelled_file_is_refused(place, change, message):
    (place / "tiny.toml").write_text(PLAN.replace(*change))
    with pytest.raises(ConfigError, match=message):
        sweeps.read_sweep("tiny.toml")


def test_an_unknown_sweep_is_refused():
    with pytest.raises(DataError, match="no sweep file nothing.toml"):
        sweeps.read_sweep("nothing.toml")
    with pytest.raises(DataError, match="sweeps/nothing"):
        sweeps.read_sweep("nothing")


@pytest.mark.parametrize("content", [b"corpus = ", b"\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused(tmp_path, content):
    (tmp_path / "a.toml").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.toml is no sweep file"):
        sweeps.read_sweep(tmp_path / "a.toml")


@pytest.mark.parametrize("path", sorted(data_path("sweeps").glob("*.toml")), ids=lambda p: p.stem)
def test_every_shipped_sweep_can_be_run(path):
    plan = sweeps.read_sweep(path.stem)
    assert len({point.name for point in plan.points}) == len(plan.points) > 0
    for point in plan.points:
        shape = {key: value for key, value in point.settings.items() if key in sweeps._SHAPE}
        model = sweeps.GPTConfig(vocab_size=100, **shape)
        assert sweeps.train_config(point, model.block_size).steps > 0


def test_a_record_is_made_anew_from_the_runs_it_holds(place, monkeypatch):
    (place / "sweeps").mkdir()
    (place / "tiny.toml").rename(place / "sweeps" / "tiny.toml")
    monkeypatch.setattr(sweeps, "data_path", lambda name: place / name)
    sweeps.main(["tiny", "--only", "alone-s1", "--out", "runs", "--work", "work"])
    again = sweeps.remake("tiny")
    _, lines = timeless(place / "runs" / "tiny")
    anew = [{k: v for k, v in line.items() if k not in TIMES} for line in again.log]
    assert anew == lines and [run["name"] for run in again.result["runs"]] == ["alone-s1"]


def test_a_sweep_on_a_terminal_tells_its_runs_and_the_one_that_runs(place, monkeypatch, capsys):
    terminal = FakeTerminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    plan = sweeps.read_sweep("tiny.toml")
    with redirect_stderr(terminal):
        sweeps.run_sweep(plan, place / "record", place / "work", "alone", report=terminal.say)
    shown = terminal.getvalue()
    assert "sweep 0/2 runs  step 0/4" in shown and "sweep 1/2 runs  step 0/4" in shown
    rows = Screen(shown, 80).rows
    assert [row.split(":")[0] for row in rows] == ["1/2 alone-s0", "2/2 alone-s1", ""]
    assert capsys.readouterr().err == ""
