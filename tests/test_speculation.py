"""A draft changes the number of passes, and nothing of what is written."""

import itertools

import pytest
import torch
from scipy.stats import chisquare

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import Tally, speculate, stream
from gptlib.tokenizers import CharTokenizer

V = 4


def made(seed: int, block_size: int, std: float = 0.5) -> GPT:
    torch.manual_seed(seed)
    model = GPT(GPTConfig(block_size, V, n_layer=1, n_head=1, n_embd=4))
    for p in model.parameters():
        torch.nn.init.normal_(p, std=std)
    return model.double()


@pytest.fixture(scope="module")
def model() -> GPT:
    return made(0, 12)


@pytest.fixture(scope="module", params=[12, 5, 40], ids=["alike", "short", "long"])
def draft(request) -> GPT:
    return made(1, request.param)


@pytest.mark.parametrize("guesses", [1, 3, 9])
def test_greedy_tokens_are_those_of_stream(model, draft, guesses):
    """Past the context of either, whose windows slide at different times."""
    options = dict(temperature=0, repetition_penalty=1.3, presence_penalty=0.4)
    expected = list(stream(model, [1, 2, 3], 40, **options))
    assert list(speculate(model, draft, [1, 2, 3], 40, guesses=guesses, **options)) == expected


@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_the_shortest_contexts_too(block_size):
    model, draft = made(2, block_size), made(3, 2)
    expected = list(stream(model, [1], 12, temperature=0))
    assert list(speculate(model, draft, [1], 12, temperature=0)) == expected


def test_a_draft_that_is_the_model_is_always_right(model):
    tally = Tally()
    new = list(speculate(model, model, [1], 9, temperature=0, guesses=4, tally=tally))
    assert new == list(stream(model, [1], 9, temperature=0))
    assert (tally.passes, tally.guessed, tally.kept) == (2, 8, 8)


def test_each_token_is_read_once(model, monkeypatch):
    """What was kept stays in the cache: a pass reads the last token and the guesses."""
    widths, hidden = [], GPT.hidden

    def counting(self, idx, cache=None):
        widths.append((self is model, idx.size(1)))
        return hidden(self, idx, cache)

    monkeypatch.setattr(GPT, "hidden", counting)
    draft = made(1, 12)
    list(speculate(model, draft, [1, 2], 7, seed=0, guesses=3))
    mine = [width for large, width in widths if large]
    assert mine[0] == 5 and set(mine[1:]) == {4}
    assert {width for large, width in widths[1:] if not large} <= {1, 2}


def exact(model: GPT, prompt: list[int], n: int, **limits) -> torch.Tensor:
    """The probability of every text of n tokens, (V ** n,)."""
    from gptlib.sampling import filter_logits

    every = torch.tensor([[*prompt, *new] for new in itertools.product(range(V), repeat=n)])
    with torch.no_grad():
        logits = model(every)[0][:, len(prompt) - 1 : -1] / 0.8
    probs = filter_logits(logits.flatten(0, 1), **limits).softmax(-1).view(len(every), n, V)
    return probs.gather(-1, every[:, len(prompt) :, None]).squeeze(-1).prod(1).detach()


@pytest.mark.parametrize("limits", [{}, {"top_k": 3}], ids=["free", "top_k"])
def test_the_distribution_is_the_model_s(model, limits):
    """1500 texts of three tokens, counted against all 64 probabilities; the draft is far off."""
    draft, prompt, n = made(1, 12, std=0.7), [1, 2], 1500
    p, q = (exact(m, prompt, 3, **limits) for m in (model, draft))
    counts = torch.zeros(V**3)
    tally = Tally()
    for seed in range(n):
        a, b, c = speculate(
            model, draft, prompt, 3, 0.8, seed=seed, guesses=2, tally=tally, **limits
        )
        counts[a * V * V + b * V + c] += 1
    assert 0.2 < tally.kept / tally.guessed < 0.95
    some = p > 0
    assert counts[~some].sum() == 0
    expected = (n * p[some]).numpy()
    assert chisquare(counts[some].numpy(), expected).pvalue > 0.01
    drafts = (n * q / q[some].sum())[some].numpy()  # if its own tokens stayed, it would be seen
    assert chisquare(drafts, expected).pvalue < 1e-9


def test_a_seed_writes_the_same_again(model):
    draft = made(1, 12)
    a, b, c = (list(speculate(model, draft, [1], 30, seed=s)) for s in (5, 5, 6))
    assert a == b != c


def test_a_stop_ends_it(model):
    draft, letters = made(1, 12), CharTokenizer("abcd")
    free = list(speculate(model, draft, [1], 30, seed=5))
    first = next(i for i in range(30) if free[i : i + 2] == free[9:11]) + 2
    options = dict(seed=5, guesses=4)
    assert list(speculate(model, draft, [1], 30, stop=[free[9:11]], **options)) == free[:first]
    word = letters.decode(free[9:11])
    found = speculate(model, draft, [1], 30, stop=[word], tokenizer=letters, **options)
    assert list(found) == free[:first]


@pytest.mark.parametrize(
    ("options", "says"),
    [(dict(guesses=0), "guesses is 0"), (dict(num_samples=2), "one text for one prompt"),
     (dict(num_beams=2), "one text for one prompt"), (dict(top_k=9), "top_k is 9"),
     (dict(temperature=-1), "temperature is -1")],
)  # fmt: skip
def test_what_cannot_be_is_refused_at_once(model, options, says):
    with pytest.raises(ConfigError, match=says):
        speculate(model, made(1, 12), [1], 3, **options)


def test_a_draft_with_other_tokens_is_refused(model):
    other = GPT(GPTConfig(8, V + 1, 1, 1, 4))
    with pytest.raises(ConfigError, match="the draft 5; a draft has to write"):
        speculate(model, other, [1], 3)
    with pytest.raises(ConfigError, match="one text for one prompt"):
        speculate(model, model, [[1], [2]], 3)


def test_what_no_token_can_be_drawn_from_is_one_error(model):
    with pytest.raises(DataError, match="no token can be drawn"):
        list(speculate(model, model, [1], 3, processors=[lambda logits, ids: logits * torch.nan]))
