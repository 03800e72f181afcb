"""The recorded runs of chapter 2: n-grams and a leaking head on real texts, and attention's speed.

One job: three recipes, each of which returns a `Record`. The models are the chapter's own: an
n-gram counter and one attention head. `gptlib.course.recipes` runs them by name.
"""

from __future__ import annotations

import math
import time
from collections import Counter

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gptlib.corpora import load_corpus
from gptlib.course.records import Record, make_record
from gptlib.model import naive_attention
from gptlib.tokenizers import CharTokenizer

REAL_TEXTS = ("shakespeare", "kalevala")


def ngram_losses(train: str, val: str, longest: int, prior: float = 5.0) -> dict[str, list[float]]:
    """Mean surprisal of `val`, in nats per character, under n-gram counts of `train`.

    Characters without `longest - 1` others before them are left out, so all n are compared on
    the same ones.

    Returns:
        For n = 1 … longest, "add_one": every count raised by one (Laplace); "back_off": `prior`
        imaginary counts, shared out as the next shorter window says (MacKay & Peto 1995).
    """
    V = len(set(train) | set(val))
    total = {"add_one": [0.0] * longest, "back_off": [0.0] * longest}
    grams = [count_windows(train, n) for n in range(longest + 1)]
    rows = [Counter()] + [_histories(counts) for counts in grams[1:]]
    for i in range(longest - 1, len(val)):
        p = 1 / V
        for n in range(1, longest + 1):
            window = val[i - n + 1 : i + 1]
            seen, row = grams[n][window], rows[n][window[:-1]]
            p = (seen + prior * p) / (row + prior)
            total["add_one"][n - 1] -= math.log((seen + 1) / (row + V))
            total["back_off"][n - 1] -= math.log(p)
    scored = len(val) - longest + 1
    return {name: [nats / scored for nats in by_n] for name, by_n in total.items()}


def count_windows(text: str, n: int) -> Counter:
    """Return how often each run of `n` characters occurs in a text."""
    return Counter(text[i : i + n] for i in range(len(text) - n + 1))


def _histories(counts: Counter) -> Counter:
    rows: Counter = Counter()
    for window, seen in counts.items():
        rows[window[:-1]] += seen
    return rows


class OneHead(nn.Module):
    """Token and position embeddings, one attention head, scores for the next token.

    Args:
        V: vocabulary. T: longest window. C: channels. D: head size. causal: hide the future.
    """

    def __init__(self, V: int, T: int, C: int, D: int, causal: bool = True) -> None:
        super().__init__()
        self.token = nn.Embedding(V, C)
        self.position = nn.Embedding(T, C)
        self.query = nn.Linear(C, D, bias=False)
        self.key = nn.Linear(C, D, bias=False)
        self.value = nn.Linear(C, D, bias=False)
        self.out = nn.Linear(D, V)
        self.causal = causal

    def forward(self, idx: Tensor) -> Tensor:
        x = self.token(idx) + self.position.weight[: idx.size(1)]  # (B, T, C)
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, D)
        return self.out(naive_attention(q, k, v, self.causal))  # (B, T, V)


def train_head(
    model: OneHead, tokens: Tensor, steps: int, lr: float, seed: int = 0, batch_size: int = 32
) -> None:
    """AdamW on random windows of `tokens` (N,) int64."""
    T = model.position.num_embeddings
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    dice = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        starts = torch.randint(len(tokens) - T, (batch_size, 1), generator=dice)
        window = tokens[starts + torch.arange(T + 1)]  # (B, T + 1)
        loss = F.cross_entropy(model(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def losses_by_position(model: OneHead, tokens: Tensor) -> Tensor:
    """Mean loss at each of the T positions, (T,) nats, over non-overlapping windows."""
    T = model.position.num_embeddings
    starts = torch.arange(0, len(tokens) - T, T)[:, None]
    window = tokens[starts + torch.arange(T + 1)]
    logits = model(window[:, :-1])
    return F.cross_entropy(logits.mT, window[:, 1:], reduction="none").mean(0)


def ngrams_real(longest: int = 8) -> Record:
    """n-gram losses on the validation split of each real text, by n."""
    result = {}
    for name in REAL_TEXTS:
        corpus = load_corpus(name)
        losses = ngram_losses(corpus.train, corpus.val, longest)
        result[name] = {
            way: {str(n + 1): round(nats, 4) for n, nats in enumerate(by_n)}
            for way, by_n in losses.items()
        }
    config = {"corpora": list(REAL_TEXTS), "longest": longest, "prior": 5.0}
    return make_record("ngrams-real", config, result)


def leak_real(steps: int = 800, lr: float = 1e-2) -> Record:
    """One head on Shakespeare and the Kalevala, with its mask and without."""
    shape = {"T": 32, "C": 64, "D": 32}
    result: dict = {}
    for name in REAL_TEXTS:
        corpus = load_corpus(name)
        tokenizer = CharTokenizer.train(corpus.text)
        train, val = corpus.encode(tokenizer)
        result[name] = {}
        for label, causal in (("no_mask", False), ("mask", True)):
            torch.manual_seed(0)
            model = OneHead(tokenizer.vocab_size, **shape, causal=causal)
            train_head(model, train, steps, lr)
            nats = losses_by_position(model, val)
            result[name][label] = {
                "val": round(nats.mean().item(), 4),
                "last_position": round(nats[-1].item(), 4),
            }
    config = shape | {"batch_size": 32, "steps": steps, "lr": lr, "optimizer": "AdamW", "seed": 0}
    return make_record("leak-real", config, result)


def attention_speed(longest: int = 4096, repeats: int = 7) -> Record:
    """Milliseconds of causal attention, forward and backward, naive against fused, by T.

    Each figure is the best of `repeats`, naive and fused by turns, on as many threads as torch
    is set to use.
    """
    B, H, D = 1, 4, 32
    ways = {
        "naive": naive_attention,
        "fused": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
    }
    result: dict = {"naive_ms": {}, "fused_ms": {}, "ratio": {}, "scores_mib": {}}
    for T in [2**i for i in range(6, longest.bit_length())]:
        q, k, v = torch.randn(3, B, H, T, D).requires_grad_().unbind()
        best = dict.fromkeys(ways, math.inf)
        for _ in range(repeats):
            for name, attend in ways.items():
                start = time.perf_counter()
                attend(q, k, v).sum().backward(retain_graph=True)
                best[name] = min(best[name], time.perf_counter() - start)
        for name, seconds in best.items():
            result[f"{name}_ms"][str(T)] = round(1000 * seconds, 3)
        result["ratio"][str(T)] = round(best["naive"] / best["fused"], 3)
        result["scores_mib"][str(T)] = B * H * T * T * 4 / 2**20
    config = {"B": B, "H": H, "D": D, "dtype": "float32", "repeats": repeats}
    return make_record("attention-speed", config, result)
