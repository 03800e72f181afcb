"""Exports: the foreign program opens the folder with its own tokenizer and writes the same text."""

import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_run import SPECIAL, TEXT, small_run

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.errors import ConfigError, DataError, TokenizerError
from gptlib.hub import export_run
from gptlib.hub.subject import Subject
from gptlib.hub.tokenizer_file import as_characters, fast_tokenizer, merges
from gptlib.hub.weights import from_weights, gpt2_settings, gpt2_weights, without_padding
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate
from gptlib.tokenizers import BPETokenizer, CharTokenizer

PROMPT = "The fox"
ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"]))
TEXTS = [
    "",
    PROMPT,
    TEXT,
    "<|endoftext|>The hen<|end|><|end|>",
    "a  <|end|>  b",
    " " * 3000 + "x",
    "\n\n \t\u3000 \x1c\x85\xa0 ",
    "naïve café e\u0301 日本語 टेस्ट 🪿👩\u200d👩\u200d👧 1²½Ⅷ",
    "it's we'LL 'S\u2019s",
    "\ufeff\x00\ud7ff",
]
SHORT = st.sampled_from([text for text in TEXTS if len(text) < 100])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, model, tokenizer) of a run whose vocabulary is padded by 20 rows."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    model, tokenizer = small_run(folder, padding=20)
    return folder, model, tokenizer


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """The three exports of the run, by their names; writing ONNX takes most of the time."""
    place = tmp_path_factory.mktemp("exported")
    return {to: export_run(run[0], to, place / to) for to in ("hf", "onnx", "gguf")}


@pytest.fixture(scope="module")
def expected(run):
    """The ids of the prompt and of the 100 likeliest tokens after it, each of them by far."""
    _, model, tokenizer = run
    ids = generate(model, tokenizer.encode(PROMPT), 100, temperature=0)[0]
    best = model(ids[None])[0].topk(2).values[0, len(ids) - 101 : -1]
    assert (best[:, 0] - best[:, 1]).min() > 0.01
    assert max(ids) < tokenizer.vocab_size and len(set(ids.tolist())) > 10
    return ids.tolist()


@pytest.fixture(scope="module")
def transformers_pair(exported):
    transformers = pytest.importorskip("transformers")
    return (
        transformers.AutoModelForCausalLM.from_pretrained(exported["hf"]),
        transformers.AutoTokenizer.from_pretrained(exported["hf"]),
    )


@pytest.fixture(scope="module")
def session(exported):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(exported["onnx"] / "model.onnx")


def readme_code(folder: Path) -> str:
    return re.search(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)[1]


# transformers


@pytest.mark.parametrize("text", TEXTS)
def test_transformers_reads_the_same_ids(run, transformers_pair, text):
    _, theirs = transformers_pair
    ids = run[2].encode(text)
    assert theirs(text)["input_ids"] == ids
    assert theirs.decode(ids) == text


def test_transformers_gives_the_same_logits_and_writes_the_same_text(
    run, transformers_pair, expected
):
    _, model, tokenizer = run
    theirs, their_tokenizer = transformers_pair
    ids = their_tokenizer(PROMPT, return_tensors="pt")["input_ids"]
    idx = torch.randint(tokenizer.vocab_size, (2, 128))
    ours = model(idx)[0][..., : tokenizer.vocab_size]
    assert (theirs(idx).logits - ours).abs().max() < 1e-4
    mask = torch.ones_like(ids)
    written = theirs.generate(ids, attention_mask=mask, max_new_tokens=100, do_sample=False)
    assert written[0].tolist() == expected


def test_transformers_knows_where_a_text_ends(run, transformers_pair):
    theirs, their_tokenizer = transformers_pair
    end = run[2].special_tokens["<|endoftext|>"]
    assert theirs.config.eos_token_id == theirs.config.bos_token_id == end
    assert theirs.generation_config.eos_token_id == end
    assert their_tokenizer.eos_token_id == end and len(their_tokenizer) == run[2].vocab_size
    assert their_tokenizer.decode([end], skip_special_tokens=True) == ""


def test_the_readme_of_the_folder_runs(exported, monkeypatch, capsys):
    pytest.importorskip("transformers")
    monkeypatch.chdir(exported["hf"])
    exec(readme_code(exported["hf"]), {})
    assert capsys.readouterr().out.startswith("Once upon a time")


def test_the_folder_is_complete_and_no_secret(run, exported):
    names = {path.name for path in exported["hf"].iterdir()}
    assert names == {"README.md", "config.json", "generation_config.json", "model.safetensors",
                     "tokenizer.json", "tokenizer_config.json"}  # fmt: skip
    for folder in exported.values():
        for path in (path for path in folder.iterdir() if path.suffix in (".json", ".md")):
            assert str(run[0].parent) not in path.read_text("utf-8")
        assert "step 60 of the run `small`" in (folder / "README.md").read_text("utf-8")
    here = str(Path(__file__).parents[1]).encode()  # as torch's exporter would say in each node
    for path in (path for folder in exported.values() for path in folder.iterdir()):
        assert here not in path.read_bytes() and b"stack_trace" not in path.read_bytes(), path


# ONNX


def test_onnx_gives_the_same_logits_for_any_batch_and_length(run, session):
    _, model, tokenizer = run
    for shape in ((1, 1), (3, 2), (2, 128)):
        idx = torch.randint(tokenizer.vocab_size, shape)
        theirs = session.run(["logits"], {"input_ids": idx.numpy()})[0]
        ours = model(idx)[0][..., : tokenizer.vocab_size].detach().numpy()
        assert theirs.shape == ours.shape and np.abs(theirs - ours).max() < 1e-4


def test_onnx_writes_the_same_text_as_its_readme_says(exported, expected, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(exported["onnx"])
    code = readme_code(exported["onnx"])
    assert '"Once upon a time"' in code or "'Once upon a time'" in code
    space: dict = {}
    exec(code.replace("Once upon a time", PROMPT), space)
    assert space["ids"] == expected


# GGUF


def test_gguf_has_the_weights_and_the_tokenizer(run, exported):
    gguf = pytest.importorskip("gguf")
    _, model, tokenizer = run
    reader = gguf.GGUFReader(exported["gguf"] / "model.gguf")
    fields = {name: field.contents() for name, field in reader.fields.items()}
    assert fields["general.architecture"] == "gpt2" and fields["gpt2.context_length"] == 128
    assert (fields["tokenizer.ggml.model"], fields["tokenizer.ggml.pre"]) == ("gpt2", "gpt-2")
    pieces = [as_characters(piece) for piece in tokenizer.pieces]
    assert fields["tokenizer.ggml.tokens"] == [*pieces, *SPECIAL]
    types = fields["tokenizer.ggml.token_type"]
    assert types == [gguf.TokenType.NORMAL] * len(pieces) + [gguf.TokenType.CONTROL] * 2
    assert len(fields["tokenizer.ggml.merges"]) == len(pieces) - 256
    assert fields["tokenizer.ggml.eos_token_id"] == tokenizer.special_tokens["<|endoftext|>"]
    assert fields["tokenizer.ggml.add_bos_token"] is False
    tensors = {tensor.name: torch.tensor(tensor.data) for tensor in reader.tensors}
    whole = model.state_dict()
    rows = whole["transformer.wte.weight"][: tokenizer.vocab_size]
    assert torch.equal(tensors.pop("token_embd.weight"), rows)
    assert torch.equal(
        tensors["blk.1.attn_qkv.weight"], whole["transformer.h.1.attn.c_attn.weight"]
    )
    assert torch.equal(tensors["blk.0.ffn_down.bias"], whole["transformer.h.0.mlp.c_proj.bias"])
    left = sum(tensor.numel() for tensor in tensors.values())
    assert left == model.num_params() - whole["transformer.wte.weight"].numel()


def saved(folder, tokenizer, **shape):
    """A run folder of random weights."""
    sizes = dict(block_size=8, n_layer=1, n_head=2, n_embd=8, vocab_size=tokenizer.vocab_size)
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(sizes | shape)))
    about = {"model": model.config.to_dict(), "tokenizer": tokenizer.sha256}
    tokenizer.save(folder / "tokenizer")
    checkpoint.save_weights(folder, 7, checkpoint.plain_weights(model), about)
    checkpoint.point(folder, "best", 7)
    return model


def test_gguf_of_a_tokenizer_without_an_end_never_takes_a_letter_for_one(tmp_path):
    gguf = pytest.importorskip("gguf")
    tokenizer = BPETokenizer.train(TEXT, 280)
    saved(tmp_path / "run", tokenizer, bias=False, tied_head=False)
    export_run(tmp_path / "run", "gguf", tmp_path / "out")
    reader = gguf.GGUFReader(tmp_path / "out" / "model.gguf")
    end = reader.fields["tokenizer.ggml.eos_token_id"].contents()
    assert tokenizer.pieces[end] == b"\xff"  # in no text
    tensors = {tensor.name: tensor.data for tensor in reader.tensors}
    assert not tensors["blk.0.attn_norm.bias"].any() and "output.weight" in tensors
    assert "No token of it ends a text" in (tmp_path / "out" / "README.md").read_text("utf-8")


# Tokenizers


@pytest.fixture(scope="module")
def pair(run):
    return run[2], fast_tokenizer(run[2])


@given(st.one_of(ANY_TEXT, st.lists(SHORT, max_size=6).map("".join)))
def test_any_text_has_the_same_ids(pair, text):
    ours, theirs = pair
    assert theirs.encode(text).ids == ours.encode(text)


def test_characters_of_all_kinds_are_cut_alike(pair):
    """Two libraries have tables of their own of what a letter, a number and a blank is."""
    ours, theirs = pair
    for codes in (range(0x2800), range(0x2800, 0xD800, 7), range(0xE000, 0x110000, 211)):
        text = "".join(f"a{chr(c)}b 1{chr(c)}2" for c in codes)
        assert theirs.encode(text).ids == ours.encode(text)


@pytest.mark.skipif(
    not (Path(os.environ.get("GPTLIB_DATA", "")) / "gpt2-bpe/vocab.bpe").is_file(),
    reason="GPTLIB_DATA holds no gpt2-bpe/vocab.bpe",
)
def test_gpt2s_own_tokenizer_has_the_same_ids():
    ours = BPETokenizer.gpt2(["<|end|>"])
    theirs = fast_tokenizer(ours)
    for text in TEXTS:
        assert theirs.encode(text).ids == ours.encode(text)
        assert theirs.decode(ours.encode(text), skip_special_tokens=False) == text


@given(ANY_TEXT)
def test_characters_have_the_same_ids(text):
    ours = CharTokenizer.train(text + "a \n")
    theirs = fast_tokenizer(ours)
    assert theirs.encode(text).ids == ours.encode(text)
    assert theirs.decode(ours.encode(text)) == text


def test_a_character_that_is_not_known_is_refused_there_too(tmp_path):
    transformers = pytest.importorskip("transformers")
    saved(tmp_path / "run", CharTokenizer.train("abc \n"))
    export_run(tmp_path / "run", "hf", tmp_path / "out")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    assert theirs("cab\n")["input_ids"] == [4, 2, 3, 0] and theirs.eos_token_id is None
    assert theirs.decode([4, 2, 3, 0]) == "cab\n"
    with pytest.raises(Exception, match="WordLevel error"):
        theirs("cabin")


def test_a_piece_that_no_merge_makes_is_refused():
    single = [bytes([byte]) for byte in range(256)]
    assert merges([*single, b"ab", b"abc"]) == [(b"a", b"b"), (b"ab", b"c")]
    for pieces in ([*single, b"abc"], [*single, b"abc", b"ab"]):
        with pytest.raises(TokenizerError, match="no merge of two pieces before it"):
            merges(pieces)


# Weights


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_the_layout_there_and_back(bias, tied):
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, 11, 2, 2, 8, bias=bias, tied_head=tied, dropout=0.2))
    for p in model.parameters():
        torch.nn.init.normal_(p)
    back = from_weights(gpt2_settings(model), gpt2_weights(model))
    assert back.config == model.config
    for (name, ours), theirs in zip(
        model.state_dict().items(), back.state_dict().values(), strict=True
    ):
        assert torch.equal(ours, theirs), name


@pytest.mark.parametrize("tied", [True, False])
def test_padding_goes_and_no_logit_changes(tied):
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, 64, 1, 2, 8, tied_head=tied)).eval()
    smaller = without_padding(model, 50)
    idx = torch.randint(50, (2, 8))
    assert torch.equal(smaller(idx)[0], model(idx)[0][..., :50])
    assert not smaller.training and without_padding(model, 64) is model
    with pytest.raises(ConfigError, match="has 65 ids and the model 64"):
        without_padding(model, 65)


# What cannot be


def refused(capsys, *argv) -> str:
    """The one line that a command answers."""
    assert main(list(map(str, argv))) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and not captured.out
    return captured.err


@pytest.mark.parametrize(
    ("shape", "to", "says"),
    [
        (dict(rotary=True), "hf", "rotary=True, which GPT2LMHeadModel cannot express"),
        (dict(norm="rmsnorm"), "gguf", "norm='rmsnorm', which GPT2LMHeadModel cannot express"),
        (dict(activation="relu2"), "hf", "activation='relu2'"),
        (dict(activation="gelu"), "gguf", "llama.cpp's GPT-2 computes gelu_tanh"),
        (dict(vocab_size=270), "hf", "tokenizer has 280 ids and the model 270"),
        (dict(block_size=1), "onnx", "the model reads 1 token"),
    ],
)
def test_what_a_format_cannot_express_is_one_line(tmp_path, capsys, shape, to, says):
    saved(tmp_path / "run", BPETokenizer.train(TEXT, 280), **shape)
    assert says in refused(capsys, "export", tmp_path / "run", "--to", to, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_characters_are_no_gguf(tmp_path, capsys):
    line = refused(capsys, "export", "tales", "--to", "gguf", tmp_path / "out")
    assert "CharTokenizer" in line and "--to hf or onnx" in line


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnxscript"), ("gguf", "gguf")])
def test_a_missing_package_is_named(tmp_path, capsys, monkeypatch, to, package):
    monkeypatch.setitem(sys.modules, package, None)
    saved(tmp_path / "run", BPETokenizer.train(TEXT, 280))
    line = refused(capsys, "export", tmp_path / "run", "--to", to, tmp_path / "out")
    assert f"{package}" in line and "pip install" in line


def test_the_command_writes_a_new_folder_and_no_other(tmp_path, capsys):
    out = tmp_path / "deep" / "out"
    assert main(["export", "tales", "--to", "hf", str(out)]) == 0
    assert "model.safetensors" in capsys.readouterr().out
    before = {path: path.read_bytes() for path in out.iterdir()}
    assert "is there already" in refused(capsys, "export", "tales", "--to", "hf", out)
    assert {path: path.read_bytes() for path in out.iterdir()} == before
    assert "neither a run folder" in refused(capsys, "export", "no", "--to", "hf", tmp_path / "x")
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(capsys, "export", "tales", "--to", "hf", tmp_path / "file/x")
    with pytest.raises(ConfigError, match="'pdf' is no format; use one of hf, onnx, gguf"):
        export_run("tales", "pdf", tmp_path / "y")
    with pytest.raises(SystemExit):
        main(["export", "tales", "--to", "pdf", str(tmp_path / "y")])


def test_two_exports_of_a_run_are_the_same_bytes(tmp_path):
    one, two = (export_run("tales", "hf", tmp_path / name) for name in "ab")
    assert all(path.read_bytes() == (two / path.name).read_bytes() for path in one.iterdir())


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(self, folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Subject, "write_tokenizer", fail)
    with pytest.raises(DataError, match="No space left on device.; make room"):
        export_run("tales", "hf", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_end_of_a_document_is_the_runs_own(tmp_path):
    tokenizer = BPETokenizer.train(TEXT, 280, ["<|end|>"])
    saved(tmp_path / "run", tokenizer)
    assert Subject.of_run(tmp_path / "run").end is None
    about = {"model": GPTConfig(8, 280, 1, 2, 8).to_dict(), "tokenizer": tokenizer.sha256,
             "data": {"separator": tokenizer.encode("<|end|>")}}  # fmt: skip
    weights = checkpoint.plain_weights(GPT(GPTConfig(8, 280, 1, 2, 8)))
    checkpoint.save_weights(tmp_path / "run", 8, weights, about)
    checkpoint.point(tmp_path / "run", "best", 8)
    subject = Subject.of_run(tmp_path / "run")
    assert (subject.end, subject.begin, subject.end_id) == ("<|end|>", "<|end|>", 279)
    tales = Subject.of_run("tales")  # two newlines, no token of their own
    assert (tales.end, tales.begin) == (None, "\n\n")
