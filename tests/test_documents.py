"""Attention within documents: a window of several gives what each gives alone."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import GPT, GPTConfig, TrainConfig, Trainer, generate
from gptlib.documents import documents_of
from gptlib.errors import ConfigError
from gptlib.evaluation import split_loss

START, V, T = 0, 12, 160
LENGTHS = [[100, 40, 20], [160], [3, 70, 1, 86]]  # of the documents in each row


def make(**shape) -> GPT:
    torch.manual_seed(2)
    sizes = dict(block_size=T, vocab_size=V, n_layer=2, n_head=2, n_embd=16)
    return GPT(GPTConfig(**sizes | shape)).double()


def batch(lengths=LENGTHS) -> torch.Tensor:
    ids = torch.randint(1, V, (len(lengths), T), generator=torch.Generator().manual_seed(3))
    for row, documents in zip(ids, lengths, strict=True):
        row[np.cumsum([0, *documents[:-1]])] = START
    return ids


def one_by_one(model: GPT, ids: torch.Tensor, lengths=LENGTHS) -> torch.Tensor:
    """The logits of each document by itself, put together as they lie: the loop to be equal to."""
    rows = [
        torch.cat([model(part[None])[0][0] for part in row.split(documents)])
        for row, documents in zip(ids, lengths, strict=True)
    ]
    return torch.stack(rows)


SHAPES = [{}, {"rotary": True}, {"rotary": True, "qk_norm": True, "tied_head": False}]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("recompute", [False, True])
def test_logits_and_gradients_are_those_of_a_loop_over_documents(shape, recompute):
    ids, targets = batch(), batch().roll(-1, 1)
    model = make(**shape)
    wanted = one_by_one(model, ids)
    F.cross_entropy(wanted.flatten(0, 1), targets.flatten()).backward()
    slopes = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    model.document_start, model.recompute = START, recompute
    logits, loss = model(ids, targets)
    loss.backward()
    near = 1e-7 if shape else 1e-12  # rotary positions run on, by sines in float32
    assert torch.allclose(logits, wanted, atol=near)
    for name, p in model.named_parameters():
        assert torch.allclose(p.grad, slopes[name], atol=near), name
    model.document_start = None  # and across them it is another function
    assert not torch.allclose(model(ids)[0], wanted, atol=1e-3)


def test_a_row_that_begins_within_a_document_begins_with_its_rest():
    ids = batch()
    ids[0, 0] = 5
    model = make()
    wanted = one_by_one(model, ids)
    model.document_start = START
    assert torch.allclose(model(ids)[0], wanted, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 2), min_size=7, max_size=7), min_size=1, max_size=4))
def test_cutting_and_joining_are_inverse(rows):
    """0 begins a document, wherever it stands."""
    ids = torch.tensor(rows)
    found = documents_of(ids, 0)
    begins = [[i for i, token in enumerate(row) if token == 0 or i == 0] for row in rows]
    if found is None:
        assert all(begin == [0] for begin in begins)
        return
    wanted = [[i - max(b for b in begin if b <= i) for i in range(7)] for begin in begins]
    assert found.positions.tolist() == wanted
    x = torch.randn(len(rows), 2, 7, 3)
    assert found.join(found.cut(x)).equal(x)
    assert sum(n for _, n, _, _ in found.groups) == sum(map(len, begins))


def test_rows_of_one_document_each_are_left_to_the_plain_way():
    assert documents_of(torch.ones(3, 4, dtype=torch.int64), 0) is None


def test_no_mask_of_the_window_is_made(monkeypatch):
    """The fused kernel is told "causal" and no more, however long the window."""
    asked = []
    kernel = F.scaled_dot_product_attention

    def listen(q, k, v, attn_mask=None, **options):
        asked.append((attn_mask, options["is_causal"], q.shape[-2]))
        return kernel(q, k, v, **options)

    monkeypatch.setattr(F, "scaled_dot_product_attention", listen)
    model = make(n_layer=1)
    model.document_start = START
    model(batch([[50, 50, 60]]))
    assert asked == [(None, True, 64)]


def test_a_cache_writes_as_before():
    model, ids = make().eval(), batch([[160]])[:, :9]
    plain = generate(model, ids, 20, temperature=0)
    model.document_start = START
    assert generate(model, ids, 20, temperature=0).equal(plain)


CONFIG = dict(steps=3, batch_size=2, eval_every=3, warmup=0, lr=1e-2, min_lr=1e-3)


def text() -> np.ndarray:
    return np.concatenate([[START, *[n % 7 + 1] * 30] for n in range(40)])


def test_a_trainer_keeps_attention_within_documents_and_resumes_so(tmp_path):
    def fit(name, stop_after=None, **changes):
        torch.manual_seed(0)
        model = make().float()
        trainer = Trainer(model, text(), text(), TrainConfig(**CONFIG | changes), tmp_path / name,
                          separator=[START])  # fmt: skip
        return trainer.fit(stop_after=stop_after)

    within, across = fit("within", attend="document"), fit("across")
    assert within.model.document_start == START and across.model.document_start is None
    heads = [run.model.lm_head.weight for run in (within, across)]
    assert not heads[0].equal(heads[1])
    fit("parts", stop_after=1, attend="document")
    parts = fit("parts", attend="document")
    for name, p in parts.model.named_parameters():
        assert p.equal(dict(within.model.named_parameters())[name]), name


def test_validation_from_every_start_does_not_hang_on_it():
    """Windows that begin at documents never hold two, so both kinds of run are judged alike."""
    model, ids = make(), text()
    starts = np.flatnonzero(ids == START)
    plain = split_loss(model, ids, starts=starts)
    model.document_start = START
    assert split_loss(model, ids, starts=starts) == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize(
    ("separator", "message"),
    [(None, "there is no separator"), ([1, 2], "there is a separator of 2 tokens")],
)
def test_without_a_token_that_begins_documents_it_is_refused(tmp_path, separator, message):
    config = TrainConfig(**CONFIG, attend="document")
    with pytest.raises(ConfigError, match=message):
        Trainer(make().float(), text(), text(), config, tmp_path, separator=separator)


def test_settings_that_cannot_be():
    with pytest.raises(ConfigError, match="attend is 'story'; use one of window, document"):
        TrainConfig(attend="story")
    with pytest.raises(ConfigError, match="compile is on, which wants them the same"):
        TrainConfig(attend="document", compile=True)
