"""`gptlib train`: what resumes, what is refused, where things are found, and how it ends."""

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys

import pytest

from gptlib import checkpoint
from gptlib.cli import main, train
from gptlib.runs import load_run
from gptlib.tokenizers import CharTokenizer

TEXT = "The fox sat. The hen ran.\n" * 200
SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a text and a run of it, begun there by relative paths and paused half way."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "fox.txt").write_text(TEXT, encoding="utf-8")
    before = os.getcwd()
    os.chdir(folder)
    try:
        assert (
            main(["train", "--corpus", "fox.txt", "--out", "run", "--stop-after", "2", *SMALL]) == 0
        )
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of it, and the working directory."""
    copy = shutil.copytree(made, tmp_path / "made")
    monkeypatch.chdir(copy)
    return copy


def refused(argv, capsys) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--preset", "tales"], "preset was 'cpu' and is now 'tales'"),
        (["--corpus-size", "99"], "corpus_size was None and is now 99"),
        (["--init-from", "tales"], "init_from was None and is now 'tales'"),
        (["--tokenizer", "gpt2"], "tokenizer was CharTokenizer(14 characters)"),
        (["--tokenizer", "gpt2"], "and is now gpt2"),
        (["--tokenizer", "other"], "and is now CharTokenizer(3 characters)"),
        (["--lr", "3.0"], "lr was 0.002 and is now 3.0"),
        (["--n-embd", "8"], "n_embd was 16 and is now 8"),
    ],
)
def test_a_difference_from_the_saved_run_is_named(folder, flags, says, capsys):
    CharTokenizer("ab\n").save("other")
    assert says in refused(["train", "--out", "run", "--resume", *flags], capsys)
    assert checkpoint.saved_steps(folder / "run") == [2]


def test_a_preset_is_compared_by_its_values_where_a_run_did_not_note_it(folder, capsys):
    config = json.loads((folder / "run" / "config.json").read_text())
    del config["note"]["preset"]
    (folder / "run" / "config.json").write_text(json.dumps(config))
    says = refused(["train", "--out", "run", "--resume", "--preset", "nanogpt-cpu"], capsys)
    assert "n_embd was 16 and is now 128" in says and "bias was True and is now False" in says


def test_what_is_given_again_and_is_the_same_goes_on(folder):
    again = ["--preset", "cpu", "--corpus", "fox.txt", "--tokenizer", "char", "--steps", "4"]
    assert main(["train", "--out", "run", "--resume", "--threads", "1", *again]) == 0
    assert checkpoint.saved_steps(folder / "run")[-1] == 4


def test_one_line_begins_goes_on_and_is_done(folder, capsys):
    line = ["train", "--corpus", "fox.txt", "--out", "new", "--resume", *SMALL]
    capsys.readouterr()
    for flags, says in ((["--stop-after", "2"], "begins a new run in new"),
                        ([], "goes on from step 2 of the run in new"),
                        ([], "goes on from step 4 of the run in new")):  # fmt: skip
        assert main([*line, *flags]) == 0
        assert says in capsys.readouterr().err
    whole = [*line[:4], "whole", *SMALL]
    assert main(whole) == 0
    assert (folder / "new" / "log.jsonl").read_bytes() == (
        folder / "whole" / "log.jsonl"
    ).read_bytes()


def test_a_run_finds_its_text_from_another_folder(folder, monkeypatch, capsys):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "fox.txt").write_text("quite another text. " * 99)
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["eval", "../run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == len(TEXT) - int(0.9 * len(TEXT))
    assert main(["train", "--out", "../run", "--resume", "--threads", "1"]) == 0


def test_a_run_finds_its_text_when_both_were_moved(folder, monkeypatch):
    moved = folder.rename(folder.with_name("moved"))
    monkeypatch.chdir(moved.parent)
    assert main(["eval", str(moved / "run")]) == 0


@pytest.mark.parametrize("argv", [["eval", "run"], ["train", "--out", "run", "--resume"]])
def test_a_text_that_is_gone_is_asked_for(folder, argv, capsys):
    (folder / "fox.txt").rename(folder / "hen.txt")
    says = refused(argv, capsys)
    assert "run was trained on fox.txt" in says and "with --corpus" in says
    assert main([*argv, "--corpus", "hen.txt"]) == 0


def test_the_command_to_go_on_can_be_pasted(folder, capsys):
    argv = ["train", "--corpus", "fox.txt", "--out", "my 'run'", "--mirror-to", "a b", *SMALL]
    assert main([*argv, "--stop-after", "2"]) == 0
    words = shlex.split(capsys.readouterr().out.partition("go on with: ")[2])
    assert words[0] == "gptlib" and main(words[1:]) == 0
    assert checkpoint.saved_steps(folder / "my 'run'")[-1] == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_saved_and_stops_what_follows(folder, number, monkeypatch, capsys):
    def interrupt(line):
        if line.startswith("step 2/"):
            signal.raise_signal(number)

    argv = ["train", "--corpus", "fox.txt", "--out", "new", *SMALL]
    with monkeypatch.context() as patch:
        patch.setattr(train, "progress", interrupt)
        assert main(argv) == 130
    assert checkpoint.saved_steps(folder / "new")[-1] < 4
    assert "--resume" in capsys.readouterr().out
    assert main(["train", "--out", "new", "--resume", "--threads", "1"]) == 0


def test_the_exit_codes_are_in_the_help(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    assert "130" in capsys.readouterr().out


def test_weights_of_another_run_to_begin_with(folder, capsys):
    (folder / "more.txt").write_text("The hen sat.\n" * 200)
    begin = [
        "train",
        "--corpus",
        "more.txt",
        "--init-from",
        "run",
        "--steps",
        "2",
        "--threads",
        "1",
    ]
    assert main([*begin, "--out", "more", "--lr", "0", "--min-lr", "0", "--warmup", "0"]) == 0
    (old, tokenizer, _), (new, same, manifest) = load_run("run"), load_run("more")
    assert tokenizer == same and manifest["note"]["init_from"] == "run"
    assert manifest["note"]["initial"]["step"] == 2
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        assert a.equal(b)
    CharTokenizer("ab\n").save("other")
    assert "tokenizer was" in refused([*begin, "--out", "x", "--tokenizer", "other"], capsys)
    assert "n_embd is 16 there and 8 here" in refused(
        [*begin, "--out", "x", "--n-embd", "8"], capsys
    )
    assert not (folder / "x").exists()


def test_shards_bring_their_own_tokenizer(folder, capsys):
    assert main(["data", "prepare", "fox.txt", "--out", "shards"]) == 0
    says = refused(["train", "--corpus", "shards", "--out", "x", "--tokenizer", "char"], capsys)
    assert "shards is a folder of shards" in says and "leave out --tokenizer" in says
    assert main(["train", "--corpus", "shards", "--out", "x", *SMALL]) == 0
    says = refused(["train", "--out", "x", "--resume", "--tokenizer", "char"], capsys)
    assert "folder of shards" in says


def test_what_an_override_changed_goes_on_by_the_line_that_is_printed(folder, capsys):
    changes = ["--override", "--steps", "6", "--lr", "1e-3", "--stop-after", "3"]
    assert main(["train", "--out", "run", "--resume", *changes]) == 0
    capsys.readouterr()
    assert main(["train", "--out", "run", "--resume", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["step"] == 6 and done["finished"] and not done["stopped_early"]


def test_another_path_to_the_same_weights_is_no_difference(folder, capsys):
    begin = ["train", "--corpus", "fox.txt", "--out", "second", "--resume", *SMALL[:2]]
    assert main([*begin, "--init-from", "run", "--stop-after", "1"]) == 0
    assert main([*begin, "--init-from", str(folder / "run")]) == 0
    shutil.copytree("second", "third")
    says = "init_from was 'run' and is now 'third'"
    assert says in refused([*begin, "--init-from", "third"], capsys)


def test_a_lowest_rate_above_the_highest_is_refused_whatever_it_is(folder, capsys):
    flags = ["--lr", "1e-5", "--min-lr", "1e-4", *SMALL]
    said = refused(["train", "--corpus", "fox.txt", "--out", "new", *flags], capsys)
    assert "min_lr is 0.0001 and lr is 1e-05" in said


def test_a_text_that_has_changed_is_not_measured_as_the_runs_own(folder, capsys):
    assert main(["eval", "run"]) == 0
    assert "no longer" not in capsys.readouterr().err
    (folder / "fox.txt").write_text(TEXT + "The hen sat.\n" * 40, encoding="utf-8")
    assert main(["eval", "run"]) == 0
    assert "the validation text of fox.txt is not the one" in capsys.readouterr().err
    assert main(["eval", "run", "--corpus", "fox.txt"]) == 0
    assert "no longer" not in capsys.readouterr().err


def test_settings_that_may_not_be_read_are_not_called_damaged(folder, monkeypatch, capsys):
    closed = folder / "run" / "config.json"
    real = type(closed).read_bytes

    def read_bytes(path):
        if path.name == closed.name:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(type(closed), "read_bytes", read_bytes)
    said = refused(["train", "--out", "run", "--resume"], capsys)
    assert "may not be read" in said and "damaged" not in said


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--out", ""], "a path is empty"),
     (["--out", "b", "--mirror-to", "b"], "inside the run folder"),
     (["--out", "b", "--mirror-to", "b/copy"], "belongs on another disk")],
)  # fmt: skip
def test_folders_that_defeat_themselves(folder, flags, says, capsys):
    capsys.readouterr()
    with contextlib.suppress(SystemExit):  # argparse's own way to refuse a word
        assert main(["train", "--corpus", "fox.txt", *flags, *SMALL]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1
    assert not (folder / "b" / "checkpoints").exists()


def test_a_run_that_only_got_worse_says_so(folder, capsys):
    flags = ["--lr", "3", "--min-lr", "3", "--warmup", "0", "--grad-clip", "0"]
    assert main(["train", "--corpus", "fox.txt", "--out", "worse", *SMALL, *flags]) == 0
    assert "no validation was better than before training" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_full_disk_under_the_messages_loses_them_and_nothing_else(folder):
    command = [sys.executable, "-m", "gptlib", "train", "--corpus", "fox.txt", "--out", "full"]
    with open("/dev/full", "w") as full:
        done = subprocess.run([*command, *SMALL], stderr=full, stdout=subprocess.DEVNULL)
    assert done.returncode == 0 and checkpoint.saved_steps(folder / "full")[-1] == 4
