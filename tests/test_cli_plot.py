"""`gptlib plot`: what is drawn of one run and of several, and what is refused."""

import json
import math
import shutil
from pathlib import Path

import pytest

from gptlib.cli import main, plot
from gptlib.cli.run_notes import floor_of
from gptlib.tokenizers import CharTokenizer

TOKENS = 40  # a step


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two run folders, as far as a plot reads them: one of a text with a floor."""
    folder = tmp_path_factory.mktemp("runs")
    for name, start in (("a", 3.0), ("b", 4.0)):
        run = folder / name
        CharTokenizer("ab\n").save(run / "tokenizer")
        note = {"corpus": "tales" if name == "a" else "my.txt", "val_floor": 0.5}
        (run / "config.json").write_text(json.dumps({"note": note if name == "a" else {}}))
        lines = [{"step": 0, "val": start}]
        for step in range(1, 9):
            loss = start / (1 + step)
            line = {"step": step, "loss": loss, "lr": 1e-3 * step, "tokens": step * TOKENS}
            lines += [line] + ([{"step": step, "val": loss + 0.1}] if step % 4 == 0 else [])
        (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    shutil.copytree(made, tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refused(argv, capsys) -> str:
    capsys.readouterr()
    assert main(["plot", *argv]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


BEGINS = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}


@pytest.mark.parametrize("kind", BEGINS)
def test_the_ending_says_what_is_written_and_it_is_the_same_twice(here, kind, capsys):
    for name in ("one", "two"):
        assert main(["plot", "runs/a", "runs/b", "--out", f"{name}.{kind}"]) == 0
    one, two = (Path(f"{name}.{kind}").read_bytes() for name in ("one", "two"))
    assert one == two and one.startswith(BEGINS[kind])
    out = capsys.readouterr().out
    assert "a: best validation 0.4333 at 8 steps, last 0.4333 at 8" in out


def drawn(names, x="steps"):
    folders = [Path("runs", name) for name in names]
    labels = plot._labels(folders)
    return plot.draw([plot._read(*pair, x) for pair in zip(folders, labels, strict=True)], x)


def test_the_curves_are_those_of_the_log(here):
    top, below = drawn("ab").axes
    lines = {line.get_label(): line for line in top.get_lines()}
    assert list(lines["a"].get_xdata()) == [0, 4, 8]
    assert list(lines["a"].get_ydata()) == pytest.approx([3.0, 0.7, 3 / 9 + 0.1])
    faint = [line for line in top.get_lines() if line.get_alpha() == 0.25]
    assert [len(line.get_xdata()) for line in faint] == [8, 8]
    assert [list(line.get_ydata())[-1] for line in below.get_lines()] == [8e-3, 8e-3]
    assert {"a", "b", "floor"} == {note.get_text() for note in top.texts}
    assert top.get_ylim()[0] < floor_of(Path("runs/a")) == 0.5
    assert floor_of(Path("runs/b")) is None


def test_tokens_in_place_of_steps(here):
    top, below = drawn("a", "tokens").axes
    line = next(line for line in top.get_lines() if line.get_label() == "a")
    assert list(line.get_xdata()) == [0, 4 * TOKENS, 8 * TOKENS]
    assert below.get_xlabel() == "tokens read"


def test_folders_of_one_name_are_told_apart(here):
    shutil.copytree("runs/a", "others/a")
    names = plot._labels([Path("runs/a"), Path("others/a"), Path("runs/b")])
    assert names == ["runs/a", "others/a", "runs/b"]
    assert plot._labels([Path("runs/a"), Path("runs/a")]) == ["a", "a"]


@pytest.mark.parametrize("name", ["$a^$", "_a", "a\nb", "x" * 90, "%d {}"])
def test_a_folder_may_have_any_name(here, name):
    Path("runs/a").rename(f"runs/{name}")
    assert main(["plot", f"runs/{name}", "--out", "x.svg"]) == 0
    top, _ = drawn([name]).axes
    assert plot._labels([Path("runs", name)])[0].endswith(name) and len(top.texts) == 2


def test_only_the_floor_of_characters_is_one_of_tokens(here):
    (Path("runs/a") / "tokenizer" / "tokenizer.json").unlink()
    assert floor_of(Path("runs/a")) is None


def test_a_run_older_than_its_note_has_its_floor_worked_out(here):
    note = {"corpus": "tales", "corpus_size": 5000}
    Path("runs/a/config.json").write_text(json.dumps({"note": note}))
    assert 0.4 < floor_of(Path("runs/a")) < 0.6


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (None, "runs/a is no run folder (no log.jsonl in it)"),
        ("", "the log of runs/a is empty"),
        ('{"step": 1', "the log of runs/a is empty"),  # a torn last line
        ('{"step": 0}\n', "has no losses"),
        ('{"step": 0, "val": NaN}\n', "has no losses"),
        ("3\n", "line 1 of runs/a/log.jsonl is no line of a run"),
        ('{"step": 0, "val": 1.0}\n{"step": 1, "loss": "x"}\n', "line 2 of"),
        ('{"step": true, "val": 1.0}\n', "line 1 of"),
        ("{]\n", "line 1 of runs/a/log.jsonl is damaged"),
    ],
)
def test_a_log_that_cannot_be_drawn(here, log, says, capsys):
    path = Path("runs/a/log.jsonl")
    path.unlink() if log is None else path.write_text(log)
    assert says.replace("/", str(Path("/"))) in refused(["runs/a", "--out", "x.svg"], capsys)
    assert not Path("x.svg").exists()


def test_what_else_is_refused(here, capsys):
    assert "no such folder" in refused(["nowhere", "--out", "x.svg"], capsys)
    assert "no such folder" in refused(["x" * 300, "--out", "x.svg"], capsys)
    assert ".svg, .png or .pdf" in refused(["runs/a", "--out", "x.jpg"], capsys)
    assert "ends in nothing" in refused(["runs/a", "--out", "x"], capsys)
    said = refused(["runs/a", "--out", "no/folder/x.svg"], capsys)
    assert "cannot be written (No such file" in said
    Path("runs/a/log.jsonl").write_text('{"step": 0, "val": 1.0}\n')
    assert "--x steps" in refused(["runs/a", "--out", "x.svg", "--x", "tokens"], capsys)


def test_a_loss_that_is_no_number_leaves_a_gap(here):
    with Path("runs/a/log.jsonl").open("a") as log:
        log.write('{"step": 9, "loss": Infinity, "lr": 0.001, "tokens": 360}\n')
    top, _ = drawn("a").axes
    assert all(map(math.isfinite, top.get_ylim()))
