"""The lab of chapter 6: an hour of one processor, and who has the fewest bits per byte after it.

One job: `hour`, which checks the lab's functions step by step, and `judge`, which measures a run
folder, however it came about.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from gptlib import checkpoint
from gptlib.corpora import load_corpus
from gptlib.course.checking import Result, attempt, failed, passed
from gptlib.course.pretraining.runs import seconds_and_pauses
from gptlib.errors import GptlibError
from gptlib.evaluation import bits_per_byte, split_loss
from gptlib.files import read_jsonl
from gptlib.model import GPT, GPTConfig
from gptlib.runs import load_run
from gptlib.shards import open_shards, prepare
from gptlib.tokenizers import BPETokenizer, Tokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

CORPUS, SECONDS = "tales", 3600
END = "<|endoftext|>"
SPARE = 0.1  # of the hour, for validation and saving


def exam(characters: int = 20_000) -> tuple[str, float]:
    """The text that runs are judged by, and its floor in bits per byte: whole tales that the
    training text does not have."""
    corpus = load_corpus(CORPUS)
    assert corpus.grammar is not None
    text, nats = "", 0.0
    for document in corpus.val_documents:
        if len(text) >= characters:
            break
        text += document + corpus.grammar.separator
        nats -= corpus.grammar.score(document)
    return text, bits_per_byte(nats, 1, len(text.encode()))


def bits_of(folder: str | Path, text: str) -> float:
    """Bits per byte of a text, by the best checkpoint of a run: step 3's reference."""
    model, tokenizer, _ = load_run(folder)
    assert tokenizer is not None
    ids = torch.tensor(tokenizer.encode(text))
    return bits_per_byte(split_loss(model, ids), len(ids) - 1, len(text.encode()))


def judge(folder: str | Path, seconds: float = SECONDS, characters: int = 20_000) -> Result:
    """Say what a run reached on the tales that nobody trains on, and whether it kept to its time.

    Args:
        folder: a run folder. seconds: of training that were allowed, without validation.
        characters: of the exam.
    """
    text, floor = exam(characters)
    try:
        found = bits_of(folder, text)
        model, _, manifest = load_run(folder)
    except GptlibError as error:
        return failed(f"that folder cannot be judged: {error}")
    took, _ = seconds_and_pauses(read_jsonl(Path(folder) / "speed.jsonl"))
    told = f"{found:.3f} bits per byte, {found - floor:.3f} above the floor"
    if found < floor:
        return failed(f"{told}: below what anybody can reach, so it was trained on the exam")
    if took > seconds:
        return failed(f"{told}, in {took:,.0f} seconds: more than the {seconds:,.0f} agreed on")
    if found > 8 * 0.6:
        return failed(f"{told}: a table of single letters does better; was it trained at all?")
    time = f"{took:,.0f} seconds" if took else "no clock kept"
    return passed(f"{told}, {time}, {manifest['step']:,} steps, {model.num_params():,} parameters")


def hour(
    steps_in: Callable[[float, float, int], int],
    train: Callable[[Path, Path, int], object] | None = None,
    bits: Callable[[Path, str], float] | None = None,
) -> Result:
    """Check what has been built so far: the last function given, by what it does.

    Args:
        steps_in: (tokens a second, seconds, tokens a step) to whole steps, a tenth left over.
        train: (shard folder, run folder, steps), leaves a finished run.
        bits: (run folder, text) to bits per byte.
    """
    result = _check_steps(steps_in)
    if result and train is not None:
        result = _check_train(train)
    if result and bits is not None:
        result = _check_bits(bits)
    return result


def _check_steps(fn: Callable) -> Result:
    for rate, seconds, per_step in ((2_300.0, 3_600.0, 8_192), (1_000.0, 60.0, 4_096)):
        got = attempt(fn, rate, seconds, per_step)
        if isinstance(got, Result):
            return got
        exact = (1 - SPARE) * rate * seconds / per_step
        if not isinstance(got, int | float) or isinstance(got, bool):
            return failed("expected a number of steps")
        if got == int(exact):
            continue
        if abs(got - rate * seconds / per_step) <= 1:
            return failed("nothing is left for validations and saving: plan nine tenths")
        if abs(got - (1 - SPARE) * rate * seconds) <= 1:
            return failed("those are tokens: a step reads many of them")
        if got == int(exact) + 1:
            return failed("rounded up: the last step would end after the hour; cut, do not round")
        if abs(got - exact) < 1e-6:
            return failed("half a step cannot be made: int() cuts it off")
        return failed(f"for {rate:g} tokens a second it is not that many")
    return passed("nine tenths of the hour in steps, the last one whole")


@functools.cache
def _practice() -> tuple[tempfile.TemporaryDirectory, Path, Tokenizer]:
    """A few tales as shards, for a run of a second."""
    home = tempfile.TemporaryDirectory()
    corpus = load_corpus(CORPUS, size=60_000)
    tokenizer = BPETokenizer.train(corpus.train, 300, [END])
    prepare(corpus, tokenizer, Path(home.name) / "shards")
    return home, Path(home.name) / "shards", tokenizer


def _check_train(fn: Callable) -> Result:
    _, shards, tokenizer = _practice()
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        try:
            fn(shards, run, 6)
        except NotImplementedError:
            return Result(None, "not written yet: fill in the function and run the cell again")
        except Exception as error:
            return failed(f"your function raised {type(error).__name__}: {error}")
        if not run.exists():
            return Result(None, "not written yet: no run folder was made")
        steps = checkpoint.saved_steps(run)
        if not steps or max(steps) != 6:
            return failed(f"asked for 6 steps, the folder's last checkpoint is {max(steps or [0])}")
        try:
            _, found, manifest = load_run(run, "latest")
        except GptlibError as error:
            return failed(f"the folder cannot be loaded: {error}")
        if found is None:
            return failed("no tokenizer was saved with the run: give the Trainer yours")
        if found.sha256 != tokenizer.sha256:
            return failed("the run's tokenizer is not that of the shards")
        data = manifest["data"]
        if data["val"] == data["train"] or data["val"] != open_shards(shards, "val").sha256:
            return failed("validated on other text than the shards' validation part")
    return passed("a finished run, with its tokenizer, validated on text that it does not read")


def _check_bits(fn: Callable) -> Result:
    _, shards, tokenizer = _practice()
    text = "Über den Bäumen hörte Ada die Gänse. " * 8  # more bytes than characters
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        _tiny_run(shards, run, tokenizer)
        got, right = attempt(fn, run, text), bits_of(run, text)
    if isinstance(got, Result):
        return got
    if not isinstance(got, int | float) or isinstance(got, bool):
        return failed("expected a number of bits")
    n, size = len(tokenizer.encode(text)), len(text.encode())
    nats = right * 0.6931471805599453
    for answer, words in (
        (right * size / len(text), "per character: umlauts are two bytes, so count bytes"),
        (nats, "in nats: a bit is ln 2 of them"),
        (nats * size / (n - 1), "that is the loss, in nats per token"),
        (right * size / (n - 1), "bits per token: multiply by the tokens, divide by the bytes"),
        (right * size, "bits of the whole text: divide by its bytes"),
    ):
        if abs(got - answer) <= 1e-4 * abs(answer):
            return failed(words)
    if abs(got - right) > 2e-3 * right:
        return failed("not the bits per byte of the run's best model on that text")
    return passed("bits per byte, whatever the tokenizer; judge your hour with lab.judge(folder)")


def _tiny_run(shards: Path, run: Path, tokenizer: Tokenizer) -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(32, tokenizer.vocab_size, n_layer=1, n_head=2, n_embd=16))
    config = TrainConfig(steps=4, batch_size=4, eval_windows=4, eval_every=4, save_minutes=0)
    Trainer(model, shards, shards, config, run, tokenizer).fit()
