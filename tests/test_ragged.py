"""Prompts of different lengths in one pass, several samples of each: as each would be alone."""

import pytest
import torch

from gptlib.errors import ConfigError
from gptlib.kv_cache import KVCache, RaggedCache
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate, stream

MODERN = dict(
    rotary=True, qk_norm=True, norm="rmsnorm", activation="relu2", tied_head=False, softcap=8.0
)
PROMPTS = [[1], [2, 3, 4, 5, 6, 7, 8], [9, 10, 11], [3] * 9]
pytestmark = pytest.mark.filterwarnings("ignore:the prompt has 9 tokens")


@pytest.fixture(scope="module", params=[{}, MODERN], ids=["gpt2", "modern"])
def model(request) -> GPT:
    torch.manual_seed(0)
    model = GPT(GPTConfig(8, 13, n_layer=2, n_head=2, n_embd=8, **request.param))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.4)
    return model.double()


def rows_of(found) -> list[list[int]]:
    out, lengths = found if isinstance(found, tuple) else (found, [found.size(1)] * len(found))
    return [row[:n] for row, n in zip(out.tolist(), lengths, strict=True)]


@pytest.mark.parametrize("use_cache", [True, False])
@pytest.mark.parametrize("temperature", [0, 1.2])
def test_each_row_is_what_it_is_among_equals(model, use_cache, temperature):
    """A row's dice depend on its place; there, its text is the same in any company. Every window
    slides in these 14 steps, and each at another."""
    options = dict(temperature=temperature, seed=3, use_cache=use_cache, top_k=9)
    together = rows_of(generate(model, PROMPTS, 14, **options))
    for place, prompt in enumerate(PROMPTS):
        equals = generate(model, [prompt] * (place + 1), 14, **options)
        assert together[place] == equals[place].tolist()


def test_the_prompts_are_read_in_one_pass(model, monkeypatch):
    shapes, hidden = [], GPT.hidden

    def counting(self, idx, cache=None):
        shapes.append(tuple(idx.shape))
        return hidden(self, idx, cache)

    monkeypatch.setattr(GPT, "hidden", counting)
    generate(model, PROMPTS[:3], 3, seed=0)
    assert shapes == [(3, 6), (3, 1), (3, 1), (2 - 1, 4 - 1), (3, 1)]  # the second row slides
    shapes.clear()
    generate(model, [5, 6, 7], 3, seed=0, num_samples=4)
    assert shapes == [(1, 3), (4, 1), (4, 1)]
    shapes.clear()
    generate(model, PROMPTS[:2], 2, seed=0, num_samples=2)
    assert shapes == [(2, 6), (2, 1), (4, 1)]


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_shortest_contexts_slide_too(block_size):
    torch.manual_seed(0)
    small = GPT(GPTConfig(block_size, 7, 1, 1, 8)).double()
    with pytest.warns(UserWarning):
        cached, plain = (
            rows_of(generate(small, [[1], [2, 3, 4, 5], [6, 1]], 9, seed=1, use_cache=use))
            for use in (True, False)
        )
    assert cached == plain


@pytest.mark.parametrize("prompts", [[[1, 2], [3, 4]], [[1], [2, 3, 4]]], ids=["equal", "ragged"])
def test_samples_are_what_repeated_prompts_write(model, prompts):
    many = generate(model, prompts, 12, seed=5, num_samples=3)
    repeated = generate(model, [p for p in prompts for _ in range(3)], 12, seed=5)
    assert rows_of(many) == rows_of(repeated) and len(rows_of(many)) == 6
    assert rows_of(generate(model, prompts, 0, num_samples=2)) == [
        p for p in prompts for _ in range(2)
    ]


def test_each_row_stops_for_itself(model):
    free = rows_of(generate(model, PROMPTS[:3], 12, seed=2))
    new = [row[len(prompt) :] for row, prompt in zip(free, PROMPTS[:3], strict=True)]
    stop = new[1][4]
    stopped = rows_of(generate(model, PROMPTS[:3], 12, seed=2, stop=[stop]))
    for row, prompt, tokens in zip(stopped, PROMPTS, new, strict=False):
        end = tokens.index(stop) + 1 if stop in tokens else 12
        assert row == prompt + tokens[:end]


def test_penalties_and_own_processors_see_no_padding(model):
    seen = []

    def watch(logits, ids):
        seen.append(ids.tolist())
        return logits

    options = dict(seed=1, presence_penalty=1.5, repetition_penalty=1.4, no_repeat_ngram_size=3)
    both = rows_of(generate(model, PROMPTS[1:3], 6, processors=[watch], **options))
    assert seen[:2] == [[PROMPTS[1]], [PROMPTS[2]]]
    assert seen[-1] == [both[1][-7:-1]] or seen[-1] == [both[1][:-1]]
    for place in (0, 1):
        alone = generate(model, [PROMPTS[1 + place]] * 2, 6, **options)[place]
        assert both[place] == alone.tolist()


def test_a_cache_forgets_and_chooses_rows():
    config = GPTConfig(4, 5, 1, 1, 2)
    cache = KVCache(config, 2, torch.float32, torch.device("cpu"))
    k = torch.arange(8.0).view(2, 1, 2, 2)
    cache.append(0, k, k)
    cache.advance(2)
    cache.select(torch.tensor([1, 1]))
    assert torch.equal(cache.layers[0][0][:, :, :2], k[[1, 1]])
    cache.select(torch.tensor([0, 1, 0]))
    assert cache.layers[0][1].size(0) == 3 and cache.length == 2 and cache.mask is None
    ragged = RaggedCache(config, 3, torch.float32, torch.device("cpu"))
    ragged.restart([0, 2], [2, 1], None)
    assert ragged.lengths == [2, 0, 1] and ragged.length == 2
    assert ragged.mask[:, 0, 0].tolist() == [[1, 1, 1], [1, 0, 0], [1, 1, 0]]
    ragged.select(torch.tensor([2, 0, 0]))
    assert ragged.lengths == [1, 2, 2]


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_samples_is_refused(model, wrong):
    with pytest.raises(ConfigError, match="num_samples is"):
        generate(model, [1], 3, num_samples=wrong)


def test_stream_writes_one(model):
    with pytest.raises(ConfigError, match="stream writes one"):
        stream(model, [1], 3, num_samples=2)
    with pytest.raises(TypeError, match="no_such"):
        generate(model, [1], 3, no_such=1)
