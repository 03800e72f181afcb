"""What is drawn with a seed stays what it was: the ids themselves, for many settings."""

import pytest
import torch

from gptlib.errors import DataError
from gptlib.model import GPT, GPTConfig
from gptlib.sampling import generate, stream

MODERN = dict(
    rotary=True, qk_norm=True, norm="rmsnorm", activation="relu2", tied_head=False, softcap=8.0
)
MIXED = dict(temperature=0.8, top_k=9, top_p=0.9, seed=5)
LONG = list(range(11))

#: (prompt, settings, ids drawn by the plain model, ids drawn by the modern one)
ONE = {
    "greedy": ([3, 1, 4], dict(temperature=0), [20] * 12,
               [12, 12, 12, 12, 12, 12, 5, 19, 5, 19, 5, 5]),
    "plain": ([3, 1, 4], dict(seed=1), [15, 20, 16, 11, 21, 20, 1, 8, 5, 21, 4, 18],
              [5, 12, 13, 11, 21, 20, 22, 8, 5, 21, 4, 18]),
    "warm": ([3, 1, 4], dict(temperature=1.7, seed=2), [1, 4, 8, 15, 15, 4, 4, 20, 6, 7, 15, 13],
             [10, 18, 8, 15, 15, 4, 18, 20, 6, 7, 15, 13]),
    "top_k": ([3, 1, 4], dict(top_k=4, seed=3), [15, 20, 20, 20, 15, 20, 19, 20, 15, 4, 20, 20],
              [12, 9, 18, 12, 5, 22, 22, 5, 18, 5, 17, 5]),
    "top_p": ([3, 1, 4], dict(top_p=0.6, seed=4), [20, 4, 15, 4, 20, 20, 20, 4, 15, 22, 19, 19],
              [12, 8, 12, 18, 20, 18, 5, 12, 5, 22, 22, 19]),
    "all three": ([3, 1, 4], MIXED, [15, 4, 20, 9, 20, 15, 4, 20, 9, 4, 20, 20],
                  [22, 12, 17, 9, 9, 18, 12, 9, 9, 5, 12, 8]),
    "uncached": ([3, 1, 4], MIXED | {"use_cache": False},
                 [15, 4, 20, 9, 20, 15, 4, 20, 9, 4, 20, 20],
                 [22, 12, 17, 9, 9, 18, 12, 9, 9, 5, 12, 8]),
    "long prompt": (LONG, dict(seed=6), [16, 20, 11, 22, 15, 8], [19, 12, 14, 22, 8, 8]),
}  # fmt: skip
BATCH = [[[16, 12, 4, 15, 7, 8], [0, 20, 15, 10, 13, 0], [1, 15, 20, 20, 15, 21]],
         [[16, 12, 4, 15, 7, 17], [0, 17, 8, 10, 13, 0], [1, 17, 3, 10, 15, 21]]]  # fmt: skip
LENGTHS = [[[7, 16, 8, 5, 7], [21, 21, 22, 20, 12], [0, 20, 20, 4, 20]],
           [[7, 3, 8, 5, 2], [21, 21, 22, 3, 12], [0, 2, 20, 12, 20]]]  # fmt: skip


def throws_the_dice_of_the_book() -> bool:
    dice = torch.Generator().manual_seed(0)
    even = torch.full((1, 8), 0.125, dtype=torch.float64)
    return torch.multinomial(even, 8, generator=dice).tolist() == [[6, 7, 2, 4, 1, 5, 3, 0]]


pytestmark = [
    pytest.mark.skipif(not throws_the_dice_of_the_book(), reason="this torch has other dice"),
    pytest.mark.filterwarnings("ignore:the prompt has 11 tokens"),
]


@pytest.fixture(scope="module", params=[0, 1], ids=["gpt2", "modern"])
def which(request) -> int:
    return request.param


@pytest.fixture(scope="module")
def model(which) -> GPT:
    """A small model whose weights no generator drew."""
    options = MODERN if which else {}
    model = GPT(GPTConfig(8, 23, n_layer=2, n_head=2, n_embd=16, **options)).double()
    with torch.no_grad():
        for number, p in enumerate(model.parameters(), 1):
            places = torch.arange(p.numel(), dtype=torch.float64)
            p.copy_(torch.sin(places * places * 0.37 + number).mul(0.6).view_as(p))
    return model


@pytest.mark.parametrize("case", ONE)
def test_one_prompt(model, which, case):
    prompt, settings, *drawn = ONE[case]
    expected = drawn[which]
    assert generate(model, prompt, len(expected), **settings)[0].tolist() == prompt + expected
    assert list(stream(model, prompt, len(expected), **settings)) == expected
    middle = expected[3:5]  # ends at the first place where these two come
    end = next(i for i in range(len(expected)) if expected[i : i + 2] == middle) + 2
    stopped = generate(model, prompt, len(expected), **settings, stop=[middle])
    assert stopped[0].tolist() == prompt + expected[:end]


def test_a_batch(model, which):
    out = generate(model, [[1, 2], [1, 2], [7, 8]], 6, temperature=1.2, seed=7)
    assert out[:, 2:].tolist() == BATCH[which]
    stopped = generate(model, [[1, 2], [1, 2], [7, 8]], 6, 1.2, seed=7, stop=[[16, 12], 13])
    first, *rest = BATCH[which]
    rest = [row if 13 not in row else [*row[: row.index(13)], 13, 13] for row in rest]
    assert stopped[:, 2:].tolist() == [[*first[:2], *[12] * 4], *rest]


def test_prompts_of_three_lengths(model, which):
    out, lengths = generate(model, [[1], [1, 2, 3], [7, 8]], 5, temperature=1.2, seed=8)
    assert lengths == [6, 8, 7] and out.shape == (3, 8)
    drawn = [row[n - 5 : n] for row, n in zip(out.tolist(), lengths, strict=True)]
    assert drawn == LENGTHS[which]


def test_greedy_takes_no_token_for_what_is_no_number():
    def nothing(logits, ids):
        return torch.full_like(logits, float("nan"))

    with pytest.raises(DataError, match="no token can be drawn"):
        generate(GPT(GPTConfig(8, 5, 1, 1, 4)), [1, 2], 2, temperature=0, processors=[nothing])
