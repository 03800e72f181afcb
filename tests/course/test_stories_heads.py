"""A head that is silenced says nothing, and where it looks is what attention computes."""

import pytest
import torch
from torch import Tensor

from gptlib.course.stories.heads import (
    ablate_heads,
    by_harm,
    looks_from,
    share_on,
    silenced,
    where_it_looks,
)
from gptlib.course.stories.probes import held_out
from gptlib.errors import ConfigError
from gptlib.grammar import Probe
from gptlib.model import GPT, GPTConfig
from gptlib.stories import START, special_tokens
from gptlib.tokenizers import BPETokenizer

STORIES = held_out(6, seed=10)
TOKENIZER = BPETokenizer.train(STORIES, 400, special_tokens())
IDS = torch.randint(0, 300, (2, 12), generator=torch.Generator().manual_seed(0))


def make(**shape) -> GPT:
    torch.manual_seed(1)
    model = GPT(GPTConfig(512, TOKENIZER.vocab_size, n_layer=2, n_head=2, n_embd=16, **shape))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def test_a_silent_head_is_one_whose_columns_of_c_proj_are_zero():
    model, other = make(), make()
    with torch.no_grad():
        other.transformer.h[1].attn.c_proj.weight[:, 8:] = 0
    before = model(IDS)[0]
    with silenced(model, (1, 1)):
        assert torch.allclose(model(IDS)[0], other(IDS)[0], atol=1e-5)
        assert not torch.allclose(model(IDS)[0], before, atol=1e-3)
    assert torch.equal(model(IDS)[0], before)


def test_several_heads_can_be_silent_and_speak_again_after_an_error():
    model = make()
    before = model(IDS)[0]
    with pytest.raises(RuntimeError, match="out"), silenced(model, (0, 0), (0, 1)):
        without = model(IDS)[0]
        raise RuntimeError("out")
    bias = model.transformer.h[0].attn.c_proj.bias
    model.transformer.h[0].attn.forward = lambda x, *_: bias.expand_as(x)
    assert torch.allclose(without, model(IDS)[0], atol=1e-5)
    assert not torch.allclose(without, before, atol=1e-3)


@pytest.mark.parametrize("shape", [{}, {"rotary": True, "qk_norm": True}])
def test_the_weights_are_those_that_attention_uses(shape):
    """Weights times values are what the head hands to c_proj."""
    model, seen = make(**shape), []
    attention = model.transformer.h[1].attn
    attention.c_attn.register_forward_hook(lambda _m, _a, out: seen.append(out))
    attention.c_proj.register_forward_pre_hook(lambda _m, args: seen.append(args[0]))
    weights = where_it_looks(model, IDS[0].tolist(), (1, 0))
    qkv, y = seen
    v = qkv[0, :, 32:40]
    assert torch.allclose(weights @ v, y[0, :, :8], atol=1e-5)
    assert torch.allclose(weights.sum(-1), torch.ones(12)) and not weights.triu(1).any()


@pytest.mark.parametrize("head", [(2, 0), (0, 2), (-1, 0)])
def test_a_head_that_is_not_there_is_refused(head):
    with pytest.raises(ConfigError, match="2 layers of 2 heads"):
        where_it_looks(make(), [1, 2], head)
    with pytest.raises(ConfigError, match="counted from 0"), silenced(make(), head):
        pass


def test_every_head_is_tried_and_the_one_that_is_needed_comes_first():
    model = make()
    probe = Probe("gone", START + "Ada", " met", " saw", 3)
    found = ablate_heads(model, TOKENIZER, {"gone": [probe], "name": [probe]}, STORIES[:1])
    heads = [(line["layer"], line["head"]) for line in found["heads"]]
    assert heads == [(0, 0), (0, 1), (1, 0), (1, 1)]
    (worst, harm), *others = by_harm(found, "gone")
    line = found["heads"][heads.index(worst)]
    assert harm == found["base"]["gone"]["log_ratio"] - line["gone"]["log_ratio"]
    assert all(harm >= other for _, other in others)
    assert all(harm == 0 for _, harm in by_harm(found, "gone", against="name"))


def test_a_look_goes_to_words():
    probe = Probe("gone", STORIES[0][:200].rpartition(" ")[0], " Ada", " Otto", 3)
    words, weights = looks_from(make(), TOKENIZER, probe, (0, 0))
    assert "".join(words) == probe.prefix and sum(weights) == pytest.approx(1, abs=1e-5)
    assert share_on([" Ada", "Ada", " Otto"], [0.5, 0.25, 0.25], " Ada") == 0.75
    assert isinstance(where_it_looks(make(), [1, 2], (0, 0)), Tensor)
