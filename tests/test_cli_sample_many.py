"""`gptlib sample` beyond one text after another: prompts from a file, JSON, beams and drafts."""

import json

import pytest

from gptlib.cli import main, sample, sample_many
from gptlib.sampling import generate
from gptlib.tokenizers import BPETokenizer

SHORT = ["--max-new-tokens", "12"]
PROMPTS = ["How ", "The hen", "A", "The fox sat by"]


@pytest.fixture
def told(capsys):
    """A function that runs `gptlib sample tales` and returns the JSON that it prints."""

    def run(*flags: str) -> list[dict]:
        assert main(["sample", "tales", *SHORT, *flags, "--json"]) == 0
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def prompts(tmp_path):
    place = tmp_path / "prompts.txt"
    place.write_text("\n".join(PROMPTS) + "\n", encoding="utf-8")
    return str(place)


def test_json_has_what_the_terminal_shows(told, capsys):
    (one,) = told("--prompt", "How ", "--seed", "3")
    assert main(["sample", "tales", *SHORT, "--prompt", "How ", "--seed", "3"]) == 0
    assert capsys.readouterr().out == one["prompt"] + one["text"] + "\n"
    assert one | {"text": ""} == {
        "prompt": "How ", "text": "", "tokens": 12, "ended": "length", "seed": 3
    }  # fmt: skip
    (cut,) = told("--prompt", "How ", "--seed", "3", "--stop", one["text"][4:7])
    assert one["text"].startswith(cut["text"]) and cut["ended"] == "stop" and cut["tokens"] <= 7


def test_many_texts_are_what_each_prompt_gives_with_its_seed(told, prompts):
    """In batches of two, of different lengths, two texts of each prompt."""
    many = told("--prompts", prompts, "--seed", "5", "--samples", "2", "--batch-size", "2")
    assert [(r["prompt"], r["seed"]) for r in many] == [(PROMPTS[i // 2], 5 + i) for i in range(8)]
    for record in (many[0], many[3], many[7]):
        assert [record] == told("--prompt", record["prompt"], "--seed", str(record["seed"]))


def test_a_killed_run_goes_on_where_it_was(prompts, tmp_path, monkeypatch):
    command = ["sample", "tales", *SHORT, "--prompts", prompts, "--batch-size", "2", "--seed", "1"]
    whole, parts = tmp_path / "whole.jsonl", tmp_path / "parts.jsonl"
    assert main([*command, "--out", str(whole)]) == 0
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    passes = []

    def counting(model, ids, *args, **options):
        passes.append(len(ids))
        return generate(model, ids, *args, **options)

    monkeypatch.setattr(sample_many, "generate", counting)
    for kept, torn, expected in ((0, b"", [2, 2]), (3, lines[3][:9], [2]), (4, b"", [])):
        parts.write_bytes(b"".join(lines[:kept]) + torn)
        passes.clear()
        assert main([*command, "--out", str(parts)]) == 0
        assert parts.read_bytes() == whole.read_bytes() and passes == expected
    parts.write_bytes(lines[0])
    assert main([*command[:-2], "--out", str(parts)]) == 0  # the seed is known from the first line
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    "other", [["--seed", "2"], ["--temperature", "0.5"], ["--samples", "2"], ["--min-p", "0.1"]]
)
def test_another_command_does_not_add_to_a_file(prompts, tmp_path, capsys, other):
    out = tmp_path / "out.jsonl"
    command = ["sample", "tales", *SHORT, "--prompts", prompts, "--out", str(out)]
    assert main([*command, "--seed", "1"]) == 0
    before = out.read_bytes()
    assert main([*command, *other]) == 2
    assert "line 1 of" in capsys.readouterr().err and out.read_bytes() == before


def test_prompts_in_json_lines(tmp_path):
    place = tmp_path / "p.jsonl"
    place.write_text('"a\\nb\u2028"\r\n{"prompt": "c", "id": 7}\n', encoding="utf-8")
    assert sample_many.read_prompts(place) == ["a\nb\u2028", "c"]


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [("p.jsonl", b'{"text": "a"}\n', "line 1 of"), ("p.jsonl", b'"a"\n[', "line 2 of"),
     ("p.txt", b"stra\xdfe", "byte 0xdf at offset 4"), ("p.txt", b"", "has no prompts"),
     ("p.txt", None, "cannot be read")],
)  # fmt: skip
def test_files_without_prompts(tmp_path, capsys, name, data, says):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    assert main(["sample", "tales", "--prompts", str(tmp_path / name), "--json"]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_beams_show_their_best(told, capsys):
    found = told("--prompt", "The ", "--num-beams", "3", "--samples", "2")
    assert found[0]["score"] >= found[1]["score"] and "seed" not in found[0]
    command = ["sample", "tales", *SHORT, "--prompt", "The ", "--num-beams", "3"]
    assert main(command) == 0
    assert capsys.readouterr().out == "The " + found[0]["text"] + "\n"
    assert main([*command, "--samples", "2"]) == 0
    assert f"=== text 2 of 2, score {found[1]['score']:.4f} ===" in capsys.readouterr().out


def test_a_draft_writes_the_same_where_nothing_is_drawn(told):
    plain = told("--prompt", "The ", "--temperature", "0")
    drafted = told("--prompt", "The ", "--temperature", "0", "--draft", "tales", "--guesses", "3")
    assert [r["text"] for r in plain] == [r["text"] for r in drafted]


def test_only_what_a_text_has(told):
    (one,) = told("--prompt", "The ", "--only", "aeiou ")
    assert set(one["text"]) <= set("aeiou ")


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--min-p", "2"], "min_p is 2.0"), (["--typical-p", "0"], "typical_p is 0.0"),
     (["--repetition-penalty", "0"], "repetition_penalty is 0.0"),
     (["--presence-penalty", "nan"], "presence_penalty is nan"),
     (["--no-repeat-ngram-size", "0"], "no_repeat_ngram_size is 0"),
     (["--only", ""], "allowed_ids is []"), (["--guesses", "2"], "give --draft too"),
     (["--num-beams", "0"], "num_beams is 0"), (["--length-penalty", "2"], "give num_beams too"),
     (["--num-beams", "2", "--temperature", "0.7"], "beams are not drawn"),
     (["--num-beams", "2", "--samples", "3"], "no more texts than it has beams"),
     (["--num-beams", "2", "--draft", "tales"], "leave out one of them"),
     (["--out", "x"], "--out goes with --prompts"),
     (["--batch-size", "2"], "--batch-size goes with --prompts"),
     (["--prompts", "x"], "--prompts writes to --out FILE"),
     (["--prompts", "x", "--json", "--num-beams", "2"], "--num-beams takes one prompt at a time"),
     (["--prompts", "x", "--json", "--draft", "tales"], "--draft takes one prompt at a time")],
)  # fmt: skip
def test_bad_values_are_one_line(flags, says, capsys):
    assert main(["sample", "tales", *SHORT, *flags]) == 2
    err = capsys.readouterr().err
    assert says in err and err.count("\n") == 1


def test_a_draft_with_another_tokenizer_is_refused(monkeypatch, capsys):
    whole = sample.load_writer

    def other(run, device):
        model, tokenizer, manifest = whole("tales", device=device)
        return model, BPETokenizer.train("ab ab", 257) if run == "other" else tokenizer, manifest

    monkeypatch.setattr(sample, "load_writer", other)
    assert main(["sample", "tales", "--draft", "other"]) == 2
    assert "another tokenizer than tales" in capsys.readouterr().err
