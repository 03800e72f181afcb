"""Processors do what transformers' do, one by one, and a caller's own take their turn."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import (
    allow_only,
    divide_by_temperature,
    generate,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    keep_typical,
    stream,
)

V = 31
NO_IDS = torch.zeros(3, 0, dtype=torch.int64)


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(block_size=8, vocab_size=V, n_layer=1, n_head=1, n_embd=8)).double()


def logits(seed: int) -> torch.Tensor:
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(3, V, dtype=torch.float64, generator=dice) * 3


@pytest.fixture(scope="module")
def warpers():
    from transformers.generation import logits_process

    return logits_process


@given(seed=st.integers(0, 1000), t=st.floats(0.05, 5.0))
def test_temperature_is_theirs(warpers, seed, t):
    theirs = warpers.TemperatureLogitsWarper(t)(NO_IDS, logits(seed)).softmax(-1)
    torch.testing.assert_close(divide_by_temperature(t)(logits(seed), NO_IDS).softmax(-1), theirs)


@given(seed=st.integers(0, 1000), k=st.integers(1, 2 * V))
def test_top_k_is_theirs(warpers, seed, k):
    theirs = warpers.TopKLogitsWarper(k)(NO_IDS, logits(seed))
    assert torch.equal(keep_top_k(k)(logits(seed), NO_IDS), theirs)


@given(seed=st.integers(0, 1000), p=st.floats(0.01, 1.0))
def test_top_p_is_theirs(warpers, seed, p):
    theirs = warpers.TopPLogitsWarper(p)(NO_IDS, logits(seed))
    assert torch.equal(keep_top_p(p)(logits(seed), NO_IDS), theirs)


@given(seed=st.integers(0, 1000), p=st.floats(0.01, 1.0))
def test_min_p_is_theirs(warpers, seed, p):
    theirs = warpers.MinPLogitsWarper(p)(NO_IDS, logits(seed))
    assert torch.equal(keep_min_p(p)(logits(seed), NO_IDS), theirs)


@given(seed=st.integers(0, 1000), p=st.floats(0.01, 0.99), k=st.integers(1, V))
def test_typical_is_theirs_also_where_some_may_not_be_drawn(warpers, seed, p, k):
    some = keep_top_k(k)(logits(seed), NO_IDS)
    theirs = warpers.TypicalLogitsWarper(p)(NO_IDS, some)
    assert torch.equal(keep_typical(p)(some, NO_IDS), theirs)


def test_typical_may_drop_the_likeliest():
    """Half of the mass is on one token; the other 64 have a surprise nearer to the entropy."""
    flat = torch.cat([torch.tensor([[0.5]]), torch.full((1, 64), 0.5 / 64)], dim=1).log()
    assert keep_typical(0.4)(flat, NO_IDS[:1]).isfinite().tolist() == [[False] + [True] * 64]


@given(seed=st.integers(0, 1000), allowed=st.sets(st.integers(0, V - 1), min_size=1))
def test_a_choice_is_theirs(warpers, seed, allowed):
    ids = torch.zeros(3, 1, dtype=torch.int64)
    theirs = warpers.PrefixConstrainedLogitsProcessor(lambda row, text: sorted(allowed), 1)
    assert torch.equal(allow_only(allowed)(logits(seed), ids), theirs(ids, logits(seed)))


def test_of_equal_logits_top_k_keeps_all():
    tied = torch.tensor([[2.0, 1.0, 1.0, 0.0]])
    assert keep_top_k(2)(tied, NO_IDS).isfinite().tolist() == [[True, True, True, False]]


def test_a_tiny_temperature_does_not_overflow():
    probs = divide_by_temperature(1e-300)(logits(0), NO_IDS).softmax(-1)
    assert torch.equal(probs.argmax(-1), logits(0).argmax(-1)) and probs.isfinite().all()


def test_processors_leave_what_they_are_given_alone():
    given_, before = logits(1), logits(1)
    for processor in (divide_by_temperature(0.5), keep_top_k(3), keep_top_p(0.5)):
        processor(given_, NO_IDS)
    assert torch.equal(given_, before)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_caller_s_own_come_first_and_see_what_was_read(model, temperature):
    seen = []

    def never_again(logits, ids):
        seen.append(ids.clone())
        return logits.scatter(-1, ids, float("-inf"))

    rows = generate(
        model, [[1, 2], [3, 4]], 5, temperature, top_k=1, seed=0, processors=[never_again]
    )
    assert [ids.shape for ids in seen] == [(2, n) for n in range(2, 7)]
    assert torch.equal(seen[-1], rows[:, :6])
    assert all(len(set(row)) == 7 for row in rows.tolist())
    alone = list(stream(model, [1, 2], 5, temperature, top_k=1, seed=0, processors=[never_again]))
    assert alone == rows[0, 2:].tolist()


def test_they_see_a_window_when_the_text_outgrows_the_context(model):
    lengths = []

    def watch(logits, ids):
        lengths.append(ids.size(1))
        return logits

    generate(model, [1], 12, seed=0, processors=[watch])
    assert lengths == [1, 2, 3, 4, 5, 6, 7, 8, 4 + 1 - 1, 5, 6, 7]


def test_the_three_may_stand_in_another_order(model):
    """Given as processors with temperature left at 1, they are what the arguments are."""
    same = [divide_by_temperature(0.7), keep_top_k(9), keep_top_p(0.8)]
    theirs = generate(model, [1], 30, seed=1, processors=same)
    assert torch.equal(theirs, generate(model, [1], 30, 0.7, 9, 0.8, seed=1))
    other = generate(model, [1], 30, seed=1, processors=[same[2], same[0]])
    assert other.shape == theirs.shape


@pytest.mark.parametrize(
    ("processor", "error", "says"),
    [
        (lambda logits, ids: None, ConfigError, "returned NoneType"),
        (lambda logits, ids: logits[:, :-1], ConfigError, r"returned \(1, 30\)"),
        (lambda logits, ids: logits - float("inf"), DataError, "a processor leave no token"),
        (lambda logits, ids: logits * float("nan"), DataError, "no token can be drawn"),
    ],
)
def test_what_no_token_can_be_drawn_from_is_one_error(model, processor, error, says):
    with pytest.raises(error, match=says):
        generate(model, [1], 3, processors=[processor])


@pytest.mark.parametrize(
    ("make", "value"),
    [(divide_by_temperature, 0), (divide_by_temperature, float("nan")), (keep_top_k, 0),
     (keep_top_k, 2.5), (keep_top_k, True), (keep_top_p, 0), (keep_top_p, 1.5), (keep_top_p, "1"),
     (keep_min_p, 0), (keep_min_p, 1.1), (keep_typical, 0), (keep_typical, 2), (allow_only, []),
     (allow_only, [-1]), (allow_only, [1.5]), (allow_only, 3), (allow_only, "ab")],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(make, value):
    with pytest.raises(ConfigError, match=" is .*; give a "):
        make(value)


@pytest.mark.parametrize("processors", [3, [3], keep_top_k(2), [None]])
def test_what_is_no_list_of_functions_is_refused(model, processors):
    with pytest.raises(ConfigError, match=r"give a list of functions \(logits, ids\) -> logits"):
        generate(model, [1], 3, processors=processors)
