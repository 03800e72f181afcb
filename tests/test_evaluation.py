"""Losses count every token once; probes and parse rates count what they say."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.batches import document_starts
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import (
    bits_per_byte,
    loss_by_position,
    measure_split,
    parse_rate,
    score_endings,
    score_probes,
    split_loss,
    token_losses,
)
from gptlib.evaluation.loss import _windows
from gptlib.grammar import Grammar, Probe


@given(n=st.integers(2, 300), T=st.integers(1, 40), data=st.data())
@settings(max_examples=100, deadline=None)
def test_every_token_after_the_first_is_predicted_once(n, T, data):
    stride = data.draw(st.integers(1, T))
    counted = []
    for start, end, first in _windows(n, T, stride):
        assert 0 <= start < first < end <= n and end - start <= T + 1
        counted += range(first, end)
    assert counted == list(range(1, n))


def test_split_loss_is_the_mean_of_the_token_losses(make_model, ids):
    model = make_model().eval()
    tokens = ids[:85]
    total = 0.0
    for t in range(0, 80, 16):
        window = torch.from_numpy(tokens[t : t + 17].astype(np.int64))[None]
        total += token_losses(model, window[:, :-1], window[:, 1:]).sum().item()
    last = torch.from_numpy(tokens[68:85].astype(np.int64))[None]  # the last window reaches back
    total += token_losses(model, last[:, :-1], last[:, 1:])[0, -4:].sum().item()
    assert split_loss(model, tokens) == pytest.approx(total / 84, rel=1e-6)
    assert split_loss(model, tokens, batch_size=1) == pytest.approx(total / 84, rel=1e-6)


def test_documents_are_read_from_their_own_beginning(make_model, ids, tokenizer):
    """A document's loss does not depend on what stands before it in the split."""
    model = make_model()
    newline = tokenizer.encode("\n")
    a, b = (tokenizer.encode(text) for text in ("the hen ran.\n", "the fox sat. the fox ran.\n"))
    split = np.array(newline + a + b)
    starts = document_starts(split, newline)
    together = split_loss(model, split, starts=starts) * (len(split) - 1)
    alone = sum(split_loss(model, np.array(newline + d)) * len(d) for d in (a, b))
    assert together == pytest.approx(alone, rel=1e-5)
    assert together != pytest.approx(split_loss(model, split) * (len(split) - 1), rel=1e-5)


def test_split_loss_leaves_the_model_in_training_and_ignores_dropout(make_model, ids):
    model = make_model(dropout=0.5)
    assert split_loss(model, ids[:100]) == split_loss(model, ids[:100])
    assert model.training


def test_more_context_does_not_hurt_a_model_that_uses_it(make_model, ids, tokenizer, tmp_path):
    from gptlib.train_config import TrainConfig
    from gptlib.trainer import Trainer

    model = make_model(dropout=0.0, attn_dropout=0.0)
    config = TrainConfig(steps=200, batch_size=16, lr=1e-2, warmup=10, eval_every=200)
    Trainer(model, ids[:2000], ids[2000:], config, tmp_path, tokenizer).fit()
    assert split_loss(model, ids[2000:], stride=4) < split_loss(model, ids[2000:])
    by_position = loss_by_position(model, ids[2000:])
    assert by_position.shape == (16,) and by_position[0] > by_position[-1]


def test_a_fixed_sample_is_fixed(make_model, ids):
    model = make_model()
    few = split_loss(model, ids, windows=5)
    assert few == split_loss(model, ids, windows=5) != split_loss(model, ids)


def test_too_short_a_split_is_refused(make_model, ids):
    with pytest.raises(DataError):
        split_loss(make_model(), ids[:1])
    with pytest.raises(DataError, match="needs 17"):
        loss_by_position(make_model(), ids[:16])


def test_bits_per_byte_by_hand():
    assert bits_per_byte(math.log(2), 100, 100) == pytest.approx(1.0)
    assert bits_per_byte(math.log(2) * 4, 50, 200) == pytest.approx(1.0)


def test_special_tokens_are_no_text_and_cost_it_nothing():
    """Neither their loss nor their bytes are in the bits per byte, however many there are."""
    from gptlib.model import GPT, GPTConfig
    from gptlib.tokenizers import BPETokenizer

    pairs = BPETokenizer.train("the fox sat on the hén. " * 20, 280, ["<|endoftext|>"])
    torch.manual_seed(0)
    model = GPT(GPTConfig(32, pairs.vocab_size, 1, 2, 16)).eval()
    ids = torch.tensor(pairs.encode("<|endoftext|>the hén sat.<|endoftext|>the fox.<|endoftext|>"))
    losses = token_losses(model, ids[None, :-1], ids[None, 1:])[0]
    special = ids[1:] == pairs.special_tokens["<|endoftext|>"]
    n_bytes = len("the hén sat.the fox.".encode())
    found = measure_split(model, ids, pairs)
    assert special.sum() == 2 and found.tokens == len(ids) - 1
    assert (found.text_tokens, found.text_bytes) == (len(ids) - 3, n_bytes)
    by_hand = losses[~special].sum().item() / n_bytes / math.log(2)
    assert found.bits_per_byte == pytest.approx(by_hand, rel=1e-5)
    assert found.loss == split_loss(model, ids) == pytest.approx(losses.mean().item(), rel=1e-5)
    assert found.perplexity == pytest.approx(math.exp(found.loss))

    begins_inside_a_text = measure_split(model, ids[1:], pairs)  # nothing predicts its first token
    assert begins_inside_a_text.text_bytes == n_bytes - pairs.byte_lengths[ids[1]]
    nothing = measure_split(model, ids[torch.tensor([0, 0])], pairs)
    with pytest.raises(DataError, match="only special tokens after its first"):
        _ = nothing.bits_per_byte
    assert measure_split(model, ids).text_tokens == 0  # no tokenizer, no text


def test_bits_per_byte_are_those_of_all_windows_and_bytes(make_model, ids, tokenizer):
    model, tokens = make_model(), ids[:200]
    for stride, starts in ((None, None), (4, None), (None, document_starts(tokens, [0]))):
        found = measure_split(model, tokens, tokenizer, stride=stride, starts=starts, batch_size=3)
        assert (found.tokens, found.text_tokens, found.text_bytes) == (199, 199, 199)
        assert found.loss == split_loss(model, tokens, stride=stride, starts=starts, batch_size=3)
        assert found.bits_per_byte == pytest.approx(found.loss / math.log(2), rel=1e-6)
    with pytest.raises(ConfigError, match="stride is 17, and block_size is 16"):
        split_loss(model, tokens, stride=17)


def test_a_model_with_more_ids_than_its_tokenizer(make_model, ids, tokenizer):
    model = make_model(vocab_size=64)
    assert measure_split(model, ids[:50], tokenizer).text_bytes == 49


def test_probes_ask_which_continuation_is_likelier(make_model, tokenizer, ids, tmp_path):
    from gptlib.train_config import TrainConfig
    from gptlib.trainer import Trainer

    model = make_model(dropout=0.0, attn_dropout=0.0)
    config = TrainConfig(steps=200, batch_size=16, lr=1e-2, warmup=10, eval_every=200)
    Trainer(model, ids[:2000], ids[2000:], config, tmp_path, tokenizer).fit()
    known = Probe("spelling", "the fox sat. the h", "en sat", "ox sat", 2)
    swapped = Probe("spelling", known.prefix, known.wrong, known.right, 2)
    good, bad = (score_probes(model, tokenizer, [p]) for p in (known, swapped))
    assert good["accuracy"] == 1.0 and good["log_ratio"] > 2
    assert bad["accuracy"] == 0.0 and bad["log_ratio"] == pytest.approx(-good["log_ratio"])
    both = score_probes(model, tokenizer, [known, swapped])
    assert both == {"accuracy": 0.5, "log_ratio": pytest.approx(0.0, abs=1e-5), "n": 2}


def logprob(model, head: list[int], tail: list[int]) -> float:
    """log p(tail | head), one token after the other."""
    ids = torch.tensor([head + tail])
    logs = model.eval()(ids[:, :-1])[0].log_softmax(-1)[0]
    return sum(logs[len(head) - 1 + i, t].item() for i, t in enumerate(tail))


@pytest.mark.parametrize("prefix", ["t", "the fox", "the fox sat. the hen ran."])
@pytest.mark.parametrize(
    "endings", [["x"], ["x", "t"], ["hen", "s", "the fox sat"], ["the hen " * 2]]
)
def test_every_token_of_every_ending_counts(make_model, tokenizer, prefix, endings):
    """Down to one token before and one token of ending, and up to an ending that fills the rest."""
    model = make_model().eval()
    tails = [tokenizer.encode(ending) for ending in endings]
    head = tokenizer.encode(prefix)[-(17 - max(map(len, tails))) :]
    expected = [logprob(model, head, tail) for tail in tails]
    found = score_endings(model, tokenizer, prefix, endings)
    assert found == pytest.approx(expected, rel=1e-5)
    lengths = [len(ending) for ending in endings]  # a token is a character here
    for per in ("token", "character"):
        normalized = score_endings(model, tokenizer, prefix, endings, per)
        assert normalized == pytest.approx([x / n for x, n in zip(found, lengths, strict=True)])


def test_lengths_are_those_of_tokens_or_of_characters():
    from gptlib.model import GPT, GPTConfig
    from gptlib.tokenizers import BPETokenizer

    pairs = BPETokenizer.train("the fox sat. " * 20, 280)
    model = GPT(GPTConfig(8, pairs.vocab_size, 1, 1, 4))
    whole, a_token, a_character = (
        score_endings(model, pairs, "the", [" fox"], per)[0] for per in (None, "token", "character")
    )
    assert a_character == pytest.approx(whole / 4)
    assert a_token == pytest.approx(whole / len(pairs.encode(" fox")))


@pytest.mark.parametrize(
    ("prefix", "endings", "message"),
    [
        ("", ["the", "fox"], "the prefix is empty.*begin with"),
        ("", ["t"], "the prefix is empty"),
        ("the", [], "0 endings"),
        ("the", ["", "fox"], "2 endings, 1 of them empty"),
        ("the", ["t" * 17], "an ending has 17 tokens, and block_size is 16"),
        ("the", ["fox", "t" * 40], "an ending has 40 tokens"),
    ],
)
def test_endings_that_cannot_be_scored(make_model, tokenizer, prefix, endings, message):
    model = make_model()
    with pytest.raises(DataError, match=message):
        score_endings(model, tokenizer, prefix, endings)
    if len(endings) == 2:
        with pytest.raises(DataError, match=message):
            score_probes(model, tokenizer, [Probe("spelling", prefix, *endings, 2)])
    assert model.training


def test_nothing_to_measure_is_refused(make_model, tokenizer):
    with pytest.raises(DataError, match="no probes to score"):
        score_probes(make_model(), tokenizer, [])
    with pytest.raises(DataError, match="no texts to parse"):
        parse_rate(Grammar.load("tales"), [])
    with pytest.raises(DataError, match="the text has 0 bytes"):
        bits_per_byte(1.0, 10, 0)
    with pytest.raises(ConfigError, match="per is 'letter'; give 'token'"):
        score_endings(make_model(), tokenizer, "the", ["fox"], per="letter")


def test_ids_may_lie_anywhere_but_the_models_input_may_not(make_model, ids, monkeypatch):
    """A split is brought to the model; `meta` stands for a device that is not the model's."""
    model, tokens = make_model(), torch.tensor(ids[:50].astype(np.int64))
    moved = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self) or self.to("cpu"))
    assert split_loss(model, tokens) == split_loss(model, ids[:50]) and moved
    x = tokens[None, :16]
    with pytest.raises(DataError, match="targets is on meta and the model on cpu"):
        token_losses(model, x, x.to("meta"))
    with pytest.raises(DataError, match="idx is on meta"):
        token_losses(model, x.to("meta"), x)


def test_parse_rate_counts_texts_of_the_grammar():
    grammar = Grammar.load("tales")
    document = grammar.sample(random.Random(1)).text
    assert parse_rate(grammar, [document, document + " Quite.", "no"]) == pytest.approx(1 / 3)
