"""Products by oneDNN: the same tokens, and a model that is afterwards what it was."""

import itertools

import pytest
import torch

from gptlib.model import GPT, GPTConfig
from gptlib.products import LEAST_WEIGHTS, large_layers, quick_products
from gptlib.sampling import generate, stream

# Switching oneDNN off makes torch speak of graphics cards.
pytestmark = pytest.mark.filterwarnings("ignore:TF32 acceleration")
PROMPTS = torch.arange(12).view(3, 4)


@pytest.fixture(scope="module")
def model() -> GPT:
    """One whose head is large, and nothing else."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(16, LEAST_WEIGHTS // 64 + 1, n_layer=2, n_head=2, n_embd=64)).eval()
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)  # untrained logits are nearly tied
    return model


@pytest.fixture
def quick(model) -> list:
    layers = large_layers(model.modules())
    if not layers:
        pytest.skip("this torch has no oneDNN")
    return layers


def test_only_large_layers_take_part(model, quick):
    assert [layer for layer, _ in quick] == [model.lm_head]


@pytest.mark.parametrize("rows", [1, 3])
def test_the_same_tokens(model, rows):
    """As without oneDNN, with the cache and without, at both sides of a window's end."""
    prompt = PROMPTS[:rows]
    with torch.backends.mkldnn.flags(enabled=False):
        expected = generate(model, prompt, 20, temperature=0)
    for use_cache in (True, False):
        found = generate(model, prompt, 20, temperature=0, use_cache=use_cache)
        assert torch.equal(found, expected)


def test_products_are_equal_and_hooks_are_called(model, quick):
    seen = []
    handle = model.lm_head.register_forward_hook(lambda *args: seen.append(args[-1].shape))
    x = torch.randn(3, 2, 64)
    with torch.no_grad():
        expected = model.lm_head(x)
        with quick_products(quick):
            torch.testing.assert_close(model.lm_head(x), expected)
            strided = x.transpose(0, 1)
            torch.testing.assert_close(model.lm_head(strided), expected.transpose(0, 1))
    handle.remove()
    assert [tuple(shape) for shape in seen] == [(3, 2, expected.size(-1))] * 2 + [
        (2, 3, expected.size(-1))
    ]


def test_a_biased_layer():
    layer = torch.nn.Linear(64, LEAST_WEIGHTS // 64)
    x = torch.randn(1, 1, 64)
    with torch.no_grad(), quick_products(large_layers([layer])):
        found = layer(x)
    torch.testing.assert_close(found, layer(x))


def test_who_trains_meanwhile_gets_gradients(model, quick):
    """Another thread's block must not take them away: nothing changes where they are kept."""
    x = torch.randn(1, 64)
    plain = model.lm_head(x)
    with quick_products(quick):
        with torch.no_grad():
            assert model.lm_head(x).grad_fn is None
        found = model.lm_head(x)
    assert found.grad_fn is not None and torch.equal(found, plain)


def test_between_two_tokens_the_model_is_as_it_was(model):
    before = [dict(m.__dict__) for m in model.modules()]
    tokens = stream(model, PROMPTS[0], 5, seed=0)
    for _ in itertools.islice(tokens, 2):
        assert [m.__dict__.keys() for m in model.modules()] == [d.keys() for d in before]
    tokens.close()
    with pytest.raises(ZeroDivisionError), quick_products(large_layers(model.modules())):
        raise ZeroDivisionError
    assert "forward" not in model.lm_head.__dict__


@pytest.mark.parametrize("change", ["double", "half", "own forward", "kind", "autocast", "off"])
def test_what_is_left_alone(change):
    layer = torch.nn.Linear(64, LEAST_WEIGHTS // 64)
    if change == "double":
        layer.double()
    elif change == "half":
        layer.bfloat16()
    elif change == "own forward":
        layer.forward = lambda x: x
    elif change == "kind":
        torch.nn.utils.parametrizations.weight_norm(layer)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast")
    with autocast, torch.backends.mkldnn.flags(enabled=change != "off"):
        assert not large_layers([layer])
