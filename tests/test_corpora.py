"""Corpora: what is read, how it is split, and downloads from servers that misbehave.

The servers are real ones on the loopback address; no test leaves the machine.
"""

import contextlib
import hashlib
import http.server
import importlib
import math
import os
import socket
import threading
import warnings
from pathlib import Path

import pytest

from gptlib.corpora import Corpus, downloads, list_corpora, load_corpus
from gptlib.corpora import http_file as transfer
from gptlib.corpora.downloads import cache_folder, fetch, read_registry
from gptlib.errors import DataError, GptlibError
from gptlib.grammar import Grammar
from gptlib.shards import prepare
from gptlib.shards.read import is_shard_folder, open_shards
from gptlib.shards.sources import open_source
from gptlib.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer

POEM = ("The goose, the keeper and the light:\nwho lit whom? ß 🪿\n" * 200).encode()
PAGE = b"  <!DOCTYPE html><html><body>Sign in to the school's network</body></html>"


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves the poem, well or badly, by the first part of the path."""

    def do_GET(self):
        self.server.asked.append(self.path)
        way = self.path.split("/")[1]
        if way == "missing":
            return self.send_error(404)
        if way == "broken":
            return self.send_error(500)
        if way == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            return self.end_headers()
        if way == "silent":
            self.server.free.wait(5)
            return None
        body = {
            "page": PAGE,
            "wrong": POEM[:-1] + b"!",
            "short": POEM[:500],
            "empty": b"",
            "long": POEM + b"x",
        }.get(way, POEM)
        if way == "drip":
            return self.drip()
        if way == "honest":
            return self.honest()
        if way in ("flaky", "stale", "elsewhere", "forgetful"):
            return self.rest(way)
        self.send_response(200)
        # "cut" promises the whole poem and hangs up after 500 bytes.
        if way != "uncounted":
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:500] if way == "cut" else body)

    def drip(self):
        """A byte every ten seconds, by the clock of the server, until the other side hangs up."""
        self.send_response(200)
        self.send_header("Content-Length", str(len(POEM)))
        self.end_headers()
        self.server.time += 10
        self.wfile.write(POEM[:1])
        self.server.free.wait(5)

    def honest(self):
        """The rest of the poem, as far as there is one."""
        asked = self.headers.get("Range", "bytes=0-")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(POEM):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        self.send_header("Content-Range", f"bytes {start}-{len(POEM) - 1}/{len(POEM)}")
        self.send_header("Content-Length", str(len(POEM) - start))
        self.end_headers()
        self.wfile.write(POEM[start:])

    def rest(self, way):
        """Breaks off after 3,000 bytes, and knows how to go on from there, well or badly."""
        asked = self.headers.get("Range", "bytes=0-")
        self.server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = POEM.replace(b"goose", b"geese") if way == "stale" and not start else POEM
        self.send_response(206 if start and way != "forgetful" else 200)
        if way == "forgetful":
            start = 0
        if way == "elsewhere" and start:
            start += 1
        self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        # Those that go on badly are whole when they are asked a third time.
        whole = len(self.server.ranges) > 2 and way != "flaky"
        self.wfile.write(POEM[start:] if whole else body[start : start + 3000])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "GPTLIB_MIRROR"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.asked, running.ranges, running.time = [], [], 0
        running.free = threading.Event()
        running.url = f"http://127.0.0.1:{running.server_port}"
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.free.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("GPTLIB_DATA", str(folder))
    return folder


@pytest.fixture
def registry(tmp_path):
    """Writes a registry in which "poem" has the given addresses."""

    def write(
        *urls: str, file: str = "poem.txt", kind: str = "text", size: int = len(POEM)
    ) -> Path:
        path = tmp_path / "registry.toml"
        path.write_text(
            f'[poem]\nkind = "{kind}"\nabout = "A poem"\nlicence = "public domain"\n'
            f'file = "{file}"\nbytes = {size}\nsha256 = "{hashlib.sha256(POEM).hexdigest()}"\n'
            f'url = "{urls[0]}"\nmirrors = {list(urls[1:])}\n'
        )
        return path

    return write


def _closed_port() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


# Downloads


def test_downloaded_once_then_read_from_the_cache(server, cache, registry):
    entry = registry(server.url + "/poem.txt")
    path = fetch("poem", entry)
    assert path == cache / "poem.txt" and _files(cache) == {"poem.txt": POEM}
    assert server.asked == ["/poem.txt"]
    assert fetch("poem", entry) == path
    assert server.asked == ["/poem.txt"]


def test_corpus_comes_through_the_download(server, cache, registry):
    corpus = load_corpus("poem", registry=registry(server.url + "/poem.txt"))
    text = POEM.decode()
    assert corpus.text == text and corpus.train == text[: int(0.9 * len(text))]
    assert corpus.train + corpus.val == text
    assert (corpus.name, corpus.licence) == ("poem", "public domain")
    assert corpus.sha256 == hashlib.sha256(POEM).hexdigest()
    assert corpus.entropy is None and corpus.val_floor is None


def test_a_hit_needs_no_network_and_writes_nothing(cache, registry):
    (cache / "poem.txt").write_bytes(POEM)
    before = os.stat(cache).st_mtime_ns
    cache.chmod(0o555)
    try:
        assert fetch("poem", registry(f"http://127.0.0.1:{_closed_port()}/")).read_bytes() == POEM
    finally:
        cache.chmod(0o755)
    assert os.stat(cache).st_mtime_ns == before


def test_a_file_in_a_subfolder_or_beside_it_is_found(cache, registry):
    entry = registry(f"http://127.0.0.1:{_closed_port()}/", file="poems/poem.txt")
    (cache / "poem.txt").write_bytes(POEM)
    assert fetch("poem", entry) == cache / "poem.txt"
    (cache / "poems").mkdir()
    (cache / "poems" / "poem.txt").write_bytes(POEM)
    assert fetch("poem", entry) == cache / "poems" / "poem.txt"


@pytest.mark.parametrize("damage", [POEM[:-1], POEM[:-1] + b"?", b"", PAGE])
def test_a_damaged_cache_is_named_and_mended(server, cache, registry, damage):
    (cache / "poem.txt").write_bytes(damage)
    with pytest.warns(UserWarning, match=r"poem\.txt is damaged or another file") as said:
        path = fetch("poem", registry(server.url + "/poem.txt"))
    assert len(said) == 1 and path == cache / "poem.txt"
    assert _files(cache) == {"poem.txt": POEM, "poem.txt.damaged": damage}  # it may be the user's
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fetch("poem", registry(server.url + "/poem.txt"))


def test_a_damaged_cache_without_a_network_is_refused_and_kept(cache, registry):
    (cache / "poem.txt").write_bytes(b"something else")
    with pytest.warns(UserWarning), pytest.raises(DataError, match="could not download poem"):
        load_corpus("poem", registry=registry(f"http://127.0.0.1:{_closed_port()}/x"))
    assert _files(cache) == {"poem.txt": b"something else"}


FAULTS = {
    "missing": "answered 404",
    "broken": "answered 500",
    "page": "sent a web page instead of the file",
    "wrong": "sent a file whose sha256 begins",
    "short": "sent 500 bytes instead of",
    "empty": "sent 0 bytes instead of",
    "long": f"sent more than the file's {len(POEM):,} bytes",
    "drip": "is too slow",
    "cut": "broke off before the end",
    "loop": "redirects in a circle",
    "silent": "gave no answer within",
}


@pytest.fixture
def patience(server, monkeypatch):
    """No test waits long, and none depends on how fast this machine is."""
    monkeypatch.setattr(transfer, "TIMEOUT", 0.3)
    monkeypatch.setattr(transfer, "clock", lambda: server.time)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_misbehaves(server, cache, registry, patience, fault):
    with pytest.raises(DataError) as error:
        fetch("poem", registry(f"{server.url}/{fault}/poem.txt"))
    message = str(error.value)
    assert FAULTS[fault] in message and f"127.0.0.1:{server.server_port}" in message
    assert f"put the file there as {cache / 'poem.txt'}" in message and "GPTLIB_DATA" in message
    assert "\n" not in message
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_the_next_mirror_is_tried(server, cache, registry, patience, fault):
    path = fetch("poem", registry(f"{server.url}/{fault}/poem.txt", server.url + "/good/poem.txt"))
    assert path.read_bytes() == POEM
    assert _files(cache) == {"poem.txt": POEM}
    assert server.asked[0] == f"/{fault}/poem.txt" and server.asked[-1] == "/good/poem.txt"


def test_a_download_goes_on_where_it_broke_off(server, cache, registry):
    assert fetch("poem", registry(server.url + "/flaky/poem.txt")).read_bytes() == POEM
    starts = range(0, len(POEM), 3000)
    assert server.ranges == [f"bytes={start}-" for start in starts] and len(starts) > 3
    assert _files(cache) == {"poem.txt": POEM}


def test_the_next_mirror_goes_on_where_the_last_broke_off(server, cache, registry):
    entry = registry(server.url + "/cut/poem.txt", server.url + "/flaky/poem.txt")
    assert fetch("poem", entry).read_bytes() == POEM
    assert server.ranges[0] == "bytes=500-"


def test_a_server_that_never_comes_to_the_end_is_given_up(server, cache, registry, monkeypatch):
    monkeypatch.setattr(transfer, "TRIES", 2)
    with pytest.raises(DataError, match="broke off before the end"):
        fetch("poem", registry(server.url + "/flaky/poem.txt"))
    assert len(server.ranges) == 2 and _files(cache) == {}


@pytest.mark.parametrize("size", [len(POEM), 0])
def test_a_model_that_was_cut_off_goes_on_in_the_next_call(
    server, cache, registry, monkeypatch, size
):
    monkeypatch.setattr(transfer, "TRIES", 2)
    part = cache / "poem.txt.part"
    entry = registry(server.url + "/flaky/poem.txt", kind="model", size=size)
    with pytest.raises(DataError, match="broke off before the end"):
        fetch("poem", entry)
    assert part.read_bytes() == POEM[:6000] and not (cache / "poem.txt").exists()
    fetch("poem", entry)
    assert server.ranges == [f"bytes={start}-" for start in (0, 3000, 6000, 9000)]
    assert not part.exists()
    assert (cache / "poem.txt").read_bytes() == POEM


@pytest.mark.parametrize("had", [b"x" * 10, POEM + b"x" * 10, POEM])
def test_what_is_left_of_a_model_may_be_wrong_or_whole(server, cache, registry, had):
    (cache / "poem.txt.part").write_bytes(had)
    entry = registry(server.url + "/honest/poem.txt", kind="model", size=0)
    assert fetch("poem", entry).read_bytes() == POEM
    assert server.ranges == ([] if had == POEM else [f"bytes={len(had)}-", "bytes=0-"])


@pytest.mark.parametrize("fault", ["missing", "page", "wrong", "short", "long", "cut", "uncounted"])
def test_a_file_of_unknown_size_is_known_by_its_hash(server, cache, registry, patience, fault):
    with pytest.raises(DataError) as error:
        fetch("poem", registry(f"{server.url}/{fault}/poem.txt", kind="model", size=0))
    by_hash = "sent a file whose sha256 begins"
    says = {"short": by_hash, "long": by_hash, "uncounted": "does not say how many bytes"}
    assert (FAULTS | says)[fault] in str(error.value)
    assert "could not download poem: 127.0.0.1" in str(error.value)
    assert not (cache / "poem.txt").exists()


@pytest.mark.parametrize("way", ["stale", "elsewhere", "forgetful"])
def test_pieces_that_do_not_fit_are_thrown_away(server, cache, registry, way):
    """The file changed in between; another part comes than was asked for; no parts at all."""
    url = f"{server.url}/{way}/poem.txt"
    if way == "forgetful":  # the beginning comes again, and again breaks off: no headway
        with pytest.raises(DataError, match="broke off before the end"):
            fetch("poem", registry(url))
        assert server.ranges == ["bytes=0-", "bytes=3000-"] and _files(cache) == {}
    assert fetch("poem", registry(url)).read_bytes() == POEM
    assert server.ranges[-1] == "bytes=0-" and _files(cache) == {"poem.txt": POEM}


def test_no_server_at_all(cache, registry):
    dead = f"http://127.0.0.1:{_closed_port()}"
    with pytest.raises(DataError, match=r"no connection; 127.*: no connection\. Without a network"):
        fetch("poem", registry(dead + "/a", dead + "/b"))
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("url", ["", "nonsense", "smb://there/poem.txt"])
def test_an_address_that_is_none(server, cache, registry, url):
    with pytest.raises(DataError, match="could not download poem"):
        fetch("poem", registry(url))
    assert fetch("poem", registry(url, server.url + "/poem.txt")).read_bytes() == POEM


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_mirror_of_ones_own_is_asked_first(server, cache, registry, monkeypatch, slash):
    monkeypatch.setenv("GPTLIB_MIRROR", server.url + "/school" + slash)
    entry = registry(f"http://127.0.0.1:{_closed_port()}/x", file="texts/poem.txt")
    assert fetch("poem", entry) == cache / "texts" / "poem.txt"
    assert server.asked == ["/school/texts/poem.txt"]


def test_a_mirror_that_lacks_the_file_hinders_nothing(server, cache, registry, monkeypatch):
    monkeypatch.setenv("GPTLIB_MIRROR", server.url + "/missing")
    assert fetch("poem", registry(server.url + "/poem.txt")).read_bytes() == POEM


def test_a_cache_that_cannot_be_written(server, tmp_path, registry, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="cannot write poem into the cache folder"):
        fetch("poem", registry(server.url + "/poem.txt"))
    assert server.asked == []


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("before", [None, b"damaged"])
def test_several_at_once_all_get_the_file(server, cache, registry, before):
    if before:
        (cache / "poem.txt").write_bytes(before)
    entry, paths = registry(server.url + "/poem.txt"), []
    threads = [threading.Thread(target=lambda: paths.append(fetch("poem", entry))) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(paths) == 4 and (cache / "poem.txt").read_bytes() == POEM
    assert not list(cache.glob(".download-*"))


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTLIB_DATA", "~/texts")
    assert cache_folder() == Path.home() / "texts"
    monkeypatch.setenv("GPTLIB_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "gptlib" and cache_folder().is_absolute()


@pytest.mark.parametrize(
    ("system", "expected"),
    [("unix.Unix", ".cache/gptlib"), ("macos.MacOS", "Library/Caches/gptlib"),
     ("windows.Windows", "AppData/Local/gptlib/gptlib/Cache")],
)  # fmt: skip
def test_the_cache_stays_where_earlier_versions_made_it(monkeypatch, tmp_path, system, expected):
    module, name = system.split(".")
    kind = getattr(importlib.import_module(f"platformdirs.{module}"), name)
    for variable in ("GPTLIB_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *about: kind(*about).user_cache_dir)
    local = str(tmp_path / "AppData" / "Local")
    monkeypatch.setattr("platformdirs.windows.get_win_folder", lambda name: local)
    assert cache_folder() == tmp_path / expected


@pytest.fixture
def no_home(monkeypatch):
    """A user whom the system does not know, as in many containers."""
    pwd = pytest.importorskip("pwd")

    def unknown(*args):
        raise KeyError("no such user")

    for name in ("HOME", "GPTLIB_DATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


def test_without_a_home_what_needs_none_works(no_home, tmp_path, monkeypatch):
    assert {info.state for info in list_corpora()} == {"embedded", "to download", "on a hub"}
    assert load_corpus("tales", size=5_000).text
    for need in (lambda: load_corpus("shakespeare"), BPETokenizer.gpt2, cache_folder):
        with pytest.raises(DataError, match="no home folder for you.*set GPTLIB_DATA to a folder"):
            need()
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path))
    assert cache_folder() == tmp_path


def test_a_tilde_is_the_home_folder_wherever_a_text_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "a.txt").write_text("the fox sat. " * 20)
    (tmp_path / "a.jsonl").write_text('{"text": "the fox sat."}\n' * 20)
    assert load_corpus("~/a.txt").text == load_corpus(Path("~/a.txt")).text == "the fox sat. " * 20
    assert len(list(open_source("~/a.jsonl").documents())) == 20
    tokenizer = CharTokenizer.train("the fox sat.\n")
    prepare("~/a.jsonl", tokenizer, "~/shards")
    assert is_shard_folder("~/shards") and len(open_shards("~/shards", "val", tokenizer))
    assert load_tokenizer("~/shards") == tokenizer
    with pytest.raises(DataError, match="no such file"):
        load_corpus("~nobody-of-that-name/a.txt")


def test_a_tilde_without_a_home(no_home):
    for read in (load_corpus, open_source, is_shard_folder, load_tokenizer):
        with pytest.raises(GptlibError, match="begins with ~.*write the path in full, or set HOME"):
            read("~/a.txt")


def test_gpt2_merges_come_through_the_same_door(server, cache, monkeypatch):
    monkeypatch.setattr(downloads, "data_path", lambda name: pytest.fail("the registry was given"))
    table = cache / "registry.toml"
    merges = b"#version: 0.2\n\xc4\xa0 t\n\xc4\xa0t h\n"
    (cache / "vocab.bpe").write_bytes(merges)
    table.write_text(
        '[gpt2]\nkind = "tokenizer"\nabout = ""\nlicence = ""\nfile = "gpt2-bpe/vocab.bpe"\n'
        f'bytes = {len(merges)}\nsha256 = "{hashlib.sha256(merges).hexdigest()}"\n'
    )
    tokenizer = BPETokenizer.gpt2(registry=table)
    assert tokenizer.encode(" the<|endoftext|>") == [257, 68, 258]


# The registry


def test_the_registry_that_ships():
    entries = read_registry()
    assert set(entries) >= {"tales", "shakespeare", "kalevala", "gpt2"}
    for entry in entries.values():
        assert entry.about and entry.licence and entry.kind in (
            "embedded", "text", "tokenizer", "dataset", "hub",
        )  # fmt: skip
        if entry.kind == "hub":
            assert all(url.startswith("https://") for url in (entry.url, *entry.mirrors))
        elif entry.kind != "embedded":
            assert len(entry.sha256) == 64 and entry.bytes > 0 and entry.file
            assert all(url.startswith("https://") for url in (entry.url, *entry.mirrors))
            assert len(entry.mirrors) >= 1


def test_list_says_what_is_at_hand(cache, registry):
    entry = registry("http://127.0.0.1:9/")
    [poem] = list_corpora(entry)
    assert (poem.name, poem.kind, poem.bytes, poem.state) == (
        "poem",
        "text",
        len(POEM),
        "to download",
    )
    (cache / "poem.txt").write_bytes(POEM)
    assert list_corpora(entry)[0].state == "in cache"
    (cache / "poem.txt").write_bytes(POEM[1:])
    assert list_corpora(entry)[0].state == "to download"
    assert {i.name: i.state for i in list_corpora()}["tales"] == "embedded"


@pytest.mark.parametrize("content", ["[poem", "poem = 3", "[poem]\ncolour = 'red'", "[poem]"])
def test_a_registry_that_is_none(tmp_path, content):
    (tmp_path / "registry.toml").write_text(content)
    with pytest.raises(DataError, match="not a registry of corpora"):
        read_registry(tmp_path / "registry.toml")
    with pytest.raises(DataError, match="not a registry of corpora"):
        read_registry(tmp_path / "missing.toml")


def test_fetch_of_what_is_no_file():
    with pytest.raises(DataError, match="made on this machine"):
        fetch("tales")
    with pytest.raises(DataError, match="did you mean 'shakespeare'"):
        fetch("shakespear")


# Files of the reader's own


def test_own_file(tmp_path, monkeypatch):
    path = tmp_path / "novel.txt"
    path.write_bytes(b"\xef\xbb\xbfStra\xc3\x9fe\r\nund\rso\nweiter")
    corpus = load_corpus(path)
    assert corpus.text == "Straße\nund\nso\nweiter"
    assert len(corpus.train) == int(0.9 * len(corpus.text))
    assert corpus.name == "novel.txt" and "reader's own" in corpus.licence
    assert corpus.sha256 == hashlib.sha256(corpus.text.encode()).hexdigest()
    assert corpus.train_documents == corpus.val_documents == ()
    assert load_corpus(str(path)) == corpus
    monkeypatch.chdir(tmp_path)
    assert load_corpus("novel.txt") == corpus
    assert str(tmp_path) not in repr(corpus)


def test_a_name_wins_over_a_file_and_a_path_over_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("tales").write_text("my own tales")
    assert load_corpus("./tales").text == "my own tales"
    assert load_corpus(Path("tales")).text == "my own tales"


def test_size_keeps_the_beginning(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("0123456789" * 10)
    corpus = load_corpus(path, size=20)
    assert (corpus.train, corpus.val) == ("012345678901234567", "89")
    assert load_corpus(path, size=100).text == "0123456789" * 10
    with pytest.raises(DataError, match=r"size is 101, but a\.txt has 100 characters"):
        load_corpus(path, size=101)


@pytest.mark.parametrize("size", [0, -5, 1.5, "10", True])
def test_size_that_is_none(size):
    with pytest.raises(DataError, match="expected a whole number of characters"):
        load_corpus("tales", size=size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "has no text in it, 0 blank characters"),
        (b" \n\t\r\n \xc2\xa0", "has no text in it, 6 blank characters"),
        (b"\xef\xbb\xbf", "has no text in it"),
        (b"x", "has 1 character; it takes 2"),
        (b"Stra\xdfe", "not UTF-8: byte 0xdf at offset 4 .*Latin-1"),
        ("Straße".encode("utf-16"), "not UTF-8: .*UTF-16"),
        (b"\x89PNG\r\n\x1a\n", "not UTF-8: byte 0x89 at offset 0"),
        (b"\xed\xa0\xbd", "not UTF-8"),
    ],
)
def test_files_that_are_no_text(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load_corpus(tmp_path / "a.txt")


def test_two_characters_are_enough(tmp_path):
    (tmp_path / "a.txt").write_text("ab")
    corpus = load_corpus(tmp_path / "a.txt")
    assert (corpus.train, corpus.val) == ("a", "b")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("shakespear", "no such file, and 'shakespear' is not.*did you mean 'shakespeare'"),
        (
            "no/such/novel.txt",
            "it knows kalevala, places, shakespeare, stories, tales: use one of these",
        ),
        (Path("no-such-novel"), "no such file"),
        ("First Citizen: Before we proceed " * 500, r"'First Citizen.*\.\.\.' is not"),
        ("a\x00b", "no such file"),
        ("gpt2", "is a tokenizer, not a corpus"),
        (
            "mnist-test-images",
            "is a dataset, not a corpus; corpora are tales, stories, places, shakespeare, kalevala",
        ),
        ("", "neither a corpus nor a path"),
        (None, "neither a corpus nor a path"),
        (3, "neither a corpus nor a path"),
    ],
)
def test_names_that_are_none(name, message):
    with pytest.raises(DataError, match=message) as error:
        load_corpus(name)
    assert len(str(error.value)) < 400


def test_a_folder_is_no_corpus(tmp_path):
    with pytest.raises(DataError, match="is a folder; give the path of one UTF-8 text file"):
        load_corpus(tmp_path)


def test_a_file_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("secret")

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(DataError, match=r"a\.txt cannot be read \(Permission denied\)"):
        load_corpus(tmp_path / "a.txt")


@pytest.mark.parametrize("name", ["a.json", "a.JSON", "a b.parquet"])
def test_documents_are_no_corpus(tmp_path, name):
    """Else a model would learn the syntax of JSON, and nobody would notice."""
    (tmp_path / name).write_text('{"text": "the fox"}\n' * 20)
    with pytest.raises(DataError, match="holds documents.*gptlib data prepare .*--out FOLDER"):
        load_corpus(tmp_path / name)


def close(monkeypatch, folder: Path) -> None:
    """Let nobody look into a folder, not even the superuser that a test may run as."""
    stat, access = os.stat, os.access

    def closed(path, *args, **options):
        if folder.name in Path(os.fspath(path)).parent.parts if isinstance(path, Path | str) else 0:
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *args, **options)

    monkeypatch.setattr(os, "stat", closed)
    monkeypatch.setattr(os, "access", lambda path, mode: path != folder and access(path, mode))


def test_what_may_not_be_looked_at_is_not_called_missing(tmp_path, monkeypatch):
    folder = tmp_path / "closed"
    folder.mkdir()
    (folder / "a.txt").write_text("secret")
    close(monkeypatch, folder)
    for path in (folder / "a.txt", folder / "a.jsonl", folder):
        for reader in (load_corpus, open_source):
            with pytest.raises(DataError, match=r"cannot be read .Permission denied.; check its"):
                reader(path)
    with pytest.raises(DataError, match="no such file"):
        load_corpus(tmp_path / "open.txt")


def test_a_cached_file_that_may_not_be_read_is_not_called_damaged(
    server, cache, registry, monkeypatch
):
    (cache / "poem.txt").write_bytes(POEM)
    monkeypatch.setattr(os, "access", lambda path, mode: path != cache / "poem.txt")
    monkeypatch.setattr(downloads, "_sha256", lambda path: "")
    entry = registry(server.url + "/poem.txt")
    with pytest.warns(UserWarning, match=r"poem.txt cannot be read .Permission denied."):
        assert fetch("poem", entry).read_bytes() == POEM


# The embedded corpus


@pytest.fixture(scope="module")
def tales() -> Corpus:
    return load_corpus("tales", size=60_000)


def test_tales_is_split_by_document(tales):
    separator = Grammar.load("tales").separator
    for part, documents in (
        (tales.train, tales.train_documents),
        (tales.val, tales.val_documents),
    ):
        assert part == "".join(document + separator for document in documents)
        assert part.count(separator) == len(documents)
    total = len(tales.train_documents) + len(tales.val_documents)
    assert len(tales.train_documents) == int(0.9 * total)
    assert tales.text == tales.train + tales.val
    assert 60_000 <= len(tales.text) < 65_000
    assert tales.name == "tales" and tales.licence


def test_tales_repeats_by_seed(tales):
    again = load_corpus("tales", size=60_000, seed=0)
    assert again.sha256 == tales.sha256 and again.val == tales.val
    assert load_corpus("tales", size=60_000, seed=1).text != tales.text


def test_val_floor_is_the_surprisal_of_the_validation_text(tales):
    grammar = Grammar.load("tales")
    nats = [-grammar.score(document) for document in tales.val_documents]
    assert tales.val_floor == pytest.approx(math.fsum(nats) / len(tales.val), abs=1e-12)
    assert tales.entropy == grammar.entropy / grammar.mean_length


def test_the_floor_meets_the_entropy():
    # A ratio of means over documents: its standard error by the delta method.
    corpus = load_corpus("tales", size=200_000, seed=5)
    grammar = Grammar.load("tales")
    documents = corpus.val_documents
    excess = [
        -grammar.score(text) - corpus.entropy * (len(text) + len(grammar.separator))
        for text in documents
    ]
    mean = sum(excess) / len(excess)
    spread = math.sqrt(sum((e - mean) ** 2 for e in excess) / (len(excess) - 1))
    error = spread / math.sqrt(len(excess)) / (len(corpus.val) / len(documents))
    assert abs(corpus.val_floor - corpus.entropy) < 4 * error


def test_val_floor_is_worked_out_once(tales, monkeypatch):
    first = tales.val_floor
    monkeypatch.setattr(Grammar, "score", lambda *_: pytest.fail("asked again"))
    assert tales.val_floor == first


def test_validation_documents_are_new(tales):
    seen = set(tales.train_documents)
    known = sum(document in seen for document in tales.val_documents)
    assert known <= 0.02 * len(tales.val_documents)
    assert len(seen) >= 0.98 * len(tales.train_documents)


def test_too_small_to_split():
    with pytest.raises(DataError, match=r"size=1 makes 1 document of tales, too few"):
        load_corpus("tales", size=1)


# The real texts, where they are at hand


@pytest.mark.parametrize(
    ("name", "characters", "symbols"), [("shakespeare", 1_115_394, 65), ("kalevala", 545_594, 51)]
)
def test_real_texts(name, characters, symbols):
    entry = read_registry()[name]
    if "GPTLIB_DATA" not in os.environ or downloads.find_cached(entry) is None:
        pytest.skip(f"GPTLIB_DATA holds no {entry.file}")
    corpus = load_corpus(name)
    assert len(corpus.text) == characters and len(set(corpus.text)) == symbols
    assert len(corpus.train) == int(0.9 * characters)
    assert corpus.sha256 == entry.sha256  # no byte-order mark, no "\r": the text is the file
