"""More tokens for a trained model: what it knew stays, and what is new begins as the mean."""

import math

import pytest
import torch

from gptlib import GPT, BPETokenizer, CharTokenizer, GPTConfig, generate, resize_vocab
from gptlib.errors import ConfigError
from gptlib.hub import to_hf

TEXT = "The fox sat. The hen sat, and the fox ran.\n" * 20
MARKS = ["<|start|>", "<|title|>", "</|title|>", "<|end|>"]


def make(padding: int = 0, **shape) -> GPT:
    sizes = dict(vocab_size=300 + padding, block_size=16, n_layer=2, n_head=2, n_embd=16)
    torch.manual_seed(1)
    return GPT(GPTConfig(**sizes | {"padding_ids": padding} | shape)).eval()


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("padding", [0, 20])
def test_old_rows_stay_and_new_ones_are_their_mean(tied, padding):
    model = make(padding, tied_head=tied)
    grown = resize_vocab(model, 304)
    assert (grown.config.vocab_size, grown.config.padding_ids) == (320, 16)
    assert grown.config.tied_head is tied and model.config.vocab_size == 300 + padding
    for was, now in [
        (model.transformer.wte.weight, grown.transformer.wte.weight),
        (model.lm_head.weight, grown.lm_head.weight),
    ]:
        assert now[:300].equal(was[:300])
        mean = was[:300].double().mean(0).float()  # not of the padding
        assert now[300:].equal(mean.expand(20, -1))
    others = dict(grown.named_parameters())
    for name, weight in model.named_parameters():
        if "wte" not in name and "lm_head" not in name:
            assert others[name].equal(weight), name


def test_old_logits_stay_and_a_new_tokens_is_the_mean_of_them():
    """So with the k new rows every probability shrinks by a factor of at most 1 + k / V."""
    model, ids = make(), torch.randint(0, 300, (2, 9), generator=torch.Generator().manual_seed(0))
    was, now = model(ids)[0], resize_vocab(model, 304)(ids)[0]
    assert torch.allclose(now[..., :300], was, atol=1e-6)
    mean = was.mean(-1, keepdim=True).expand(-1, -1, 20)
    assert torch.allclose(now[..., 300:], mean, atol=1e-5)
    lost = was.log_softmax(-1) - now.log_softmax(-1)[..., :300]
    assert 0 < lost.max() <= math.log(1 + 20 / 300) + 1e-6


def test_the_mean_is_that_of_transformers():
    """It draws new rows from N(mean, 1e-9 covariance), so from the mean."""
    model = make()
    theirs = to_hf(model)
    theirs.resize_token_embeddings(304, pad_to_multiple_of=64, mean_resizing=True)
    ours = resize_vocab(model, 304).transformer.wte.weight
    assert torch.allclose(theirs.get_input_embeddings().weight, ours, atol=1e-4)
    ids = torch.tensor([[1, 2, 3, 301]])
    grown = resize_vocab(model, 304)
    assert torch.allclose(theirs(ids).logits, grown(ids)[0], atol=1e-3)


def test_random_rows_are_drawn_by_the_seed_and_touch_no_other_dice():
    model, before = make(), torch.random.get_rng_state()
    rows = [resize_vocab(model, 304, new="random", seed=s).transformer.wte.weight[300:]
            for s in (0, 0, 1)]  # fmt: skip
    assert rows[0].equal(rows[1]) and not rows[0].equal(rows[2])
    assert 0.01 < rows[0].std() < 0.03
    assert torch.random.get_rng_state().equal(before)


def test_padding_is_never_drawn_and_mode_and_type_stay():
    grown = resize_vocab(make().to(torch.bfloat16).train(), 301, multiple=128)
    assert grown.training and grown.dtype == torch.bfloat16
    assert (grown.config.vocab_size, grown.config.known_ids) == (384, 301)
    out = generate(grown.float(), [1], 12, temperature=50.0, seed=0, num_samples=20)
    assert int(out.max()) <= 300


def test_a_size_that_the_model_has_is_a_copy():
    model = make(20)
    grown = resize_vocab(model, 300, multiple=1)
    assert grown.config.vocab_size == 300
    assert grown.lm_head.weight.equal(model.lm_head.weight[:300])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"size": 299}, "has 299 ids and the model knows 300; it can only grow"),
        ({"size": True}, "has True ids"),
        ({"size": 304, "multiple": 0}, "multiple is 0"),
        ({"size": 304, "new": "zero"}, "new is 'zero'; use one of mean, random"),
    ],
)
def test_what_cannot_be(wrong, message):
    with pytest.raises(ConfigError, match=message):
        resize_vocab(make(), **wrong)


def test_a_tokenizer_with_more_special_tokens_keeps_all_ids():
    old = BPETokenizer.train(TEXT, 290, ["<|endoftext|>"])
    new = old.with_special([*MARKS, "<|endoftext|>"])
    assert new.pieces == old.pieces and new.encode(TEXT) == old.encode(TEXT)
    n = old.vocab_size
    assert list(new.special_tokens.values()) == [n - 1, n, n + 1, n + 2, n + 3]
    assert new.encode("<|start|>The") == [n, *old.encode("The")]
    assert new.added_to(old) == MARKS
    assert old.added_to(new) == [] and old.added_to(old) == []
    assert new.added_to(CharTokenizer.train(TEXT)) == []
    assert new.added_to(BPETokenizer.train(TEXT, 262, ["<|endoftext|>"])) == []
    model = make(vocab_size=n)
    assert resize_vocab(model, new).config.known_ids == n + 4
