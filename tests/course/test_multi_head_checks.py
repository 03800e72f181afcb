"""Every exercise of chapter 3: the right answer passes, each mistake gets its own diagnosis."""

import math

import torch
import torch.nn.functional as F
from check_promises import CheckPromises

from gptlib.course.multi_head import checks


def right_merge(y):
    return y.transpose(1, 2).reshape(y.size(0), y.size(2), -1)


def right_norm(x, gain, shift, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return gain * (x - mean) / (variance + eps).sqrt() + shift


def norm_over(*dims):
    def wrong(x, gain, shift, eps):
        centered = x - x.mean(dims, keepdim=True)
        return gain * centered / ((centered**2).mean(dims, keepdim=True) + eps).sqrt() + shift

    return wrong


def norm_by(scale):
    return lambda x, gain, shift, eps: gain * (x - x.mean(-1, keepdim=True)) / scale(x, eps) + shift


def right_dropout(x, p, training, dice):
    return torch.where(dice < p, torch.zeros_like(x), x / (1 - p)) if training else x


def right_entropy(logits, targets):
    logits = logits - logits.max(-1, keepdim=True).values
    logprobs = logits - logits.exp().sum(-1, keepdim=True).log()
    return -logprobs.gather(-1, targets[..., None]).mean()


def flat_entropy(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def right_count(V, T, C, L):
    attention, mlp, norms = 4 * C * C + 4 * C, 8 * C * C + 5 * C, 4 * C
    return V * C + T * C + L * (attention + mlp + norms) + 2 * C


def count_off(term):
    return lambda V, T, C, L: right_count(V, T, C, L) + term(V, T, C, L)


RIGHT = {
    "merge_heads": right_merge,
    "layer_norm": right_norm,
    "dropout": right_dropout,
    "cross_entropy": right_entropy,
    "count_parameters": right_count,
}

WRONG = [
    ("merge_heads", lambda y: y.reshape(y.size(0), y.size(2), -1), "reshape alone"),
    ("merge_heads", lambda y: y.permute(0, 2, 3, 1).flatten(2), "shuffled together"),
    ("merge_heads", lambda y: y.mean(1), "averaged or summed"),
    ("merge_heads", lambda y: y.sum(1), "averaged or summed"),
    ("merge_heads", lambda y: y.transpose(1, 2), "still apart"),
    ("layer_norm", norm_over(0), "over the batch"),
    ("layer_norm", norm_over(1), "over time"),
    ("layer_norm", norm_over(0, 1, 2), "one mean for the whole tensor"),
    ("layer_norm", norm_by(lambda x, eps: (x.var(-1, keepdim=True) + eps).sqrt()), "unbiased"),
    (
        "layer_norm",
        norm_by(lambda x, eps: x.std(-1, unbiased=False, keepdim=True) + eps),
        "outside the root",
    ),
    (
        "layer_norm",
        norm_by(lambda x, eps: x.var(-1, unbiased=False, keepdim=True) + eps),
        "root is missing",
    ),
    (
        "layer_norm",
        lambda x, g, b, eps: g * x / (x.var(-1, unbiased=False, keepdim=True) + eps).sqrt() + b,
        "not subtracted",
    ),
    ("layer_norm", lambda x, g, b, eps: F.layer_norm(x, (4,), eps=eps), "gain and shift are"),
    ("layer_norm", lambda x, g, b, eps: g * (F.layer_norm(x, (4,), eps=eps) + b), "multiplied by"),
    ("layer_norm", lambda x, g, b, eps: (x - x.mean(-1)) / x.std(-1), "without keepdim"),
    ("dropout", lambda x, p, t, u: x * (u >= p) if t else x, "not scaled"),
    ("dropout", lambda x, p, t, u: x * (u >= p) / (1 - p), "stayed on at evaluation"),
    ("dropout", lambda x, p, t, u: x * (u >= p), "two mistakes"),
    ("dropout", lambda x, p, t, u: x * (u < p) / (1 - p) if t else x, "test dice >= p"),
    ("dropout", lambda x, p, t, u: x * (u >= p) / (p or 1) if t else x, "divided by p"),
    ("dropout", lambda x, p, t, u: x * (u >= p) if t else x * (1 - p), "paper of 2014"),
    (
        "cross_entropy",
        lambda z, y: F.cross_entropy(z.flatten(0, 1), y.T.flatten()),
        "column by column",
    ),
    (
        "cross_entropy",
        lambda z, y: F.cross_entropy(z.view(z.size(0), z.size(2), z.size(1)), y),
        "cuts scores across tokens",
    ),
    ("cross_entropy", lambda z, y: flat_entropy(z.softmax(-1), y), "softmax twice"),
    ("cross_entropy", lambda z, y: flat_entropy(z, y) * y.numel(), "sum over tokens"),
    ("cross_entropy", lambda z, y: flat_entropy(z, y) / math.log(2), "in bits"),
    ("cross_entropy", lambda z, y: -flat_entropy(z, y), "sign"),
    (
        "cross_entropy",
        lambda z, y: -z.log_softmax(-1).gather(-1, y[..., None]).squeeze(-1),
        "one loss a token",
    ),
    (
        "cross_entropy",
        lambda z, y: (
            -(z.exp() / z.exp().sum(-1, keepdim=True)).log().gather(-1, y[..., None]).mean()
        ),
        "overflowed",
    ),
    ("count_parameters", count_off(lambda V, T, C, L: V * C), "head was counted twice"),
    ("count_parameters", count_off(lambda V, T, C, L: (V - T) * C), "two mistakes"),
    ("count_parameters", count_off(lambda V, T, C, L: -T * C), "position table is missing"),
    ("count_parameters", count_off(lambda V, T, C, L: -9 * C * L), "biases"),
    ("count_parameters", count_off(lambda V, T, C, L: -4 * C * L - 2 * C), "layer norms are"),
    ("count_parameters", count_off(lambda V, T, C, L: -2 * C), "final layer norm"),
    ("count_parameters", count_off(lambda V, T, C, L: -2 * L * C * C), "three C x C"),
    ("count_parameters", count_off(lambda V, T, C, L: -L * C * C), "projection after the heads"),
    ("count_parameters", count_off(lambda V, T, C, L: -6 * L * C * C), "widens to 4C"),
]


class TestTransformer(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)
