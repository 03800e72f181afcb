"""A data set on a hub: read file by file, whatever the line does, and never twice.

The hub is a server on the loopback address, and the data set three small parquet files.
"""

import hashlib
import http.server
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from pyarrow import parquet

from gptlib.cli import main
from gptlib.corpora import list_corpora, load_corpus
from gptlib.corpora.downloads import fetch, read_registry
from gptlib.corpora.http_file import Stopped, receive
from gptlib.errors import DataError
from gptlib.files import sha256
from gptlib.shards import prepare
from gptlib.shards.read import open_shards
from gptlib.shards.sources import open_source
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer, load_tokenizer

FILES = 3
DOCUMENTS = [f"{i}: " + "the goose and the keeper " * (1 + i % 7) for i in range(60)]
SETTINGS = dict(val_fraction=0.1, shard_bytes=900, shuffle_seed=0, workers=2)
PATH = "/datasets/someone/edu/resolve/0123abc/sample/"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the files of a folder from any byte on, and hangs up where it is told to."""

    def do_GET(self):
        name = self.path.removeprefix(PATH)
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        self.server.asked.append((name, start))
        if name in self.server.down or not self.path.startswith(PATH):
            return self.send_error(503)
        body = (self.server.folder / name).read_bytes()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = self.server.pieces.get(name, len(body))
        self.wfile.write(body[start : start + stop])
        if name in self.server.silent:
            self.wfile.flush()
            self.server.free.wait(300)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train(DOCUMENTS, 300, [END_OF_TEXT])


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """The parquet files, and a registry that knows them under the name `edu`."""
    folder = tmp_path_factory.mktemp("hub")
    parts = []
    for i in range(FILES):
        texts = DOCUMENTS[20 * i : 20 * i + 20]
        path = folder / f"{i:03d}.parquet"
        noise = [np.random.default_rng(20 * i + k).bytes(4000) for k in range(20)]  # 80 kB
        table = pyarrow.table({"id": range(20), "text": texts, "noise": noise})
        parquet.write_table(table, path, row_group_size=6)
        raw = path.read_bytes()
        parts.append([path.name, len(raw), hashlib.sha256(raw).hexdigest()])
    (folder / "registry.toml").write_text(
        '[edu]\nkind = "hub"\nabout = "Pages"\nlicence = "free"\nrevision = "0123abc"\n'
        f"bytes = {sum(size for _, size, _ in parts)}\nparts = {json.dumps(parts)}\n"
        f'url = "https://huggingface.co{PATH}"\n'
    )
    return folder


@pytest.fixture(scope="module")
def want(files, bpe, tmp_path_factory) -> dict[str, str]:
    """The shards that a local folder of the same files gives."""
    folder = tmp_path_factory.mktemp("local")
    for path in files.glob("*.parquet"):
        (folder / path.name).write_bytes(path.read_bytes())
    out = tmp_path_factory.mktemp("want")
    prepare(folder, bpe, out, **SETTINGS)
    return shards(out)


@pytest.fixture
def hub(files, monkeypatch, tmp_path):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "GPTLIB_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("gptlib.corpora.downloads.data_path", lambda name: files / "registry.toml")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.folder, server.asked, server.down, server.pieces = files, [], set(), {}
        server.silent, server.free = set(), threading.Event()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.free.set()
        server.shutdown()
        thread.join()


def shards(folder: Path) -> dict[str, str]:
    """sha256 of every shard."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.bin")
    }


def test_the_command_gives_what_a_local_folder_gives(hub, bpe, want, tmp_path, capsys):
    bpe.save(tmp_path / "tok")
    out = tmp_path / "out"
    make = ["data", "prepare", "edu", "--tokenizer", str(tmp_path / "tok"), "--out", str(out)]
    assert main([*make, "--val-fraction", "0.1"]) == 0
    assert hub.asked == [(f"{i:03d}.parquet", 0) for i in range(FILES)]
    assert not (out / "download").exists() and not (out / "parts").exists()
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["source"] == {"name": "edu", "revision": "0123abc"}
    assert manifest["shuffle_seed"] == 0
    ids = sorted(bpe.decode(np.asarray(open_shards(out, "train")).tolist()).split(END_OF_TEXT)[:-1])
    val = bpe.decode(np.asarray(open_shards(out, "val")).tolist()).split(END_OF_TEXT)[:-1]
    assert sorted(ids + val) == sorted(DOCUMENTS)
    assert main([*make, "--val-fraction", "0.1"]) == 0  # nothing left to do, nothing asked for
    assert len(hub.asked) == FILES
    assert main([*make, "--val-fraction", "0.1", "--shuffle-seed", "none"]) == 2
    assert "shuffle_seed was 0 and is now None" in capsys.readouterr().err
    prepare("edu", bpe, tmp_path / "small", **SETTINGS)
    assert shards(tmp_path / "small") == want


def test_in_the_order_of_the_source(hub, bpe, tmp_path):
    prepare("edu", bpe, tmp_path / "out", val_fraction=0.1, shard_bytes=900)
    prepare(DOCUMENTS, bpe, tmp_path / "list", val_fraction=0.1, shard_bytes=900)
    for split in ("train", "val"):
        one, other = (np.asarray(open_shards(tmp_path / f, split)) for f in ("out", "list"))
        assert np.array_equal(one, other)


@pytest.mark.parametrize("piece", [100, 1000])
def test_a_line_that_breaks_goes_on_where_it_broke(hub, bpe, want, tmp_path, piece):
    size = (hub.folder / "001.parquet").stat().st_size
    hub.pieces = {"001.parquet": max(piece, size // 4)}
    prepare("edu", bpe, tmp_path / "out", **SETTINGS)
    starts = [start for name, start in hub.asked if name == "001.parquet"]
    assert starts[0] == 0 and len(starts) > 2 and starts == sorted(set(starts))
    assert shards(tmp_path / "out") == want


def test_a_hub_that_is_gone_for_a_while(hub, bpe, want, tmp_path):
    hub.down = {"001.parquet"}
    with pytest.raises(DataError, match=r"could not download edu/001.parquet .*503.*goes on"):
        prepare("edu", bpe, tmp_path / "out", **SETTINGS)
    hub.down, hub.asked[:] = set(), []
    prepare("edu", bpe, tmp_path / "out", **SETTINGS)
    assert shards(tmp_path / "out") == want
    assert [name for name, _ in hub.asked] == ["001.parquet", "002.parquet"]


def test_other_bytes_than_those_listed_are_refused(hub, files, bpe, tmp_path):
    (tmp_path / "false").mkdir()
    for path in files.glob("*.parquet"):
        (tmp_path / "false" / path.name).write_bytes(path.read_bytes())
    raw = bytearray((files / "001.parquet").read_bytes())
    raw[50] ^= 1
    (tmp_path / "false" / "001.parquet").write_bytes(raw)
    hub.folder = tmp_path / "false"
    with pytest.raises(DataError, match=r"001.parquet .* sent a file whose sha256 begins"):
        prepare("edu", bpe, tmp_path / "out", **SETTINGS)


def test_a_file_at_hand_is_read_and_stays(hub, files, bpe, want, tmp_path):
    (tmp_path / "cache" / "edu").mkdir(parents=True)
    own = tmp_path / "cache" / "edu" / "001.parquet"
    own.write_bytes((files / "001.parquet").read_bytes())
    prepare("edu", bpe, tmp_path / "out", **SETTINGS)
    assert [name for name, _ in hub.asked] == ["000.parquet", "002.parquet"]
    assert own.exists() and shards(tmp_path / "out") == want


def test_a_download_that_nobody_waits_for_ends_and_keeps_what_came(hub, files, tmp_path):
    path, whole = tmp_path / "half", files / "000.parquet"
    url = os.environ["HF_ENDPOINT"].rstrip("/") + PATH + "000.parquet"
    size = whole.stat().st_size
    with pytest.raises(Stopped):
        receive(url, path, size, sha256(whole), quiet=True, stopped=lambda: True)
    assert whole.read_bytes().startswith(path.read_bytes()) and path.stat().st_size
    receive(url, path, size, sha256(whole), quiet=True)
    assert path.read_bytes() == whole.read_bytes()


def test_the_source_ends_where_the_tokens_do(hub, bpe, tmp_path):
    prepare("edu", bpe, tmp_path / "out", **SETTINGS, tokens=300)
    assert not (tmp_path / "out" / "download").exists()
    listed = json.loads((tmp_path / "out" / "manifest.json").read_text())
    counts = np.cumsum([len(bpe.encode_ordinary(text)) + 1 for text in DOCUMENTS])
    kept = int(np.searchsorted(counts, 300)) + 1
    assert sum(shard["tokens"] for shard in listed["shards"]) == counts[kept - 1]
    assert listed["tokens"] == 300


CHILD = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    import gptlib.corpora.downloads as downloads
    from gptlib.shards import prepare
    from gptlib.tokenizers import load_tokenizer

    registry, out, tokenizer = map(Path, sys.argv[1:4])
    downloads.data_path = lambda name: registry
    tokenizer = load_tokenizer(tokenizer)

    def attempt(out, kill_at):
        '''In a child that is killed just before its `kill_at`-th flush, rename or removal.'''
        if child := os.fork():
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        calls = 0
        def deadly(function):
            def call(*args, **options):
                nonlocal calls
                calls += 1
                if calls == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **options)
            return call
        os.fsync, os.replace, os.unlink, os.rmdir = map(
            deadly, (os.fsync, os.replace, os.unlink, os.rmdir)
        )
        prepare("edu", tokenizer, out, val_fraction=0.1, shard_bytes=900, shuffle_seed=0, workers=2)
        os._exit(0)

    if len(sys.argv) > 4:
        prepare("edu", tokenizer, out, val_fraction=0.1, shard_bytes=900, shuffle_seed=0, workers=2)
    point, code = 0, -9
    while code == -9:  # again and again in one folder, a little later each time
        point += 4
        code = attempt(out, point)
    print(point, code)
""")


def child(files, bpe, tmp_path, *more) -> list:
    bpe.save(tmp_path / "tok")
    out, registry = tmp_path / "out", files / "registry.toml"
    return [sys.executable, "-c", CHILD, registry, out, tmp_path / "tok", *more]


def test_killed_again_and_again_it_writes_the_same_bytes(hub, files, bpe, want, tmp_path):
    done = subprocess.run(
        child(files, bpe, tmp_path), capture_output=True, text=True, timeout=200
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    point, code = map(int, done.stdout.split())
    assert code == 0 and point > 20
    assert shards(tmp_path / "out") == want
    assert not (tmp_path / "out" / "download").exists()


def test_killed_in_the_middle_of_a_download_it_goes_on_from_there(hub, files, bpe, want, tmp_path):
    hub.silent, hub.pieces = {"002.parquet"}, {"002.parquet": 40_000}
    out = tmp_path / "out"
    process = subprocess.Popen(child(files, bpe, tmp_path, "once"))
    left = out / "download" / "002.parquet.unfinished"
    while not (left.exists() and left.stat().st_size):  # the server sends no more
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    had = left.stat().st_size
    assert 0 < had <= 40_000
    hub.free.set()
    hub.silent, hub.pieces, hub.asked[:] = set(), {}, []
    prepare("edu", bpe, out, **SETTINGS)
    assert ("002.parquet", had) in hub.asked and ("000.parquet", 0) not in hub.asked
    assert shards(out) == want


def test_a_tokenizer_is_trained_on_the_beginning_of_a_hub(hub, tmp_path):
    make = ["data", "tokenizer", "edu", "--vocab-size", "300", "--out", str(tmp_path / "tok")]
    assert main([*make, "--characters", "1000", "--special", "<|sep|>"]) == 0
    text = END_OF_TEXT.join(DOCUMENTS)
    first, left = [], 1000
    for document in DOCUMENTS:
        first.append(document[: max(0, left)])
        left -= len(document)
    want = BPETokenizer.train(
        END_OF_TEXT.join(first), 300, [END_OF_TEXT, "<|sep|>"]
    )  # fmt: skip
    assert load_tokenizer(tmp_path / "tok") == want and len(text) > 1000
    assert not (tmp_path / "tok" / "download").exists()
    assert "002.parquet" not in [name for name, _ in hub.asked]


def test_what_is_said_of_a_hub_elsewhere(hub, tmp_path, capsys):
    assert [info.state for info in list_corpora()] == ["on a hub"]
    for wrong in (lambda: fetch("edu"), lambda: load_corpus("edu")):
        with pytest.raises(DataError, match=r"3 files.*gptlib data prepare edu"):
            wrong()
    make = ["data", "prepare", "edu", "--tokenizer", "char", "--out", str(tmp_path / "x")]
    assert main(make) == 2 and "gptlib data tokenizer" in capsys.readouterr().err
    source = open_source("edu")
    assert [document.text for document in source.documents()] == [d.strip("\r") for d in DOCUMENTS]


def test_the_data_set_that_ships():
    entry = read_registry()["fineweb-edu"]
    assert entry.kind == "hub" and len(entry.revision) == 40 and entry.revision in entry.url
    assert len(entry.parts) == 14 and sum(size for _, size, _ in entry.parts) == entry.bytes
    assert all(len(sha256) == 64 for _, _, sha256 in entry.parts)
