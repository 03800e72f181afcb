"""Weights from elsewhere: GPT-2's four sizes, folders whole and hostile, a hub on this machine."""

import hashlib
import http.server
import json
import shutil
import threading
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from small_run import TEXT, small_run
from test_export import refused

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.corpora.downloads import read_registry
from gptlib.errors import DataError, GptlibError
from gptlib.hub import export_run, from_hf, from_pretrained, import_run, pretrained
from gptlib.hub.tokenizer_file import as_characters, merges, read_fast
from gptlib.hub.weights import config_of, from_weights, gpt2_weights, without_padding
from gptlib.model import GPT, GPTConfig
from gptlib.resources import data_path
from gptlib.runs import _Unfilled, load_run
from gptlib.sampling import generate
from gptlib.tokenizers import BPETokenizer

PARAMETERS = {
    "gpt2": 124_439_808, "gpt2-medium": 354_823_168, "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}  # fmt: skip


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder, model, tokenizer) of a small run."""
    folder = tmp_path_factory.mktemp("runs") / "small"
    return folder, *small_run(folder, steps=20)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    """The run as a folder of transformers."""
    return export_run(run[0], "hf", tmp_path_factory.mktemp("exported") / "hf")


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of it, to be damaged."""
    return shutil.copytree(whole, tmp_path / "folder")


def same(one: GPT, other: GPT) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return one.config == other.config and all(torch.equal(a[name], b[name]) for name in a | b)


# The four sizes


@pytest.mark.parametrize("name", PARAMETERS)
def test_each_gpt2_has_its_shape_and_a_known_file(name):
    n_layer, n_head, n_embd = pretrained.SHAPES[name]
    config = config_of({"n_layer": n_layer, "n_head": n_head, "n_embd": n_embd})
    assert (config.block_size, config.vocab_size, config.head_size) == (1024, 50257, 64)
    with torch.device("meta"), _Unfilled():
        model = GPT(config)
    assert model.num_params() == PARAMETERS[name]
    entry = read_registry(data_path("pretrained.toml"))[name]
    assert entry.kind == "model" and len(bytes.fromhex(entry.sha256)) == 32
    assert f"/openai-community/{name}/resolve/" in entry.url and "/main/" not in entry.url
    masks = n_layer * 1024**2  # which the files hold as well, in 32 bits too
    if entry.bytes:
        assert 0 < entry.bytes - 4 * (PARAMETERS[name] + masks) < 100_000  # names and shapes


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_logits_of_each_width_are_those_of_transformers(name):
    transformers = pytest.importorskip("transformers")
    _, n_head, n_embd = pretrained.SHAPES[name]
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        n_layer=1, n_head=n_head, n_embd=n_embd, vocab_size=61, n_positions=12,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = transformers.GPT2LMHeadModel(config).eval()
    idx = torch.randint(61, (2, 12))
    assert (from_hf(theirs)(idx)[0] - theirs(idx).logits).abs().max() < 1e-4


# A hub on this machine


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves `server.body`, and the rest of it where that is asked for."""

    def do_GET(self):
        asked = self.headers.get("Range", "bytes=0-")
        self.server.asked.append((self.path, asked))
        if self.server.body is None:
            return self.send_error(404)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        size = len(self.server.body)
        self.send_response(206 if start else 200)
        self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(self.server.body[start:])
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has "gpt2": one layer of 8 channels, as OpenAI's files are laid out. `registry`
    is that of its file."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "GPTLIB_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setitem(pretrained.SHAPES, "gpt2", (1, 2, 8))
    pieces = [bytes([b]) for b in range(256)] + [divmod(n, 256) for n in range(50_000)]
    tokenizer = BPETokenizer(list(map(bytes, pieces)), ["<|endoftext|>"])
    monkeypatch.setattr(BPETokenizer, "gpt2", lambda: tokenizer)
    torch.manual_seed(0)
    model = GPT(config_of({"n_layer": 1, "n_head": 2, "n_embd": 8})).eval()
    weights = {n.removeprefix("transformer."): w for n, w in gpt2_weights(model).items()}
    del weights["lm_head.weight"]
    weights["h.0.attn.bias"] = torch.ones(1, 1, 4, 4).tril()  # a mask
    body = safetensors.torch.save(weights)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as running:
        running.body, running.asked, running.model = body, [], model
        running.tokenizer = tokenizer
        running.registry = tmp_path / "pretrained.toml"
        running.registry.write_text(
            '[gpt2]\nkind = "model"\nabout = "tiny"\nlicence = "none"\n'
            f'file = "gpt2/model.safetensors"\nsha256 = "{hashlib.sha256(body).hexdigest()}"\n'
            f'url = "http://127.0.0.1:{running.server_port}/gpt2/resolve/0/model.safetensors"\n'
        )
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def test_a_name_is_downloaded_once_and_verified(hub, tmp_path):
    for _ in range(2):
        model, tokenizer = from_pretrained("gpt2", hub.registry)
        assert not model.training and tokenizer is hub.tokenizer
        idx = torch.randint(50257, (1, 6))
        assert torch.equal(model(idx)[0], hub.model(idx)[0])
        assert model.config == replace(hub.model.config, dropout=0.0, attn_dropout=0.0)
    assert hub.asked == [("/gpt2/resolve/0/model.safetensors", "bytes=0-")]
    path = tmp_path / "cache" / "gpt2" / "model.safetensors"
    assert path.read_bytes() == hub.body


@pytest.mark.parametrize("had", [1000, "all"])
def test_a_download_that_was_killed_goes_on(hub, tmp_path, had):
    part = tmp_path / "cache" / "gpt2" / "model.safetensors.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(hub.body if had == "all" else hub.body[:had])
    from_pretrained("gpt2", hub.registry)
    path = "/gpt2/resolve/0/model.safetensors"
    assert hub.asked == ([] if had == "all" else [(path, f"bytes={had}-")])
    assert not part.exists() and part.with_suffix("").read_bytes() == hub.body


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda body: body[:-1] + b"!", "sent a file whose sha256 begins"),
        (lambda body: body[:-9], "sent a file whose sha256 begins"),
        (lambda body: b"<!doctype html><html>Sign in", "sent a web page instead of the file"),
        (lambda body: None, "answered 404"),
    ],
)
def test_another_file_is_refused(hub, tmp_path, capsys, monkeypatch, change, says):
    hub.body = change(hub.body)
    monkeypatch.setattr(pretrained, "data_path", lambda name: hub.registry)
    line = refused(capsys, "import", "gpt2", "--out", tmp_path / "run")
    assert "could not download gpt2: 127.0.0.1" in line and says in line
    assert not (tmp_path / "run").exists()
    files = [path for path in (tmp_path / "cache").rglob("*.safetensors*")]
    assert {path.suffix for path in files} <= {".lock"}


# Folders


def test_there_and_back_is_the_same_run(run, whole, tmp_path):
    model, tokenizer = import_run(whole, tmp_path / "run")
    again, its_tokenizer, manifest = load_run(tmp_path / "run")
    assert same(model, run[1]) and same(again, run[1])
    assert tokenizer == its_tokenizer == run[2] and manifest["step"] == 0
    assert tokenizer.encode(TEXT) == run[2].encode(TEXT)
    second = export_run(tmp_path / "run", "hf", tmp_path / "again")
    for path in (path for path in whole.iterdir() if path.name != "README.md"):
        assert path.read_bytes() == (second / path.name).read_bytes(), path.name


def test_what_transformers_saved_again_is_read(run, whole, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.AutoModelForCausalLM.from_pretrained(whole).save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(whole).save_pretrained(tmp_path)
    model, tokenizer = from_pretrained(tmp_path)
    assert same(model, run[1]) and tokenizer == run[2]


def test_the_files_of_old_are_read(run, folder):
    """vocab.json and merges.txt; names without their first part; masks; 16 bits; a padded table."""
    _, model, tokenizer = run
    (folder / "tokenizer.json").unlink()
    names = {as_characters(piece): n for n, piece in enumerate(tokenizer.pieces)}
    (folder / "vocab.json").write_text(json.dumps(names | tokenizer.special_tokens))
    lines = [f"{as_characters(a)} {as_characters(b)}" for a, b in merges(tokenizer.pieces)]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *lines, ""]), "utf-8")
    assert read_fast(folder) == tokenizer
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    weights = {n.removeprefix("transformer."): w.half() for n, w in weights.items()}
    weights["wte.weight"] = torch.cat([weights["wte.weight"], torch.ones(24, 32).half()])
    weights["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    settings = json.loads((folder / "config.json").read_text())
    settings["vocab_size"] += 24
    (folder / "config.json").write_text(json.dumps(settings))
    ours, _ = from_pretrained(folder)
    assert ours.config == model.config and ours.dtype == torch.float32
    for (name, theirs), mine in zip(
        model.state_dict().items(), ours.state_dict().values(), strict=True
    ):
        assert torch.equal(mine, theirs.half().float()), name


def test_an_imported_run_writes_is_measured_and_trained_on(whole, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fox.txt").write_text(TEXT, "utf-8")
    assert main(["import", str(whole), "--out", "there"]) == 0
    assert "gptlib sample there" in capsys.readouterr().out
    assert main(["info", "there"]) == 0
    assert main(["sample", "there", "--prompt", "The", "--max-new-tokens", "9"]) == 0
    assert main(["eval", "there", "--corpus", "fox.txt", "--json"]) == 0
    before = json.loads(capsys.readouterr().out.splitlines()[-1])["loss"]
    steps = ["--steps", "2", "--batch-size", "2", "--warmup", "1", "--lr", "1e-5"]
    train = ["train", "--corpus", "fox.txt", "--init-from", "there", "--out", "on", "--json"]
    assert main([*train, *steps, "--eval-every", "2", "--threads", "1"]) == 0
    after = json.loads(capsys.readouterr().out)["best_val"]
    assert abs(after - before) < 0.2
    assert "give --corpus" in refused(capsys, "eval", "there")
    assert "can only be sampled" in refused(
        capsys, "train", "--out", "there", "--corpus", "fox.txt", "--resume"
    )


def edited(name, change):
    def damage(folder):
        path = folder / name
        content = json.loads(path.read_text("utf-8"))
        change(content)
        path.write_text(json.dumps(content), "utf-8")

    return damage


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


def pickled(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")


def reweighted(change):
    def damage(folder):
        weights = safetensors.torch.load_file(folder / "model.safetensors")
        change(weights)
        safetensors.torch.save_file(weights, folder / "model.safetensors")

    return damage


TURNED = "transformer.h.0.mlp.c_fc.weight"
HOSTILE = {
    "no config": (lambda f: (f / "config.json").unlink(), "has no config.json"),
    "half a config": (cut("config.json", 40), "config.json cannot be read"),
    "a list": (lambda f: (f / "config.json").write_text("[1]"), "config.json cannot be read"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 10**5), "config.json cannot be read"),
    "llama": (edited("config.json", lambda c: c.update(model_type="llama")), "of the kind 'llama'"),
    "no kind": (edited("config.json", lambda c: c.pop("model_type")), "of the kind 'None'"),
    "another shape": (edited("config.json", lambda c: c.update(n_embd=64)), "speaks of (296, 64)"),
    "endless": (edited("config.json", lambda c: c.update(n_layer=10**9)), "it has fewer weights"),
    "huge": (edited("config.json", lambda c: c.update(vocab_size=10**12)), "has the shape"),
    "words": (edited("config.json", lambda c: c.update(n_layer="two")), "n_layer is 'two'"),
    "a list of names": (
        edited("config.json", lambda c: c.update(activation_function=["relu"])),
        "activation_function=['relu']",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors"),
    "cut short": (cut("model.safetensors", 20_000), "is cut short or no safetensors file"),
    "empty": (cut("model.safetensors", 0), "is cut short or no safetensors file"),
    "a pickle": (pickled, "has its weights as a pickle"),
    "in parts": (
        lambda f: (f / "model.safetensors").rename(f / "model-00001-of-00002.safetensors"),
        "has its weights in several files",
    ),
    "a weight less": (
        reweighted(lambda w: w.pop("transformer.h.1.ln_1.weight")), "it has fewer weights",
    ),
    "a weight more": (
        reweighted(lambda w: w.update({"lora.weight": torch.ones(2)})),
        "1 weights more, such as transformer.lora.weight",
    ),
    "a turned weight": (
        reweighted(lambda w: w.update({TURNED: w[TURNED].t().contiguous()})),
        f"{TURNED} has the shape",
    ),
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer"),
    "half a tokenizer": (cut("tokenizer.json", 999), "cannot be read as a tokenizer"),
    "no merges": (edited("tokenizer.json", lambda c: c["model"].pop("merges")), "cannot be read"),
    "merges in disorder": (
        edited("tokenizer.json", lambda c: c["model"]["merges"].reverse()),
        "merges are not in the order of its ids",
    ),
    "another cut": (
        edited("tokenizer.json", lambda c: c["pre_tokenizer"].update(add_prefix_space=True)),
        "cuts the text in another way",
    ),
    "no cut": (edited("tokenizer.json", lambda c: c.update(pre_tokenizer=None)), "cuts the text"),
    "a normalizer": (
        edited("tokenizer.json", lambda c: c.update(normalizer={"type": "NFC"})),
        "changes the text",
    ),
    "no numbers": (edited("config.json", lambda c: c.update(n_embd=None, n_inner=3)), "n_inner=3"),
    "a greedy special": (
        edited("tokenizer.json", lambda c: c["added_tokens"][0].update(lstrip=True)), "lstrip",
    ),
    "a special in front": (
        edited("tokenizer.json", lambda c: c["added_tokens"][0].update(id=3)), "the last ids",
    ),
    "unigrams": (
        edited("tokenizer.json", lambda c: c["model"].update(type="Unigram")), "of the kind",
    ),
    "more ids than rows": (
        edited("tokenizer.json", lambda c: c["added_tokens"].append(
            c["added_tokens"][0] | {"id": 296, "content": "<|x|>"})),
        "has 297 ids and the model 296",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_folder_is_refused_in_one_line(folder, tmp_path, capsys, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    damage, says = HOSTILE[what]
    damage(folder)
    assert says in refused(capsys, "import", folder, "--out", "run")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_folder_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gpt3", "x" * 5000, str(tmp_path / "nowhere")):
        line = refused(capsys, "import", name, "--out", "run")
        assert "is no folder and none of gpt2, gpt2-medium, gpt2-large, gpt2-xl" in line


def test_a_run_is_never_written_over(whole, run, capsys):
    before = sorted(run[0].rglob("*"))
    assert "is there already" in refused(capsys, "import", whole, "--out", run[0])
    assert sorted(run[0].rglob("*")) == before


def test_nothing_that_no_token_stands_for_is_sampled(whole, folder):
    """Rows of padding that would win every draw are not there any more."""
    weights = safetensors.torch.load_file(folder / "model.safetensors")
    padding = torch.full((6, 32), 9.0)
    table = torch.cat([weights["transformer.wte.weight"], padding])
    weights["transformer.wte.weight"] = table
    safetensors.torch.save_file(weights, folder / "model.safetensors")
    edited("config.json", lambda c: c.update(vocab_size=len(table)))(folder)
    model, tokenizer = from_pretrained(folder)
    ids = generate(model, tokenizer.encode("The"), 40, temperature=5.0, seed=0)[0]
    assert ids.max() < tokenizer.vocab_size and tokenizer.decode(ids.tolist())


def test_a_disk_that_is_full_is_said(whole, tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(BPETokenizer, "save", fail)
    with pytest.raises(DataError, match="No space left on device"):
        import_run(whole, tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_the_library_is_a_gptlib_error(tmp_path):
    with pytest.raises(GptlibError):
        from_pretrained(tmp_path)
    with pytest.raises(GptlibError):
        from_weights({"n_layer": 1}, {})
    model = GPT(GPTConfig(8, 64, 1, 2, 8))
    assert checkpoint.plain_weights(without_padding(model, 60))
