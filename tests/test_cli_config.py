"""A run in one file: what --write-config writes, --config reads; flags overrule it."""

import json
import shutil
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import checkpoint
from gptlib.cli import build_parser, main, run_file
from gptlib.cli.plan import add_file, begin, describe, padding_ids, vocabulary
from gptlib.errors import ConfigError
from gptlib.presets import PRESETS

TEXT = "The fox sat. The hen ran.\n" * 200
SMALL = ["--steps", "4", "--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--block-size", "16",
         "--batch-size", "4", "--eval-every", "2", "--warmup", "1", "--threads", "1"]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("fox.txt").write_text(TEXT, encoding="utf-8")
    Path("conf").mkdir()
    return tmp_path


def parsed(*words):
    """The arguments of `gptlib train` as `run` sees them."""
    args = build_parser(["train"]).parse_args(["train", *words])
    if args.config:
        add_file(args, run_file.read(args.config))
    return args


def refused(argv, capsys) -> str:
    capsys.readouterr()
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def weights(run: str) -> bytes:
    return (checkpoint.pointed(Path(run), "latest") / checkpoint.MODEL).read_bytes()


# --- both ways ------------------------------------------------------------------------------------


def test_a_file_trains_what_its_flags_trained(here, capsys):
    flags = ["--corpus", "fox.txt", "--dropout", "0.1", *SMALL]
    assert main(["train", *flags, "--out", "a", "--write-config", "conf/run.toml"]) == 0
    assert not Path("a").exists() and capsys.readouterr() == ("", "")
    written = Path("conf/run.toml").read_bytes()
    again = refused(["train", *flags, "--lr", "1", "--write-config", "conf/run.toml"], capsys)
    assert "is there already, and nothing is written over it; give another file" in again
    assert Path("conf/run.toml").read_bytes() == written
    assert main(["train", *flags, "--out", "a"]) == 0
    assert main(["train", "--config", "conf/run.toml", "--out", "b"]) == 0
    assert weights("a") == weights("b")
    one, two = (json.loads(Path(run, "config.json").read_text()) for run in "ab")
    changed = {"threads", "note"} | {key for key in one if one[key] == two[key]}
    assert changed == set(one) and one["note"] | {"tokenizer": None} == two["note"]


WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)
FLAGS = {
    "--steps": st.integers(1, 10**9), "--batch-size": st.integers(1, 10**9),
    "--lr": st.floats(1e-8, 9), "--min-lr": st.floats(0, 1e-8), "--warmup": st.integers(0, 99),
    "--schedule": st.sampled_from(["cosine", "wsd", "constant"]), "--decay": st.floats(1e-9, 1),
    "--optimizer": st.sampled_from(["adamw", "muon"]), "--weight-decay": st.floats(0, 1e9),
    "--seed": st.integers(0, 2**61), "--save-minutes": st.floats(0, 1e9), "--device": WORDS,
    "--dtype": st.sampled_from(["auto", "fast", "bfloat16"]), "--dropout": st.floats(0, 0.9),
    "--n-layer": st.integers(1, 99), "--softcap": st.floats(0, 99), "--norm": st.just("rmsnorm"),
    "--preset": st.sampled_from(sorted(PRESETS)), "--threads": st.integers(1, 1024),
    "--corpus-size": st.integers(1, 5000), "--separator": WORDS,
    "--mirror-to": WORDS, "--out": WORDS, "--corpus": WORDS,
    "--tokenizer": WORDS, "--compile": None, "--no-bias": None, "--rotary": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("conf")


@settings(max_examples=60)
@given(data=st.data())
def test_any_run_is_read_back_as_it_was_written(data, folder):
    chosen = data.draw(st.lists(st.sampled_from(sorted(FLAGS)), unique=True, max_size=9))
    words = [f if FLAGS[f] is None else f"{f}={data.draw(FLAGS[f])}" for f in chosen]
    try:
        wanted = describe(parsed(*words))
    except ConfigError:  # a combination that cannot be
        return
    path = folder / "run.toml"
    path.write_bytes(run_file.write(path, wanted).encode())
    found = describe(parsed("--config", str(path)))
    assert found["model"] == wanted["model"] and found["train"] == wanted["train"]
    for key in set(wanted) - {"model", "train"}:
        if key in run_file.PATHS and wanted[key] is not None:
            assert Path(found[key]).absolute().resolve() == Path(wanted[key]).absolute().resolve()
        else:
            assert found[key] == wanted[key], key


@pytest.mark.parametrize("preset", PRESETS)
def test_the_plan_of_a_preset_is_the_same_from_its_file(preset, here):
    flags = ["--corpus", "fox.txt", "--out", "run", "--preset", preset]
    flags += ["--separator", "\n", "--corpus-size", "2600", "--n-head", "2"]
    flags += ["--tokenizer", "char"] if PRESETS[preset].tokenizer == "gpt2" else []
    assert main(["train", *flags, "--write-config", "conf/run.toml"]) == 0
    one, two = begin(parsed(*flags)), begin(parsed("--config", "conf/run.toml"))
    assert one.note == two.note and one.text.place == two.text.place
    assert one.separator == two.separator and one.tokenizer == two.tokenizer
    explicit = describe(parsed(*flags))
    assert two.train == explicit["train"]
    padding = padding_ids(one.tokenizer.vocab_size, PRESETS[preset].pad_vocab or 1)
    assert two.model == explicit["model"] | vocabulary(one.tokenizer, {}, padding)
    assert one.train.items() <= two.train.items() and one.model.items() <= two.model.items()


def test_it_goes_to_stdout_and_reads_like_a_page(here, capsys):
    assert main(["train", "--corpus", "☃.txt", "--out", "r", "--write-config", "-"]) == 0
    text = capsys.readouterr().out
    values = tomllib.loads(text)
    assert values["corpus"] == "☃.txt" and values["train"]["steps"] == 600
    assert "# updates in the whole run, the length of the schedule" in text
    assert max(map(len, text.splitlines())) <= 100


def test_characters_that_stdout_lacks_are_escaped():
    text = run_file.write(Path("-"), {"corpus": "☃ß.txt", "model": {}, "train": {}}, "ascii")
    assert text.isascii() and tomllib.loads(text)["corpus"] == "☃ß.txt"


@pytest.mark.parametrize("text", ["\x7f\x00\x1f\t", '\'"""\\n', "🪿☃\u2028", "#[a]\n= 3"])
def test_any_text_is_kept(text):
    for encoding in ("utf-8", "ascii"):
        written = run_file.write(Path("-"), {"separator": text, "model": {}, "train": {}}, encoding)
        assert tomllib.loads(written)["separator"] == text


def test_a_run_whose_text_is_gone_is_trained_on_another(here, capsys):
    assert main(["train", "--corpus", "fox.txt", "--corpus-size", "999", "--out", "a", *SMALL]) == 0
    Path("fox.txt").rename("hen.txt")
    line = ["train", "--config", "a/config.json", "--out", "b"]
    assert "a was trained on fox.txt" in refused(line, capsys)
    assert main([*line, "--corpus", "hen.txt"]) == 0
    assert json.loads(Path("b/config.json").read_text())["note"]["corpus_size"] is None


def test_a_run_that_is_there_is_described_by_its_own_settings(here, capsys):
    flags = ["--corpus", "fox.txt", "--separator", "\n", "--lr", "1e-3", *SMALL]
    assert main(["train", *flags, "--out", "a"]) == 0
    assert main(["train", "--config", "a/config.json", "--out", "b"]) == 0
    assert weights("a") == weights("b")
    says = refused(["train", "--out", "a", "--resume", "--write-config", "x.toml"], capsys)
    assert "--config a/config.json" in says and not Path("x.toml").exists()
    assert "is a folder" in refused(["train", "--config", "a", "--out", "c"], capsys)


# --- who overrules whom ---------------------------------------------------------------------------


def test_flags_overrule_a_file_and_a_file_a_preset(here):
    Path("run.toml").write_text(
        'corpus = "fox.txt"\npreset = "cpu"\n[model]\nn_layer = 7\n[train]\nlr = 1e-3\nsteps = 9\n'
    )
    found = describe(parsed("--config", "run.toml", "--steps", "5", "--bias"))
    assert found["train"]["steps"] == 5 and found["train"]["lr"] == 1e-3
    assert found["model"]["n_layer"] == 7 and found["model"]["n_head"] == 4
    assert found["train"]["batch_size"] == PRESETS["cpu"].train["batch_size"]


def test_a_lower_rate_than_the_files_takes_its_end_along(here):
    main(["train", "--corpus", "fox.txt", "--write-config", "run.toml"])  # lr 2e-3, min_lr 2e-4
    found = describe(parsed("--config", "run.toml", "--lr", "1e-5"))
    assert found["train"]["min_lr"] == pytest.approx(1e-6)


def test_paths_start_from_the_files_folder(here, monkeypatch):
    Path("conf", "run.toml").write_text('corpus = "../fox.txt"\nout = "runs/x"\n')
    args = parsed("--config", "conf/run.toml")
    assert (args.corpus, args.out) == ("fox.txt", Path("conf/runs/x"))
    monkeypatch.chdir(here / "conf")
    args = parsed("--config", "run.toml")
    assert (args.corpus, args.out) == ("../fox.txt", Path("runs/x"))
    moved = shutil.move(here / "conf", here.parent / "elsewhere")
    monkeypatch.chdir(here.parent)
    assert parsed("--config", f"{moved}/run.toml").corpus == str(here.parent / "fox.txt")


def test_a_name_is_a_name_and_a_path_a_path(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here / "home"))
    Path("conf", "run.toml").write_text('corpus = "tales"\ninit_from = "tales"\nout = "~/r"\n')
    args = parsed("--config", "conf/run.toml")
    assert (args.corpus, args.init_from, args.out) == ("tales", "tales", here / "home" / "r")
    for place, wanted in (("run.toml", "./tales"), ("conf/run.toml", "../tales")):
        text = run_file.write(Path(place), {"corpus": "./tales", "model": {}, "train": {}})
        assert tomllib.loads(text)["corpus"] == wanted
        Path(place).write_text(text)
        assert parsed("--config", place).corpus == "./tales"


def test_resume_with_a_file_is_resume_with_its_flags(here, capsys):
    main(["train", "--corpus", "fox.txt", "--out", "run", *SMALL, "--write-config", "run.toml"])
    line = ["train", "--config", "run.toml", "--resume"]
    assert main([*line, "--stop-after", "2"]) == 0
    assert "begins a new run in run" in capsys.readouterr().err
    assert "lr was 0.002 and is now 0.5" in refused([*line, "--lr", "0.5"], capsys)
    Path("other.toml").write_text(Path("run.toml").read_text().replace("n_embd = 16", "n_embd = 8"))
    said = refused(["train", "--config", "other.toml", "--resume"], capsys)
    assert "n_embd was 16 and is now 8" in said
    assert main(line) == 0
    assert "goes on from step 2" in capsys.readouterr().err
    assert main(["train", "--corpus", "fox.txt", "--out", "whole", *SMALL]) == 0
    assert weights("run") == weights("whole")


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('corpos = "a"', ["there is no corpos (did you mean corpus?)"]),
        ("lr = 0.1", ["there is no lr (it belongs in [train])"]),
        ("stop_after = 3", ["stop_after (it concerns one call: give it as --stop-after)"]),
        ("[train]\nstep = 3\nlayers = 1", ["no step (did you mean steps?)", "has no layers"]),
        ("[train]\nn_layer = 3", ["[train] has no n_layer (it belongs in [model])"]),
        ("[model]\ncorpus = 3", ["(it belongs above the tables)"]),
        ("[model]\nvocab_size = 3", ["the tokenizer decides it"]),
        ("[model]\npadding_ids = 3", ["pad_vocab decides it"]),
        ("[train]\nsteps = 3.5", ["[train] steps is 3.5, not a whole number"]),
        ("[train]\nsteps = true", ["steps is True, not a whole number"]),
        ('[train]\nlr = "x"\ndtype = 3', ["lr is 'x', not a number", "dtype is 3, not a text"]),
        ("[model]\nbias = 1", ["bias is 1, not true or false"]),
        ("corpus_size = '3'", ["corpus_size is '3', not a whole number"]),
        ("out = [1, 2]", ["out is [1, 2], not a text"]),
        ("model = 3", ["model is 3, but [model] is a table"]),
        ("[extra]\na = 1", ["there is no extra"]),
        ("a = ", ["cannot be read as TOML", "--write-config"]),
        ("a = " + "[" * 5000, ["cannot be read as TOML"]),
        (b"\xff", ["cannot be read as TOML"]),
        ("[train]\nsteps = 0", ["steps is 0"]),
        ("threads = 0", ["--threads is 0"]),
        ("preset = 'huge'", ["no preset is called 'huge'"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_line_that_names_it(here, text, says, capsys):
    Path("run.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    said = refused(["train", "--config", "run.toml", "--out", "x", "--corpus", "fox.txt"], capsys)
    for part in says:
        assert part in said
    assert not Path("x").exists()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": 3}', '{"model": {}, "train": {}}'])
def test_a_config_json_that_is_none_is_one_line(here, text, capsys):
    Path("config.json").write_text(text)
    refused(["train", "--config", "config.json", "--out", "x"], capsys)


def test_where_it_cannot_be_read_or_written(here, capsys):
    assert "nowhere.toml cannot be read (No such file" in refused(
        ["train", "--config", "nowhere.toml", "--out", "x"], capsys
    )
    said = refused(["train", "--corpus", "a", "--write-config", "no/folder/x.toml"], capsys)
    assert "cannot be written (No such file" in said
    said = refused(["train", "--corpus", "a\udcff", "--write-config", "x.toml"], capsys)
    assert "no text that a file could keep" in said
    assert "give the run folder" in refused(["train", "--corpus", "fox.txt"], capsys)


def test_a_setting_that_cannot_be_is_not_written(here, capsys):
    said = refused(["train", "--n-head", "3", "--write-config", "x.toml"], capsys)
    assert "n_head is 3" in said and not Path("x.toml").exists()
