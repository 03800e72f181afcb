"""No command fails for what it prints, for where it is run, or for how a path was written."""

import argparse
import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gptlib import checkpoint
from gptlib.cli import build_parser, main
from gptlib.cli.texts import open_text
from gptlib.corpora import load_corpus
from gptlib.runs import load_run
from gptlib.shards import prepare
from gptlib.shards.read import open_shards
from gptlib.tokenizers import load_tokenizer

TEXT = "Der Łuchs ☃ saß. The hen ran.\n" * 200
SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A home folder with a text and a run of it."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "☃.txt").write_text(TEXT, encoding="utf-8")
    assert (
        main(["train", "--corpus", str(folder / "☃.txt"), "--out", str(folder / "☃"), *SMALL]) == 0
    )
    return folder


@contextlib.contextmanager
def gone(monkeypatch, *names: str):
    """Give these streams a pipe that nobody reads from."""
    with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
        for name in names:
            read, write = os.pipe()
            os.close(read)
            pipe = stack.enter_context(open(write, "w", encoding="utf-8"))
            patch.setattr(sys, name, pipe)
        yield


COMMANDS = {
    "sample": ["sample", "☃", "--seed", "1", "--max-new-tokens", "200", "--temperature", "3"],
    "eval": ["eval", "☃"],
    "info": ["info", "☃"],
    "plot": ["plot", "☃", "--out", "☃.svg"],
    "list": ["data", "list"],
    "prepare": ["data", "prepare", "☃.txt", "--out", "shards ☃"],
    "train": ["train", "--corpus", "☃.txt", "--out", "new ☃", "--stop-after", "2", *SMALL],
}


@pytest.fixture
def here(home, tmp_path, monkeypatch):
    """The home folder's contents, and the working directory."""
    for path in home.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("name", COMMANDS)
def test_no_command_fails_for_a_character(here, name, encoding, monkeypatch):
    written = {}
    with monkeypatch.context() as patch:
        for stream in ("stdout", "stderr"):
            written[stream] = io.BytesIO()
            wrapper = io.TextIOWrapper(written[stream], encoding=encoding, errors="strict")
            patch.setattr(sys, stream, wrapper)
        assert main(COMMANDS[name]) == 0
        assert main(["sample", "nowhere ☃"]) == 2
        assert sys.stdout.errors == sys.stderr.errors == "strict"  # as they were
        sys.stderr.flush()
        text = written["stdout"].getvalue().decode(encoding)
        said = written["stderr"].getvalue()
    if name == "sample":
        lost = {"ascii": "Łß☃", "cp1252": "Ł☃", "utf-8": ""}[encoding]
        assert not set(text) & set(lost) and ("?" in text) == bool(lost)
    assert b"nowhere" in said


def test_a_prompt_that_python_could_not_decode(here, capsys):
    prompt = "saß".encode().decode("ascii", "surrogateescape")
    assert main(["sample", "☃", "--prompt", prompt, "--max-new-tokens", "3"]) == 0
    assert capsys.readouterr().out.startswith("saß")


@pytest.mark.parametrize("name", ["sample", "eval", "info", "plot", "list", "prepare"])
def test_a_reader_that_has_gone_ends_a_command_quietly(here, name, monkeypatch, capsys):
    with gone(monkeypatch, "stdout"):
        assert main(COMMANDS[name]) == 141
    assert "gptlib" not in capsys.readouterr().err


def test_help_for_a_reader_that_has_gone(monkeypatch):
    with gone(monkeypatch, "stdout"):
        assert main(["--help"]) == 141


def test_training_is_saved_when_nobody_reads_its_progress(here, monkeypatch):
    argv = [*COMMANDS["train"][:5], *SMALL, "--steps", "50"]
    with gone(monkeypatch, "stderr", "stdout"):
        assert main(argv) == 141
    (step,) = checkpoint.saved_steps(here / "new ☃")
    assert 0 < step < 50


def test_an_error_that_nobody_reads(here, monkeypatch):
    with gone(monkeypatch, "stderr"):
        assert main(["sample", "nowhere"]) == 2


def test_sample_into_head_as_a_shell_does_it(tmp_path):
    program = [sys.executable, "-m", "gptlib", "sample", "tales", "--seed", "1"]
    job = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path)
    assert len(os.read(job.stdout.fileno(), 5)) > 0
    job.stdout.close()
    assert job.stderr.read() == b"" and job.wait() == 141


def test_sampling_imports_nothing_that_only_training_needs(tmp_path):
    program = (
        "import sys; from gptlib.cli import main;"
        "main(['sample', 'tales', '--max-new-tokens', '2']);"
        "heavy = {'torch._dynamo', 'sympy', 'platformdirs', 'gptlib.shards.sources',"
        " 'gptlib.shards.write', 'gptlib.cli.train', 'gptlib.cli.data'};"
        "print(*heavy & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0 and done.stderr.strip() == ""


# --- paths ----------------------------------------------------------------------------------------


def path_arguments():
    """Every argument of every command that a path may stand for."""
    left = [build_parser()]
    while left:
        for action in left.pop()._actions:
            if isinstance(action, argparse._SubParsersAction):
                left += action.choices.values()
            elif action.dest in (
                "run",
                "runs",
                "place",
                "source",
                "corpus",
                "tokenizer",
                "out",
            ) or any(
                action.dest.endswith(ending) for ending in ("_to", "_file", "_from", "config")
            ):
                yield action


def test_a_tilde_is_the_home_folder_in_every_argument(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    actions = list(path_arguments())
    assert len(actions) > 14
    for action in actions:
        for typed in ("~/x", str(tmp_path / "x")):  # what a run notes keeps the tilde
            assert os.path.expanduser(action.type(typed)) == str(tmp_path / "x"), action.dest
        assert str(action.type("x/~")) == str(Path("x/~"))


def test_a_tilde_in_the_library_and_on_the_command_line(home, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    (home / "begin").write_text("Der\n")
    argv = ["train", "--corpus=~/☃.txt", "--out=~/two", "--mirror-to=~/mirror", "--init-from=~/☃"]
    assert main([*argv, "--tokenizer=~/☃", "--steps", "2", "--threads", "1"]) == 0
    assert main(["sample", "~/two", "--prompt-file=~/begin", "--max-new-tokens", "3"]) == 0
    assert main(["data", "prepare", "~/☃.txt", "--out=~/shards"]) == 0
    assert (home / "mirror").is_dir() and not list(tmp_path.iterdir())
    tokenizer = load_tokenizer("~/☃")
    prepare("~/☃.txt", tokenizer, "~/again")
    assert len(open_shards("~/again", "val", tokenizer)) == len(load_corpus("~/☃.txt").val)
    assert load_run("~/☃")[1] == tokenizer
    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_home(monkeypatch, capsys, tmp_path):
    """A user that the system does not know, in a container without HOME."""

    def nobody(uid):
        raise KeyError(uid)

    pwd = pytest.importorskip("pwd")  # not on Windows
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("HOME", "XDG_CACHE_HOME", "GPTLIB_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["data", "list"]) == 0
    assert main(["sample", "tales", "--max-new-tokens", "3"]) == 0
    capsys.readouterr()
    assert main(["data", "get", "shakespeare"]) == 2
    err = capsys.readouterr().err
    assert "no home folder" in err and "set GPTLIB_DATA" in err and err.count("\n") == 1
    with pytest.raises(SystemExit):
        main(["train", "--corpus", "tales", "--out=~/x"])
    assert "write the path in full" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


# --- names ----------------------------------------------------------------------------------------


def test_a_name_wins_and_a_path_is_written_as_one(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tales").symlink_to(home / "☃")
    with pytest.warns(UserWarning, match=r"\./tales"):
        shipped = load_run("tales")[2]["step"]
    assert shipped == 18_000
    assert load_run("./tales")[2]["step"] == load_run(Path("tales"))[2]["step"] <= 4
    Path("tales").unlink()
    Path("tales").write_text(TEXT, encoding="utf-8")
    with pytest.warns(UserWarning, match=r"\./tales"):
        assert load_corpus("tales", size=5000).grammar is not None
    assert load_corpus("./tales").text == load_corpus(Path("tales")).text == TEXT


@pytest.mark.filterwarnings("ignore:tales is the corpus")
def test_the_same_rule_for_shards(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["data", "prepare", str(home / "☃.txt"), "--out", "tales"]) == 0
    assert open_text("tales", 5000).corpus.name == "tales"
    assert open_text("./tales", None).corpus is None


@pytest.mark.parametrize("command", ["sample", "eval", "train"])
def test_the_rule_is_in_the_help(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert "./" in capsys.readouterr().out
