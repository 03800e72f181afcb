"""Sampling: the cache changes the speed and nothing else; every setting does what it says."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import filter_logits, generate, stream
from gptlib.sampling.stops import Ending

MODERN = dict(
    rotary=True, qk_norm=True, norm="rmsnorm", activation="relu2", tied_head=False, softcap=8.0
)


@pytest.fixture(scope="module", params=[{}, MODERN], ids=["gpt2", "modern"])
def model(request) -> GPT:
    torch.manual_seed(0)
    shape = dict(block_size=24, vocab_size=31, n_layer=2, n_head=2, n_embd=32)
    model = GPT(GPTConfig(**shape, **request.param))
    for p in model.parameters():  # far from uniform, so that a wrong token shows
        torch.nn.init.normal_(p, std=0.3)
    return model.double()


@pytest.mark.filterwarnings("ignore:the prompt has 30 tokens")
@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.3])
@pytest.mark.parametrize("prompt", [[3], list(range(24)), list(range(30))])
def test_cached_and_uncached_tokens_are_the_same_for_200_steps(model, prompt, temperature):
    runs = [
        generate(model, prompt, 200, temperature, top_k=20, top_p=0.95, seed=5, use_cache=cache)
        for cache in (True, False)
    ]
    assert torch.equal(*runs)
    assert runs[0].shape == (1, len(prompt) + 200)
    assert runs[0][0, : len(prompt)].tolist() == prompt


@pytest.mark.parametrize("options", [{}, MODERN], ids=["gpt2", "modern"])
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_shortest_contexts_slide_too(block_size, options):
    torch.manual_seed(0)
    small = GPT(GPTConfig(block_size, 7, 1, 1, 8, **options)).double()
    runs = [generate(small, [1], 30, seed=1, use_cache=cache) for cache in (True, False)]
    assert torch.equal(*runs)


def test_a_batch_is_its_rows(model):
    rows = torch.tensor([[1, 2, 3], [4, 5, 6]])
    both = generate(model, rows, 40, temperature=0)
    for row, ids in zip(both, rows, strict=True):
        assert torch.equal(row, generate(model, ids, 40, temperature=0)[0])


def test_prompts_of_different_lengths(model):
    prompts = [[1, 2], [3, 4, 5, 6]]
    out, lengths = generate(model, prompts, 10, temperature=0)
    assert out.shape == (2, 14) and lengths == [12, 14]
    for row, length, prompt in zip(out, lengths, prompts, strict=True):
        assert torch.equal(row[:length], generate(model, prompt, 10, temperature=0)[0])


def test_the_same_seed_writes_the_same_and_leaves_the_global_generator_alone(model):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    a, b = (generate(model, [1], 50, seed=3) for _ in range(2))
    generate(model, [1], 5)
    assert torch.equal(a, b)
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.equal(a, generate(model, [1], 50, seed=4))


def test_stream_yields_what_generate_collects(model):
    model.train()
    tokens = list(stream(model, [1, 2], 30, seed=9))
    assert tokens == generate(model, [1, 2], 30, seed=9)[0, 2:].tolist()
    assert model.training  # as it was


def test_stop_sequences_end_a_row(model):
    free = generate(model, [1, 2], 60, seed=2)[0, 2:].tolist()
    stop = free[20:22]
    first = next(i for i in range(60) if free[i : i + 2] == stop) + 2
    assert generate(model, [1, 2], 60, seed=2, stop=[stop])[0, 2:].tolist() == free[:first]
    assert list(stream(model, [1, 2], 60, seed=2, stop=[stop])) == free[:first]
    assert list(stream(model, [1, 2], 60, seed=2, stop=free[:1])) == free[:1]


def test_in_a_batch_a_stopped_row_repeats_its_last_token(model):
    rows = torch.tensor([[1, 2], [7, 9]])
    free = generate(model, rows, 20, temperature=0)[:, 2:]
    stop = int(free[0, 3])
    out = generate(model, rows, 20, temperature=0, stop=[stop])[:, 2:]
    end = free[0].tolist().index(stop)
    assert out[0, end:].eq(stop).all()


def test_greedy_takes_the_likeliest(model):
    model.eval()
    out = generate(model, [5, 6], 1, temperature=0)
    assert out[0, -1] == model(torch.tensor([[5, 6]]))[0][0, -1].argmax()
    model.train()


def test_equal_prompts_get_texts_of_their_own(model):
    rows = generate(model, [[1, 2, 3]] * 4, 20, seed=0)[:, 3:].tolist()
    assert len({tuple(row) for row in rows}) == 4
    assert rows[0] == generate(model, [1, 2, 3], 20, seed=0)[0, 3:].tolist()
    fresh = generate(model, [[1, 2, 3]] * 4, 20)[:, 3:].tolist()
    assert len({tuple(row) for row in fresh}) == 4


@pytest.mark.parametrize("company", [[[7, 8]], [[7]], [[9, 9, 9]]], ids=["equal", "short", "long"])
def test_a_row_does_not_depend_on_its_neighbors(model, company):
    """Neither on what they say, nor on whether the prompts were padded to one length."""
    alone = generate(model, [[5, 6], [1, 2], [3, 4]], 20, seed=3)[1].tolist()
    for rows in ([*company, [1, 2]], [*company, [1, 2], *company]):
        out = generate(model, rows, 20, seed=3)
        out = out[0] if isinstance(out, tuple) else out
        assert out[1, :22].tolist() == alone


@pytest.fixture
def dropping(model):
    """The model in training mode, where dropout would show, and one part of it that is not."""
    noisy = GPT(GPTConfig(24, 31, 1, 2, 32, dropout=0.5)).double().train()
    noisy.transformer.h[0].mlp.eval()
    return noisy


def modes(model) -> list[bool]:
    return [module.training for module in model.modules()]


def test_two_streams_at_once_and_one_dropped_half_way(dropping):
    before = modes(dropping)
    alone = [list(stream(dropping, [i], 12, seed=i)) for i in (1, 2)]
    a, b = (stream(dropping, [i], 12, seed=i) for i in (1, 2))
    seen = [[next(a)], [next(b)]]
    assert modes(dropping) == before  # between two tokens too
    seen[0].append(next(a))
    a.close()
    assert modes(dropping) == before
    seen[1] += list(b)
    assert seen == [alone[0][:2], alone[1]]
    assert modes(dropping) == before
    dropping.eval()
    c = stream(dropping, [1], 12, seed=1)
    next(c)
    dropping.train()
    del c
    assert dropping.training


def test_stopping_costs_the_same_at_every_token(model, monkeypatch):
    """Counted, not timed: what is turned into lists or copied grows with n, not with its square."""
    handled = []
    for owner, name in ((torch.Tensor, "tolist"), (torch, "cat")):
        whole = getattr(owner, name)

        def counting(tensors, *args, whole=whole, **options):
            for tensor in [tensors] if isinstance(tensors, torch.Tensor) else tensors:
                handled.append(tensor.numel() if tensor.dtype == torch.int64 else 0)
            return whole(tensors, *args, **options)

        monkeypatch.setattr(owner, name, counting)
    costs = []
    for n in (100, 400):
        handled.clear()
        generate(model, [[1, 2], [3, 4]], n, seed=0, stop=[[30] * 20])
        list(stream(model, [1], n, seed=0, stop=[[30] * 20]))
        costs.append(sum(handled))
    assert costs[1] < 5 * costs[0]
    ending = Ending([(1, 2, 3), (9,)])
    assert not any(ending.reached(token) for token in [1, 2] * 50)
    assert len(ending.tail) == 3 and ending.reached(9)


@given(k=st.integers(1, 31), p=st.floats(0.01, 1.0), seed=st.integers(0, 1000))
@settings(max_examples=100, deadline=None)
def test_top_k_and_top_p_keep_what_they_promise(k, p, seed):
    torch.manual_seed(seed)
    logits = torch.randn(3, 31, dtype=torch.float64) * 3
    kept = filter_logits(logits, top_k=k).isfinite()
    assert (kept.sum(1) == k).all()
    assert (logits.masked_fill(~kept, 99).min(1).values >= logits.topk(k).values[:, -1]).all()
    probs, kept = logits.softmax(1), filter_logits(logits, top_p=p).isfinite()
    mass = (probs * kept).sum(1)
    assert (mass >= p - 1e-9).all()
    smallest = probs.masked_fill(~kept, 9).min(1).values
    assert ((mass - smallest < p) | (kept.sum(1) == 1)).all()  # no token too many


def test_low_temperature_sharpens(model):
    def spread(t: float) -> int:
        return len({generate(model, [1], 1, t, seed=s)[0, -1].item() for s in range(60)})

    assert spread(1e-8) == 1 <= spread(0.5) <= spread(5.0)


@pytest.mark.parametrize(
    "settings_", [{"temperature": "1"}, {"temperature": True}, {"top_p": True}, {"top_k": True},
                  {"top_p": 0.0}, {"top_p": 1.5},
                  {"top_p": float("nan")}, {"stop": [[]]}, {"stop": ["a"]}, {"stop": 3},
                  {"seed": -1}, {"seed": 2**64}, {"seed": 0.5}],
)  # fmt: skip
def test_bad_settings_are_refused_at_once(model, settings_):
    settings_ = {"max_new_tokens": 3} | settings_
    with pytest.raises(ConfigError):
        generate(model, [1], **settings_)
    with pytest.raises(ConfigError):
        stream(model, [1], **settings_)  # before the first token is asked for


@pytest.mark.parametrize(
    "prompt", [[-1], torch.zeros(1, 0, dtype=torch.int64), None, 3, [True], [10**30], [[1], "ab"],
               [[1, 2], [3.5]], torch.zeros(1, 1, 1, dtype=torch.int64), [1.0], [1 + 0j],
               torch.ones(2, dtype=torch.complex128), torch.ones(2, dtype=torch.float64),
               torch.ones(2, dtype=torch.bool), np.array([True, False]), np.ones(2, complex),
               [True, 2], [[1, 2], [3, False]], [1, np.True_], ["a"]],
)  # fmt: skip
def test_bad_prompts_are_refused(model, prompt):
    with pytest.raises(DataError):
        generate(model, prompt, 3)


def test_zero_new_tokens_return_the_prompt(model):
    assert generate(model, [4, 5], 0).tolist() == [[4, 5]]
