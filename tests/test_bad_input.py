"""Thirty bad inputs, each answered by one clear error.

A row says what is done, which error answers, and what the message must say: what was found, what
was expected and how to mend it. Unless the row says otherwise, no optimizer has made a step by
then. Rows that a person can reach from the command line are run there too. The file is then run
again under `python -O`, where asserts vanish, so what is checked here is checked without them.
"""

import errno
import hashlib
import http.server
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from gptlib import checkpoint
from gptlib.cli import main
from gptlib.corpora import load_corpus
from gptlib.corpora.downloads import fetch
from gptlib.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    DeviceError,
    GptlibError,
    TokenizerError,
)
from gptlib.model import GPT, GPTConfig
from gptlib.runs import load_run
from gptlib.runtime import Runtime
from gptlib.sampling import generate, stream
from gptlib.shards import prepare
from gptlib.shards.read import MANIFEST, open_shards
from gptlib.tokenizers import CharTokenizer
from gptlib.tokenizers.base import content_hash
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
TEXT = "the fox sat. the hen sat. the fox ran.\n" * 60
TOKENIZER = CharTokenizer.train(TEXT)
IDS = np.array(TOKENIZER.encode(TEXT), dtype=np.uint16)
V = TOKENIZER.vocab_size  # 13
SHAPE = dict(block_size=16, vocab_size=V, n_layer=1, n_head=2, n_embd=16)
QUICK = dict(steps=4, batch_size=4, warmup=1, eval_every=2, save_every=2)
SMALL = (
    "--n-layer 1 --n-head 2 --n-embd 16 --block-size 16 --steps 4 --batch-size 4 --warmup 1 "
    "--eval-every 2 --save-every 2"
).split()
PAGE = b"<!DOCTYPE html><html>Sign in to the school's network</html>"
POEM = TEXT.encode()[:200]


def tiny(**changes) -> GPT:
    torch.manual_seed(1)
    return GPT(GPTConfig(**(SHAPE | changes)))


class Here:
    """What a row may use: a folder of its own, a finished run and token shards to spoil."""

    def __init__(self, folder: Path, finished: Path) -> None:
        self.folder, self.finished = folder, finished
        self.out = str(folder / "out")

    def file(self, data: bytes, name: str = "text.txt") -> str:
        (self.folder / name).write_bytes(data)
        return str(self.folder / name)

    def copy(self, name: str) -> Path:
        """A copy of the finished "run" or of the "shards"."""
        return shutil.copytree(self.finished / name, self.folder / name, dirs_exist_ok=True)

    def fit(self, train=IDS[:2000], val=IDS[2000:], model=None, out="out", **changes):
        config = TrainConfig(**(QUICK | changes))
        model = tiny() if model is None else model
        return Trainer(model, train, val, config, self.folder / out, TOKENIZER).fit()

    def train(self, corpus: str, *flags: str) -> list[str]:
        """The command line of a small run on a corpus."""
        return ["train", "--corpus", corpus, "--out", self.out, *SMALL, *flags]


@dataclass(frozen=True)
class Row:
    """A bad input.

    `says` is what the message must have in it: what was found, what was expected, how to mend it.
    `cli` gives the same as a command line; `cli_says` is for messages that only the command line
    has. `steps` says that the fault cannot be known before the first step.
    """

    do: Callable[[Here], object]
    kind: type[GptlibError]
    says: tuple[str, str, str]
    cli: Callable[[Here], list[str]] | None = None
    cli_says: tuple[str, ...] | None = None
    steps: bool = False


# --- how things are spoiled -----------------------------------------------------------------------


def spoil(path: Path, edit: Callable[[bytes], bytes]) -> Path:
    """Change a file and return its folder."""
    path.write_bytes(edit(path.read_bytes()))
    return path.parent


def odd(here: Here) -> Path:
    return spoil(here.copy("shards") / "train_00000.bin", lambda raw: raw[:-1])


def flipped(here: Here) -> Path:
    return spoil(here.copy("shards") / "train_00000.bin", lambda raw: b"\x01\x00" + raw[2:])


def missing(here: Here) -> Path:
    folder = here.copy("shards")
    (folder / "train_00000.bin").unlink()
    return folder


def overflowed(here: Here) -> Path:
    """Shards whose manifest keeps 65,537 ids in 16 bits, rightly sealed."""
    folder = here.copy("shards")
    manifest = json.loads((folder / MANIFEST).read_text()) | {"vocab_size": 2**16 + 1}
    del manifest["sha256"]
    manifest["sha256"] = content_hash(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


class Liar(CharTokenizer):
    """A tokenizer that gives an id which its vocabulary does not have."""

    def encode_array(self, text):
        return np.array([70_000], dtype=np.uint32)


class Server(http.server.BaseHTTPRequestHandler):
    """Serves a page where the poem should be, or the beginning of the poem."""

    def do_GET(self):
        body = PAGE if self.path == "/page" else POEM[:50]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def download(here: Here, path: str) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        here.monkeypatch.delenv(name, raising=False)
    here.monkeypatch.setenv("GPTLIB_DATA", str(here.folder / "cache"))
    with http.server.HTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        registry = here.file(
            f'[poem]\nkind = "text"\nabout = ""\nlicence = ""\nfile = "poem.txt"\n'
            f'bytes = {len(POEM)}\nsha256 = "{hashlib.sha256(POEM).hexdigest()}"\n'
            f'url = "http://127.0.0.1:{server.server_port}/{path}"\n'.encode()
        )
        try:
            fetch("poem", registry)
        finally:
            server.shutdown()
            if (here.folder / "cache" / "poem.txt").exists():
                raise AssertionError("something wrong was kept in the cache")


def damaged(here: Here) -> Path:
    """A run each of whose checkpoints has one byte changed."""
    run = here.copy("run")
    for step in checkpoint.saved_steps(run):
        spoil(checkpoint.folder_of(run, step) / checkpoint.MODEL, lambda raw: raw[:-1] + b"?")
    return run


def foreign(here: Here) -> Path:
    """A checkpoint of something else, well sealed."""
    run = here.copy("run")
    shutil.rmtree(run / "checkpoints")
    (run / "best").unlink()
    checkpoint.save_weights(run, 1, {"w": torch.zeros(2)}, {})
    return run


def pickled(here: Here) -> None:
    """Checkpoints whose state is a pickle that makes a folder when it is opened."""
    canary = here.folder / "canary"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(canary),)

    pickle.loads(pickle.dumps(Bomb()))  # it does work
    canary.rmdir()
    inside = io.BytesIO()
    torch.save(Bomb(), inside)
    try:
        for data in (pickle.dumps(Bomb()), inside.getvalue()):
            run = here.copy("run")
            for step in checkpoint.saved_steps(run):
                reseal(checkpoint.folder_of(run, step), {checkpoint.STATE: data})
            with warnings.catch_warnings():  # torch's, on the kind of pickle
                warnings.simplefilter("ignore")
                try:
                    here.fit(out="run")
                except CheckpointError as caught:
                    error = caught
    finally:
        if canary.exists():
            raise AssertionError("the pickle was opened")
    raise error


def reseal(folder: Path, contents: dict[str, bytes]) -> None:
    """Change files of a checkpoint, and let its manifest state the right hashes."""
    manifest = json.loads((folder / checkpoint.MANIFEST).read_bytes())
    del manifest["manifest_sha256"]
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        manifest["sha256"][name] = hashlib.sha256(data).hexdigest()
    (folder / checkpoint.MANIFEST).write_bytes(checkpoint._sealed(manifest))


def no_number(here: Here) -> None:
    """Train until the loss is no number; what was saved before stays whole."""
    here.fit(out="run", grad_clip=0.0)
    before = {p: p.read_bytes() for p in (here.folder / "run" / "checkpoints").rglob("*.*")}
    try:
        run = here.folder / "run"
        config = TrainConfig(**(QUICK | dict(steps=99, lr=1e12, min_lr=1e12, grad_clip=0.0)))
        Trainer(tiny(), IDS[:2000], IDS[2000:], config, run, TOKENIZER).fit(override=True)
    finally:
        good = [p for p in before if p.exists() and p.read_bytes() == before[p]]
        if not good:
            raise AssertionError("no good checkpoint was kept")


def infinite_gradient(here: Here) -> None:
    """A finite loss whose gradient is infinite: the weights after it would be none."""
    model = tiny()
    model.transformer.ln_f.weight.register_hook(lambda grad: grad * float("inf"))
    try:
        here.fit(model=model)
    finally:
        if checkpoint.saved_steps(here.folder / "out"):
            raise AssertionError("weights that are no numbers were saved")


def weights_of_nan(here: Here) -> None:
    model = tiny()
    torch.nn.init.constant_(model.transformer.ln_f.weight, float("nan"))
    here.fit(model=model)


@contextmanager
def locked(run: Path):
    with FileLock(run / ".lock"):
        yield


def fit_locked(here: Here) -> None:
    with locked(here.copy("run")):
        here.fit(out="run")


def full_disk(here: Here) -> None:
    run = here.copy("run")
    before = {p: p.read_bytes() for p in (run / "checkpoints").rglob("*.*")}

    def refuse(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    here.monkeypatch.setattr(checkpoint, "move_into_place", refuse)
    try:
        config = TrainConfig(**(QUICK | dict(steps=6)))
        Trainer(tiny(), IDS[:2000], IDS[2000:], config, run, TOKENIZER).fit(override=True)
    finally:
        if {p: p.read_bytes() for p in (run / "checkpoints").rglob("*.*")} != before:
            raise AssertionError("what was saved was touched")


def sample(**settings) -> Callable[[Here], object]:
    return lambda here: generate(tiny(), [1], **({"max_new_tokens": 3} | settings))


def sample_cli(*flags: str) -> Callable[[Here], list[str]]:
    return lambda here: ["sample", str(here.copy("run")), "--prompt", "the", *flags]


def all_ignored(here: Here) -> None:
    model, idx = tiny(), torch.zeros(2, 16, dtype=torch.int64)
    model(idx, torch.full_like(idx, -1))


def other_tokenizer(here: Here) -> Path:
    """A run whose tokenizer was replaced by another one of the same size."""
    run = here.copy("run")
    CharTokenizer("".join(chr(ord(c) + 1) for c in TOKENIZER.characters)).save(run / "tokenizer")
    return run


# --- the thirty -----------------------------------------------------------------------------------

TABLE = {
    "01 empty text": Row(
        lambda h: load_corpus(h.file(b"")),
        DataError, ("has no text in it, 0 blank", "expected UTF-8 text", "give another"),
        lambda h: h.train(h.file(b"")),
    ),
    "02 whitespace only": Row(
        lambda h: load_corpus(h.file(b" \n\t\xc2\xa0 \n")),
        DataError, ("has no text in it, 6 blank", "expected UTF-8 text", "give another"),
        lambda h: h.train(h.file(b" \n\t\xc2\xa0 \n")),
    ),
    "03 not UTF-8": Row(
        lambda h: load_corpus(h.file(b"Stra\xdfe")),
        DataError, ("byte 0xdf at offset 4", "is not UTF-8", "save it as UTF-8"),
        lambda h: h.train(h.file(b"Stra\xdfe")),
    ),
    "04 missing path": Row(
        lambda h: load_corpus(str(h.folder / "nowhere.txt")),
        DataError, ("no such file", "nowhere.txt' is not a name", "use one of these"),
        lambda h: h.train(str(h.folder / "nowhere.txt")),
    ),
    "04 folder without a shard manifest": Row(
        lambda h: open_shards(h.folder, "train"),
        DataError, ("no manifest.json in it", "is no shard folder", "gptlib data prepare"),
        lambda h: h.train(str(h.folder)), ("is a folder", "manifest.json", "gptlib data prepare"),
    ),
    "05 train split not longer than block_size": Row(
        lambda h: h.fit(train=IDS[:16]),
        DataError, ("train split has 16 tokens", "needs 17", "smaller block_size"),
        lambda h: h.train(h.file(TEXT.encode()[:18])),
    ),
    "06 val split too short": Row(
        lambda h: h.fit(val=IDS[:1]),
        DataError, ("val split has 1 tokens", "needs 2", "use a longer text"),
        lambda h: h.train(h.file(b"ab"), "--block-size", "1"), ("has 1 tokens", "needs 2"),
    ),
    **{
        f"07 val fraction {value}": Row(
            lambda h, value=value: prepare(["a", "b"], TOKENIZER, h.out, val_fraction=value),
            ConfigError, (f"val_fraction is {value}", "between 0 and 1", "such as 0.1"),
            lambda h, value=value: [
                "data", "prepare", h.file(TEXT.encode()), "--out", h.out, f"--val-fraction={value}"
            ],
        )
        for value in (0.0, 1.0, -0.1, float("nan"), 1e-12)
    },
    "08 token outside the vocabulary": Row(
        lambda h: h.fit(train=np.full(100, V)),
        DataError, (f"ids from {V} to {V}", f"vocab_size is {V}", "another tokenizer?"),
    ),
    "08 negative token": Row(
        lambda h: h.fit(val=np.full(100, -1)),
        DataError, ("ids from -1 to -1", f"vocab_size is {V}", "another tokenizer?"),
    ),
    "08 token outside, to the model": Row(
        lambda h: tiny()(torch.full((1, 4), V)),
        DataError, (f"ids run from {V} to {V}", f"vocabulary has {V}", "another tokenizer?"),
    ),
    "08 target outside, to the model": Row(
        lambda h: tiny()(torch.zeros(1, 4, dtype=torch.int64), torch.full((1, 4), V)),
        DataError, (f"targets run from {V} to {V}", f"vocabulary has {V}", "another tokenizer?"),
    ),
    "08 prompt outside": Row(
        lambda h: generate(tiny(), [V], 3),
        DataError, (f"ids run from {V} to {V}", f"knows 0 to {V - 1}", "another tokenizer?"),
    ),
    "09 uint16 overflow when written": Row(
        lambda h: prepare(["a"] * 20, Liar("ab\n"), h.out),
        DataError, ("token id 70000", "3 ids, kept as uint16", "mend the tokenizer's vocab_size"),
    ),
    "09 uint16 overflow when read": Row(
        lambda h: open_shards(overflowed(h), "train"),
        DataError, ("65,537 ids as uint16", "holds 65,536", "prepare the data again"),
        lambda h: h.train(str(overflowed(h))),
    ),
    "10 shard size not a multiple of its type": Row(
        lambda h: open_shards(odd(h), "train"),
        DataError, ("bytes, no multiple of 2", "the size of uint16", "run prepare again"),
        lambda h: h.train(str(odd(h))),
    ),
    "11 shard listed but missing": Row(
        lambda h: open_shards(missing(h), "train"),
        DataError, ("cannot be found", "is in the manifest", "run prepare again"),
        lambda h: h.train(str(missing(h))),
    ),
    "12 shard hash wrong": Row(
        lambda h: open_shards(flipped(h), "train"),
        DataError, ("is damaged: its sha256", "the one in the manifest", "run prepare again"),
        lambda h: h.train(str(flipped(h))),
    ),
    "13 shards of another tokenizer": Row(
        lambda h: open_shards(h.copy("shards"), "train", CharTokenizer("abc")),
        DataError, ("its sha256 begins", "this one's", "prepare the data again"),
        lambda h: h.train(
            str(h.copy("shards")), "--tokenizer", str(CharTokenizer("ab").save(h.folder).parent)
        ),
    ),
    "14 download is an HTML page": Row(
        lambda h: download(h, "page"),
        DataError, ("sent a web page", "instead of the file", "put the file there as"),
    ),
    "15 download truncated": Row(
        lambda h: download(h, "short"),
        DataError, ("sent 50 bytes", "instead of 200", "put the file there as"),
    ),
    "16 documents for a text": Row(
        lambda h: load_corpus(h.file(b'{"text": "the fox sat."}\n' * 50, "a.json")),
        DataError, ("a.json holds documents", "a corpus is one text", "gptlib data prepare"),
        lambda h: h.train(h.file(b'{"text": "the fox sat."}\n' * 50, "a.json")),
    ),
    "16 a story without its text": Row(
        lambda h: load_corpus(h.file(b'{"text": "the fox sat."}\n{"title": "x"}', "a.jsonl")),
        DataError, ("malformed stories: a.jsonl, line 2: no text", "mend the data"),
        lambda h: h.train(h.file(b'{"text": "the fox sat."}\n{"title": "x"}', "a.jsonl")),
    ),
    "17 unknown character": Row(
        lambda h: TOKENIZER.encode("the fox: ß"),
        TokenizerError, ("':' at position 7", f"tokenizer's {V} characters", "use BPETokenizer"),
        lambda h: ["sample", str(h.copy("run")), "--prompt", "the fox: ß"],
    ),
    "18 id out of range at decode": Row(
        lambda h: TOKENIZER.decode([0, 1, V]),
        TokenizerError, (f"id {V} at position 2", f"{V} ids (0 to {V - 1})", "another tokenizer"),
    ),
    "18 no id at decode": Row(
        lambda h: TOKENIZER.decode([0, 1.5]),
        TokenizerError, ("[0, 1.5]", "sequence of whole numbers", "the list that encode returns"),
    ),
    "19 empty prompt": Row(
        lambda h: generate(tiny(), [], 3),
        DataError, ("the prompt is empty", "at least one token", "a newline if nothing else"),
        lambda h: ["sample", str(without_newline(h))],
        ("the prompt is empty", "knows no newline", "give --prompt"),
    ),
    "19 empty prompt in a batch": Row(
        lambda h: generate(tiny(), [[1, 2], []], 3),
        DataError, ("the prompt is empty", "at least one token", "a newline if nothing else"),
    ),
    "19 prompt that is text": Row(
        lambda h: generate(tiny(), "the fox", 3),
        DataError, ("the prompt is 'the fox'", "expected token ids", "tokenizer.encode"),
    ),
    "19 prompt of fractions": Row(
        lambda h: stream(tiny(), [1.0, 2.5], 3),
        DataError, ("the prompt is [1.0, 2.5]", "whole numbers", "tokenizer.encode"),
    ),
    **{
        f"21 temperature {value}": Row(
            sample(temperature=value),
            ConfigError, (f"temperature is {value}", "or a positive number", "give 0 (greedy)"),
            sample_cli(f"--temperature={value}"),
        )
        for value in (-1.0, float("nan"), float("inf"))
    },
    **{
        f"22 top-k {value}": Row(
            sample(top_k=value),
            ConfigError, (f"top_k is {value}", "from 1 to the vocabulary's", "leave it out"),
            sample_cli(f"--top-k={value}"),
        )
        for value in (0, -3, V + 1)
    },
    "22 top-k not whole": Row(
        sample(top_k=2.5),
        ConfigError, ("top_k is 2.5", "whole number from 1", "leave it out"),
        sample_cli("--top-k=2.5"), ("--top-k", "invalid int value: '2.5'", "--help"),
    ),
    "23 max-new-tokens negative": Row(
        sample(max_new_tokens=-1),
        ConfigError, ("max_new_tokens is -1", "whole number", "0 or more"),
        sample_cli("--max-new-tokens=-1"),
    ),
    "23 max-new-tokens not whole": Row(
        sample(max_new_tokens=2.5),
        ConfigError, ("max_new_tokens is 2.5", "whole number", "0 or more"),
        sample_cli("--max-new-tokens=2.5"), ("--max-new", "invalid int value: '2.5'", "--help"),
    ),
    "24 n_embd not a multiple of n_head": Row(
        lambda h: GPTConfig(**(SHAPE | dict(n_embd=30, n_head=4))),
        ConfigError, ("n_embd is 30 and n_head is 4", "n_embd / n_head", "choose a multiple"),
        lambda h: h.train(h.file(TEXT.encode()), "--n-embd", "30", "--n-head", "4"),
    ),
    **{
        f"24 {name} {value}": Row(
            lambda h, name=name, value=value: GPTConfig(**(SHAPE | {name: value})),
            ConfigError, (f"{name} is {value}", "whole number", "of 1 or more"),
            (lambda h, name=name, value=value: h.train(
                h.file(TEXT.encode()), f"--{name.replace('_', '-')}={value}"
            )) if name != "vocab_size" and type(value) is int else None,
        )
        for name, value in (("n_layer", 0), ("n_head", -1), ("n_embd", 0), ("block_size", 0),
                            ("vocab_size", 0), ("vocab_size", 2.5), ("block_size", True))
    },
    "25 loss that is no number": Row(
        no_number,
        DataError, ("the loss is", "with learning rate", "resume it with a smaller lr"),
        lambda h: h.train(
            h.file(TEXT.encode()), "--lr=1e12", "--min-lr=1e12", "--warmup=0", "--grad-clip=0",
            "--steps=99",
        ),
        ("loss is", "with learning rate 1e+12", "--override"), steps=True,
    ),
    "25 gradient that is infinite": Row(
        infinite_gradient,
        DataError, ("norm inf at step 1", "expected finite numbers", "a smaller lr"), steps=True,
    ),
    "25 weights that are no numbers": Row(
        weights_of_nan,
        DataError, ("validation loss is nan at step 0", "expected finite", "a smaller lr"),
    ),
    "26 all targets ignored": Row(
        all_ignored, DataError, ("all 32 targets are -1", "leaves a position out", "at least one")
    ),
    **{
        f"27 device {device}, dtype {dtype}": Row(
            lambda h, device=device, dtype=dtype: Runtime.detect(device, dtype),
            DeviceError, (found, expected, "use"),
            lambda h, device=device, dtype=dtype: h.train(
                h.file(TEXT.encode()), "--device", device, "--dtype", dtype
            ),
        )
        for device, dtype, found, expected in (
            ("tpu", "auto", "device is 'tpu'", "auto, cpu, cuda"),
            ("cuda:x", "auto", "device is 'cuda:x'", "auto, cpu, cuda"),
            ("cuda:²", "auto", "device is 'cuda:²'", "auto, cpu, cuda"),
            ("cuda:99", "auto", "device 'cuda:99'", "not on this machine"),
            ("cpu:1", "auto", "device 'cpu:1'", "not on this machine"),
            ("cpu", "float16", "float16 does not train on a CPU", "'float32' or 'bfloat16'"),
            ("cpu", "int8", "dtype is 'int8'", "one of auto, float32"),
        )
    },
    "28 checkpoint damaged": Row(
        lambda h: load_run(damaged(h)),
        CheckpointError, ("model.safetensors is damaged", "no whole checkpoint", "from a copy"),
        lambda h: ["sample", str(damaged(h))],
    ),
    "28 checkpoint damaged, to go on from": Row(
        lambda h: (damaged(h), h.fit(out="run")),
        CheckpointError, ("is damaged", "no checkpoint in", "restore one from a copy"),
        lambda h: ["train", "--out", str(damaged(h)), "--resume"],
    ),
    "28 checkpoint of something else": Row(
        lambda h: load_run(foreign(h)),
        CheckpointError, ("'model'", "does not say what model", "was it made by gptlib?"),
        lambda h: ["eval", str(foreign(h))],
    ),
    "28 checkpoint with a pickle in it": Row(
        pickled,
        CheckpointError, ("state.pt cannot be read", "never pickled objects", "restore one"),
    ),
    "28 no run": Row(
        lambda h: load_run(h.folder / "nowhere"),
        CheckpointError, ("nowhere is neither", "a run folder nor a model", "check the path"),
        lambda h: ["sample", str(h.folder / "nowhere")],
    ),
    "29 shape differs": Row(
        lambda h: (h.copy("run"), h.fit(out="run", model=tiny(n_embd=8))),
        CheckpointError, ("n_embd was 16 and is now 8", "another run", "another folder"),
        lambda h: ["train", "--out", str(h.copy("run")), "--resume", "--n-embd", "8"],
    ),
    "29 config differs": Row(
        lambda h: (h.copy("run"), h.fit(out="run", lr=0.1)),
        CheckpointError, ("lr was 0.001 and is now 0.1", "another run", "--override"),
        lambda h: ["train", "--out", str(h.copy("run")), "--resume", "--batch-size", "8"],
        ("batch_size was 4 and is now 8", "another run", "another folder"),
    ),
    "29 data differ": Row(
        lambda h: (h.copy("run"), h.fit(out="run", train=IDS[1:2000])),
        CheckpointError, ("train was '", "another run", "another folder"),
        lambda h: [
            "train", "--out", str(h.copy("run")), "--resume", "--corpus", h.file(TEXT.encode()[7:])
        ],
    ),
    "29 vocabulary differs": Row(
        lambda h: load_run(other_tokenizer(h)),
        CheckpointError, ("its sha256 begins", "was trained with", "copy the run again"),
        lambda h: ["sample", str(other_tokenizer(h))],
    ),
    "30 disk full": Row(
        full_disk,
        CheckpointError, ("No space left", "could not be saved", "make room"), steps=True,
    ),
    "30 not writable": Row(
        lambda h: (h.file(b"", "out"), h.fit()),
        CheckpointError, ("cannot write in", "that can be written", "make room or choose"),
        lambda h: h.train(h.file(TEXT.encode()), "--out", h.file(b"", "out")),
    ),
    "30 log not writable": Row(
        lambda h: (Path(h.out, "log.jsonl").mkdir(parents=True), h.fit()),
        CheckpointError, ("Is a directory", "cannot write in", "make room or choose"),
    ),
    "30 shards not writable": Row(
        lambda h: prepare(["a b", "c d"] * 9, CharTokenizer("abcd \n"), h.file(b"", "out")),
        DataError, ("cannot write shards", "choose another folder", "make room"),
        lambda h: ["data", "prepare", h.file(TEXT.encode()), "--out", h.file(b"", "out")],
    ),
    "30 locked": Row(
        fit_locked, CheckpointError, ("another process", "is training in", "another folder")
    ),
}  # fmt: skip


def without_newline(here: Here) -> Path:
    """A run that was trained on one line."""
    out = here.folder / "line"
    if main(["train", "--corpus", here.file(b"the fox sat. " * 99), "--out", str(out), *SMALL]):
        raise AssertionError("the run that this row needs could not be made")
    return out


# --- the tests ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A finished run and a shard folder, which rows copy before they spoil them."""
    folder = tmp_path_factory.mktemp("finished")
    config = TrainConfig(**QUICK)
    note = {"corpus": str(folder / "text.txt")}
    (folder / "text.txt").write_text(TEXT)
    Trainer(tiny(), IDS[:2000], IDS[2000:], config, folder / "run", TOKENIZER, note=note).fit()
    prepare(TEXT.splitlines(), TOKENIZER, folder / "shards")
    return folder


@pytest.fixture
def here(tmp_path, finished, monkeypatch) -> Here:
    made = Here(tmp_path, finished)
    made.monkeypatch = monkeypatch
    return made


@contextmanager
def no_step(monkeypatch, allowed: bool):
    """Fail if an optimizer makes a step inside the block."""
    made = []
    with monkeypatch.context() as patch:
        if not allowed:
            step = torch.optim.AdamW.step
            patch.setattr(
                torch.optim.AdamW, "step", lambda *a, **k: made.append(1) or step(*a, **k)
            )
        yield
    if made:
        raise AssertionError("an optimizer made a step before the error")


def lacks(message: str, parts: tuple[str, ...]) -> str:
    """Say what is wrong with a message, or nothing."""
    if "\n" in message or len(message) > 700:
        return f"not one clear line: {message!r}"
    return "; ".join(f"{part!r} is not in {message!r}" for part in parts if part not in message)


@pytest.mark.parametrize("name", TABLE)
def test_the_library_answers_with_one_clear_error(name, here, monkeypatch):
    row = TABLE[name]
    with no_step(monkeypatch, allowed=row.steps), pytest.raises(GptlibError) as caught:
        row.do(here)
    if type(caught.value) is not row.kind:
        pytest.fail(f"{type(caught.value).__name__} instead of {row.kind.__name__}")
    if problem := lacks(str(caught.value), row.says):
        pytest.fail(problem)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.cli])
def test_the_command_line_answers_in_one_line_with_exit_code_2(name, here, monkeypatch, capsys):
    row = TABLE[name]
    argv = row.cli(here)
    capsys.readouterr()  # what the row's preparation said
    with no_step(monkeypatch, allowed=row.steps):
        try:
            code = main(argv)
        except SystemExit as stop:
            code = stop.code
    out, err = capsys.readouterr()
    progress = [line for line in err.splitlines() if line.startswith("step ") and row.steps]
    lines = [line for line in err.splitlines() if line not in progress]
    if code != 2 or out or len(lines) != 1 or not lines[0].startswith(f"gptlib {argv[0]}"):
        pytest.fail(f"exit code {code}, stdout {out!r}, stderr {err!r}")
    if problem := lacks(lines[0], row.cli_says or row.says):
        pytest.fail(problem)


def test_all_thirty_are_here_but_those_that_work():
    numbers = {name[:2] for name in TABLE}
    if {f"{i:02}" for i in range(1, 31)} - numbers != {"20"}:
        pytest.fail(f"rows are missing: {sorted(numbers)}")


def test_20_a_prompt_longer_than_block_size_slides_and_says_so(here, capsys):
    model = tiny().double()
    prompt = IDS[:40].tolist()
    for use_cache in (True, False):
        with pytest.warns(UserWarning, match="prompt has 40 tokens and block_size is 16") as said:
            long = generate(model, prompt, 30, seed=1, use_cache=use_cache)
        if "the last 16 of them; shorten it" not in str(said[0].message):
            pytest.fail(str(said[0].message))
        short = generate(model, prompt[-16:], 30, seed=1, use_cache=use_cache)
        if long[0, 40:].tolist() != short[0, 16:].tolist() or long[0, :40].tolist() != prompt:
            pytest.fail("the window does not slide")
    run = str(here.copy("run"))
    if main(["sample", run, "--prompt", TEXT[:40], "--max-new-tokens", "5", "--seed", "1"]) != 0:
        pytest.fail("a long prompt is no error")
    out, err = capsys.readouterr()
    if not out.startswith(TEXT[:40]) or err.count("\n") != 1 or "block_size is 16" not in err:
        pytest.fail(f"{out!r}, {err!r}")


def test_the_nearest_good_inputs_work(here):
    """Each error has a border: one step on its good side nothing is refused."""
    here.fit(train=IDS[:17], val=IDS[:2])
    greedy = generate(tiny(), [1], 9, temperature=0)
    model = tiny().eval()
    with torch.no_grad():
        likeliest = model(greedy[:, :-1])[0].argmax(-1)
    if likeliest.tolist() != greedy[:, 1:].tolist():
        pytest.fail("temperature 0 is not greedy")
    for settings in ({"top_k": V}, {"top_k": 1}, {"max_new_tokens": 0}, {"temperature": 1e-9}):
        sample(**settings)(here)
    prepare(["a", "b"], CharTokenizer("ab\n"), here.folder / "half", val_fraction=0.5)
    GPTConfig(1, 1, 1, 1, 1)
    if TOKENIZER.decode([V - 1]) != TOKENIZER.characters[-1]:
        pytest.fail("the last id is one")
    targets = torch.full((2, 16), -1)
    targets[0, 3] = 1
    if not torch.isfinite(tiny()(torch.zeros(2, 16, dtype=torch.int64), targets)[1]):
        pytest.fail("one target is enough")


# --- the same without asserts ---------------------------------------------------------------------

OPTIMIZED = """
import pytest
from gptlib.model import GPTConfig

assert False, "asserts are on"
options = ["-q", "-n", "0", "-p", "no:cacheprovider", {file!r}, "-k"]
print("ANSWERS", int(pytest.main([*options, "not optimized"])))
GPTConfig.__post_init__ = lambda self: None
print("CONTROL", int(pytest.main([*options, "library and multiple and n_embd"])))
"""


@pytest.fixture(scope="module")
def optimized() -> str:
    """What `python -O` prints of this file: all of it, and a row whose check was taken away."""
    done = subprocess.run(
        [sys.executable, "-O", "-c", OPTIMIZED.format(file=__file__)],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_optimized_python_gives_the_same_answers(optimized):
    if "ANSWERS 0\n" not in optimized:
        pytest.fail(optimized[-3000:])


def test_optimized_python_does_check(optimized):
    """The negative control: without one check of the library, its row fails there too."""
    control = optimized.partition("ANSWERS")[2]
    if "CONTROL 1\n" not in control or "DID NOT RAISE" not in control or " passed" in control:
        pytest.fail(optimized[-3000:])
