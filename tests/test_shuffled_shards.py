"""Documents shuffled over shards: the source sorted by a draw, whatever happens on the way."""

import contextlib
import hashlib
import json
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.shards import parts, prepare, sources
from gptlib.shards.deal import in_validation
from gptlib.shards.parts import sort_key
from gptlib.shards.read import MANIFEST, UNFINISHED, open_shards
from gptlib.tokenizers import END_OF_TEXT, BPETokenizer

WORDS = "the goose the keeper and the light who lit whom 🪿 Straße".split()
SMALL = dict(shard_bytes=600, name="poems", revision="1", shuffle_seed=0)


def poem(i: int) -> str:
    rng = np.random.default_rng(i)
    return f"{i}: " + " ".join(rng.choice(WORDS, 2 + i % 23))


DOCUMENTS = [poem(i) for i in range(60)]


@pytest.fixture(scope="module")
def bpe() -> BPETokenizer:
    return BPETokenizer.train(" ".join(DOCUMENTS), 300, [END_OF_TEXT])


@pytest.fixture(scope="module")
def folder(bpe, tmp_path_factory) -> Path:
    """A shuffled shard folder that tests read and do not change."""
    out = tmp_path_factory.mktemp("shards")
    prepare(DOCUMENTS, bpe, out, **SMALL)
    return out


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file; the lock is no data."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def expected(tokenizer, split: str, documents=DOCUMENTS, seed: int | None = 0) -> list[int]:
    """All documents of a split, sorted by what the seed draws for each."""
    numbers = [i for i in range(len(documents)) if in_validation(i, 0.1, 0) == (split == "val")]
    ids = []
    for i in sorted(numbers, key=lambda i: sort_key(i, seed)):
        ids += [*tokenizer.encode_ordinary(documents[i]), tokenizer.special_tokens[END_OF_TEXT]]
    return ids


def read(folder: Path, split: str) -> list[int]:
    return np.asarray(open_shards(folder, split)).tolist()


@pytest.fixture
def jsonl(tmp_path) -> Path:
    path = tmp_path / "poems.jsonl"
    lines = [json.dumps({"text": text}) for text in DOCUMENTS]
    path.write_text("\n".join([*lines[:7], "", json.dumps({"text": " "}), *lines[7:]]))
    return path


@pytest.fixture
def encoded(monkeypatch):
    """The documents that are encoded from now on."""
    seen, encode = [], BPETokenizer.encode_array

    def spy(self, text):
        seen.append(text)
        return encode(self, text)

    monkeypatch.setattr(BPETokenizer, "encode_array", spy)
    return seen


# The order


def test_the_shards_are_the_source_sorted_by_a_draw(folder, bpe):
    for split in ("train", "val"):
        assert read(folder, split) == expected(bpe, split)
    manifest = json.loads((folder / MANIFEST).read_text())
    assert manifest["shuffle_seed"] == 0 and "tokens" not in manifest
    assert sum(s["documents"] for s in manifest["shards"]) == len(DOCUMENTS)
    assert sum(s["bytes"] for s in manifest["shards"]) == sum(len(d.encode()) for d in DOCUMENTS)
    assert not (folder / parts.FOLDER).exists() and not (folder / UNFINISHED).exists()


def test_every_shard_is_a_sample_of_the_whole(bpe, tmp_path):
    """Half of the source is of one kind and half of another: no shard has much more of one."""
    documents = ["a b c d"] * 400 + ["x y z w"] * 400
    prepare(documents, bpe, tmp_path / "out", shard_bytes=1000, shuffle_seed=3)
    kinds = []
    for path in sorted((tmp_path / "out").glob("train_*.bin")):
        text = bpe.decode(np.fromfile(path, "<u2").tolist())
        kinds.append(text.count("a b") / (text.count("a b") + text.count("x y")))
    assert len(kinds) > 4 and all(0.3 < share < 0.7 for share in kinds)


@given(
    sizes=st.lists(st.integers(1, 40), min_size=12, max_size=40),
    shard=st.integers(30, 400),
    batch=st.integers(1, 100),
    workers=st.integers(1, 4),
    seed=st.none() | st.integers(0, 2**40),
)
@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_sizes_give_the_source_sorted(
    bpe, tmp_path_factory, monkeypatch, sizes, shard, batch, workers, seed
):
    monkeypatch.setattr("gptlib.shards.deal.BATCH_BYTES", batch)
    documents = [f"{i} " + "fox " * n for i, n in enumerate(sizes)]
    out = tmp_path_factory.mktemp("any")
    prepare(
        documents, bpe, out, shard_bytes=shard, workers=workers, shuffle_seed=seed, tokens=10**9
    )
    for split in ("train", "val"):
        assert read(out, split) == expected(bpe, split, documents, seed)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_the_number_of_workers_changes_nothing(folder, bpe, tmp_path, workers, monkeypatch):
    monkeypatch.setattr("gptlib.shards.deal.BATCH_BYTES", 50)  # several batches a part
    prepare(iter(DOCUMENTS), bpe, tmp_path / "out", workers=workers, **SMALL)
    assert digests(tmp_path / "out") == digests(folder)


def test_seeds_draw_other_orders(bpe, folder, tmp_path):
    prepare(DOCUMENTS, bpe, tmp_path / "out", **(SMALL | {"shuffle_seed": 1}))
    one, other = read(folder, "train"), read(tmp_path / "out", "train")
    assert one != other and sorted(one) == sorted(other)


# So many tokens


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("limit", [1, 100, 101, 777, 10**6])
def test_the_source_ends_with_the_document_that_makes_it_so_many(bpe, tmp_path, limit, seed):
    with contextlib.suppress(DataError):  # one document has no second one to validate with
        prepare(DOCUMENTS, bpe, tmp_path / "out", **(SMALL | {"shuffle_seed": seed}), tokens=limit)
    counts = np.cumsum([len(bpe.encode_ordinary(text)) + 1 for text in DOCUMENTS])
    kept = DOCUMENTS[: int(np.searchsorted(counts, limit)) + 1]
    if any(in_validation(i, 0.1, 0) for i in range(len(kept))):
        for split in ("train", "val"):
            assert read(tmp_path / "out", split) == expected(bpe, split, kept, seed)
    else:
        listed = (tmp_path / "out" / UNFINISHED).read_text().splitlines()
        made = [json.loads(line)["part"] for line in listed[1:] if "part" in line]
        assert sum(part["documents"] for part in made) == len(kept) and made[-1]["last"]


def test_another_limit_or_order_is_refused(folder, bpe, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    before = digests(folder)
    for change, says in (
        ({"tokens": 50}, "tokens was None and is now 50"),
        ({"shuffle_seed": 1}, "shuffle_seed was 0 and is now 1"),
        ({"shuffle_seed": None}, "shuffle_seed was 0 and is now None"),
    ):
        with pytest.raises(DataError, match=says):
            prepare(DOCUMENTS, bpe, tmp_path / "copy", **(SMALL | change))
    assert digests(tmp_path / "copy") == before
    for wrong in ({"tokens": 0}, {"tokens": 1.5}, {"shuffle_seed": -1}, {"shuffle_seed": "1"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            prepare(DOCUMENTS, bpe, tmp_path / "never", **(SMALL | wrong))


# Work that is interrupted


KILLS = textwrap.dedent("""
    import os, signal, sys
    from pathlib import Path
    from gptlib.shards import prepare
    from gptlib.tokenizers import load_tokenizer

    here, source, tokenizer = Path(sys.argv[1]), sys.argv[2], load_tokenizer(sys.argv[3])

    def attempt(out, kill_at, workers):
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
        prepare(source, tokenizer, out, workers=workers, shard_bytes=600, shuffle_seed=0)
        os._exit(0)

    point, code = 0, -9
    while code == -9:  # once in a fresh folder at every point there is
        point += 1
        code = attempt(here / f"once_{point}", point, 2)
        assert attempt(here / f"once_{point}", 0, 1 + point % 3) == 0
    print(point - 1, code)
    point, code = 2, -9
    while code == -9:  # again and again in one folder, a little later each time
        point += 3
        code = attempt(here / "often", point, 1 + point % 2)
    print(point - 1, code)
""")


def test_killed_at_every_point_and_restarted_it_writes_the_same_bytes(bpe, tmp_path):
    lines = [json.dumps({"text": text}) for text in DOCUMENTS[:12]]
    source = tmp_path / "poems.jsonl"
    source.write_text("\n".join(lines))
    prepare(source, bpe, tmp_path / "want", shard_bytes=600, shuffle_seed=0)
    out = tmp_path / "out"
    done = subprocess.run(
        [sys.executable, "-c", KILLS, out, source, tmp_path / "want"],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (once, code), (often, last) = (map(int, line.split()) for line in done.stdout.splitlines())
    assert code == last == 0 and once > 20 and often > 6
    want = digests(tmp_path / "want")
    for restarted in out.iterdir():
        assert digests(restarted) == want, restarted.name


def test_a_restart_begins_where_the_last_part_ends(jsonl, bpe, tmp_path, monkeypatch, encoded):
    out, write = tmp_path / "out", parts.write_atomic
    prepare(jsonl, bpe, tmp_path / "want", shard_bytes=600, shuffle_seed=0)
    total = len(encoded)
    encoded.clear()

    def full(path, data):
        if path.name == "00003.bin":
            raise OSError(28, "No space left on device")
        write(path, data)

    monkeypatch.setattr(parts, "write_atomic", full)
    with pytest.raises(DataError, match=r"No space left.*goes on from it"):
        prepare(jsonl, bpe, out, shard_bytes=600, shuffle_seed=0)
    monkeypatch.setattr(parts, "write_atomic", write)
    listed = [json.loads(line) for line in (out / UNFINISHED).read_text().splitlines()[1:]]
    kept = sum(line["part"]["documents"] for line in listed)
    assert len(listed) == 3 and kept > 10
    starts, real = [], sources.Source.documents

    def documents(self, start=None):
        starts.append(start)
        return real(self, start)

    monkeypatch.setattr(sources.Source, "documents", documents)
    encoded.clear()
    prepare(jsonl, bpe, out, shard_bytes=600, shuffle_seed=0)
    assert starts == [tuple(listed[-1]["part"]["place"])] and starts[0][1] > 500
    assert len(encoded) == total - kept
    assert digests(out) == digests(tmp_path / "want")


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("file", ["parts/00001.bin", "parts/00003.bin"])
def test_a_damaged_part_alone_is_made_again(
    jsonl, bpe, tmp_path, monkeypatch, encoded, damage, file
):
    out = tmp_path / "out"

    def never(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gptlib.shards.gather.write_atomic", never)
    with pytest.raises(DataError, match="No space left"):
        prepare(jsonl, bpe, out, shard_bytes=600, shuffle_seed=0)
    monkeypatch.undo()
    path = out / file
    raw = bytearray(path.read_bytes())
    raw[7] ^= 1
    {
        "flip": lambda: path.write_bytes(raw),
        "truncate": lambda: path.write_bytes(raw[:9]),
        "delete": path.unlink,
    }[damage]()
    seen, encode = [], BPETokenizer.encode_array
    monkeypatch.setattr(
        BPETokenizer, "encode_array", lambda self, text: seen.append(text) or encode(self, text)
    )
    prepare(jsonl, bpe, out, shard_bytes=600, shuffle_seed=0)
    assert 0 < len(seen) < 30
    prepare(jsonl, bpe, tmp_path / "want", shard_bytes=600, shuffle_seed=0)
    assert digests(out) == digests(tmp_path / "want")


@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_shard_is_found_and_made_again(folder, bpe, tmp_path, damage):
    copy = shutil.copytree(folder, tmp_path / "copy")
    path = copy / "train_00001.bin"
    raw = bytearray(path.read_bytes())
    raw[7] ^= 1
    path.write_bytes(raw) if damage == "flip" else path.unlink()
    prepare(DOCUMENTS, bpe, copy, **SMALL)
    assert digests(copy) == digests(folder)


def test_what_is_complete_is_not_read_again(folder, bpe, tmp_path, encoded):
    copy = shutil.copytree(folder, tmp_path / "copy")
    assert prepare(iter([]), bpe, copy, **SMALL)["sha256"]
    assert encoded == [] and digests(copy) == digests(folder)


def test_a_source_that_changed_is_as_if_made_from_the_start(bpe, tmp_path, monkeypatch):
    """The parts before the change stay; those from there on do not."""
    changed = [*DOCUMENTS]
    changed[30] += " and more"
    settings = dict(shard_bytes=600, shuffle_seed=0, tokens=1000)

    def stop(*args):
        raise OSError("stop")

    monkeypatch.setattr("gptlib.shards.gather.write_atomic", stop)
    with pytest.raises(DataError):
        prepare(DOCUMENTS, bpe, tmp_path / "out", **settings)
    monkeypatch.undo()
    prepare(changed, bpe, tmp_path / "out", **settings)
    prepare(changed, bpe, tmp_path / "fresh", **settings)
    assert digests(tmp_path / "out") == digests(tmp_path / "fresh")
