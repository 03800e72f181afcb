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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from gptlib.corpora import load_corpus
from gptlib.course.records import Record, make_record, spread
from gptlib.course.tokens.cutting import DIGITS, PARAGRAPHS, Cut, learn
from gptlib.course.tokens.sisters import EMOJI, SISTERS
from gptlib.course.tokens.texts import cached, openstax
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
        pieces = tokenizer.pieces
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


ABLATION_SIZE = 4096
CUTS = {
    "digits-1": DIGITS % "",
    "digits-2": DIGITS % "{1,2}",
    "digits-3": DIGITS % "{1,3}",
    "digits-run": DIGITS % "+",
    "paragraphs": PARAGRAPHS,
}


def cutting_ablation() -> Record:
    """One body and 4,096 ids behind five cutting expressions, on OpenStax text.

    The first is run once more with another seed, which tells how much is luck.
    """
    text = openstax()
    total = len(text[0].encode())
    result: dict = {}
    again = ("digits-1-again", CUTS["digits-1"], 1)
    for name, pattern, seed in [*((*cut, 0) for cut in CUTS.items()), again]:
        cut = learn(text[0], ABLATION_SIZE, pattern)
        words = [p for p in cut.pieces if any(chr(b).isalpha() for b in p)]
        row: dict = {
            "bytes_per_token": round(total / len(cut.encode_array(text[0])), 4),
            "with_digits": sum(any(chr(b).isdigit() for b in p) for p in cut.pieces),
            "with_mark_inside": sum(any(chr(b) in ".,;:!?" for b in p) for p in words),
            "over_a_space": sum(b" " in p.strip() for p in cut.pieces),
            "number": cut.spelled(" 1849"),
        }
        r = read(cut, cut.pieces, text, seed)
        row["bits_per_byte"] = round(r.bits_per_byte(), 4)
        row["nats_per_token"] = round(float(r.nats.mean()), 4)
        row["bits_per_digit"] = round(bits_per_digit(r), 4)
        row["seconds"] = round(r.seconds, 1)
        result[name] = row
        print(name, json.dumps(row, ensure_ascii=False), flush=True)
    config = sweep_config(text, [0, 1]) | {"vocab_size": ABLATION_SIZE, "cuts": CUTS}
    return make_record("cutting-ablation", config, result)


def bits_per_digit(r: Read) -> float:
    """Bits spent on pieces with a digit in them, for each digit of the text."""
    digits = [sum(48 <= b < 58 for b in piece) for piece in r.pieces]
    spent = sum(nats for nats, n in zip(r.nats.tolist(), digits, strict=True) if n)
    return spent / math.log(2) / sum(digits)


def gpt2_tokens() -> Record:
    """What five kinds of text cost in GPT-2's vocabulary, and in one of 8,192 ids of their own."""
    from tokenizers import ByteLevelBPETokenizer

    import gptlib.model

    gpt2 = BPETokenizer.gpt2()
    textbooks = "\n\n".join(openstax())
    texts = {
        "textbooks": textbooks,
        "shakespeare": load_corpus("shakespeare").text,
        "faust": cached("german/faust_1_2.txt").read_text(encoding="utf-8"),
        "kalevala": load_corpus("kalevala").text,
        "code": Path(gptlib.model.__file__).read_text(encoding="utf-8"),
        "emoji": EMOJI,
    }
    english = BPETokenizer.train(openstax()[0], 8192)
    finnish = gpt2
    result: dict = {"texts": {}, "sisters": {}}
    for name, text in texts.items():
        size, words = len(text.encode()), len(text.split())
        ids = gpt2.encode_array(text)
        row = {"bytes": size, "tokens": len(ids), "bytes_per_token": round(size / len(ids), 4)}
        row["tokens_per_word"] = round(len(ids) / words, 4)
        row["words_in_1024"] = round(1024 * words / len(ids))
        row["bytes_per_character"] = round(size / len(text), 4)
        row["english_8192"] = round(size / len(english.encode_array(text)), 4)
        if size > 100_000:  # learned on nine tenths of it, counted on the rest
            at = len(text) * 9 // 10
            own = BPETokenizer.train(text[:at], 8192)
            rest = text[at:]
            row["own_8192"] = round(len(rest.encode()) / len(own.encode_array(rest)), 4)
            row["gpt2_on_the_rest"] = round(len(rest.encode()) / len(gpt2.encode_array(rest)), 4)
            if name == "kalevala":
                finnish = own
        result["texts"][name] = row
    for name, sentence in SISTERS.items():
        result["sisters"][name] = {
            way: [tokenizer.decode([i]) for i in tokenizer.encode(sentence)]
            for way, tokenizer in
            (("gpt2", gpt2), ("english_8192", english), ("kalevala_8192", finnish))
        }  # fmt: skip
    theirs = ByteLevelBPETokenizer(
        str(cached("gpt2-bpe/encoder.json")), str(cached("gpt2-bpe/vocab.bpe"))
    )
    other = np.array(theirs.encode(textbooks).ids)
    ours = gpt2.encode_array(textbooks)
    result["equal_to_gpt2"] = {
        "tokens": len(ours), "equal": int((ours == other).sum()), "their_tokens": len(other)
    }  # fmt: skip
    pieces = gpt2.pieces
    whole = [p for p in pieces if p.strip().isalpha()]
    result["longest"] = {
        "any": max(pieces, key=len).decode(errors="replace"), "bytes": max(map(len, pieces)),
        "word": max(whole, key=len).decode(),
    }  # fmt: skip
    result["magikarp"] = {
        text: len(gpt2.encode(text)) for text in (" SolidGoldMagikarp", " lighthouse", " hen")
    }
    result["end_unregistered"] = [gpt2.decode([i]) for i in gpt2.encode("<|end|>")]
    result["number"] = {t: [gpt2.decode([i]) for i in gpt2.encode(t)] for t in (" 1849", " 1850")}
    result["never_in_textbooks"] = int((np.bincount(ours, minlength=50_257)[:50_256] == 0).sum())
    config = {"texts": list(texts), "emoji": EMOJI, "sisters": SISTERS}
    return make_record("gpt2-tokens", config, result)
