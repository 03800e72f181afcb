"""Token shards: the same files however they are made, and nothing read that cannot be trusted."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import textwrap
import tracemalloc
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.batches import TokenBatches, document_starts
from gptlib.corpora import load_corpus
from gptlib.errors import CheckpointError, ConfigError, DataError
from gptlib.evaluation import loss_by_position, split_loss
from gptlib.shards import prepare
from gptlib.shards import read as sharded_tokens
from gptlib.shards import write as shards
from gptlib.shards.deal import in_validation
from gptlib.shards.read import MANIFEST, UNFINISHED, ShardedTokens, open_shards
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer, CharTokenizer, load_tokenizer
from gptlib.tokenizers.base import content_hash
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

WORDS = "the goose the keeper and the light who lit whom 🪿 Straße".split()
SMALL = dict(shard_bytes=600, name="poems", revision="1")


def poem(i: int) -> str:
    rng = np.random.default_rng(i)
    return f"{i}: " + " ".join(rng.choice(WORDS, 2 + i % 23))


DOCUMENTS = [poem(i) for i in range(60)]


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train(" ".join(DOCUMENTS), 300, [END_OF_TEXT])


@pytest.fixture(scope="module")
def char() -> CharTokenizer:
    return CharTokenizer.train("\n".join(DOCUMENTS))


@pytest.fixture(scope="module")
def folder(bpe, tmp_path_factory) -> Path:
    """A shard folder that tests read and do not change."""
    out = tmp_path_factory.mktemp("shards")
    prepare(DOCUMENTS, bpe, out, **SMALL)
    return out


@pytest.fixture
def copy(folder, tmp_path) -> Path:
    return shutil.copytree(folder, tmp_path / "copy")


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file; the lock is no data."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def expected(tokenizer, split: str, documents=DOCUMENTS) -> list[int]:
    ids = []
    for i, text in enumerate(documents):
        if in_validation(i, 0.1, 0) == (split == "val"):
            ids += tokenizer.encode_ordinary(text)
            ids += [tokenizer.special_tokens[END_OF_TEXT]]
    return ids


def rewrite(folder: Path, **changes) -> None:
    """Change the manifest, and let it state the right hash of what it says now."""
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    manifest["sha256"] = content_hash({k: v for k, v in manifest.items() if k != "sha256"})
    (folder / MANIFEST).write_text(json.dumps(manifest))


# What is written


def test_documents_in_order_each_with_its_end(folder, bpe):
    for split in ("train", "val"):
        tokens = open_shards(folder, split, bpe)
        assert np.asarray(tokens).tolist() == expected(bpe, split)
    assert len(list(folder.glob("train_*.bin"))) > 3
    assert load_tokenizer(folder) == bpe


def test_the_manifest_says_what_is_there(folder, bpe):
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["source"] == {"name": "poems", "revision": "1"}
    assert (manifest["tokenizer"], manifest["vocab_size"]) == (bpe.sha256, bpe.vocab_size)
    assert manifest["dtype"] == "uint16" and manifest["gptlib"]
    for shard in manifest["shards"]:
        raw = (folder / shard["file"]).read_bytes()
        assert len(raw) == 2 * shard["tokens"]
        assert hashlib.sha256(raw).hexdigest() == shard["sha256"]
    assert sum(s["documents"] for s in manifest["shards"]) == len(DOCUMENTS)
    assert sum(s["bytes"] for s in manifest["shards"]) == sum(len(d.encode()) for d in DOCUMENTS)
    assert not (folder / UNFINISHED).exists() and not list(folder.glob(".*.tmp"))


def test_a_checkout_that_is_not_installed_says_so(bpe, tmp_path, monkeypatch):
    def unknown(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("gptlib.versions.version", unknown)
    assert prepare(DOCUMENTS[:20], bpe, tmp_path / "out", **SMALL)["gptlib"] == "not installed"


def test_a_million_blanks_are_prepared(bpe, tmp_path):
    text = "a" + " " * 1_000_000 + "b"
    prepare([text, text], bpe, tmp_path / "out", val_fraction=0.5)
    ids = np.asarray(open_shards(tmp_path / "out", "val", bpe)).tolist()
    assert ids == [*bpe.encode_ordinary(text), bpe.special_tokens[END_OF_TEXT]]


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_nothing(folder, bpe, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("gptlib.shards.deal.BATCH_BYTES", 50)  # several batches a shard
    prepare(iter(DOCUMENTS), bpe, tmp_path / "out", workers=workers, **SMALL)
    assert digests(tmp_path / "out") == digests(folder)


def test_a_special_token_that_a_text_spells_stays_text(bpe, tmp_path):
    documents = [f"a {END_OF_TEXT} b", "c"] * 10
    prepare(documents, bpe, tmp_path / "out")
    ids = np.asarray(open_shards(tmp_path / "out", "train"))
    assert (ids == bpe.special_tokens[END_OF_TEXT]).sum() == 18
    assert END_OF_TEXT + " b" in bpe.decode(ids.tolist())


def test_without_an_end_of_text_token_documents_end_with_a_blank_line(char, tmp_path):
    prepare(DOCUMENTS, char, tmp_path / "out")
    text = char.decode(np.asarray(open_shards(tmp_path / "out", "val")).tolist())
    assert text == "".join(d + "\n\n" for i, d in enumerate(DOCUMENTS) if in_validation(i, 0.1, 0))


@given(
    fraction=st.one_of(st.sampled_from([0.1, 0.005, 0.5, 1 / 3, 0.9]), st.floats(0.001, 0.999)),
    seed=st.integers(0, 2**40),
    n=st.integers(0, 3000),
)
@settings(max_examples=60, deadline=None)
def test_the_share_of_validation_is_exact_to_one_document(fraction, seed, n):
    drawn = sum(in_validation(i, fraction, seed) for i in range(n))
    assert abs(drawn - n * fraction) <= 1 + 1e-3


def test_seeds_draw_other_documents():
    drawn = {tuple(i for i in range(500) if in_validation(i, 0.1, seed)) for seed in range(5)}
    assert len(drawn) == 5
    assert len({i % 10 for i in drawn.pop()}) > 5  # not every tenth


class Fake(CharTokenizer):
    """A tokenizer of any size, which gives the first of its ids and the last."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__("ab\n")
        self.size = vocab_size

    vocab_size = property(lambda self: self.size)

    def encode_array(self, text):
        return np.array([0, self.size - 1], dtype=np.uint32)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, "uint16"), (2**16 + 1, "uint32")])
def test_uint32_where_the_vocabulary_needs_it(tmp_path, vocab_size, dtype):
    manifest = prepare(["a"] * 20, Fake(vocab_size), tmp_path / "out")
    tokens = open_shards(tmp_path / "out", "train")
    assert manifest["dtype"] == dtype == tokens.dtype
    assert int(np.asarray(tokens).max()) == vocab_size - 1
    assert TokenBatches(tokens, 2, 4).batch(0)[0].max() == vocab_size - 1


# Work that is interrupted


KILLS = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from gptlib.shards import prepare
    from gptlib.tokenizers import load_tokenizer

    here, documents = Path(sys.argv[1]), Path(sys.argv[2]).read_text("utf8").split("\\n")
    tokenizer = load_tokenizer(sys.argv[3])
    settings = dict(shard_bytes=600, name="poems", revision="1", workers=2)

    def attempt(out, kill_at):
        '''In a child that is killed just before its `kill_at`-th flush or rename.'''
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        calls = 0
        def deadly(function):
            def call(*args):
                nonlocal calls
                calls += 1
                if calls == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args)
            return call
        os.fsync, os.replace, os.unlink = map(deadly, (os.fsync, os.replace, os.unlink))
        prepare(documents, tokenizer, out, **settings)
        os._exit(0)

    point, code = 0, -9
    while code == -9:  # once in a fresh folder at every point there is
        point += 1
        code = attempt(here / f"once_{point}", point)
        assert attempt(here / f"once_{point}", 0) == 0
    print(point - 1, code)
    point, code = 2, -9
    while code == -9:  # again and again in one folder, a little later each time
        point += 3
        code = attempt(here / "often", point)
    print(point - 1, code)
""")


def test_killed_at_every_point_and_restarted_it_writes_the_same_bytes(bpe, tmp_path):
    documents = DOCUMENTS[:20]
    prepare(documents, bpe, tmp_path / "want", **SMALL)
    (tmp_path / "documents.txt").write_text("\n".join(documents), encoding="utf-8")
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", KILLS, out, tmp_path / "documents.txt", tmp_path / "want"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (once, code), (often, last) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert code == last == 0 and once > 18 and often > 6
    want = digests(tmp_path / "want")
    assert len(want) == 5  # manifest, tokenizer, 2 shards to train on and 1 to validate
    assert {f.name for f in out.iterdir()} == {"often", *(f"once_{i + 1}" for i in range(once + 1))}
    for restarted in out.iterdir():
        assert digests(restarted) == want, restarted.name


@pytest.fixture
def encoded(monkeypatch):
    """The documents that are encoded from now on."""
    seen, encode = [], BPETokenizer.encode_array

    def spy(self, text):
        seen.append(text)
        return encode(self, text)

    monkeypatch.setattr(BPETokenizer, "encode_array", spy)
    return seen


def test_what_is_finished_is_not_made_again(copy, bpe, encoded):
    before = digests(copy)
    prepare(DOCUMENTS, bpe, copy, **SMALL)
    assert encoded == [] and digests(copy) == before


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_prepare_again_mends_only_the_damaged_shard(copy, bpe, encoded, damage):
    before, path = digests(copy), copy / "train_00001.bin"
    raw = bytearray(path.read_bytes())
    raw[7] ^= 1
    {
        "flip": lambda: path.write_bytes(raw),
        "truncate": lambda: path.write_bytes(raw[:9]),
        "delete": path.unlink,
    }[damage]()
    prepare(DOCUMENTS, bpe, copy, **SMALL)
    shard = next(s for s in json.loads((copy / MANIFEST).read_text())["shards"] if s["file"] == (
        "train_00001.bin"
    ))  # fmt: skip
    assert digests(copy) == before and len(encoded) == shard["documents"]


def test_a_source_that_changed_is_as_if_made_from_the_start(copy, bpe, tmp_path, encoded):
    changed = [*DOCUMENTS]
    changed[30] = changed[30].replace("the", "The", 1) + "!"
    prepare(changed, bpe, copy, **SMALL)
    assert 0 < len(encoded) < len(DOCUMENTS)
    prepare(changed, bpe, tmp_path / "fresh", **SMALL)
    fresh = digests(tmp_path / "fresh")
    assert {name: digests(copy)[name] for name in fresh} == fresh


@pytest.mark.parametrize("left", [b"", b'{"format', b"\xff\n\x00\n", b"[]\n{}\n", b"{}\n" * 3])
def test_a_torn_or_senseless_list_of_finished_shards(folder, bpe, tmp_path, left):
    out = tmp_path / "out"
    out.mkdir()
    (out / UNFINISHED).write_bytes(left)
    if left.startswith(b"{}"):
        with pytest.raises(DataError, match="holds other shards"):
            prepare(DOCUMENTS, bpe, out, **SMALL)
    else:
        prepare(DOCUMENTS, bpe, out, **SMALL)
        assert digests(out) == digests(folder)


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"val_fraction": 0.2}, {"shard_bytes": 601}, {"name": "x"}, {"revision": "2"}],
)
def test_other_settings_are_refused_with_the_difference(copy, bpe, change):
    before = digests(copy)
    with pytest.raises(
        DataError, match=f"holds other shards: {'source' if 'name' in change else ''}"
    ):
        prepare(DOCUMENTS, bpe, copy, **(SMALL | change))
    assert digests(copy) == before


def test_another_tokenizer_is_refused(copy, char):
    with pytest.raises(DataError, match=r"holds other shards: tokenizer was '.*vocab_size was 300"):
        prepare(DOCUMENTS, char, copy, **SMALL)


def test_a_full_disk_keeps_what_is_finished(folder, bpe, tmp_path, monkeypatch):
    out, write = tmp_path / "out", shards.write_atomic

    def full(path, data):
        if path.name == "train_00002.bin":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(shards, "write_atomic", full)
    with pytest.raises(DataError, match=r"No space left.*goes on from it"):
        prepare(DOCUMENTS, bpe, out, **SMALL)
    assert (out / "train_00001.bin").exists()
    with pytest.raises(DataError, match="is not finished: run the same prepare again"):
        open_shards(out, "train")
    monkeypatch.setattr(shards, "write_atomic", write)
    prepare(DOCUMENTS, bpe, out, **SMALL)
    assert digests(out) == digests(folder)


def test_a_source_that_breaks_off(folder, bpe, tmp_path):
    def stream():
        yield from DOCUMENTS[:40]
        raise ConnectionError("the line is dead")

    with pytest.raises(DataError, match=r"poems broke off after 40 documents \(the line is dead\)"):
        prepare(stream(), bpe, tmp_path / "out", **SMALL)
    prepare(iter(DOCUMENTS), bpe, tmp_path / "out", **SMALL)
    assert digests(tmp_path / "out") == digests(folder)


def test_two_writers(copy, bpe, tmp_path):
    def documents():
        yield DOCUMENTS[0]
        with pytest.raises(DataError, match="another process is preparing data"):
            prepare(DOCUMENTS, bpe, tmp_path / "out", **SMALL)
        yield from DOCUMENTS[1:]

    prepare(documents(), bpe, tmp_path / "out", **SMALL)


def test_progress(bpe, tmp_path):
    lines = []
    prepare(DOCUMENTS, bpe, tmp_path / "out", report=lines.append, **SMALL)
    assert len(lines) == len(list((tmp_path / "out").glob("*.bin")))
    assert all("tokens/s" in line and "min left" in line for line in lines)
    lines.clear()
    prepare(iter(DOCUMENTS), bpe, tmp_path / "stream", report=lines.append, **SMALL)
    assert lines and not any("left" in line for line in lines)  # nobody knows how long it is


@pytest.mark.parametrize(
    "settings",
    [{"val_fraction": x} for x in (1.5, "0.1")]
    + [{"workers": 0}, {"workers": 1.5}, {"shard_bytes": 0}, {"shard_bytes": True}],
)
def test_settings_that_cannot_be(bpe, tmp_path, settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        prepare(DOCUMENTS, bpe, tmp_path / "out", **settings)
    assert not (tmp_path / "out").exists()


def test_too_few_documents_for_a_validation_split(bpe, tmp_path):
    with pytest.raises(DataError, match="2 documents with text in them.*none of them falls to val"):
        prepare(["a", " \n", "b"], bpe, tmp_path / "out", val_fraction=0.001)
    for empty in ([], ["", " "]):
        with pytest.raises(DataError, match="0 documents with text"):
            prepare(empty, bpe, tmp_path / f"out{len(empty)}")


# What is read


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_indexing_is_that_of_the_concatenated_array(folder, data):
    tokens = open_shards(folder, "train", verify=False)
    array = np.asarray(tokens)
    n = len(array)
    assert len(tokens) == n and tokens.ndim == 1
    place = st.integers(-n, n - 1)
    bound = st.none() | st.integers(-n - 5, n + 5)
    at = slice(data.draw(bound), data.draw(bound), data.draw(st.sampled_from([None, 1, 3, -2])))
    assert np.array_equal(tokens[at], array[at])
    assert tokens[i := data.draw(place)] == array[i] and tokens[i].ndim == 0
    many = np.array(data.draw(st.lists(place, max_size=30)), dtype=np.int64)
    assert np.array_equal(tokens[many], array[many])
    if len(many) % 2 == 0:
        assert np.array_equal(tokens[many.reshape(2, -1)], array[many.reshape(2, -1)])
    assert tokens[many].dtype == array.dtype == np.uint16


@pytest.mark.parametrize("key", [10**9, -(10**9), [0, 10**9], 1.5, "a", None, [True]])
def test_positions_that_are_none(folder, key):
    with pytest.raises(DataError, match="position"):
        open_shards(folder, "train")[key]


@pytest.mark.parametrize("sampling", ["shuffled", "random"])
def test_batches_are_those_of_the_concatenated_array(folder, sampling):
    tokens = open_shards(folder, "train")
    one, other = (TokenBatches(data, 4, 16, 3, sampling) for data in (tokens, np.asarray(tokens)))
    borders = set(np.cumsum([shard.tokens for shard in tokens.shards])[:-1].tolist())
    crossed = 0
    for step in range(2 * one.windows // 4 + 2):  # two epochs and a little
        assert all(map(torch.equal, one.batch(step), other.batch(step)))
        crossed += sum(any(o < b <= o + 16 for b in borders) for o in one.offsets(step).tolist())
    assert crossed > 0
    ranks = [one.batch(5, rank, 2)[0] for rank in range(2)]
    assert torch.equal(torch.cat(ranks), other.batch(5)[0])


def sparse(folder: Path, count: int, tokens: int, **about) -> None:
    """A shard folder with holes in place of tokens."""
    folder.mkdir()
    entries = []
    for split, n in (("train", count), ("val", 1)):
        for i in range(n):
            with open(folder / f"{split}_{i:05d}.bin", "wb") as file:
                file.truncate(2 * tokens)
            entries.append({
                "file": f"{split}_{i:05d}.bin", "split": split, "tokens": tokens, "documents": 1,
                "bytes": 1, "sha256": "", "text_sha256": "",
            })  # fmt: skip
    about = {"dtype": "uint16", "vocab_size": 50257, "tokenizer": ""} | about
    manifest = {"format": sharded_tokens.FORMAT, "shards": entries, **about}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    rewrite(folder)


def test_a_billion_tokens_open_without_being_read(tmp_path, monkeypatch):
    sparse(tmp_path / "big", 64, 16_000_000)
    monkeypatch.setattr(sharded_tokens, "has_sha256", lambda path, _: pytest.fail(f"read {path}"))
    opened, real = [], np.memmap
    monkeypatch.setattr(
        np, "memmap", lambda path, *a, **k: opened.append(path) or real(path, *a, **k)
    )
    tokens = open_shards(tmp_path / "big", "train", verify=False)
    assert len(tokens) == 1_024_000_000 and opened == []
    with open(tmp_path / "big" / "train_00040.bin", "r+b") as file:
        file.seek(2 * 123)
        file.write(b"\x07\x00")
    assert tokens[40 * 16_000_000 + 123] == 7
    assert [path.name for path in opened] == ["train_00040.bin"]
    TokenBatches(tokens, 8, 1024).batch(10**6)
    assert len(opened) <= 10


def test_documents_are_found_in_constant_memory(tmp_path):
    """Beyond what is found: 32 million tokens, and never more than a few pieces of them."""
    sparse(tmp_path / "big", 2, 16_000_000)
    with open(tmp_path / "big" / "train_00000.bin", "r+b") as file:
        file.seek(-2, os.SEEK_END)
        file.write(b"\x07\x00")
    with open(tmp_path / "big" / "train_00001.bin", "r+b") as file:
        file.write(b"\x09\x00")
    tokens = open_shards(tmp_path / "big", "train", verify=False)
    tracemalloc.start()
    found = document_starts(tokens, [7, 9])  # across the border of two shards
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.tolist() == [15_999_999]
    assert peak < 12e6 < 2 * len(tokens)


def test_more_shards_than_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(sharded_tokens, "OPEN_FILES", 4)
    sparse(tmp_path / "many", 50, 10)
    tokens = open_shards(tmp_path / "many", "train", verify=False)
    handles = Path("/proc/self/fd")
    before = len(os.listdir(handles)) if handles.exists() else 0
    assert len(np.asarray(tokens)) == 500 and tokens[np.arange(500)].sum() == 0
    after = len(os.listdir(handles)) if handles.exists() else 0
    assert after - before <= 4


def change(name, edit):
    return lambda folder: (folder / name).write_bytes(edit((folder / name).read_bytes()))


def entry(**changes):
    def apply(folder):
        shards = json.loads((folder / MANIFEST).read_text())["shards"]
        rewrite(folder, shards=[shards[0] | changes, *shards[1:]])

    return apply


FAULTS = {
    "no folder": (shutil.rmtree, r"is no shard folder \(no such folder\)"),
    "not json": (change(MANIFEST, lambda raw: raw[:-20]), "damaged or was not written by gptlib"),
    "list": (change(MANIFEST, lambda raw: b"[1]"), "damaged or was not written by gptlib"),
    "flipped": (change(MANIFEST, lambda raw: raw.replace(b"poems", b"qoems")), "its sha256 is not"),
    "format": (lambda f: rewrite(f, format="gptlib shards 9"), "reads 'gptlib shards 1'"),
    "short": (change("train_00001.bin", lambda raw: raw[:-2]), "tokens, the manifest says"),
    "long": (change("train_00001.bin", lambda raw: raw + b"ab"), "tokens, the manifest says"),
    "dtype": (lambda f: rewrite(f, dtype="float8"), "dtype 'float8'"),
    "vocabulary": (lambda f: rewrite(f, vocab_size=0), "vocab_size 0"),
    "tokenizer": (lambda f: rewrite(f, tokenizer=None), "names no tokenizer"),
    "outside": (entry(file="../train_00000.bin"), "is no file name"),
    "null": (entry(file="a\0b"), "is no file name"),
    "count": (entry(tokens=-1), "count is no whole number"),
    "split": (entry(split="test"), "a name is no text"),
    "field": (entry(colour="red"), "damaged or was not written"),
    "no train": (lambda f: rewrite(f, shards=[]), "has no tokens for train"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_shards_that_cannot_be_trusted(copy, fault):
    damage, message = FAULTS[fault]
    damage(copy)
    with pytest.raises(DataError, match=message) as error:
        open_shards(copy, "train")
    assert "\n" not in str(error.value)


def test_a_split_that_is_none(folder):
    with pytest.raises(DataError, match="has train and val"):
        open_shards(folder, "test")


def test_shards_that_change_under_the_reader(copy):
    """Reading past the end of a memory map would kill the process."""
    tokens = open_shards(copy, "train")
    (copy / "train_00001.bin").write_bytes(b"")
    with pytest.raises(DataError, match="the manifest says"):
        np.asarray(tokens)
    tokens = open_shards(copy, "val")
    (copy / "val_00000.bin").write_bytes(b"\xff" * 2 * len(tokens))
    with pytest.raises(DataError, match="token id 65535, but its vocabulary ends at 299"):
        tokens[:5]


# Training on shards

CONFIG = dict(steps=6, batch_size=4, accumulate=2, warmup=2, eval_every=3, save_every=3)


def test_training_on_a_folder_is_training_on_its_tokens(folder, bpe, make_model, tmp_path):
    splits = [open_shards(folder, split) for split in ("train", "val")]
    choices = {
        "folder": (folder, str(folder)),
        "shards": splits,
        "arrays": [np.asarray(tokens) for tokens in splits],
    }
    logs = set()
    for name, (train, val) in choices.items():
        model = make_model(vocab_size=bpe.vocab_size)
        trainer = Trainer(model, train, val, TrainConfig(**CONFIG), tmp_path / name, bpe)
        assert isinstance(trainer.batches.tokens, ShardedTokens) == (name != "arrays")
        trainer.fit()
        logs.add((tmp_path / name / "log.jsonl").read_bytes())
    assert len(logs) == 1


def test_a_run_knows_its_shards(folder, bpe, make_model, tmp_path):
    def fit(train, stop):
        model = make_model(vocab_size=bpe.vocab_size)
        trainer = Trainer(model, train, train, TrainConfig(**CONFIG), tmp_path / "run", bpe)
        return trainer.fit(stop_after=stop)

    fit(folder, 3)
    about = json.loads((tmp_path / "run" / "config.json").read_text())
    assert about["data"]["train"] == open_shards(folder, "train").sha256
    moved = shutil.copytree(folder, tmp_path / "moved")  # the same tokens elsewhere
    assert fit(moved, 4).step == 4
    prepare(DOCUMENTS[:50], bpe, tmp_path / "fewer", **SMALL)
    with pytest.raises(CheckpointError, match="another run: train was"):
        fit(tmp_path / "fewer", None)


def test_losses_of_shards_are_those_of_the_array(folder, bpe, make_model):
    model = make_model(vocab_size=bpe.vocab_size)
    tokens = open_shards(folder, "train")
    array = np.asarray(tokens)
    assert split_loss(model, tokens) == split_loss(model, array)
    assert split_loss(model, tokens, stride=5, windows=7) == split_loss(model, array, 5, 7)
    assert torch.equal(loss_by_position(model, tokens), loss_by_position(model, array))


def test_a_trainer_refuses_shards_that_do_not_fit(folder, bpe, char, make_model, tmp_path):
    def make(model, tokenizer, data=folder):
        return Trainer(model, data, data, TrainConfig(**CONFIG), tmp_path / "run", tokenizer)

    with pytest.raises(DataError, match="another tokenizer"):
        make(make_model(vocab_size=bpe.vocab_size), char)
    with pytest.raises(DataError, match="ids from 0 to 299, but vocab_size is"):
        make(make_model(), None)
    with pytest.raises(DataError, match="the train split has .* tokens; it needs 100001"):
        make(make_model(vocab_size=300, block_size=100_000, n_layer=1), None)
    with pytest.raises(DataError, match="no shard folder"):
        make(make_model(vocab_size=300), bpe, "The fox sat. " * 1000)
    assert not (tmp_path / "run").exists()


# Corpora as shards


def test_a_corpus_keeps_its_own_split(tmp_path):
    corpus = load_corpus("tales", size=60_000)
    tokenizer = CharTokenizer.train(corpus.text)
    prepare(corpus, tokenizer, tmp_path / "out", shard_bytes=20_000)
    for split in ("train", "val"):
        ids = np.asarray(open_shards(tmp_path / "out", split))
        assert tokenizer.decode(ids) == getattr(corpus, split)
    manifest = prepare(corpus, tokenizer, tmp_path / "third", val_fraction=0.3)
    count = {s["split"]: s["documents"] for s in manifest["shards"]}
    assert count["val"] == pytest.approx(0.3 * (count["val"] + count["train"]), abs=1)


@pytest.mark.parametrize("name", ["train_00001.bin", MANIFEST])
def test_shards_that_may_not_be_read_are_not_called_damaged(copy, name, monkeypatch):
    def closed(real):
        def answer(path, *args, **kwargs):
            if Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return answer

    for way in ("open", "read_bytes", "read_text"):
        monkeypatch.setattr(Path, way, closed(getattr(Path, way)))
    with pytest.raises(CheckpointError, match="may not be read") as error:
        open_shards(copy, "train")
    assert "damaged" not in str(error.value)
