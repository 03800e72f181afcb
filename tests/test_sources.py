"""Every form of text gives the same documents, and says where it is broken."""

import hashlib
import json
import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from gptlib.corpora import load_corpus
from gptlib.errors import DataError
from gptlib.shards.sources import open_source

DOCUMENTS = ["The goose.\n\nAnd the keeper.", "Straße 🪿", "x" * 3000, "the end"]


def texts(source, **settings) -> list[str]:
    return [document.text for document in open_source(source, **settings).documents()]


def write_jsonl(path: Path, documents, field="text") -> Path:
    lines = [json.dumps({"id": i, field: text}) for i, text in enumerate(documents)]
    path.write_text("\n".join([lines[0], "", *lines[1:]]), encoding="utf-8")
    return path


def write_parquet(path: Path, documents, field="text") -> Path:
    table = pyarrow.table({"id": list(range(len(documents))), field: documents})
    parquet.write_table(table, path, row_group_size=2)
    return path


def write_text(path: Path, documents, mark="<|endoftext|>") -> Path:
    path.write_bytes(b"\xef\xbb\xbf" + f"\r\n{mark}\n".join(documents).encode())
    return path


@pytest.fixture(params=["text", "jsonl", "parquet", "folder", "dicts", "generator", "list"])
def source(request, tmp_path):
    if request.param == "folder":
        write_jsonl(tmp_path / "b.jsonl", DOCUMENTS[2:])
        write_jsonl(tmp_path / "a.jsonl", DOCUMENTS[:2])
        (tmp_path / "notes.md").write_text("no part of it")
        return tmp_path
    return {
        "text": lambda: write_text(tmp_path / "a.txt", DOCUMENTS),
        "jsonl": lambda: write_jsonl(tmp_path / "a.jsonl", DOCUMENTS),
        "parquet": lambda: write_parquet(tmp_path / "a.parquet", DOCUMENTS),
        "dicts": lambda: [{"text": text, "id": 1} for text in DOCUMENTS],
        "generator": lambda: (text for text in DOCUMENTS),
        "list": lambda: [*DOCUMENTS[:2], "", " \n", *DOCUMENTS[2:]],
    }[request.param]()


def test_every_form_gives_the_same_documents(source):
    stream = open_source(source, name=None)
    documents = list(stream.documents())
    assert [document.text for document in documents] == DOCUMENTS
    shares = [document.share for document in documents]
    assert shares == [None] * 4 or (shares == sorted(shares) and shares[-1] == 1)
    assert "/" not in stream.name and stream.ending == "\n\n"


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.JSONL", "a.Ndjson", "folder"])
def test_json_lines_have_more_than_one_name(tmp_path, name):
    if name == "folder":
        write_jsonl(tmp_path / "b.NDJSON", DOCUMENTS[2:])
        write_jsonl(tmp_path / "a.jsonl", DOCUMENTS[:2])
    else:
        write_jsonl(tmp_path / name, DOCUMENTS)
    assert texts(tmp_path if name == "folder" else tmp_path / name) == DOCUMENTS


@pytest.mark.parametrize("name", ["a.json", "a.JSON"])
def test_json_as_a_whole_is_refused_with_the_way(tmp_path, name):
    (tmp_path / name).write_text(json.dumps([{"text": text} for text in DOCUMENTS]))
    with pytest.raises(DataError, match=r"let its name end in \.jsonl; if it is one list, `jq -c"):
        open_source(tmp_path / name)


def test_lines_end_alike_in_every_form(tmp_path):
    """Those of a text file do not depend on the system it comes from; nor do those inside JSON."""
    ends = ["one\r\ntwo\rthree\n", "a\r\n\r\nb"]
    plain = ["one\ntwo\nthree\n", "a\n\nb"]
    assert texts(write_jsonl(tmp_path / "a.jsonl", ends)) == plain
    assert texts(write_parquet(tmp_path / "a.parquet", ends)) == plain
    assert texts(ends) == texts([{"text": text} for text in ends]) == plain
    assert "\r" not in open_source(ends).characters()
    path = tmp_path / "a.txt"
    path.write_bytes("<|endoftext|>".join(ends).encode())
    assert texts(path) == [text.strip("\n") for text in plain]


def test_a_file_is_pinned_by_its_hash(tmp_path):
    path = write_jsonl(tmp_path / "a.jsonl", DOCUMENTS)
    stream = open_source(path)
    assert (stream.name, stream.revision) == (
        "a.jsonl",
        hashlib.sha256(path.read_bytes()).hexdigest(),
    )
    whole = open_source(tmp_path).revision
    assert whole == stream.revision
    write_jsonl(tmp_path / "b.jsonl", ["more"])
    assert open_source(tmp_path).revision not in (whole, None)
    named = open_source(iter(DOCUMENTS), name="stories", revision="v1.2")
    assert (named.name, named.revision) == ("stories", "v1.2")
    assert open_source(iter(DOCUMENTS)).revision is None


def test_a_text_without_separators_is_split_as_load_corpus_splits_it(tmp_path):
    path = tmp_path / "novel.txt"
    path.write_text("It was a dark night. " * 100)
    corpus = load_corpus(path)
    train, val = open_source(path).documents()
    assert (train.text, train.split) == (corpus.train, "train")
    assert (val.text, val.split) == (corpus.val, "val")
    assert open_source(path).ending == "" and open_source(path).revision == corpus.sha256
    assert len(next(open_source(path, val_fraction=0.5).documents()).text) == 1050
    assert texts(path, separator="night. ")[:2] == ["It was a dark "] * 2


def test_a_folder_of_texts_has_one_document_a_file(tmp_path):
    for name, text in (("b.txt", "two"), ("a.txt", "one\n"), ("c.txt", "")):
        (tmp_path / name).write_text(text)
    assert texts(tmp_path) == ["one", "two"]


def test_another_field(tmp_path):
    assert texts(write_jsonl(tmp_path / "a.jsonl", DOCUMENTS, "body"), field="body") == DOCUMENTS
    assert texts(iter([{"body": "x"}]), field="body") == ["x"]
    path = write_parquet(tmp_path / "a.parquet", DOCUMENTS, "body")
    assert texts(path, field="body") == DOCUMENTS
    with pytest.raises(DataError, match=r"a\.parquet has no column 'text', only id, body"):
        texts(path)


def test_an_embedded_corpus_gives_its_documents():
    corpus = load_corpus("tales", size=20_000)
    documents = list(open_source(corpus).documents())
    assert [d.text for d in documents if d.split == "val"] == list(corpus.val_documents)
    assert [d.text for d in documents] == [*corpus.train_documents, *corpus.val_documents]
    assert {d.split for d in open_source(corpus, val_fraction=0.2).documents()} == {None}
    assert open_source(corpus).name == "tales"


def test_the_characters_that_a_tokenizer_must_know():
    assert open_source(["ab", "🪿"]).characters() == set("ab🪿\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": "a"}\n\n{"text": ', "line 3 is not JSON"),
        ("a.jsonl", b'{"text": "a"}\nplain\n', "line 2 is not JSON"),
        ("a.jsonl", b'{"body": "a"}\n', r"line 1 has no text in 'text' \(found keys body\)"),
        ("a.jsonl", b'{"text": 3}\n', r"line 1 has no text in 'text' \(found text of type int\)"),
        ("a.jsonl", b'{"text": null}\n', "line 1 has no text"),
        ("a.jsonl", b'["a"]\n', "line 1 has no text"),
        ("a.jsonl", b"[" * 100_000, "line 1 is not JSON"),
        ("a.jsonl", b"\xff\xfe\n", "line 1 is not JSON"),
        ("a.parquet", b"PAR1 and no more", "damaged or no parquet file"),
        ("a.parquet", b"", "damaged or no parquet file"),
        ("a.txt", b"Stra\xdfe", "not UTF-8: byte 0xdf at offset 4"),
        ("a.txt", b"a<|endoftext|>Stra\xdfe", "not UTF-8: byte 0xdf at offset 18"),
        ("a.txt", b"", "has no text in it"),
        ("a.txt", b" \n \t", "has no text in it"),
    ],
)
def test_files_that_are_broken(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        texts(tmp_path / name)
    assert "\n" not in str(error.value)


def test_a_row_without_text(tmp_path):
    with pytest.raises(DataError, match="row 2 has no text"):
        texts(write_parquet(tmp_path / "a.parquet", ["a", None]))


def test_a_parquet_file_that_breaks_off(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", [f"{i} {'x' * i}" for i in range(500)])
    raw = bytearray(path.read_bytes())
    raw[100:2000] = bytes(1900)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"a\.parquet is damaged"):
        texts(path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match="pip install pyarrow"):
        texts(tmp_path / "a.parquet")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("no/such/file.jsonl", "no such file"),
        (Path("no-such.parquet"), "no such file"),
        ("a\0b", "no such file"),
        ("x" * 5000, "no such file"),
        ("gpt2", "is a tokenizer, not a corpus"),
        ("", "neither a corpus nor a path"),
        (None, "type NoneType"),
        (b"bytes", "type bytes"),
        ({"text": "one"}, "type dict"),
        ([3], "item 0 has no text"),
        ([{"body": "x"}], "item 0 has no text in 'text'"),
    ],
)
def test_sources_that_are_none(source, message):
    with pytest.raises(DataError, match=message) as error:
        texts(source)
    assert len(str(error.value)) < 400


def test_a_folder_with_nothing_to_read(tmp_path):
    with pytest.raises(DataError, match=r"has no \.txt, \.jsonl, \.parquet in it"):
        texts(tmp_path)


def test_an_empty_separator(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="separator is '';"):
        texts(tmp_path / "a.txt", separator="")


def test_a_folder_of_several_kinds_is_refused_with_their_counts(tmp_path):
    (tmp_path / "a.txt").write_text("the fox sat.")
    (tmp_path / "b.jsonl").write_text('{"text": "the hen ran."}\n')
    with pytest.raises(DataError, match="1 .txt and 1 .jsonl"):
        open_source(tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.jsonl").rename(tmp_path / "b.json")
    with pytest.raises(DataError, match="jq"):
        open_source(tmp_path)
