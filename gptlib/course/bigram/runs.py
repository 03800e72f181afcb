"""The recorded run of chapter 1: the published bigram, ten seeds of it.

One job: `kalevala_bigram`, a recipe (`gptlib.course.recipes`).
"""

from __future__ import annotations

import statistics

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.corpora import load_corpus
from gptlib.course.records import Record, make_record, spread
from gptlib.tokenizers import CharTokenizer


def pair_counts(tokens: Tensor, vocab_size: int) -> Tensor:
    """How often each token follows each: (V, V) float64."""
    pairs = tokens[:-1] * vocab_size + tokens[1:]
    return torch.bincount(pairs, minlength=vocab_size**2).view(vocab_size, -1).double()


def table_loss(counts: Tensor, log_probs: Tensor) -> float:
    """Mean cross-entropy in nats of the counted pairs under a table of log p(next | previous)."""
    weighted = torch.where(counts > 0, counts * log_probs.double(), 0.0)
    return -(weighted.sum() / counts.sum()).item()


def train_bigram(train: Tensor, V: int, seed: int, steps: int = 5000) -> Tensor:
    """As published: a (V, V) table of logits, 32 windows of 8 tokens a step, AdamW at 1e-3."""
    rng = torch.Generator().manual_seed(seed)
    table = torch.nn.Parameter(torch.randn(V, V, generator=rng))
    optimizer = torch.optim.AdamW([table], lr=1e-3, fused=True)
    for _ in range(steps):
        x, y = random_windows(train, 32, 8, rng)
        loss = F.cross_entropy(table[x].flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return table.detach()


def random_windows(tokens: Tensor, B: int, T: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """B windows at random places, as the published runs draw them: two (B, T) tensors."""
    at = torch.randint(len(tokens) - T, (B, 1), generator=rng) + torch.arange(T + 1)
    return tokens[at][:, :-1], tokens[at][:, 1:]


def kalevala_bigram() -> Record:
    """Ten seeds of the published bigram, measured as published and on the whole split."""
    corpus = load_corpus("kalevala")
    tokenizer = CharTokenizer.train(corpus.text)
    train, val = corpus.encode(tokenizer)
    V = tokenizer.vocab_size
    counts = {"train": pair_counts(train, V), "val": pair_counts(val, V)}
    seeds = list(range(10))
    sampled, full = {"train": [], "val": []}, {"train": [], "val": []}
    for seed in seeds:
        log_probs = train_bigram(train, V, seed).log_softmax(dim=1)
        rng = torch.Generator().manual_seed(1000 + seed)
        for split, tokens in (("train", train), ("val", val)):
            draws = [random_windows(tokens, 32, 8, rng) for _ in range(100)]
            losses = [-log_probs[x, y].mean().item() for x, y in draws]
            sampled[split].append(statistics.fmean(losses))
            full[split].append(table_loss(counts[split], log_probs))
    fitted = counts["train"] + 1  # one imagined sighting of every pair
    add_one = (fitted / fitted.sum(dim=1, keepdim=True)).log()
    exact = (counts["train"] / counts["train"].sum(dim=1, keepdim=True)).log()
    gaps = [v - t for t, v in zip(sampled["train"], sampled["val"], strict=True)]
    result = {
        "train": spread(sampled["train"]),
        "val": spread(sampled["val"]),
        "val_minus_train": spread(gaps),
        "full_train": spread(full["train"]),
        "full_val": spread(full["val"]),
        "optimum_train": table_loss(counts["train"], exact),
        "optimum_val": table_loss(counts["val"], add_one),
        "characters": len(corpus.text),
        "vocab_size": V,
    }
    config = {"steps": 5000, "batch_size": 32, "block_size": 8, "lr": 1e-3, "seeds": seeds}
    return make_record("kalevala-bigram", config, result)
