"""Chapter 8's exercises on LoRA and packing: right answers pass, each mistake has a diagnosis."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.finetuning import checks


def forward(x, W, A, B, alpha):
    return x @ W.T + (x @ A.T) @ B.T * (alpha / A.size(0))


def start(out_features, in_features, rank):
    return torch.randn(rank, in_features) * 0.1, torch.zeros(out_features, rank)


def merge(W, A, B, alpha):
    return W + B @ A * (alpha / A.size(0))


def merge_in_place(W, A, B, alpha):
    W += B @ A * (alpha / A.size(0))
    return W


def pack(texts, T):
    lengths = [len(text) for text in texts]
    rest = T - sum(lengths)
    ids = [token for text in texts for token in text] + [0] * rest
    number = [n for n, length in enumerate(lengths) for _ in range(length)] + [-1] * rest
    position = [k for length in lengths for k in range(length)] + [0] * rest
    return torch.tensor(ids), torch.tensor(number), torch.tensor(position)


def packed(change):
    def fn(texts, T):
        return change(*pack(texts, T), sum(map(len, texts)))

    return fn


class TestFinetuning(CheckPromises):
    module = checks
    right = (
        (checks.forward, forward),
        (checks.start, start),
        (checks.merge, merge),
        (checks.pack, pack),
    )
    wrong = (
        (checks.forward, lambda x, W, A, B, alpha: x @ (W + B @ A).T, "rank with it"),
        (checks.forward, lambda x, W, A, B, alpha: x @ (W + B @ A * alpha).T, "twice as loud"),
        (checks.forward, lambda x, W, A, B, alpha: forward(x, W, A, B, 1), "forget alpha"),
        (
            checks.forward,
            lambda x, W, A, B, alpha: x @ (W + B @ A * alpha / A.size(1)).T,
            "width of the input",
        ),
        (
            checks.forward,
            lambda x, W, A, B, alpha: x @ (W + B @ A * alpha / math.sqrt(A.size(0))).T,
            "rsLoRA",
        ),
        (checks.forward, lambda x, W, A, B, alpha: x @ merge(0 * W, A, B, alpha).T, "W say of x"),
        (checks.forward, lambda x, W, A, B, alpha: x @ W.T, "W alone"),
        (
            checks.forward,
            lambda x, W, A, B, alpha: x @ (W + B @ A).T * (alpha / A.size(0)),
            "only the change is",
        ),
        (checks.start, lambda o, i, r: (torch.zeros(r, i), torch.zeros(o, r)), "neither ever"),
        (checks.start, lambda o, i, r: (torch.randn(r, i), torch.randn(o, r)), "spoiled before"),
        (checks.start, lambda o, i, r: start(o, i, r)[::-1], "changed places"),
        (checks.start, lambda o, i, r: [part.T for part in start(o, i, r)], "both are turned"),
        (checks.start, lambda o, i, r: (torch.ones(r, i), torch.zeros(o, r)), "all alike"),
        (checks.start, lambda o, i, r: (9 * torch.randn(r, i), torch.zeros(o, r)), "a jump"),
        (
            checks.start,
            lambda o, i, r: (torch.full((r, i), math.nan), torch.zeros(o, r)),
            "not finite",
        ),
        (checks.start, lambda o, i, r: (torch.randn(i, i), torch.zeros(o, r)), "is A (rank, in)"),
        (checks.start, lambda o, i, r: torch.zeros(o, i), "return two matrices"),
        (checks.merge, lambda W, A, B, alpha: W + B @ A, "by alpha / rank"),
        (checks.merge, lambda W, A, B, alpha: W + B @ A * alpha, "shout 64 times"),
        (checks.merge, lambda W, A, B, alpha: W + B @ A * alpha / A.size(1), "width of the input"),
        (
            checks.merge,
            lambda W, A, B, alpha: W + B @ A * alpha / math.sqrt(A.size(0)),
            "rsLoRA's scale",
        ),
        (checks.merge, lambda W, A, B, alpha: merge(W, A, B, 2 * alpha), "once is all"),
        (checks.merge, lambda W, A, B, alpha: merge(0 * W, A, B, alpha), "change alone"),
        (checks.merge, lambda W, A, B, alpha: merge(W, A, B, -alpha), "taken away"),
        (
            checks.merge,
            lambda W, A, B, alpha: (
                W + (B @ A * alpha / A.size(0)).reshape(A.size(1), -1).T
                if W.size(0) == W.size(1)
                else merge(W, A, B, alpha)
            ),
            "B A is turned",
        ),
        (checks.merge, merge_in_place, "merge twice"),
        (
            checks.pack,
            packed(lambda ids, n, p, end: (ids, n, torch.arange(len(ids)) * (n >= 0))),
            "run on from one",
        ),
        (
            checks.pack,
            packed(lambda ids, n, p, end: (ids, n, torch.arange(len(ids)))),
            "and the padding",
        ),
        (checks.pack, packed(lambda ids, n, p, end: (ids, n, (p + 1) * (n >= 0))), "was at 1"),
        (
            checks.pack,
            packed(lambda ids, n, p, end: (ids, n.where(n >= 0, n[end - 1]), p)),
            "the last text, which",
        ),
        (checks.pack, packed(lambda ids, n, p, end: (ids, n.clamp(min=0), p)), "first text's"),
        (
            checks.pack,
            packed(lambda ids, n, p, end: (ids, n + (n >= 0).long(), p)),
            "counted from 0",
        ),
        (checks.pack, lambda texts, T: pack(texts[:1], T), "only the first text"),
        (
            checks.pack,
            packed(lambda ids, n, p, end: (ids[:end], n[:end], p[:end])),
            "fill it up to T",
        ),
    )


def test_a_turned_product_is_seen_where_the_shapes_differ_too():
    result = checks.merge(lambda W, A, B, alpha: merge(W, A, B, alpha).T)
    assert not result and "B A is turned" in result.message
