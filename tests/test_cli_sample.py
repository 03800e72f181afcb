"""`gptlib sample`: what it is given to begin with, where it ends, and that nothing is lost."""

import io
import sys

import pytest

from gptlib.cli import main, sample
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import BPETokenizer, CharTokenizer

LETTERS = CharTokenizer("\n .Tadehnst")


@pytest.fixture
def write(monkeypatch, capsys):
    """A function that runs `gptlib sample` with a model that has written given tokens."""

    def run(tokens, *flags, tokenizer=LETTERS, hints=None, code=0) -> str:
        model = GPT(GPTConfig(8, tokenizer.vocab_size, 1, 1, 4))
        asked = []

        def stream(model, ids, n, temperature, *, seed, **more):
            asked.append((tokenizer.decode(ids), n, seed))
            return iter(tokens[:n])

        manifest = {"sampling": hints} if hints else {}
        writer = model, tokenizer, manifest
        monkeypatch.setattr(sample, "load_writer", lambda run, device: writer)
        monkeypatch.setattr(sample, "stream", stream)
        assert main(["sample", "run", *flags]) == code
        run.asked = asked
        return capsys.readouterr().out if code == 0 else capsys.readouterr().err

    return run


def test_what_a_stop_withheld_is_written_in_the_end(write):
    ids = LETTERS.encode("the hen. a T")
    assert write(ids, "--stop", "The end.") == "the hen. a T\n"
    assert write(ids, hints={"begin": "\n\n", "stop": "The end."}) == "the hen. a T\n"


def test_a_stop_is_found_whatever_its_tokens(write):
    text = "the hen sat. The end. the"
    assert write(LETTERS.encode(text), "--stop", "The end.") == "the hen sat. \n"
    assert (
        write(LETTERS.encode(text), "--stop", "x", "--stop", "sat", "--stop", "end") == "the hen \n"
    )
    bpe = BPETokenizer.train("the hen sat. " * 50, 270)
    one_by_one = [i for letter in text for i in bpe.encode(letter)]
    assert len(bpe.encode(text)) < len(one_by_one)
    for ids in (bpe.encode(text), one_by_one):
        assert write(ids, "--stop", "t. The", tokenizer=bpe) == "the hen sa\n"


def test_the_end_of_a_document_ends_it(write):
    bpe = BPETokenizer.train("the hen sat. " * 50, 270, ["<|endoftext|>"])
    ids = bpe.encode("the hen<|endoftext|>more")
    assert write(ids, tokenizer=bpe) == "the hen\n"
    spelled = bpe.encode_ordinary("the<|endoftext|>more")
    assert write(spelled, tokenizer=bpe) == "the<|endoftext|>more\n"


def test_half_a_character_waits_for_the_other_half(write):
    bpe = BPETokenizer.train("the hen sat. " * 50, 260)
    ids = bpe.encode("the ☃ sat")
    assert write(ids, tokenizer=bpe) == "the ☃ sat\n"
    snowman = bpe.encode("☃")
    assert write(snowman[:2], tokenizer=bpe) == "\N{REPLACEMENT CHARACTER}\n"


def test_a_long_text_is_decoded_once(write, monkeypatch):
    decoded = []
    decode = CharTokenizer.decode

    def counting(self, ids):
        decoded.append(len(ids))
        return decode(self, ids)

    monkeypatch.setattr(CharTokenizer, "decode", counting)
    ids = LETTERS.encode("the hen sat. " * 200)
    out = write(ids, "--max-new-tokens", str(len(ids)), "--stop", "The end.")
    assert out == "the hen sat. " * 200 + "\n"
    assert sum(decoded) <= len(ids) + 10


def test_several_samples_have_a_seed_each(write, capsys):
    out = write(LETTERS.encode("he"), "--samples", "3", "--seed", "7", "--prompt", "T")
    lines = [
        f"=== sample {n} of 3, --seed {seed} ===\nThe\n" for n, seed in ((1, 7), (2, 8), (3, 9))
    ]
    assert out == "".join(lines)
    assert [seed for _, _, seed in write.asked[1:]] == [7, 8, 9]
    write([], "--samples", "2")
    first, second = (seed for _, _, seed in write.asked[1:])
    assert second == first + 1
    assert "--samples is 0" in write([], "--samples", "0", code=2)
    assert "--stop is empty" in write([], "--stop", "", code=2)


def test_each_of_several_is_what_its_seed_writes_alone(tmp_path, capsys):
    options = ["--max-new-tokens", "20", "--prompt", "How "]
    main(["sample", "tales", "--seed", "3", "--samples", "2", *options])
    both = capsys.readouterr().out
    for seed in ("3", "4"):
        main(["sample", "tales", "--seed", seed, *options])
        assert f"--seed {seed} ===\n{capsys.readouterr().out}" in both


@pytest.mark.parametrize("data", [b"a\r\nhen\n", b"\xef\xbb\xbfa\nhen", b"a\rhen\r\n"])
def test_a_prompt_from_a_file_or_stdin_is_read_as_files_are(write, data, tmp_path, monkeypatch):
    (tmp_path / "prompt").write_bytes(data)
    assert write([], "--prompt-file", str(tmp_path / "prompt")) == "a\nhen\n"
    assert write.asked[0][0] == "a\nhen"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert write([], "--prompt-file", "-") == "a\nhen\n"


def test_line_ends_in_a_prompt_and_in_a_stop(write):
    assert write([], "--prompt", "a\r\nhen\r") == "a\nhen\n\n"
    assert write(LETTERS.encode("the\nhen"), "--stop", "\r\nhen") == "the\n"


def test_prompt_files_that_cannot_be_read(write, tmp_path, capsys):
    (tmp_path / "latin").write_bytes(b"stra\xdfe")
    assert "byte 0xdf at offset 4" in write([], "--prompt-file", str(tmp_path / "latin"), code=2)
    assert "cannot be read" in write([], "--prompt-file", str(tmp_path / "nowhere"), code=2)
    with pytest.raises(SystemExit):
        main(["sample", "tales", "--prompt", "a", "--prompt-file", "b"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--prompt", "-hello"], "is written --prompt=-hello"),
        (["--sto", "-it's"], "is written '--stop=-it'\"'\"'s'"),
        (["--stop", "--"], "is written --stop=--"),
        (["--prompt"], "see gptlib sample --help"),
    ],
)
def test_a_value_that_begins_with_a_dash(argv, says, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["sample", "tales", *argv])
    err = capsys.readouterr().err
    assert stop.value.code == 2 and says in err and err.count("\n") == 1


def test_a_prompt_that_begins_with_a_dash_can_be_given(write):
    dashes = CharTokenizer("-hello\n"[:4] + "o\n")
    assert write([], "--prompt=-hello", tokenizer=dashes) == "-hello\n"


def test_a_run_without_a_tokenizer_is_one_line(monkeypatch, capsys):
    model = GPT(GPTConfig(8, 5, 1, 1, 4))
    monkeypatch.setattr("gptlib.cli.texts.load_run", lambda *args: (model, None, {}))
    for command in ("sample", "eval"):
        assert main([command, "run"]) == 2
        assert "without a tokenizer" in capsys.readouterr().err
