"""A run on stories with their marks, from the command line: its tokenizer, its windows, how it is
sampled, and a pretrained model that has never met a mark."""

import json
from pathlib import Path

import pytest

from gptlib import BPETokenizer, load_corpus, load_run, load_tokenizer
from gptlib.cli import main, marked, plan
from gptlib.cli.writer import between_documents
from gptlib.stories import special_tokens
from gptlib.tokenizers import learn_tokenizer, learned_size

SHAPE = "--n-layer 1 --n-head 2 --n-embd 16 --block-size 64 --steps 2 --eval-every 2".split()
SHAPE += ["--eval-windows", "4", "--batch-size", "2", "--progress", "none"]
MARKS = ["<|start|>", "<|title|>", "</|title|>", "<|end|>", "<|lost|>"]


def write_tales(folder: Path) -> str:
    records = [{"title": f"Fox {n}", "text": "The fox sat.", "genre": "lost"} for n in range(40)]
    (folder / "tales.jsonl").write_text("\n".join(map(json.dumps, records)))
    return str(folder / "tales.jsonl")


def config_of(run: Path) -> dict:
    return json.loads((run / "config.json").read_text("utf8"))


@pytest.fixture(scope="module")
def begun(tmp_path_factory) -> list[str]:
    """The words that train the run, but where."""
    text = write_tales(tmp_path_factory.mktemp("text"))
    return ["train", "--corpus", text, "--tokenizer", "bpe-290", *SHAPE]


@pytest.fixture(scope="module")
def run(begun, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "stories"
    assert main([*begun, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """A run on a text without marks, with byte pairs of its own: pretraining in small."""
    folder = tmp_path_factory.mktemp("plain")
    (folder / "fox.txt").write_text("The fox sat. The hen ran, and the fox sat again.\n" * 99)
    line = ["train", "--corpus", str(folder / "fox.txt"), "--tokenizer", "bpe-270", *SHAPE]
    assert main([*line, "--out", str(folder / "run")]) == 0
    return folder / "run"


@pytest.fixture
def tales(tmp_path) -> str:
    return write_tales(tmp_path)


def test_the_tokenizer_is_learned_from_the_training_text_with_its_marks():
    corpus = load_corpus("stories", size=20_000)
    wanted = BPETokenizer.train(corpus.train[:10_000_000], 400, special_tokens())
    assert learn_tokenizer(corpus, 400) == wanted
    assert wanted.encode("<|start|>") == [wanted.vocab_size - 10]


def test_a_run_on_marked_text_knows_where_to_begin_and_stop(run):
    config = config_of(run)
    assert config["note"]["separator"] == "<|start|>"
    assert config["note"]["sampling"] == {"begin": "<|start|>", "stop": "<|end|>"}
    assert config["data"]["separator"] == load_tokenizer(run).encode("<|start|>")
    assert between_documents(load_run(run)[2]) == ("<|start|>", "<|end|>")
    tokenizer = load_tokenizer(run)
    assert tokenizer == learn_tokenizer(load_corpus(config["note"]["corpus"]), 290)
    assert list(tokenizer.special_tokens) == MARKS
    assert main(["sample", str(run), "--max-new-tokens", "5", "--seed", "1"]) == 0


@pytest.mark.parametrize(
    ("note", "wanted"),
    [
        ({"separator": "<|start|>"}, ("<|start|>", "<|end|>")),  # before runs noted the rest
        ({"separator": "\n\n"}, ("\n\n", "\n\n")),
        ({"separator": "", "sampling": {"begin": "a", "stop": "b"}}, ("a", "b")),
        (None, ("", "")),
    ],
)
def test_what_a_note_says_of_sampling(note, wanted):
    assert between_documents({"note": note}) == wanted


def test_resuming_takes_the_saved_tokenizer_and_learns_none(begun, tmp_path, monkeypatch):
    out = str(tmp_path / "run")
    line = [*begun, "--out", out]
    assert main([*line, "--stop-after", "1"]) == 0
    monkeypatch.setattr(plan, "learn_tokenizer", None)  # it would fail
    assert main([*line, "--resume"]) == 0
    assert main(["train", "--out", out, "--resume"]) == 0
    assert main([*line, "--resume", "--separator", "<|start|>"]) == 0


def test_resuming_with_another_tokenizer_or_separator_is_refused(begun, run, capsys):
    line = [*begun, "--out", str(run), "--resume"]
    for flags, told in [
        (["--tokenizer", "bpe-300"], "is now bpe-300"),
        (["--tokenizer", "char"], "is now char"),
        (["--separator", ""], "separator was '<|start|>' and is now None"),
    ]:
        assert main([*line, *flags]) == 2
        assert told in capsys.readouterr().err


def test_bpe_n_stays_itself_in_a_runs_file(begun, run, tmp_path):
    file = str(tmp_path / "run.toml")
    assert main([*begun, "--write-config", file]) == 0
    assert 'tokenizer = "bpe-290"' in Path(file).read_text()
    out = tmp_path / "again"
    assert main(["train", "--config", file, "--out", str(out), "--progress", "none"]) == 0
    assert config_of(out)["data"] == config_of(run)["data"]
    told = tmp_path / "told"
    flags = ["--config", str(run / "config.json"), "--out", str(told), "--progress", "none"]
    assert main(["train", *flags]) == 0
    assert config_of(told)["note"]["separator"] == "<|start|>"
    assert load_tokenizer(told) == load_tokenizer(run)


def test_which_names_are_learned():
    assert learned_size("bpe-2048") == 2048
    assert [learned_size(n) for n in ("gpt2", "bpe", "bpe-", "./bpe-99", "bpe-1k")] == [None] * 5


def test_the_separator_can_be_overruled(begun, tmp_path):
    out = tmp_path / "run"
    assert main([*begun, "--separator", "", "--out", str(out)]) == 0
    assert config_of(out)["data"]["separator"] is None
    assert config_of(out)["note"]["separator"] == ""
    assert between_documents(load_run(out)[2]) == ("<|start|>", "<|end|>")
    again = tmp_path / "again"
    flags = ["--config", str(out / "config.json"), "--out", str(again), "--progress", "none"]
    assert main(["train", *flags]) == 0
    assert config_of(again)["data"]["separator"] is None


def test_windows_begin_anywhere_where_stories_are_longer_than_the_context(tmp_path):
    """From `<|start|>` alone, a model would never see more than a story's beginning."""
    lines = [json.dumps({"text": "The fox sat. " * 40}) for _ in range(30)]
    (tmp_path / "long.jsonl").write_text("\n".join(lines))
    corpus = load_corpus(tmp_path / "long.jsonl")
    tokenizer = learn_tokenizer(corpus, 300)
    length = len(tokenizer.encode(corpus.train_documents[0] + "\n\n"))
    assert marked.share_seen(corpus, tokenizer, length // 2) == pytest.approx(0.5, abs=0.02)
    assert marked.where_windows_begin(corpus, tokenizer, length // 2) is None
    assert marked.where_windows_begin(corpus, tokenizer, length) == "<|start|>"
    assert marked.where_windows_begin(load_corpus("tales", size=9000), tokenizer, 512) is None


def test_a_pretrained_model_is_given_the_marks_that_it_lacks(plain, tales, tmp_path):
    out = tmp_path / "run"
    line = ["train", "--corpus", tales, "--init-from", str(plain), "--out", str(out)]
    flags = ["--steps", "1", "--lr", "0", "--dropout", "0.1", "--progress", "none"]
    assert main([*line, *flags]) == 0
    old, new = load_run(plain), load_run(out)
    note = config_of(out)["note"]
    assert note["initial"]["added_tokens"] == MARKS == new[1].added_to(old[1])
    assert new[0].config.vocab_size == note["pad_vocab"] * 5 == 320
    n = old[1].vocab_size
    assert new[0].config.known_ids == n + 5
    was, now = old[0].transformer.wte.weight, new[0].transformer.wte.weight
    assert now[:n].equal(was) and now[n].equal(was.double().mean(0).float())
    assert new[1].encode("<|lost|>") == [n + 4]
    assert main([*line, *flags, "--resume"]) == 0


def test_a_run_whose_tokenizer_has_the_marks_is_taken_as_it_is(run, tales, tmp_path):
    out = tmp_path / "run"
    line = ["train", "--corpus", tales, "--init-from", str(run), "--out", str(out)]
    assert main([*line, "--steps", "1", "--progress", "none"]) == 0
    assert load_tokenizer(out) == load_tokenizer(run)
    assert "added_tokens" not in config_of(out)["note"]["initial"]


def test_a_saved_tokenizer_gets_the_marks_too(plain, tales, tmp_path):
    """Else each would be several pieces, and nothing could stop at one."""
    out = tmp_path / "run"
    line = ["train", "--corpus", tales, "--tokenizer", str(plain / "tokenizer"), *SHAPE]
    assert main([*line, "--out", str(out)]) == 0
    assert len(load_tokenizer(out).encode("<|end|>")) == 1
    assert main([*line, "--out", str(out), "--resume"]) == 0


def test_shards_bring_their_own_tokenizer(tmp_path, plain, capsys):
    text = str(plain.parent / "fox.txt")
    shards = str(tmp_path / "shards")
    assert main(["data", "prepare", text, "--out", shards]) == 0
    line = ["train", "--corpus", shards, "--tokenizer", "bpe-300", "--out", str(tmp_path / "x")]
    assert main([*line, *SHAPE]) == 2
    assert "bpe-300 learns byte pairs of a text" in capsys.readouterr().err
