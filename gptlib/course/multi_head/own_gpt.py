"""A GPT as a function of its weights, right or with one mistake: what the lab's check compares.

One job: `logits`, whose options are the mistakes, and `MISTAKES`, which names them. The weights are
those of a `gptlib.GPT`, under its names without `transformer.`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = Mapping[str, Tensor]


def logits(
    w: Weights,
    idx: Tensor,
    L: int,
    H: int,
    positions: str = "",
    norm: str = "",
    final_norm: bool = True,
    scale: str = "",
    mask: str = "",
    heads: str = "",
    order: str = "qkv",
    activation: str = "",
    residual: str = "",
    projected: bool = True,
    plain_norm: bool = False,
    out: str = "",
) -> Tensor:
    """ids (B, T) to logits (B, T, V) as GPT-2 does it, but for the options that are given."""

    def normed(x: Tensor, name: str) -> Tensor:
        if norm == "none" or (name == "ln_f" and not final_norm):
            return x
        gain, shift = w[f"{name}.weight"], w[f"{name}.bias"]
        if plain_norm:
            return F.layer_norm(x, x.shape[-1:])
        if norm == "over time":
            return gain * F.layer_norm(x.mT, x.shape[1:2]).mT + shift
        return F.layer_norm(x, x.shape[-1:], gain, shift)

    def attended(x: Tensor, name: str) -> Tensor:
        qkv = x @ w[f"{name}.attn.c_attn.weight"].T + w[f"{name}.attn.c_attn.bias"]
        parts = dict(zip(order, qkv.chunk(3, dim=-1), strict=True))
        q, k, v = (_split(parts[part], H, heads) for part in "qkv")
        y = _merge(_attention(q, k, v, scale, mask, x.size(-1)), heads)
        if not projected:
            return y
        return y @ w[f"{name}.attn.c_proj.weight"].T + w[f"{name}.attn.c_proj.bias"]

    def widened(x: Tensor, name: str) -> Tensor:
        h = x @ w[f"{name}.mlp.c_fc.weight"].T + w[f"{name}.mlp.c_fc.bias"]
        bent = {
            "": lambda h: F.gelu(h, approximate="tanh"),
            "exact": F.gelu,
            "relu": F.relu,
            "none": lambda h: h,
        }[activation](h)
        return bent @ w[f"{name}.mlp.c_proj.weight"].T + w[f"{name}.mlp.c_proj.bias"]

    T = idx.size(1)
    x = w["wte.weight"][idx]
    if positions != "none":
        first = 1 if positions == "from 1" else 0
        x = x + w["wpe.weight"][first : T + first]
    for layer in range(1 if residual == "one block" else L):
        name = f"h.{layer}"
        before = x
        for part, n in ((attended, 1), (widened, 2)):
            read = (
                x
                if norm == "post"
                else normed(before if residual == "beside" else x, f"{name}.ln_{n}")
            )
            kept = {"none": 0.0, "of the norm": read}.get(residual, x)
            x = kept + part(read, name)
            if norm == "post":
                x = normed(x, f"{name}.ln_{n}")
    x = normed(x, "ln_f") @ w["wte.weight"].T
    if out == "last":
        return x[:, -1]
    return {"": x, "softmax": x.softmax(-1), "log": x.log_softmax(-1)}[out]


def _split(x: Tensor, H: int, how: str) -> Tensor:
    B, T, C = x.shape
    if how == "view":
        return x.reshape(B, H, T, C // H)
    if how == "one":
        return x[:, None]
    return x.view(B, T, H, C // H).transpose(1, 2)


def _merge(y: Tensor, how: str) -> Tensor:
    B, H, T, D = y.shape
    if how == "merged":
        return y.reshape(B, T, H * D)
    if how == "view":
        return y.reshape(B, T, H * D)
    return y.transpose(1, 2).reshape(B, T, H * D)


def _attention(q: Tensor, k: Tensor, v: Tensor, scale: str, mask: str, C: int) -> Tensor:
    T, D = q.shape[-2:]
    divisor = {"": math.sqrt(D), "C": math.sqrt(C), "none": 1.0, "D": D}[scale]
    scores = q @ k.mT / divisor
    future = torch.ones(T, T, dtype=torch.bool).triu(2 if mask == "one too many" else 1)
    if mask == "after":
        return scores.softmax(-1).masked_fill(future, 0.0) @ v
    if mask == "zero":
        scores = scores.masked_fill(future, 0.0)
    elif mask == "past":
        scores = scores.masked_fill(future.mT, -math.inf)
    elif mask != "none":
        scores = scores.masked_fill(future, -math.inf)
    return scores.softmax(-2 if mask == "columns" else -1) @ v


#: Mistakes that a GPT can make, as options of `logits`, and what to say of each.
MISTAKES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("the position table is never added: the model cannot tell who came first",
     {"positions": "none"}),
    ("positions begin with row 1 of their table: the first token reads row 0",
     {"positions": "from 1"}),
    ("the final norm is missing: the stream is normalized once more before the head",
     {"final_norm": False}),
    ("there are no norms", {"norm": "none"}),
    ("the norms stand behind the additions, as in 2017: GPT-2 normalizes what a sublayer reads, "
     "and leaves the stream alone", {"norm": "post"}),
    ("the norms take their mean over time, so the future leaks: each token over its own channels",
     {"norm": "over time"}),
    ("the norms have lost their gain and shift", {"plain_norm": True}),
    ("softmax was taken: a GPT returns logits, and the loss does the rest", {"out": "softmax"}),
    ("log-probabilities: a GPT returns logits, and the loss does the rest", {"out": "log"}),
    ("logits for the last token only: every token is an example and gets its own",
     {"out": "last"}),
    ("scores are divided by √C: each head adds D products, so by √D", {"scale": "C"}),
    ("scores are not divided by √D", {"scale": "none"}),
    ("scores are divided by D: its root is what keeps their spread at 1", {"scale": "D"}),
    ("there is no mask: tokens see their future", {"mask": "none"}),
    ("the mask is one too generous: a token sees its successor", {"mask": "one too many"}),
    ("the mask comes after the softmax: the rows no longer sum to 1", {"mask": "after"}),
    ("the future has score 0, which is not nothing: −∞ before the softmax", {"mask": "zero"}),
    ("the mask hides the past, not the future", {"mask": "past"}),
    ("the softmax runs down the columns: each row of weights sums to 1", {"mask": "columns"}),
    ("the heads were cut by view alone, across tokens: split C, then bring H in front of T",
     {"heads": "view"}),
    ("the heads' answers were reshaped without bringing T in front of H first",
     {"heads": "merged"}),
    ("there is one head of C channels where H of C / H are asked for", {"heads": "one"}),
    ("queries and keys have changed places: the first C rows are queries, then keys, then values",
     {"order": "kqv"}),
    ("the three parts stand in another order: the first C rows are queries, then keys, then values",
     {"order": "vkq"}),
    ("the three parts stand in another order: queries, then keys, and values last",
     {"order": "qvk"}),
    ("the projection after the heads is missing", {"projected": False}),
    ("that is the exact GELU: GPT-2's is the approximation with tanh, a thousandth away",
     {"activation": "exact"}),
    ("that is a ReLU: GPT-2 bends with a GELU", {"activation": "relu"}),
    ("nothing bends between the two layers of the feed-forward part", {"activation": "none"}),
    ("the residual additions are missing: x + what a sublayer says", {"residual": "none"}),
    ("what is added to is the normalized stream: x + f(norm(x)), and not norm(x) + f(norm(x))",
     {"residual": "of the norm"}),
    ("the feed-forward part reads what attention read, beside it: it reads what attention left",
     {"residual": "beside"}),
    ("only the first block runs", {"residual": "one block"}),
)  # fmt: skip
