"""Spoiled input, drawn at random: whatever comes in, only gptlib's own errors come out.

One job: a property for each door by which strange data comes in (tokenizers, checkpoints, shards,
the command line, the file of a run). Each draws a case, tries it, and returns "refused" or
"accepted"; any exception that is not gptlib's own passes through and fails the test. What is
accepted must be right: a text decodes to itself, and damage that nobody sealed is noticed.
`test_fuzz.py` runs a few hundred cases of each, `bench/fuzz.py` thousands.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import torch
from hypothesis import strategies as st

from gptlib import checkpoint, cli
from gptlib.batches import TokenBatches, document_starts
from gptlib.cli.train_options import OPTIONS, settings_of
from gptlib.corpora import downloads
from gptlib.corpora.http_file import Refused
from gptlib.errors import GptlibError, TokenizerError
from gptlib.model import GPT, GPTConfig
from gptlib.runs import load_run, read_jsonl
from gptlib.shards import prepare
from gptlib.shards.read import MANIFEST, open_shards
from gptlib.tokenizers import BPETokenizer, CharTokenizer, load_tokenizer
from gptlib.tokenizers.base import FILE, content_hash
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

REFUSED, ACCEPTED = "refused", "accepted"
TEXT = "the fox sat. the hen sat. the fox ran.\n" * 20
CHAR = CharTokenizer.train(TEXT)
BPE = BPETokenizer.train(TEXT + "Straße 🪿", 270, ["<|end|>"])
TINY = (
    "--n-layer 1 --n-head 1 --n-embd 8 --block-size 8 --steps 2 --batch-size 2 --warmup 0 "
    "--eval-every 1 --save-every 1"
).split()

# --- what is drawn --------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)
DEEP = b"[" * 100_000


@st.composite
def spoiled_bytes(draw, raw: bytes) -> bytes:
    """`raw` with bits flipped, bytes put in, cut short, or something else in its place."""
    way = draw(st.sampled_from(["flip", "cut", "insert", "replace", "deep"]))
    if way == "cut":
        return raw[: draw(st.integers(0, max(0, len(raw) - 1)))]
    if way == "insert":
        at = draw(st.integers(0, len(raw)))
        return raw[:at] + draw(st.binary(min_size=1, max_size=9)) + raw[at:]
    if way == "flip" and raw:
        changed = bytearray(raw)
        for _ in range(draw(st.integers(1, 3))):
            changed[draw(st.integers(0, len(raw) - 1))] ^= 1 << draw(st.integers(0, 7))
        return bytes(changed)
    return DEEP if way == "deep" else draw(st.binary(max_size=60))


@st.composite
def spoiled_json(draw, value):
    """`value` with one of its parts left out, put in, or replaced."""
    if isinstance(value, dict | list) and value and draw(st.integers(0, 9)):
        keys = list(value) if isinstance(value, dict) else list(range(len(value)))
        key = draw(st.sampled_from(keys))
        changed = value.copy()
        way = draw(st.sampled_from(["inside", "inside", "inside", "drop", "add"]))
        if way == "inside":
            changed[key] = draw(spoiled_json(value[key]))
        elif way == "drop":
            del changed[key]
        elif isinstance(value, dict):
            changed[draw(st.text(max_size=8))] = draw(JSON)
        else:
            changed.append(draw(JSON))
        return changed
    return draw(JSON)


def canonical(value) -> bytes:
    return json.dumps(value).encode()


class World:
    """Good things to spoil: a finished run, shards and a text; each case gets its own copy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = folder / "good"
        self.good.mkdir()
        (self.good / "text.txt").write_text(TEXT)
        run_command(["train", "--corpus", "text.txt", "--out", "run", *TINY], self.good)
        described = ["--corpus", "text.txt", "--out", "new", "--write-config", "run.toml", *TINY]
        run_command(["train", *described], self.good)
        self.about = json.loads((self.good / "run" / "config.json").read_text())
        prepare(TEXT.splitlines(), CHAR, self.good / "shards", shard_bytes=300)
        CHAR.save(self.good / "char")
        BPE.save(self.good / "bpe")
        self.weights = {
            step: checkpoint.load(checkpoint.folder_of(self.good / "run", step))[0]
            for step in checkpoint.saved_steps(self.good / "run")
        }
        self.tokens = {
            s: np.asarray(open_shards(self.good / "shards", s)) for s in ("train", "val")
        }

    @contextmanager
    def copy(self, *names: str) -> Iterator[Path]:
        """A fresh folder with copies of some good things; nobody waits there for the disk."""
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            mock.patch.object(os, "fsync"),
        ):
            for name in names:
                source, target = self.good / name, Path(folder) / name
                (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
            yield Path(folder)


def go_on(run_dir: Path, about: dict) -> None:
    """Resume a run that the command line began on `TEXT`."""
    ids, cut = np.array(CHAR.encode(TEXT)), int(0.9 * len(TEXT))
    model, config = GPT(GPTConfig(**about["model"])), TrainConfig(**about["train"])
    note = about["note"]
    Trainer(model, ids[:cut], ids[cut:], config, run_dir, CHAR, note=note).fit()


def answer(do: Callable[[], object]) -> str:
    """Try something: "accepted", or "refused" with an error of ours that is one clear line."""
    try:
        do()
    except GptlibError as error:
        if not str(error) or "\n" in str(error):
            raise AssertionError(f"not one line: {error!r}") from error
        return REFUSED
    return ACCEPTED


# --- the doors ------------------------------------------------------------------------------------

ANY_TEXT = st.text(st.characters(exclude_categories=[]), max_size=40)  # half characters too
IDS = st.lists(st.integers(-3, 300) | st.integers(), max_size=20)
NO_IDS = JSON | st.lists(IDS, max_size=3) | st.binary(max_size=9) | IDS.map(iter)


def tokenizer(data: st.DataObject, world: World) -> str:
    """Encode, decode, train and load."""
    which = data.draw(st.sampled_from([CHAR, BPE]))
    way = data.draw(st.sampled_from(["encode", "decode", "train", "load", "load", "load"]))
    if way == "encode":
        known = st.lists(st.sampled_from(["the", " ", "fox", "<|end|>", "ß"])).map("".join)
        text = data.draw(ANY_TEXT | known | JSON)

        def do() -> None:
            for encode in (which.encode, which.encode_ordinary, which.encode_array):
                if which.decode(encode(text)) != text:
                    raise AssertionError(f"{text!r} was not given back")

    elif way == "decode":
        ids = data.draw(IDS | NO_IDS)

        def do() -> None:
            which.decode(ids)

    elif way == "train":
        text = data.draw(ANY_TEXT | JSON)
        size = data.draw(st.integers(250, 300) | JSON)
        special = data.draw(st.lists(ANY_TEXT, max_size=3) | st.lists(JSON, max_size=2))

        def do() -> None:
            made = CharTokenizer.train(text) if which is CHAR else None
            made = made or BPETokenizer.train(text, size, special)
            if made.decode(made.encode(text)) != text:
                raise AssertionError(f"{text!r} was not given back")

    else:
        return _load_tokenizer(data, world, "char" if which is CHAR else "bpe", which)
    return answer(do)


def _load_tokenizer(data: st.DataObject, world: World, name: str, which) -> str:
    """Load a spoiled file: with the hash that it had, or with the right one."""
    path = world.good / name / FILE
    if sealed := data.draw(st.booleans()):
        content = data.draw(spoiled_json(which.content()))
        try:
            stated = content_hash(content)
        except (TypeError, ValueError, RecursionError):
            stated = ""
        raw = canonical({**content, "sha256": stated} if isinstance(content, dict) else content)
    else:
        raw = data.draw(spoiled_bytes(path.read_bytes()))
    with world.copy() as folder:
        (folder / FILE).write_bytes(raw)

        def do() -> None:
            loaded = load_tokenizer(folder)
            if not sealed and loaded != which:
                raise AssertionError("damage was not noticed")
            with contextlib.suppress(TokenizerError):
                if loaded.decode(loaded.encode(TEXT)) != TEXT:
                    raise AssertionError("a tokenizer that loses text was accepted")

        return answer(do)


RUN_FILES = (
    "checkpoints/step_00000002/model.safetensors", "checkpoints/step_00000002/state.pt",
    "checkpoints/step_00000002/manifest.json", "best", "latest", "log.jsonl",
    "tokenizer/tokenizer.json",
)  # fmt: skip


def checkpoints(data: st.DataObject, world: World) -> str:
    """Spoil a run folder, and then load it, read its log and go on with it."""
    with world.copy("run") as folder:
        run = folder / "run"
        sealed = _spoil_run(data, run)

        def load() -> None:
            found = checkpoint.load_newest(run)
            if not sealed:
                step = found[2]["step"]
                if not all(torch.equal(w, world.weights[step][n]) for n, w in found[0].items()):
                    raise AssertionError("damaged weights were loaded")

        which = data.draw(st.sampled_from(["best", "latest", ""]))
        tries = [load, lambda: load_run(run, which), lambda: read_jsonl(run / "log.jsonl")]
        if data.draw(st.integers(0, 3)) == 0:
            tries.append(lambda: go_on(run, world.about))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = {answer(do) for do in tries}
        return REFUSED if REFUSED in answers else ACCEPTED


def _spoil_run(data: st.DataObject, run: Path) -> bool:
    """Spoil one thing; says whether the hashes were made right again."""
    place = run / "checkpoints" / "step_00000002"
    way = data.draw(st.sampled_from(["bytes", "bytes", "manifest", "state", "weights", "name"]))
    if way == "bytes":
        path = run / data.draw(st.sampled_from(RUN_FILES))
        path.write_bytes(data.draw(spoiled_bytes(path.read_bytes())))
        return False
    if way == "name":
        name = data.draw(st.sampled_from(["step_²", "step_٣", "step_3", "step_", "step_00000003"]))
        (run / "checkpoints" / name).mkdir()
        return False
    manifest = json.loads((place / checkpoint.MANIFEST).read_bytes())
    del manifest["manifest_sha256"]
    if way == "manifest":
        manifest = data.draw(spoiled_json(manifest))
    elif way == "state":
        state = torch.load(place / checkpoint.STATE, weights_only=True)
        raw = data.draw(st.binary(max_size=40))
        if data.draw(st.integers(0, 4)):
            buffer = io.BytesIO()
            torch.save(data.draw(spoiled_json(state)), buffer)
            raw = buffer.getvalue()
        (place / checkpoint.STATE).write_bytes(raw)
        manifest["sha256"][checkpoint.STATE] = hashlib.sha256(raw).hexdigest()
    else:
        raw = data.draw(spoiled_bytes((place / checkpoint.MODEL).read_bytes()))
        (place / checkpoint.MODEL).write_bytes(raw)
        manifest["sha256"][checkpoint.MODEL] = hashlib.sha256(raw).hexdigest()
    with contextlib.suppress(TypeError):  # a manifest that is no object has no seal
        (place / checkpoint.MANIFEST).write_bytes(checkpoint._sealed(manifest))
    return True


def shards(data: st.DataObject, world: World) -> str:
    """Spoil a manifest or a shard, and then open it, read it and cut batches from it."""
    with world.copy("shards") as folder:
        out = folder / "shards"
        path = out / data.draw(st.sampled_from([MANIFEST, MANIFEST, "train_00001.bin"]))
        sealed = path.name == MANIFEST and data.draw(st.booleans())
        if sealed:
            manifest = json.loads(path.read_bytes())
            del manifest["sha256"]
            manifest = data.draw(spoiled_json(manifest))
            if isinstance(manifest, dict):
                manifest = {**manifest, "sha256": content_hash(manifest)}
            path.write_bytes(canonical(manifest))
        else:
            path.write_bytes(data.draw(spoiled_bytes(path.read_bytes())))
        split = data.draw(st.sampled_from(["train", "val", "test"]))
        at = data.draw(st.lists(st.integers(-20, 900), max_size=5) | JSON)

        def read(verify: bool) -> None:
            tokens = open_shards(out, split, CHAR, verify=verify)
            array = np.asarray(tokens)
            if verify and not sealed and not np.array_equal(array, world.tokens[split]):
                raise AssertionError("damage was not noticed")
            document_starts(tokens, [0])
            answer(lambda: tokens[at])
            answer(lambda: TokenBatches(tokens, 2, 8).batch(1))

        answers = {answer(lambda: read(True)), answer(lambda: read(False))}
        return REFUSED if REFUSED in answers else ACCEPTED


# The numbers that flags are given. None of them makes a long run: that is asked for, not an error.
NUMBERS = "-1 0 1 2 3 2.5 nan inf -inf 1e400 x ² 1_0 0x2".split()
HUGE = ["9" * 12, "9" * 30]
WORDS = [
    "", "cpu", "tpu", "cuda:7", "float32", "bfloat16", "float16", "cosine", "best", "latest",
    "random", "muon", "char", "text", "\n", "a\nb", "the fox", "ß", "tales!", "-", "--", "\udcff",
]  # fmt: skip
PLACES = [
    "run",
    "run/config.json",
    "run.toml",
    "shards",
    "text.txt",
    "char",
    "new",
    "new/er",
    "text.txt/new",
    ".",
    "x" * 300,
]
NO_HUGE = (
    "--max-new-tokens",
    "--n-layer",
    "--samples",
    "--workers",
)  # a long time is asked for, and taken


def _flags(*commands: str) -> list[str]:
    """Every flag that a command has."""
    parser = cli.build_parser()
    for command in commands:
        parser = parser._subparsers._group_actions[0].choices[command]
    flags = [f for action in parser._actions for f in action.option_strings if len(f) > 2]
    return [flag for flag in flags if flag not in ("--compile", "--help", "--version")]


FLAGS = {
    command: _flags(*command.split())
    for command in (
        "train",
        "sample",
        "eval",
        "plot",
        "info",
        "data list",
        "data get",
        "data prepare",
    )
}


@st.composite
def argument_vectors(draw) -> list[str]:
    """A command with some of its flags, in their places or not, and with values or without."""
    odd = draw(st.integers(0, 19)) == 0
    command = draw(st.sampled_from(["data", "paint", ""] if odd else [*FLAGS, "train", "sample"]))
    argv = command.split()
    if command in ("sample", "eval", "plot", "info", "data get", "data prepare"):
        usual = {"data prepare": ["text.txt"] * 20}.get(command, ["run"] * 20)
        argv.append(draw(st.sampled_from(usual + PLACES + WORDS)))
    if command == "sample":
        argv += ["--max-new-tokens", "3"]
    if command == "train":
        usual = ["--out new --corpus text.txt", "--out new --corpus shards", "--out run --resume"]
        argv += draw(st.sampled_from([*usual, "--out run", "--corpus text.txt"])).split() + TINY
    if command == "plot":
        argv += ["--out", draw(st.sampled_from(["new.svg", "new.png", *PLACES]))]
    if command == "data prepare":
        argv += ["--out", draw(st.sampled_from(["new", "new", *PLACES]))]
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        flag = draw(st.sampled_from(FLAGS.get(command) or ["--out", "--json", "-x"]))
        pool = NUMBERS + WORDS + PLACES + ([] if flag in NO_HUGE else HUGE)
        argv += draw(st.sampled_from([[flag], [flag, draw(st.sampled_from(pool))]]))
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6)
    return argv + (draw(st.lists(text, max_size=2)) if draw(st.integers(0, 9)) == 0 else [])


FILES = ("text.txt", "run.toml", "run/config.json", "run/latest", "run/log.jsonl",
         "run/tokenizer/tokenizer.json", "run/checkpoints/step_00000002/manifest.json",
         "shards/manifest.json", "shards/train_00000.bin",
         "shards/tokenizer/tokenizer.json")  # fmt: skip


def command_line(data: st.DataObject, world: World) -> str:
    """Run a command on good and on spoiled files: it ends with 0, or with 2 and its reason."""
    argv = data.draw(argument_vectors())
    with world.copy("run", "shards", "text.txt", "char", "run.toml") as folder:
        if data.draw(st.integers(0, 2)) == 0:
            path = folder / data.draw(st.sampled_from(FILES))
            if path.suffix == ".json" and data.draw(st.booleans()):
                path.write_bytes(canonical(data.draw(spoiled_json(json.loads(path.read_bytes())))))
            else:
                path.write_bytes(data.draw(spoiled_bytes(path.read_bytes())))
        return _judged(argv, *run_command(argv, folder))


def _judged(argv: list[str], code: int, err: str) -> str:
    """What a command's end means; `gptlib info` ends with 1 where it found damage."""
    lines = err.splitlines()
    if code == 1 and argv[0] == "info":
        code = 0
    if code not in (0, 2) or "Traceback" in err:
        raise AssertionError(f"{argv} ended with {code}: {err}")
    if code == 2 and not (lines and lines[-1].startswith("gptlib")):
        raise AssertionError(f"{argv} gives no reason: {err!r}")
    errors = [line for line in lines if line.startswith("gptlib") and "warning:" not in line]
    if len(errors) != (code == 2):
        raise AssertionError(f"{argv} ended with {code} and said {err!r}")
    return REFUSED if code else ACCEPTED


KEYS = [*OPTIONS, *settings_of("model"), *settings_of("train"), "vocab_size", "resume"]
VALUES = JSON | st.sampled_from([*WORDS, *PLACES]) | st.integers(1, 4)


def run_files(data: st.DataObject, world: World) -> str:
    """Train by a run's file that was spoiled, or by one with anything in it."""
    with world.copy("run", "text.txt", "char", "run.toml") as folder:
        path = folder / data.draw(st.sampled_from(["run.toml", "run.toml", "run/config.json"]))
        raw = path.read_bytes()
        way = data.draw(st.sampled_from(["bytes", "keys", "keys", "line"]))
        if path.suffix == ".json" and way != "bytes":
            raw = canonical(data.draw(spoiled_json(json.loads(raw))))
        elif way == "bytes":
            raw = data.draw(spoiled_bytes(raw))
        elif way == "line":
            lines = raw.splitlines()
            del lines[data.draw(st.integers(0, len(lines) - 1))]
            raw = b"\n".join(lines)
        else:
            drawn = data.draw(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2))
            table = data.draw(st.sampled_from(["", "[model]\n", "[train]\n", "[more]\n"]))
            text = table + "".join(f"{key} = {json.dumps(value)}\n" for key, value in drawn.items())
            raw = text.encode(errors="surrogatepass")
        path.write_bytes(raw)
        where = ["--out", "new", "--corpus", "text.txt"][: data.draw(st.sampled_from([2, 4]))]
        argv = ["train", "--config", str(path.relative_to(folder)), *where, *TINY]
        argv += ["--threads", "1"] + ["--write-config", "-"] * data.draw(st.sampled_from([0, 1, 1]))
        return _judged(argv, *run_command(argv, folder))


def run_command(argv: list[str], folder: Path) -> tuple[int, str]:
    """Run the command line in a folder; nothing is downloaded and no thread is set."""

    def no_network(*args):
        raise Refused("there is no network here")

    out, err, before = io.StringIO(), io.StringIO(), os.getcwd()
    cache = {"GPTLIB_DATA": str(folder / "cache")}
    os.chdir(folder)
    try:
        with (
            contextlib.redirect_stdout(out), contextlib.redirect_stderr(err),
            mock.patch.object(downloads, "receive", no_network),
            mock.patch.object(torch, "set_num_threads"), mock.patch.dict(os.environ, cache),
        ):  # fmt: skip
            code = cli.main(argv)
    except SystemExit as stop:
        code = stop.code
    finally:
        os.chdir(before)
    return code or 0, err.getvalue()


DOORS = {
    "tokenizer": tokenizer,
    "checkpoint": checkpoints,
    "shards": shards,
    "command line": command_line,
    "run file": run_files,
}
