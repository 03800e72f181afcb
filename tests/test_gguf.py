"""GGUF in fewer bits and back: the weights to their rounding, the tokens, the marks of a story."""

import sys

import numpy as np
import pytest
import torch
from small_run import TEXT, small_run
from test_export import refused, saved

from gptlib.cli import main
from gptlib.errors import CheckpointError, ConfigError, TokenizerError
from gptlib.evaluation import split_loss
from gptlib.hub import export_run, from_gguf, from_pretrained, import_run
from gptlib.hub.gguf_file import MODEL
from gptlib.hub.subject import Subject
from gptlib.quantization.blocks import FORMATS
from gptlib.runs import load_run
from gptlib.sampling import generate
from gptlib.stories import END, START, TITLE, special_tokens
from gptlib.tokenizers import BPETokenizer

gguf = pytest.importorskip("gguf")
FORMS = [None, "q8_0", "q4_0"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, model, tokenizer) of a run whose vocabulary is padded by 20 rows."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return folder, *small_run(folder, padding=20)


@pytest.fixture(scope="module")
def files(run, tmp_path_factory):
    place = tmp_path_factory.mktemp("exported")
    return {q: export_run(run[0], "gguf", place / str(q), quant=q) / MODEL for q in FORMS}


def kinds(path) -> dict[str, str]:
    return {t.name: t.tensor_type.name for t in gguf.GGUFReader(path).tensors}


def fields(path) -> dict:
    return {name: f.contents() for name, f in gguf.GGUFReader(path).fields.items()}


@pytest.mark.parametrize("quant", ["q8_0", "q4_0"])
def test_matrices_are_in_blocks_and_the_rest_in_full(files, quant):
    found = kinds(files[quant])
    inside = {name for name in found if name.startswith("blk.") and name.endswith("weight")
              and "norm" not in name}  # fmt: skip
    assert len(inside) == 2 * 4 and {found[name] for name in inside} == {quant.upper()}
    assert found["token_embd.weight"] == "Q8_0"
    rest = {kind for name, kind in found.items() if name not in inside | {"token_embd.weight"}}
    assert rest == {"F32"} and found["position_embd.weight"] == "F32"
    said = fields(files[quant])
    assert said["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{quant.upper()}"]
    assert said["general.quantization_version"] == gguf.GGML_QUANT_VERSION
    assert files[quant].stat().st_size < 0.45 * files[None].stat().st_size


def test_a_row_that_does_not_divide_stays_in_full(tmp_path):
    tokenizer = BPETokenizer.train(TEXT, 280)
    saved(tmp_path / "run", tokenizer, tied_head=False)  # 8 channels, and 32 in the middle
    found = kinds(export_run(tmp_path / "run", "gguf", tmp_path / "out", quant="q4_0") / MODEL)
    assert {name for name, kind in found.items() if kind != "F32"} == {"blk.0.ffn_down.weight"}


# Back again


@pytest.mark.parametrize("quant", FORMS)
def test_a_file_gives_the_run_back_as_it_was_rounded(run, files, quant):
    _, model, tokenizer = run
    back, theirs = from_gguf(files[quant])
    assert theirs == tokenizer and not back.training
    assert back.config.vocab_size == tokenizer.vocab_size and back.config.tied_head
    found = kinds(files[quant])
    for name, weight in model.state_dict().items():
        if name.endswith(("wte.weight", "lm_head.weight")):
            weight, form = weight[: tokenizer.vocab_size], found["token_embd.weight"]
        else:
            matrix = weight.dim() == 2 and "wpe" not in name
            form = found["blk.0.attn_qkv.weight"] if matrix else "F32"
        if form != "F32":
            block = FORMATS[form.lower()]
            weight = block.dequantize(block.quantize(weight))
        assert torch.equal(back.state_dict()[name], weight), name


def test_the_rounded_model_still_knows_its_text(run, files):
    ids = np.array(run[2].encode(TEXT[:2000]))
    loss = {q: split_loss(from_gguf(path)[0], ids) for q, path in files.items()}
    assert abs(loss["q8_0"] - loss[None]) < 0.01 and abs(loss["q4_0"] - loss[None]) < 0.1


@pytest.mark.parametrize("shape", [dict(bias=False), dict(tied_head=False)])
def test_other_shapes_come_back_too(tmp_path, shape):
    tokenizer = BPETokenizer.train(TEXT, 280)
    saved(tmp_path / "run", tokenizer, **shape)
    back, _ = from_gguf(export_run(tmp_path / "run", "gguf", tmp_path / "out") / MODEL)
    whole, _, _ = load_run(tmp_path / "run")
    assert not back.config.bias  # of zeros, where there were any
    assert back.config.tied_head is whole.config.tied_head
    idx = torch.arange(8)[None]
    torch.testing.assert_close(back(idx)[0], whole(idx)[0])


def test_a_head_that_repeats_the_table_is_tied(run, files, tmp_path, monkeypatch):
    """Files of older programs hold the table twice."""
    tensors = gguf.GGUFReader(files[None]).tensors
    table = next(t for t in tensors if t.name == "token_embd.weight")
    reader = gguf.GGUFReader(files[None])
    reader.tensors.append(table._replace(name="output.weight"))
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: reader)
    assert from_gguf(files[None])[0].config.tied_head


def test_the_command_makes_a_run_of_a_file(run, files, tmp_path, capsys):
    assert main(["import", str(files["q8_0"]), "--out", str(tmp_path / "run")]) == 0
    assert "2 layers, 2 heads" in capsys.readouterr().out
    model, tokenizer, manifest = load_run(tmp_path / "run")
    assert tokenizer == run[2] and manifest["note"] == {"imported": MODEL}
    idx = torch.tensor([tokenizer.encode("The fox")])
    assert torch.equal(model(idx)[0], from_pretrained(files["q8_0"])[0](idx)[0])
    again = export_run(tmp_path / "run", "gguf", tmp_path / "again", quant="q8_0") / MODEL
    back, _ = import_run(again, tmp_path / "second")
    torch.testing.assert_close(back(idx)[0], model(idx)[0], atol=0.02, rtol=0.02)


# Stories


@pytest.fixture(scope="module")
def story_run(tmp_path_factory):
    """A run whose tokenizer has the marks of a story."""
    folder = tmp_path_factory.mktemp("runs") / "stories"
    tokenizer = BPETokenizer.train(TEXT, 300, special_tokens())
    saved(folder, tokenizer, n_embd=32, block_size=32)
    return folder, tokenizer


def test_a_foreign_program_is_told_how_a_story_begins_and_ends(story_run, tmp_path):
    folder, tokenizer = story_run
    subject = Subject.of_run(folder)
    assert (subject.begin, subject.end, subject.prompt) == (START, END, START + TITLE)
    out = export_run(folder, "gguf", tmp_path / "out", quant="q8_0")
    said = fields(out / MODEL)
    marks = tokenizer.special_tokens
    assert said["tokenizer.ggml.eos_token_id"] == marks[END]
    assert said["tokenizer.ggml.bos_token_id"] == marks[START]
    types = said["tokenizer.ggml.token_type"]
    assert {types[i] for i in marks.values()} == {gguf.TokenType.CONTROL}
    readme = (out / "README.md").read_text("utf-8")
    assert f'"{START}{TITLE}", true)' in readme and f"stop at {END}" in readme
    assert from_gguf(out / MODEL)[1] == tokenizer


def test_transformers_is_told_so_too(story_run, tmp_path):
    transformers = pytest.importorskip("transformers")
    out = export_run(story_run[0], "hf", tmp_path / "out")
    model = transformers.AutoModelForCausalLM.from_pretrained(out)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    marks = story_run[1].special_tokens
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == marks[END]
    assert model.generation_config.bos_token_id == tokenizer.bos_token_id == marks[START]


# What cannot be


def test_only_gguf_is_quantized_and_only_so(story_run, tmp_path, capsys):
    line = refused(capsys, "export", story_run[0], "--to", "hf", "--quant", "q8_0", tmp_path / "a")
    assert "quantized for gguf alone" in line
    with pytest.raises(ConfigError, match="quant is 'q2_k' for gguf.*q8_0, q4_0"):
        export_run(story_run[0], "gguf", tmp_path / "a", quant="q2_k")
    tokenizer = BPETokenizer.train(TEXT, 280)
    saved(tmp_path / "thin", tokenizer, n_embd=4, n_head=1)
    with pytest.raises(ConfigError, match="no matrix of the model has rows of a multiple of 32"):
        export_run(tmp_path / "thin", "gguf", tmp_path / "a", quant="q8_0")
    assert not (tmp_path / "a").exists()


def written(path, architecture="gpt2", pre="gpt-2", weights=()):
    """A GGUF file that says little."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in {"context_length": 8, "embedding_length": 32, "block_count": 1,
                       "feed_forward_length": 128, "attention.head_count": 2}.items():  # fmt: skip
        writer.add_uint32(f"{architecture}.{key}", value)
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(["a", "b"])
    writer.add_token_types([1, 1])
    writer.add_token_merges(["a b"])
    for name, shape in dict(weights).items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.mark.parametrize(
    ("said", "error", "message"),
    [
        (dict(architecture="llama"), ConfigError, "architecture 'llama', and gptlib reads 'gpt2'"),
        (dict(pre="qwen2"), TokenizerError, "cut as 'qwen2'"),
        (dict(), TokenizerError, "its merges are not in the order of its ids"),
    ],
)
def test_another_model_is_one_line(tmp_path, capsys, said, error, message):
    path = written(tmp_path / "x.gguf", **said)
    with pytest.raises(error, match=message):
        from_gguf(path)
    assert message in refused(capsys, "import", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_is_one_line(files, tmp_path, capsys):
    whole = files["q8_0"].read_bytes()
    for name, content in {"empty": b"", "text": b"Once upon a time", "head": whole[:100],
                          "half": whole[: len(whole) // 2]}.items():  # fmt: skip
        path = tmp_path / f"{name}.gguf"
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="cut short or no GGUF"):
            from_gguf(path)
    assert "no.gguf" in refused(capsys, "import", tmp_path / "no.gguf", "--out", tmp_path / "run")


def test_weights_that_do_not_fit_are_named(files, tmp_path, monkeypatch):
    reader = gguf.GGUFReader(files[None])
    reader.tensors = [t for t in reader.tensors if t.name != "blk.1.ffn_up.weight"]
    monkeypatch.setattr(gguf, "GGUFReader", lambda path: reader)
    with pytest.raises(ConfigError, match="fewer weights"):
        from_gguf(files[None])
    more = reader.tensors[-1]._replace(name="blk.0.attn_k.weight")
    reader.tensors.append(more)
    with pytest.raises(ConfigError, match=r"weights more, such as transformer\.h\.0\.attn_k"):
        from_gguf(files[None])


def test_the_package_is_asked_for(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ConfigError, match="reading GGUF needs gguf.*pip install gguf"):
        from_gguf(files[None])


def test_the_same_text_greedily(run, files):
    """What a program that reads the file writes, if it rounds nothing else."""
    _, model, tokenizer = run
    ids = tokenizer.encode("The fox")
    ours = generate(model, ids, 50, temperature=0)
    assert torch.equal(generate(from_gguf(files["q8_0"])[0], ids, 50, temperature=0), ours)
