"""The lab of chapter 3: each step's right answer passes, and what goes wrong is named."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gptlib
from gptlib.course.multi_head import lab
from gptlib.course.multi_head.own_gpt import MISTAKES, logits


class MyBlock(nn.Module):
    def __init__(self, C):
        super().__init__()
        self.ln_1 = nn.LayerNorm(C)
        self.c_attn = nn.Linear(C, 3 * C)
        self.out = nn.Linear(C, C)
        self.ln_2 = nn.LayerNorm(C)
        self.widen = nn.Linear(C, 4 * C)
        self.narrow = nn.Linear(4 * C, C)


class MyGPT(nn.Module):
    def __init__(self, V, T, L, H, C):
        super().__init__()
        self.H = H
        self.tokens, self.positions = nn.Embedding(V, C), nn.Embedding(T, C)
        self.blocks = nn.ModuleList(MyBlock(C) for _ in range(L))
        self.last = nn.LayerNorm(C)


def forward(self, idx):
    B, T = idx.shape
    x = self.tokens(idx) + self.positions.weight[:T]
    for block in self.blocks:
        parts = block.c_attn(block.ln_1(x)).chunk(3, dim=-1)
        q, k, v = (z.view(B, T, self.H, -1).transpose(1, 2) for z in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + block.out(y.transpose(1, 2).flatten(2))
        x = x + block.narrow(F.gelu(block.widen(block.ln_2(x)), approximate="tanh"))
    return self.last(x) @ self.tokens.weight.T


def start(model, bias=0.0, spread=0.02, shrink=lambda L: math.sqrt(2 * L)):
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=spread)
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.bias, bias)
    for block in model.blocks:
        for layer in (block.out, block.narrow):
            nn.init.normal_(layer.weight, std=0.02 / shrink(len(model.blocks)))


def test_the_right_answers_pass_step_by_step():
    for built in ((MyGPT,), (MyGPT, forward), (MyGPT, forward, start)):
        assert lab.own_gpt(*built).passed is True, lab.own_gpt(*built)


def test_the_librarys_own_passes_too():
    class Theirs(gptlib.GPT):
        def __init__(self, V, T, L, H, C):
            super().__init__(gptlib.GPTConfig(T, V, n_layer=L, n_head=H, n_embd=C))

    def theirs(self, idx):
        return self.logits(self.hidden(idx))

    assert lab.own_gpt(Theirs, theirs).passed is True


def test_a_stub_is_not_written_yet():
    class Stub(nn.Module):
        def __init__(self, V, T, L, H, C):
            super().__init__()
            ...

    assert lab.own_gpt(Stub).passed is None
    assert lab.own_gpt(MyGPT, lambda self, idx: ...).passed is None
    assert lab.own_gpt(MyGPT, forward, lambda model: ...).passed is None


def changed(change):
    class Changed(MyGPT):
        def __init__(self, V, T, L, H, C):
            super().__init__(V, T, L, H, C)
            change(self, V, T, C)

    return Changed


def without_biases(model, V, T, C):
    for block in model.blocks:
        block.c_attn = nn.Linear(C, 3 * C, bias=False)


def three_matrices(model, V, T, C):
    for block in model.blocks:
        block.c_attn = nn.ModuleList(nn.Linear(C, C) for _ in range(3))


def on_their_side(model, V, T, C):
    for block in model.blocks:
        block.c_attn.weight = nn.Parameter(torch.zeros(C, 3 * C))


def narrow(model, V, T, C):
    for block in model.blocks:
        block.widen, block.narrow = nn.Linear(C, 2 * C), nn.Linear(2 * C, C)


def last_first(model, V, T, C):
    tokens = model.tokens
    del model.tokens
    model.tokens = tokens


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (changed(lambda m, V, T, C: setattr(m, "head", nn.Linear(C, V, bias=False))), "is tied"),
        (changed(lambda m, V, T, C: setattr(m, "bias", nn.Parameter(torch.zeros(V)))), "head has"),
        (changed(lambda m, V, T, C: delattr(m, "positions")), "position table"),
        (changed(lambda m, V, T, C: delattr(m, "last")), "length C"),
        (changed(without_biases), "of queries, keys and values are missing"),
        (changed(three_matrices), "in one matrix"),
        (changed(on_their_side), "on their side"),
        (changed(narrow), "widens to 4C"),
        (changed(last_first), "in another order"),
        (lambda *sizes: 1 / 0, "ZeroDivisionError"),
        (lambda *sizes: 3, "expected an nn.Module"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_parameters_is_named(answer, words):
    result = lab.own_gpt(answer)
    assert result.passed is False and words in result.message, result


@pytest.mark.parametrize(("words", "mistake"), MISTAKES, ids=str)
def test_each_mistake_has_its_own_diagnosis(words, mistake):
    def wrong(self, idx):
        return logits(lab._assigned(self), idx, 2, 2, **mistake)

    result = lab.own_gpt(MyGPT, wrong)
    assert result.passed is False and result.message == words
    assert not repr(result).endswith("…")


def louder(part):
    """A mistake without a name: one layer of the blocks counts double."""

    def wrong(self, idx):
        w = dict(lab._assigned(self))
        return logits({k: v * 2 if part in k else v for k, v in w.items()}, idx, 2, 2)

    return wrong


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (louder("wpe"), "in the tables"),
        (louder("c_attn"), "begins in attention"),
        (louder("c_fc"), "in the feed-forward part"),
        (lambda self, idx: F.dropout(forward(self, idx)), "two answers"),
        (lambda self, idx: forward(self, idx).detach(), "RuntimeError"),
        (lambda self, idx: forward(self, idx)[..., :5], "of shape (2, 6, 11)"),
        (lambda self, idx: 3, "expected logits"),
        (lambda self, idx: 1 / 0, "ZeroDivisionError"),
        ("a text", "expected a function"),
    ],
)
def test_where_a_difference_begins_is_said(answer, words):
    result = lab.own_gpt(MyGPT, answer)
    assert result.passed is False and words in result.message, result


def all_alike(model):
    for p in model.parameters():
        nn.init.normal_(p, std=0.02)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda m: start(m, shrink=lambda L: 1), "as large as all others"),
        (lambda m: start(m, shrink=math.sqrt), "adds to the stream twice"),
        (lambda m: start(m, shrink=lambda L: 2 * L), "by its root"),
        (lambda m: start(m, bias=0.02), "all biases begin there"),
        (lambda m: start(m, spread=1.0), "begin with 0.02"),
        (all_alike, "with gain 1"),
        (lambda m: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_what_is_wrong_with_a_start_is_named(answer, words):
    result = lab.own_gpt(MyGPT, forward, answer)
    assert result.passed is False and words in result.message, result
