"""The lab of chapter 9: each step's right answer passes, and what goes wrong is named."""

import math

import pytest
import torch

from gptlib.course.beats import lab
from gptlib.finetuning.dpo import dpo_loss
from gptlib.finetuning.preferences import PreferencePair, make_preferences, pair_logprobs
from gptlib.model import GPT, GPTConfig


def deal(first, second, coins):
    seen = []
    for n, coin in enumerate(coins):
        seen.append((first[n], second[n]) if coin else (second[n], first[n]))
    return seen


def tally(votes, coins):
    first = second = left = 0
    for vote, coin in zip(votes, coins, strict=True):
        if vote == "tie":
            continue
        left += vote == "left"
        if (vote == "left") == coin:
            first += 1
        else:
            second += 1
    return first, second, left


def preferences(titles, seen, votes):
    return [
        (title, *sorted(pair, key=lambda text: (text != pair[0]) == (vote == "left")))
        for title, pair, vote in zip(titles, seen, votes, strict=True)
        if vote != "tie"
    ]


def test_the_right_answers_pass_step_by_step():
    for built in ((deal,), (deal, tally), (deal, tally, preferences)):
        assert lab.taste(*built).passed is True, lab.taste(*built)


def test_a_stub_is_not_written_yet():
    assert lab.taste(lambda first, second, coins: ...).passed is None
    assert lab.taste(deal, lambda votes, coins: ...).passed is None
    assert lab.taste(deal, tally, lambda titles, seen, votes: ...).passed is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda a, b, coins: list(zip(a, b, strict=True)), "always stands left"),
        (lambda a, b, coins: deal(b, a, coins), "changed places"),
        (lambda a, b, coins: [list(s) for s in zip(*deal(a, b, coins), strict=True)], "two lists"),
        (lambda a, b, coins: [(*p, c) for p, c in zip(deal(a, b, coins), coins, strict=True)],
         "coin stands in the pair"),
        (lambda a, b, coins: 1 / 0, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_dealing_is_named(answer, words):
    result = lab.taste(answer)
    assert result.passed is False and words in result.message, result


def of_ties(first, second):
    """Counts ties for one of the two."""

    def fn(votes, coins):
        a, b, left = tally(votes, coins)
        return a + first * votes.count("tie"), b + second * votes.count("tie"), left

    return fn


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda v, coins: (v.count("left"), v.count("right"), v.count("left")), "whose text stood"),
        (of_ties(0, 1), "for the second text"),
        (of_ties(1, 0), "for the first text"),
        (lambda v, coins: tuple(tally(v, coins)[n] for n in (1, 0, 2)), "changed places"),
        (lambda v, coins: (*tally(v, coins)[:2],
                           sum(x == "left" for x, c in zip(v, coins, strict=True) if c)),
         "all votes for the left"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_tally_is_named(answer, words):
    result = lab.taste(deal, answer)
    assert result.passed is False and words in result.message, result


def ties_as(vote):
    return lambda titles, seen, votes: preferences(
        titles, seen, [vote if v == "tie" else v for v in votes]
    )


def without_their_titles(titles, seen, votes):
    kept = [(pair, vote) for pair, vote in zip(seen, votes, strict=True) if vote != "tie"]
    return preferences(titles[: len(kept)], *map(list, zip(*kept, strict=True)))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda t, seen, v: preferences(t, seen, ["tie" if x == "tie" else "left" for x in v]),
         "always chosen"),
        (lambda t, seen, v: [(a, c, b) for a, b, c in preferences(t, seen, v)], "dislike"),
        (ties_as("right"), "prefers nothing"),
        (without_their_titles, "belong to other stories"),
        (lambda t, seen, v: [p[1:] for p in preferences(t, seen, v)], "titles are missing"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_preferences_is_named(answer, words):
    result = lab.taste(deal, tally, answer)
    assert result.passed is False and words in result.message, result


def test_the_stand_in_likes_speech():
    spoken, told = "“Come in,” he said.", "He asked her to come in."
    assert lab.stand_in([(spoken, told), (told, spoken), (told, told)]) == ["left", "right", "tie"]
    assert lab.coins(5, 1) == lab.coins(5, 1) != lab.coins(5, 2)


def test_a_few_steps_tell_a_few_pairs_apart():
    torch.manual_seed(0)
    model = GPT(GPTConfig(16, 20, n_layer=1, n_head=2, n_embd=16))
    pairs = make_preferences(
        [PreferencePair([n], [n + 1, 2, 3], [n + 2, 5, 6]) for n in range(6)], model
    )
    first = dpo_loss(*pair_logprobs(model, pairs).T, *pairs.reference.T, beta=0.1)[0]
    assert first.item() == pytest.approx(math.log(2), abs=1e-5)
    lab.learn(model, pairs, lambda *args: dpo_loss(*args)[0], beta=0.1, steps=8, lr=1e-2)
    gained = pair_logprobs(model, pairs) - pairs.reference
    assert (gained[:, 0] > gained[:, 1]).all()
