"""Chapter 2's recorded runs: the counter is right, the head leaks only without its mask."""

import math

import pytest
import torch

from gptlib.course.self_attention.runs import (
    OneHead,
    attention_speed,
    losses_by_position,
    ngram_losses,
    train_head,
)


def test_ngram_losses_agree_with_counting_by_hand():
    losses = ngram_losses("abab", "abb", longest=2, prior=1.0)
    # n = 2, scored on "b" after "a" and "b" after "b"; in training a-b twice, b-a once.
    after_a, after_b = (2 + 1) / (2 + 2), (0 + 1) / (1 + 2)
    assert losses["add_one"][1] == pytest.approx(-(math.log(after_a) + math.log(after_b)) / 2)
    b = (2 + 0.5) / (4 + 1)  # one imaginary count, shared equally between two characters
    after_a, after_b = (2 + b) / (2 + 1), (0 + b) / (1 + 1)
    assert losses["back_off"][0] == pytest.approx(-math.log(b))
    assert losses["back_off"][1] == pytest.approx(-(math.log(after_a) + math.log(after_b)) / 2)


@pytest.mark.parametrize("causal", [True, False])
def test_only_the_unmasked_head_sees_the_future(causal):
    torch.manual_seed(0)
    model = OneHead(V=5, T=8, C=8, D=4, causal=causal)
    idx = torch.randint(5, (1, 8))
    other = idx.clone()
    other[0, 5] = (other[0, 5] + 1) % 5
    moved = (model(idx) - model(other)).abs().amax(-1)[0] > 1e-7
    assert moved[5:].all()
    assert moved[:5].any() != causal


def test_the_leak_reaches_every_position_but_the_last():
    torch.manual_seed(0)
    tokens = torch.randint(5, (4000,))  # noise: whoever knows only the past pays ln 5
    model = OneHead(V=5, T=8, C=32, D=16, causal=False)
    train_head(model, tokens, steps=300, lr=1e-2)
    nats = losses_by_position(model, tokens)
    assert nats[:-1].max() < 0.3 < math.log(5) - 0.1 < nats[-1]


def test_attention_speed_records_every_length():
    record = attention_speed(longest=128, repeats=1)
    assert record.command.endswith("recipes attention-speed")
    for key in ("naive_ms", "fused_ms", "ratio", "scores_mib"):
        assert list(record.result[key]) == ["64", "128"]
    assert record.result["scores_mib"]["128"] == 0.25
