"""`Sampling` checks itself, does not change, and lists what logits go through."""

import dataclasses

import pytest
import torch

from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import Sampling, generate, keep_top_k


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": -1}, {"max_new_tokens": 1.5}, {"temperature": -1},
              {"temperature": float("inf")}, {"top_k": 0}, {"top_p": 2}, {"seed": -1},
              {"stop": "ab"}, {"stop": [True]}, {"processors": [1]},
              {"temperature": 0, "top_k": 0}, {"temperature": 0, "top_p": 0}],
)  # fmt: skip
def test_a_wrong_setting_is_refused_where_it_is_written(wrong):
    with pytest.raises(ConfigError):
        Sampling(**{"max_new_tokens": 3} | wrong)
    with pytest.raises(ConfigError):
        dataclasses.replace(Sampling(3), **wrong)


def test_it_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Sampling(3).temperature = 2.0


def test_one_that_was_made_goes_to_generate():
    model = GPT(GPTConfig(8, 5, 1, 1, 4))
    settings = Sampling(6, 0.7, top_k=3, seed=4, stop=[9], num_samples=2, presence_penalty=0.5)
    rows = generate(model, [1, 2], 6, 0.7, 3, None, [9], 4, num_samples=2, presence_penalty=0.5)
    assert torch.equal(generate(model, [1, 2], **vars(settings)), rows)


def test_each_row_may_have_a_seed_of_its_own():
    model = GPT(GPTConfig(8, 5, 1, 1, 4))
    rows = generate(model, [[1], [2]], 9, seed=[7, 3])
    assert [row.tolist() for row in rows] == [
        generate(model, [prompt], 9, seed=seed)[0].tolist() for prompt, seed in ((1, 7), (2, 3))
    ]
    with pytest.raises(ConfigError, match="seed has 2 numbers and there are 3 rows"):
        generate(model, [[1], [2], [3]], 9, seed=[7, 3])
    for wrong in ([1, -1], [1.5], "ab"):
        with pytest.raises(ConfigError, match="seed is"):
            generate(model, [[1], [2]], 9, seed=wrong)


def test_stops_are_sequences():
    assert Sampling(3, stop=[1, [2, 3]]).stop == ((1,), (2, 3)) and Sampling(3).stop == ()


def test_the_chain_in_its_order():
    def names(**settings):
        chain = Sampling(3, **settings).chain()
        return [f.__qualname__.split(".")[0] for functions in chain for f in functions]

    all_of_them = dict(temperature=0.5, top_k=3, top_p=0.5, processors=[keep_top_k(9)])
    assert names() == ["divide_by_temperature"]
    expected = ["keep_top_k", "divide_by_temperature", "keep_top_k", "keep_top_p"]
    assert names(**all_of_them) == expected
    assert names(**all_of_them | {"temperature": 0}) == ["keep_top_k"]  # no draw, nothing to limit
    penalties = dict(
        repetition_penalty=1.2, no_repeat_ngram_size=3, presence_penalty=0.5, frequency_penalty=0.5
    )
    limits = dict(typical_p=0.9, min_p=0.1, top_p=0.9, allowed_ids=[1])
    before = [
        "penalize_repetition", "no_repeated_ngrams", "penalize_presence", "penalize_frequency",
        "allow_only",
    ]  # fmt: skip
    after = ["divide_by_temperature", "keep_top_p", "keep_min_p", "keep_typical"]
    assert names(**penalties, **limits) == before + after
    assert names(**penalties, **limits, temperature=0) == before


def test_more_than_the_vocabulary_is_refused():
    Sampling(3, top_k=5).check_vocabulary(5)
    with pytest.raises(ConfigError, match="top_k is 6; give a whole number from 1 to the vocab.*5"):
        Sampling(3, top_k=6).check_vocabulary(5)
