"""Three faulty runs and a sound one, so that a log can be read before one's own goes wrong.

One job: the record `pretraining-faults`. One small model on tales, trained four times by one plain
loop; each fault is one line of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gptlib.corpora import load_corpus
from gptlib.course.records import Record, make_record
from gptlib.evaluation import split_loss
from gptlib.model import GPT, GPTConfig, evaluating
from gptlib.optim import learning_rate, make_optimizers, set_learning_rate
from gptlib.tokenizers import CharTokenizer

STEPS, B, T, EVERY = 600, 16, 64, 20
FAULTS = ("sound", "unshifted", "rate", "repeats")


def faulty_run(fault: str, steps: int = STEPS, every: int = EVERY) -> list[dict]:
    """Train with one fault; returns a line of the log for every so many steps.

    Args:
        fault: "sound", none; "unshifted", the targets are the inputs, in validation too; "rate",
            twenty times the learning rate, no warm-up and no clipping; "repeats", a loader that
            begins again with the first tokens.
    """
    corpus = load_corpus("tales")
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = (torch.tensor(tokenizer.encode(text)) for text in (corpus.train, corpus.val))
    torch.manual_seed(0)
    model = GPT(GPTConfig(T, tokenizer.vocab_size, n_layer=2, n_head=4, n_embd=64))
    lr, warmup = (6e-2, 0) if fault == "rate" else (3e-3, 30)
    optimizers = make_optimizers(model, "adamw", lr, 0.1, (0.9, 0.95))
    room = 3_000 if fault == "repeats" else len(train)
    dice, log = torch.Generator().manual_seed(0), []
    for step in range(steps):
        at = torch.randint(room - T - 1, (B, 1), generator=dice) + torch.arange(T + 1)
        x, y = train[at][:, :-1], train[at][:, 1:]
        set_learning_rate(optimizers, learning_rate(step, steps, lr, lr / 10, warmup, "cosine"))
        loss = model(x, x if fault == "unshifted" else y, return_logits=False)[1]
        loss.backward()
        clip = math.inf if fault == "rate" else 1.0
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % every == 0 or step == 0:
            line = {"step": step + 1, "loss": loss.item(), "grad_norm": norm.item()}
            log.append(line | {"val": _validate(model, val, fault)})
    return log


def _validate(model: GPT, val: Tensor, fault: str) -> float:
    if fault != "unshifted":
        return split_loss(model, val, windows=64)
    windows = val[: 64 * T].view(64, T)
    with evaluating(model), torch.no_grad():
        return model(windows, windows)[1].item()


def pretraining_faults() -> Record:
    """The recipe (`gptlib.course.recorded`)."""
    corpus = load_corpus("tales")
    logs = {fault: faulty_run(fault) for fault in FAULTS}
    rounded = {
        fault: [{k: round(v, 4) for k, v in line.items()} for line in log]
        for fault, log in logs.items()
    }
    config = {"steps": STEPS, "batch_size": B, "block_size": T, "layers": 2, "channels": 64}
    result = {"logs": rounded, "floor": corpus.val_floor, "vocab_size": len(set(corpus.text))}
    return make_record("pretraining-faults", config, result)
