"""The recorded runs of chapter 5: what a vocabulary and a cut do to compression and to loss.

One job: recipes (`gptlib.course.recipes`), each of which returns a `Record`. All models of a sweep
share a body, read the same bytes of the same text, and are judged in bits per byte of text that
none of them read.
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from gptlib.course.records import Record, make_record, spread
from gptlib.course.tokens.cutting import DIGITS, PARAGRAPHS, Cut, learn
from gptlib.course.tokens.texts import openstax
from gptlib.evaluation.loss import token_losses
from gptlib.model import GPT, GPTConfig
from gptlib.tokenizers import BPETokenizer
from gptlib.train_config import TrainConfig
from gptlib.trainer import Trainer

BODY = {"block_size": 256, "n_layer": 4, "n_head": 4, "n_embd": 128}
BYTES_A_STEP = 8192
STEPS = 300
SPELLED = 50_000
SIZES = (256, 1024, 4096, 8192, 16384)


@dataclass(frozen=True)
class Read:
    """What came of one model: losses of the validation text, and what they are counted by."""

    nats: np.ndarray  # (N,) of each token after the first
    pieces: list[bytes]  # those tokens
    steps: int
    batch_size: int
    seconds: float
    params: int
    flops: float
    model: GPT

    def bits_per_byte(self) -> float:
        """Bits per byte of the validation text."""
        return float(self.nats.sum()) / math.log(2) / sum(map(len, self.pieces))


def each_loss(model: GPT, ids: np.ndarray) -> np.ndarray:
    """Loss of every token after the first, (N - 1,) nats, in windows side by side."""
    T = model.config.block_size
    losses = []
    model.eval()
    whole = (len(ids) - 1) // T * T
    tokens = torch.from_numpy(ids.astype(np.int64))
    x, y = tokens[:whole].view(-1, T), tokens[1 : whole + 1].view(-1, T)
    for i in range(0, len(x), 32):
        losses.append(token_losses(model, x[i : i + 32], y[i : i + 32]).flatten())
    if whole < len(ids) - 1:
        rest = tokens[whole:][None]
        losses.append(token_losses(model, rest[:, :-1], rest[:, 1:]).flatten())
    return torch.cat(losses).numpy()


def read(
    tokenizer: Cut | BPETokenizer, pieces: list[bytes], text: tuple[str, str], seed: int
) -> Read:
    """Train one model of the sweep's body on `text` (train, val), and measure it.

    A batch holds as many windows as come nearest to `BYTES_A_STEP`; the number of updates evens
    out what that leaves, so that every vocabulary reads the same bytes.
    """
    train, val = map(tokenizer.encode_array, text)
    bytes_per_token = len(text[0].encode()) / len(train)
    window = BODY["block_size"] * bytes_per_token
    batch = max(1, round(BYTES_A_STEP / window))
    steps = round(STEPS * BYTES_A_STEP / (batch * window))
    torch.manual_seed(seed)
    model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, **BODY))
    config = TrainConfig(
        steps=steps, batch_size=batch, lr=3e-3, min_lr=3e-4, warmup=30, beta2=0.99, seed=seed,
        dtype="fast", eval_every=steps, eval_windows=1, save_minutes=0,
    )  # fmt: skip
    start = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        model = Trainer(model, train, val, config, folder).fit().model
    seconds = time.process_time() - start
    T = BODY["block_size"]
    flops = model.flops_per_token(T) * steps * batch * T
    nats = each_loss(model, val)
    kept = [pieces[i] for i in val[1:]]
    return Read(nats, kept, steps, batch, seconds, model.num_params(), flops, model)


def vocabulary_sweep(seeds: tuple[int, ...] = (0,)) -> Record:
    """One body behind five vocabularies, on OpenStax text."""
    text = openstax()
    result: dict = {}
    for V in SIZES:
        tokenizer = BPETokenizer.train(text[0], V)
        pieces = [bytes_of(tokenizer, i) for i in range(V)]
        train = tokenizer.encode_array(text[0])
        counts = np.bincount(train, minlength=V)
        longest = max((p for p in pieces if p.strip().isalpha()), key=len)
        row = {
            "bytes_per_token": round(len(text[0].encode()) / len(train), 4),
            "tokens": len(train),
            "longest": max(pieces, key=len).decode(errors="replace"),
            "longest_word": longest.decode(errors="replace"),
            "never": int((counts == 0).sum()),
            "never_text": [
                pieces[i].decode(errors="replace") for i in np.flatnonzero(counts == 0)
                if len(pieces[i]) > 3
            ][:40],
            "rare": int((counts < 100).sum()),
        }  # fmt: skip
        reads = [read(tokenizer, pieces, text, seed) for seed in seeds]
        row |= {
            "nats_per_token": spread([round(float(r.nats.mean()), 4) for r in reads]),
            "bits_per_byte": spread([round(r.bits_per_byte(), 4) for r in reads]),
            "spelled": spread([round(spelled(r.model, pieces, text[1]), 4) for r in reads]),
            "steps": reads[0].steps,
            "batch_size": reads[0].batch_size,
            "params": reads[0].params,
            "embedding": V * BODY["n_embd"],
            "flops": reads[0].flops,
            "seconds": spread([round(r.seconds, 1) for r in reads]),
            "val_bytes_per_token": round(sum(map(len, reads[0].pieces)) / len(reads[0].nats), 4),
        }
        result[str(V)] = row
        print(V, json.dumps(row, ensure_ascii=False), flush=True)
    return make_record("vocabulary-sweep", sweep_config(text, list(seeds)), result)


def spelled(model: GPT, pieces: list[bytes], text: str) -> float:
    """Bits per byte of the first `SPELLED` bytes of a text that is given letter by letter."""
    id_of = {piece: i for i, piece in enumerate(pieces)}
    ids = np.array([id_of[bytes([b])] for b in text.encode()[:SPELLED]])
    return float(each_loss(model, ids).mean()) / math.log(2)


def bytes_of(tokenizer: BPETokenizer, token: int) -> bytes:
    """The bytes of one id, whole characters or not."""
    return tokenizer._encoding.decode_single_token_bytes(token)


def sweep_config(text: tuple[str, str], seeds: list[int]) -> dict:
    """What all models of a sweep share."""
    return {
        "corpus": "OpenStax sample, one document in twenty for validation",
        "train_bytes": len(text[0].encode()),
        "val_bytes": len(text[1].encode()),
        "bytes_a_step": BYTES_A_STEP,
        "bytes_read": STEPS * BYTES_A_STEP,
        "body": BODY,
        "train": {"lr": 3e-3, "min_lr": 3e-4, "warmup": 30, "beta2": 0.99, "dtype": "fast"},
        "seeds": seeds,
    }
