"""A string ends a text whatever tokens spell it, also where it begins or ends within one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import ConfigError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate, stream
from gptlib.sampling.stops import Ending
from gptlib.tokenizers import BPETokenizer, CharTokenizer

BPE = BPETokenizer.train("ab aab abb ☃ ba " * 30, 270)


@given(
    ids=st.lists(st.integers(0, BPE.vocab_size - 1), max_size=12),
    stops=st.lists(st.text("ab ☃", min_size=1, max_size=4), min_size=1, max_size=3),
)
def test_it_ends_with_the_token_that_completes_a_stop(ids, stops):
    ending = Ending(stops, BPE)
    found = next((n for n, token in enumerate(ids, 1) if ending.reached(token)), None)
    decoded = ["".join(list(BPE.decode_each(ids[:n]))[:n]) for n in range(1, len(ids) + 1)]
    spelled = [n for n, text in enumerate(decoded, 1) if any(s in text for s in stops)]
    assert found == (spelled[0] if spelled else None)


def test_strings_and_ids_may_stand_side_by_side():
    letters = CharTokenizer("abc")
    ending = Ending(["ab", letters.encode("c")], letters)
    assert [ending.reached(i) for i in letters.encode("aab")] == [False, False, True]
    assert Ending(["ab", letters.encode("c")], letters).reached(letters.encode("c")[0])


def test_what_is_remembered_does_not_grow():
    letters = CharTokenizer("ab")
    ending = Ending(["aba"], letters)
    for _ in range(50):
        assert not ending.reached(0)
    assert len(ending._text) == 2 and not ending._coming


def test_generate_and_stream_end_there():
    torch.manual_seed(0)
    model, letters = GPT(GPTConfig(8, 3, 1, 1, 4)), CharTokenizer("abc")
    free = generate(model, [0], 60, seed=1)[0, 1:].tolist()
    text = letters.decode(free)
    stop = text[20:24]
    expected = free[: text.index(stop) + 4]
    options = dict(seed=1, stop=[stop], tokenizer=letters)
    assert list(stream(model, [0], 60, **options)) == expected
    assert generate(model, [0], 60, **options)[0, 1:].tolist() == expected


@pytest.mark.parametrize("stop", [["ab"], "ab", [""], [1, "a"]])
def test_a_string_needs_a_tokenizer(stop):
    with pytest.raises(ConfigError, match="stop is"):
        Ending(stop)
    if stop in ("ab", [""]):
        with pytest.raises(ConfigError, match="give a list"):
            Ending(stop, CharTokenizer("ab"))
