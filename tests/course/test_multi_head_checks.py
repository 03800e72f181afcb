"""Every exercise of chapter 3: the right answer passes, each mistake gets its own diagnosis."""

import math

import torch
import torch.nn.functional as F
from check_promises import CheckPromises

from gptlib.course.multi_head import checks, checks_adamw


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


def hats(m, v, t, betas):
    return m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)


def adam(
    slope=lambda w, g, decay: g,
    hats=hats,
    size=lambda v, eps: v.sqrt() + eps,
    square=lambda g: g**2,
    back=lambda m, v, hats: (m, v),
    keep=1,
    sign=1,
    shrink=1,
):
    """A step of AdamW of which any part can be replaced."""

    def step(w, g, m, v, t, lr, betas, eps, decay):
        g = slope(w, g, decay)
        m = keep * betas[0] * m + (1 - betas[0]) * g
        v = keep * betas[1] * v + (1 - betas[1]) * square(g)
        both = hats(m, v, t, betas)
        w = w * (1 - shrink * lr * decay) - sign * lr * both[0] / size(both[1], eps)
        return w, *back(m, v, both)

    return step


right_adamw = adam()


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

WRONG_ADAMW = [
    (adam(hats=lambda m, v, t, b: (m, v)), "moments are not corrected"),
    (adam(hats=lambda m, v, t, b: (m / (1 - b[0] ** t), v)), "m is corrected and v is"),
    (adam(slope=lambda w, g, decay: g + decay * w, shrink=0), "L2 in Adam"),
    (adam(size=lambda v, eps: (v + eps).sqrt()), "inside the root"),
    (adam(size=lambda v, eps: v + eps), "root is missing"),
    (adam(keep=0), "this slope alone"),
    (adam(back=lambda m, v, hats: hats), "corrected twice"),
    (lambda *case: right_adamw(*case[:6], case[6][::-1], *case[7:]), "changed places"),
    (adam(square=abs), "not of its square"),
    (adam(sign=-1), "uphill"),
    (adam(shrink=0), "decay is missing"),
    (adam(shrink=10), "a share of `decay`"),
    (adam(hats=lambda m, v, t, b: hats(m, v, t + 1, b)), "no t + 1"),
    (lambda *case: right_adamw(*case)[0], "weights alone"),
]


class TestTransformer(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)


class TestAdamW(CheckPromises):
    module = checks_adamw
    right = ((checks_adamw.adamw, right_adamw),)
    wrong = tuple((checks_adamw.adamw, answer, words) for answer, words in WRONG_ADAMW)


def test_the_reference_of_adamw_is_torchs():
    torch.manual_seed(0)
    w = torch.randn(3, 4, requires_grad=True)
    ours, m, v = w.detach().clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    settings = {"lr": 0.1, "betas": (0.8, 0.97), "eps": 0.01}
    optimizer = torch.optim.AdamW([w], weight_decay=0.3, **settings)
    for t in range(1, 9):
        w.grad = torch.randn(3, 4)
        ours, m, v = checks_adamw._right_adamw(
            checks_adamw._Step(ours, w.grad, m, v, t, **settings, decay=0.3)
        )
        optimizer.step()
        assert torch.allclose(ours, w, atol=1e-6)
