"""Progress: renewed in place on a terminal, told in lines elsewhere, in a notebook without time.

No test waits: the clock is a list that the test moves on.
"""

import errno
import io
import math
import os
import subprocess
import sys
from contextlib import redirect_stderr, suppress

import pytest
from terminal import FakeTerminal, Screen, real_terminal

from gptlib import status_line
from gptlib.batches import document_starts
from gptlib.cli import main
from gptlib.cli.console import tell
from gptlib.corpora import http_file
from gptlib.evaluation import split_loss
from gptlib.progress import TrainingProgress, progress, validation_line
from gptlib.shards import prepare
from gptlib.status_line import StatusLine, aside, fitted

SMALL = ["--steps", "6", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """Whatever terminal the tests are run from."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)


@pytest.fixture
def terminal(monkeypatch):
    """A remembered terminal of 80 columns."""
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((80, 24)))
    return FakeTerminal()


def train(shown: TrainingProgress, clock: Clock, steps: int = 600, seconds: float = 0.02) -> None:
    """A loop that does nothing but tell; a validation every 200 steps."""
    shown.began({}, 0, steps)
    speed = {"tokens_per_s": None, "mfu": None, "seconds_left": None}
    shown.validated({"step": 0, "val": 3.2, "loss": math.nan, **speed})
    for step in range(1, steps + 1):
        clock.now += seconds
        line = {"step": step, "loss": 3 - step / 300, "lr": 1e-3, "grad_norm": 1.0}
        shown.stepped(line | {"tokens": step * 1024})
        if step % 200 == 0:
            speed = {"tokens_per_s": 51_200.0, "mfu": 0.25, "seconds_left": (steps - step) * 0.02}
            shown.validated({"step": step, "val": 2.5, "loss": 3 - step / 300, **speed})
    shown.ended(steps, True)


LINES = [
    "step 0/600  val 3.2000",
    "step 200/600  val 2.5000  train 2.3333  51,200 tokens/s  MFU 25.0%  0.1 min left",
    "step 400/600  val 2.5000  train 1.6667  51,200 tokens/s  MFU 25.0%  0.1 min left",
    "step 600/600  val 2.5000  train 1.0000  51,200 tokens/s  MFU 25.0%  0.0 min left",
]


# --- a terminal -----------------------------------------------------------------------------------


def test_a_line_tells_step_loss_speed_and_time_left(terminal, clock):
    train(TrainingProgress(lines=False, stream=terminal, clock=clock), clock)
    shown = [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]
    assert shown[0] == "0%|          | step 0/600"
    assert "17%|█▋        | step 100/600  loss 2.6667  51,200 tokens/s  00:10 left" in shown


def test_at_most_one_renewal_a_second(terminal, clock):
    line = StatusLine(lambda: ((f"{clock.now}",), None), terminal, clock)
    line.open()
    writes = terminal.writes
    for _ in range(10_000):
        clock.now += 0.001
        line.renew()
    line.close()
    assert terminal.writes - writes in (10, 11)  # and one that takes it away


@pytest.mark.parametrize("columns", [100, 80, 40, 20, 5, 1])
def test_nothing_wraps_and_nothing_is_left_but_the_validations(
    columns, terminal, clock, monkeypatch
):
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    train(TrainingProgress(stream=terminal, clock=clock), clock)
    *rows, last = Screen(terminal.getvalue(), columns).rows
    assert last == ""
    if columns > max(map(len, LINES)):
        assert rows == LINES
    elif columns >= 23:
        assert len(rows) == len(LINES)
        for row, line in zip(rows, LINES, strict=True):
            assert line.startswith(row + "  ") or row == line
    renewed = [part for part in terminal.getvalue().split("\r") if not part.endswith("\n")]
    assert all(len(part) < max(2, columns) for part in renewed)


def test_a_terminal_that_does_not_know_its_width(terminal, clock, monkeypatch):
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((0, 0)))
    train(TrainingProgress(stream=terminal, clock=clock), clock)
    assert Screen(terminal.getvalue(), 80).wrapped == 0


def test_a_terminal_that_becomes_narrow(terminal, clock, monkeypatch):
    with progress("reading", 4, "files", stream=terminal, clock=clock):
        before = terminal.getvalue()
        monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((12, 24)))
        tell_again = status_line._open[-1].renew
        tell_again(now=True)
    after = terminal.getvalue().removeprefix(before)
    assert Screen(after, 12).wrapped == 0


def test_ctrl_c_leaves_nothing(terminal, clock):
    with progress("reading", 4, "files", stream=terminal, clock=clock):
        terminal.write("^C")  # the terminal's echo
    assert Screen(terminal.getvalue(), 80).rows == [""]


@pytest.mark.parametrize("encoding", ["ascii", "iso8859-1", "cp1252", "utf-8"])
def test_any_encoding(encoding, clock, monkeypatch):
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", newline="")
    stream.isatty = lambda: True
    with progress("downloading Łß☃.txt", 40, "B", stream=stream, clock=clock) as bar:
        for _ in range(4):
            clock.now += 1
            bar.advance(10, "☃")
    text = raw.getvalue().decode(encoding)
    assert text.count("downloading") == 5 and ("☃" in text) == (encoding == "utf-8")
    assert Screen(text, 80).rows == [""]
    assert "\x1b" not in text  # no colors, so NO_COLOR changes nothing


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "closed"), BrokenPipeError(), ValueError("closed file")]
)
def test_a_terminal_that_is_closed_ends_the_line_and_nothing_else(error, terminal, clock):
    shown = TrainingProgress(stream=terminal, clock=clock)

    def write(text):
        raise error

    shown.began({}, 0, 600)
    terminal.write = write
    train(shown, clock)
    assert not status_line._open


def test_a_command_in_the_background_leaves_the_terminal_alone(terminal, clock, monkeypatch):
    monkeypatch.setattr(os, "tcgetpgrp", lambda fd: os.getpgrp() + 1)
    train(TrainingProgress(stream=terminal, clock=clock, lines=False), clock)
    assert terminal.getvalue() == ""


def test_what_is_written_in_between_stands_above_the_line(terminal, clock):
    with progress("reading", 4, "files", stream=terminal, clock=clock) as bar:
        bar.advance()
        with redirect_stderr(terminal):
            tell("gptlib: warning: a goose")
        with aside(), aside():
            terminal.write("and a gull\n")
        now = Screen(terminal.getvalue(), 80).rows
    assert now == ["gptlib: warning: a goose", "and a gull", " 25%|██▌       | reading 1/4 files"]
    assert Screen(terminal.getvalue(), 80).rows == ["gptlib: warning: a goose", "and a gull", ""]


def test_a_line_within_another_says_what_it_is_part_of(terminal, clock):
    with progress("sweep", 3, "runs", stream=terminal, clock=clock) as outer:
        outer.advance()
        with progress("reading", 4, "files", stream=terminal, clock=clock) as inner:
            clock.now += 1
            inner.advance(2)
            outer.advance()  # not shown before the other ends
            shown = terminal.getvalue().split("|")[-1].strip()
            assert shown == "sweep 1/3 runs  reading 2/4 files  2 files/s  00:01 left"
        assert (
            Screen(terminal.getvalue(), 80)
            .rows[-1]
            .endswith("| sweep 2/3 runs  2 runs/s  00:00 left")
        )


def test_the_line_goes_when_something_fails(terminal, clock):
    with pytest.raises(KeyError), progress("reading", 4, "files", stream=terminal, clock=clock):
        raise KeyError
    assert Screen(terminal.getvalue(), 80).rows == [""] and not status_line._open
    TrainingProgress(stream=terminal, clock=clock).ended(0, False)  # before it began


def test_bytes_have_units(terminal, clock):
    with progress(
        "downloading x", 10_000_000, "B", done=5_000_000, stream=terminal, clock=clock
    ) as bar:
        clock.now += 2
        bar.at(7_500_000)
    assert "75%|███████▌  | downloading x 7.50M/10.0MB  1.25MB/s  00:02 left" in terminal.getvalue()


# --- no terminal ----------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["pipe", "dumb", "run by a notebook", "closed", "none"])
def test_elsewhere_there_is_no_such_line(why, clock, monkeypatch):
    stream = io.StringIO() if why == "pipe" else FakeTerminal()
    if why == "dumb":
        monkeypatch.setenv("TERM", "dumb")
    if why == "run by a notebook":
        monkeypatch.setenv("JPY_PARENT_PID", "1")
    if why == "closed":
        stream.close()
    if why == "none":  # where stderr was closed before the start
        stream = None
        monkeypatch.setattr(sys, "stderr", None)
    with progress("reading", 4, "files", stream=stream, clock=clock) as bar:
        bar.advance(4)
    train(TrainingProgress(stream=stream, clock=clock), clock)
    if why in ("pipe", "dumb", "run by a notebook"):
        assert stream.getvalue().split("\n") == [*LINES, ""]
        assert fitted("a" * 50 + "  " + "b" * 50, stream) == "a" * 50 + "  " + "b" * 50


def test_a_validation_in_words():
    line = {"step": 5, "val": 1.5, "loss": 2.5}
    unknown = {"tokens_per_s": 1000.0, "mfu": None, "seconds_left": 90.0}
    slow = {"tokens_per_s": None, "mfu": None, "seconds_left": None}
    assert validation_line(line | slow, 9) == "step 5/9  val 1.5000  train 2.5000"
    said = "step 5/9  val 1.5000  train 2.5000  1,000 tokens/s  MFU unknown  1.5 min left"
    assert validation_line(line | unknown, 9) == said
    assert validation_line(line | unknown, 9, speed=False) == validation_line(line | slow, 9)


# --- commands -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("progress")
    (folder / "text.txt").write_text("the fox sat. the hen sat. the fox ran.\n" * 100)
    assert main(["train", "--corpus", str(folder / "text.txt"), "--out", str(folder / "run"),
                 "--progress", "none", *SMALL]) == 0  # fmt: skip
    return folder


def in_terminal(columns: int, argv: list[str]) -> tuple[int, str]:
    with real_terminal(columns) as (fd, written):
        with open(os.dup(fd), "w", encoding="utf-8") as stream, redirect_stderr(stream):
            code = main(argv)
    return code, "".join(written).replace("\r\n", "\n")


@pytest.fixture
def always(monkeypatch):
    """Every renewal is shown, however quick they are."""
    monkeypatch.setattr(status_line, "EVERY", 0.0)


pty_only = pytest.mark.skipif(os.name == "nt", reason="a pty")


def check_training(text: str, columns: int) -> None:
    screen = Screen(text, columns)
    assert screen.wrapped == 0
    steps = [row.split("  ")[0] for row in screen.rows if "val " in row]
    assert steps == ["step 0/6", "step 2/6", "step 4/6", "step 6/6"]
    renewed = [part for part in text.split("\r") if part.strip() and "\n" not in part]
    assert len(renewed) >= 4 and all("step" in part for part in renewed)
    assert not any("|" in row for row in screen.rows)


@pty_only
def test_train_on_a_terminal_of_80_columns(place, tmp_path):
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    code, text = in_terminal(80, argv)
    assert code == 0
    check_training(text, 80)


@pty_only
def test_train_on_a_terminal_of_40_columns_as_a_shell_starts_it(place, tmp_path):
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    with real_terminal(40) as (fd, written):
        done = subprocess.run(
            [sys.executable, "-m", "gptlib", *argv], stderr=fd, stdout=subprocess.PIPE, stdin=fd,
            start_new_session=True,
        )  # fmt: skip
    assert done.returncode == 0 and b"\r" not in done.stdout
    check_training("".join(written).replace("\r\n", "\n"), 40)


@pty_only
def test_a_terminal_that_is_closed_while_it_trains(place, tmp_path):
    """The signal that comes with it, SIGHUP, is held back by nohup, say."""
    import pty

    ours, theirs = pty.openpty()
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    os.close(ours)
    with suppress(OSError), open(theirs, "w", encoding="utf-8") as stream, redirect_stderr(stream):
        assert main(argv) == 0
    assert (tmp_path / "run" / "latest").exists()


def test_train_into_a_pipe_tells_one_line_a_validation(place, tmp_path, capsys):
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    assert main(argv) == 0
    out, err = capsys.readouterr()
    assert "\r" not in out + err
    assert [line.split("  ")[0] for line in err.splitlines()] == [
        "step 0/6", "step 2/6", "step 4/6", "step 6/6",
    ]  # fmt: skip


@pytest.mark.parametrize(("choice", "lines"), [("lines", 4), ("none", 0)])
def test_what_a_run_tells_can_be_chosen(choice, lines, place, tmp_path, terminal):
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    with redirect_stderr(terminal):
        assert main([*argv, "--progress", choice]) == 0
    assert "\r" not in terminal.getvalue() and terminal.getvalue().count("\n") == lines


def test_the_weights_do_not_depend_on_who_watches(place, tmp_path, terminal):
    argv = ["train", "--corpus", str(place / "text.txt"), "--out", str(tmp_path / "run"), *SMALL]
    with redirect_stderr(terminal):
        assert main(argv) == 0
    assert "\r" in terminal.getvalue()
    kept = [run / "checkpoints" for run in (place / "run", tmp_path / "run")]
    first, second = (sorted(folder.rglob("*.safetensors")) for folder in kept)
    assert first and [x.read_bytes() for x in first] == [x.read_bytes() for x in second]


def test_eval_shows_how_many_windows_are_done(place, terminal, capsys, always):
    with redirect_stderr(terminal):
        assert main(["eval", str(place / "run")]) == 0
    assert "| measuring 25/25 windows" in terminal.getvalue()
    assert "| measuring with a sliding window 48/48 windows" in terminal.getvalue()
    assert Screen(terminal.getvalue(), 80).rows == [""]
    assert capsys.readouterr().out.startswith("step ")


def test_split_loss_tells_its_windows(make_model, ids):
    model, told = make_model(), []
    starts = document_starts(ids, [int(ids[38])])
    loss = split_loss(model, ids, starts=starts, batch_size=8)
    measured = split_loss(
        model, ids, starts=starts, batch_size=8, progress=lambda *at: told.append(at)
    )
    assert measured == loss
    done, of = zip(*told, strict=True)
    assert list(done) == sorted(set(done)) and set(of) == {done[-1]}


def test_prepare_tells_its_documents(tokenizer, tmp_path):
    texts, told = ["the hen sat.", "the fox ran."] * 30, []
    options = {"shard_bytes": 100, "val_fraction": 0.2, "workers": 1}
    prepare(texts[:30], tokenizer, tmp_path / "a", **options)
    prepare(texts, tokenizer, tmp_path / "b", **options, progress=lambda *at: told.append(at))
    done = [at[0] for at in told]
    assert done == sorted(done) and told[-1][:2] == (60, 60)
    assert told[-1][2].endswith(" tokens")
    told.clear()  # what is finished already is neither done nor to be done
    prepare(texts, tokenizer, tmp_path / "b", **options, progress=lambda *at: told.append(at))
    assert {at[0] for at in told} == {0} and told[-1][1] < 60
    told.clear()
    prepare(iter(texts), tokenizer, tmp_path / "c", **options, progress=lambda *at: told.append(at))
    assert {at[1] for at in told} == {None}


def test_prepare_on_a_terminal(place, tmp_path, terminal, capsys, always):
    text = str(place / "text.txt")
    with redirect_stderr(terminal):
        assert main(["data", "prepare", text, "--out", str(tmp_path / "shards")]) == 0
    rows = Screen(terminal.getvalue(), 80).rows
    assert [row.split(" ")[0] for row in rows] == ["train_00000.bin", "val_00000.bin", ""]
    assert "| encoding 1/2 documents  3,510 tokens" in terminal.getvalue()


def test_a_download_shows_its_bytes(tmp_path, terminal, monkeypatch, always):
    monkeypatch.setattr("requests.get", lambda url, **options: Answer([b"x" * 600, b"x" * 400]))
    with redirect_stderr(terminal):
        http_file._transfer("http://nowhere/poem", tmp_path / "poem.txt", 0, 1000)
    assert (tmp_path / "poem.txt").stat().st_size == 1000
    assert "downloading poem.txt 0.00/1.00kB" in terminal.getvalue()
    assert " 60%|██████    | downloading poem.txt 600/1.00kB" in terminal.getvalue()
    assert Screen(terminal.getvalue(), 80).rows == [""]


class Answer:
    """What a server sends, as `requests` gives it."""

    status_code, headers, length_remaining = 200, {}, 0

    def __init__(self, blocks: list[bytes]) -> None:
        self.raw, self._blocks = self, blocks

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def raise_for_status(self):
        pass

    def read1(self, size: int) -> bytes:
        return self._blocks.pop(0) if self._blocks else b""


# --- a notebook -----------------------------------------------------------------------------------

CELL = """
from test_progress import Clock, train
from gptlib.progress import TrainingProgress, progress
clock = Clock()
train(TrainingProgress(clock=clock), clock, seconds=SECONDS)
with progress("measuring", 10, "windows", clock=clock) as bar:
    for _ in range(10):
        clock.now += SECONDS * 100
        bar.advance()
with progress("downloading", 10, "B", clock=clock, in_notebooks=False) as bar:
    bar.advance(10)
"""


def test_a_notebook_keeps_nothing_that_depends_on_time(monkeypatch):
    import nbformat
    from nbclient import NotebookClient

    here = os.path.dirname(__file__)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.path.dirname(here)]))
    cells = [CELL.replace("SECONDS", seconds) for seconds in ("0.02", "7.1")]
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    updates = []

    class Client(NotebookClient):
        def process_message(self, message, cell, index):
            if message["msg_type"] == "update_display_data":
                updates.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, index)

    Client(book, kernel_name="python3", timeout=120).execute()
    first, second = (cell.outputs for cell in book.cells)
    assert first == second
    assert [output.data["text/plain"] for output in first] == [
        "step 0/600  val 3.2000\nstep 200/600  val 2.5000  train 2.3333\n"
        "step 400/600  val 2.5000  train 1.6667\nstep 600/600  val 2.5000  train 1.0000",
        "",
    ]
    assert any("tokens/s" in text for text in updates)  # it was shown while it lasted
