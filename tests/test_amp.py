"""Half precision changes what a step costs and not what it does: scaling, clipping, evaluation."""

from functools import partial

import pytest
import torch

from gptlib import TrainConfig, Trainer
from gptlib.evaluation import split_loss, token_losses
from gptlib.runs import read_jsonl
from gptlib.runtime import Runtime

CONFIG = dict(steps=8, batch_size=8, lr=3e-3, warmup=2, eval_every=4, save_minutes=0)


@pytest.fixture
def train(make_model, ids, tokenizer, tmp_path, monkeypatch):
    """A function that trains in `dtype`, float16 too, which gptlib refuses on a CPU as slow."""

    def run(name: str, dtype: str = "float32", drop: float = 0.1, **changes):
        monkeypatch.setattr(Runtime, "detect", lambda *wanted: Runtime("cpu", dtype))
        model = make_model(dropout=drop, attn_dropout=drop)
        config = TrainConfig(**(CONFIG | changes))
        return Trainer(model, ids[:2000], ids[2000:], config, tmp_path / name, tokenizer).fit()

    return run


@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_scaler_changes_no_bit_and_clipping_sees_unscaled_gradients(
    train, tmp_path, monkeypatch, accumulate
):
    """A power of two scales exactly; clipping before the scale is taken out would show."""
    settings = dict(accumulate=accumulate, grad_clip=0.2)
    plain = train("plain", **settings)
    scaler = partial(torch.amp.GradScaler, "cpu", init_scale=2.0**12)
    monkeypatch.setattr(Runtime, "grad_scaler", lambda self: scaler())
    scaled = train("scaled", **settings)
    assert read_jsonl(tmp_path / "scaled/log.jsonl") == read_jsonl(tmp_path / "plain/log.jsonl")
    assert all(x["grad_norm"] > 0.2 for x in plain.log if "grad_norm" in x)  # each was clipped
    for a, b in zip(scaled.model.parameters(), plain.model.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("less", [{}, {"recompute": True, "loss_chunk": 50}], ids=["all", "less"])
def test_half_precision_follows_the_curve_of_float32(train, dtype, less):
    steady = dict(drop=0.0, accumulate=2)
    curves = [
        [x.get("loss", x.get("val")) for x in run.log]
        for run in (train("whole", **steady), train("half", dtype, **steady, **less))
    ]
    assert curves[1] == pytest.approx(curves[0], abs=0.01)
    assert curves[0][0] - curves[0][-1] > 0.1  # and it is a curve


def test_an_evaluation_in_bfloat16_rounds_logits_and_nothing_else(train, ids):
    """The loss of a token is a float32, their sum a float64: the mean is off by far less than
    the eight bits of a bfloat16."""
    model = train("run", steps=60, lr=1e-2).model.eval()
    half = partial(torch.autocast, "cpu", torch.bfloat16)
    exact, rounded = split_loss(model, ids), split_loss(model, ids, autocast=half)
    assert rounded == pytest.approx(exact, abs=0.003) and rounded != exact
    idx = torch.tensor(ids[:160].astype("int64")).view(10, 16)
    with half():
        losses = token_losses(model, idx, idx.roll(-1, 1))
        hidden = model.hidden(idx)
        logits = model.logits(hidden)
    assert losses.dtype == torch.float32 and logits.dtype == torch.bfloat16
    by_hand = -logits.double().log_softmax(-1).gather(-1, idx.roll(-1, 1)[..., None])[..., 0]
    torch.testing.assert_close(losses.double(), by_hand, atol=1e-5, rtol=1e-5)
