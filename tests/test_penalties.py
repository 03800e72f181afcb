"""What was said already: penalties are transformers' and OpenAI's, and see their part of a text."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import (
    generate,
    no_repeated_ngrams,
    penalize_frequency,
    penalize_presence,
    penalize_repetition,
)

V = 7
TEXTS = st.lists(st.lists(st.integers(0, V - 1), min_size=9, max_size=9), min_size=1, max_size=3)


def logits(rows: int, seed: int) -> torch.Tensor:
    dice = torch.Generator().manual_seed(seed)
    return torch.randn(rows, V, dtype=torch.float64, generator=dice) * 3


@pytest.fixture(scope="module")
def theirs():
    from transformers.generation import logits_process

    return logits_process


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(block_size=8, vocab_size=V, n_layer=1, n_head=1, n_embd=8)).double()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return model


@given(texts=TEXTS, seed=st.integers(0, 1000), penalty=st.floats(0.2, 3))
def test_repetition_is_theirs(theirs, texts, seed, penalty):
    ids, scores = torch.tensor(texts), logits(len(texts), seed)
    expected = theirs.RepetitionPenaltyLogitsProcessor(penalty)(ids, scores)
    assert torch.equal(penalize_repetition(penalty)(scores, ids), expected)
    assert torch.equal(scores, logits(len(texts), seed))  # left alone


@given(texts=TEXTS, seed=st.integers(0, 1000), n=st.integers(1, 11), length=st.integers(0, 9))
def test_ngrams_are_theirs(theirs, texts, seed, n, length):
    ids, scores = torch.tensor(texts)[:, :length], logits(len(texts), seed)
    expected = theirs.NoRepeatNGramLogitsProcessor(n)(ids, scores)
    assert torch.equal(no_repeated_ngrams(n)(scores, ids), expected)


@given(texts=TEXTS, seed=st.integers(0, 1000), a=st.floats(-2, 2), b=st.floats(-2, 2))
def test_presence_and_frequency_are_openai_s_formula(texts, seed, a, b):
    """mu[j] - c[j] * alpha_frequency - float(c[j] > 0) * alpha_presence"""
    ids, mu = torch.tensor(texts), logits(len(texts), seed)
    c = torch.stack([torch.bincount(row, minlength=V) for row in ids]).double()
    found = penalize_presence(a)(penalize_frequency(b)(mu, ids), ids)
    torch.testing.assert_close(found, mu - c * b - (c > 0) * a)


def test_a_prompt_counts_for_repetition_and_not_for_presence(model):
    seen = {"repetition_penalty": 1e9, "presence_penalty": 1e9, "frequency_penalty": 1e9}
    prompts = [[1, 2, 3], [4, 5, 6]]
    for name, amount in seen.items():
        for given_ in (prompts, [prompts[0], prompts[1][:2]]):
            options = {name: amount, "temperature": 0}
            if name == "repetition_penalty":  # what is negative goes down, what is positive to 0
                options["processors"] = [lambda logits, ids: logits - logits.amax() - 1]
            out = generate(model, given_, 4, **options)
            out, lengths = out if isinstance(out, tuple) else (out, [7, 7])
            for row, length, prompt in zip(out.tolist(), lengths, given_, strict=True):
                new = row[length - 4 : length]
                assert len(set(new)) == 4
                assert name != "repetition_penalty" or not set(new) & set(prompt)
    for given_ in ([[0], [2]], [[0], [0, 2]]):  # a reward for what is there, and nothing is yet
        free, found = (
            generate(model, given_, 1, temperature=0, presence_penalty=-p, frequency_penalty=-p)
            for p in (0, 99)
        )
        assert str(found) == str(free)
        rows = free[0] if isinstance(free, tuple) else free
        assert rows[0, 1] != 0 and rows[1, -1] not in (0, 2)  # which it would choose otherwise


def test_no_ngram_comes_again_however_long_ago_it_was(model):
    """The context is 8 tokens; the text is remembered whole."""
    new = generate(model, [1], 40, temperature=0, no_repeat_ngram_size=2)[0].tolist()
    pairs = list(itertools.pairwise(new))
    assert len(set(pairs)) == len(pairs)
    with pytest.raises(DataError, match="no token can be drawn"):  # 49 pairs and no more
        generate(model, [1], 60, temperature=0, no_repeat_ngram_size=2)


def test_only_what_is_allowed_is_drawn(model):
    for temperature in (0, 5.0):
        out = generate(model, [[1], [2]], 30, temperature, seed=0, allowed_ids=[2, 5])
        assert set(out[:, 1:].flatten().tolist()) <= {2, 5}
    with pytest.raises(ConfigError, match="allowed_ids has 7"):
        generate(model, [1], 3, allowed_ids=[7])


@pytest.mark.parametrize(
    ("make", "value"),
    [(penalize_repetition, 0), (penalize_repetition, "1"), (penalize_repetition, float("inf")),
     (no_repeated_ngrams, 0), (no_repeated_ngrams, 1.5), (penalize_presence, float("nan")),
     (penalize_presence, True), (penalize_frequency, None)],
)  # fmt: skip
def test_numbers_that_mean_nothing_are_refused(make, value):
    with pytest.raises(ConfigError, match=" is .*; give a "):
        make(value)


def test_greedy_penalties_write_what_transformers_writes():
    from gptlib.hub import to_hf

    torch.manual_seed(1)
    model = GPT(GPTConfig(block_size=32, vocab_size=23, n_layer=1, n_head=2, n_embd=16))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3)
    prompt = torch.tensor([[3, 1, 4, 1, 5]])
    options = dict(repetition_penalty=1.3, no_repeat_ngram_size=2)
    expected = to_hf(model).generate(
        prompt, max_new_tokens=20, do_sample=False, pad_token_id=0, eos_token_id=None, **options
    )
    assert torch.equal(generate(model, prompt, 20, temperature=0, **options), expected)
