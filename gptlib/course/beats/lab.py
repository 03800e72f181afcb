"""The lab of chapter 9: twenty pairs judged blind, and a model that is taught by the votes.

One job: `taste`, which checks the lab's functions step by step. Beside it stands what the lab hands
out: coins, a reader who votes until somebody does, and a few steps of training by pairs.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check
from gptlib.evaluation import telling
from gptlib.finetuning.dpo import sequence_logprobs
from gptlib.finetuning.preferences import PairBatches, Preferences
from gptlib.model import GPT
from gptlib.optim import make_optimizers

Seen = list[tuple[str, str]]
VOTES = ("left", "right", "tie")

_TITLES = ["The Bell", "The Raft", "The Pike", "The Snow", "The Key"]
_FIRST, _SECOND = (
    [f"{title}, told {how}." for title in _TITLES] for how in ("shortly", "at length")
)
_COINS = [True, False, False, True, True]
_VOTES = ["left", "left", "right", "right", "tie"]


def coins(n: int, seed: int) -> list[bool]:
    """n throws of a coin."""
    dice = random.Random(seed)
    return [dice.random() < 0.5 for _ in range(n)]


def stand_in(seen: Sequence[tuple[str, str]]) -> list[str]:
    """The votes of a reader of one idea: the text in which the larger share is spoken."""
    votes = []
    for pair in seen:
        left, right = (telling([text]).dialogue for text in pair)
        votes.append("tie" if left == right else "left" if left > right else "right")
    return votes


def learn(
    model: GPT,
    pairs: Preferences,
    loss: Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor],
    beta: float,
    steps: int,
    lr: float,
    batch_size: int = 4,
) -> None:
    """Train a model in place, by pairs and a loss of log-probabilities of whole texts."""
    (optimizer,) = make_optimizers(model, "adamw", lr, 0.0, (0.9, 0.95))
    batches = PairBatches(pairs, min(batch_size, len(pairs)))
    model.train()
    for step in range(steps):
        ids, mask, reference = batches.batch(step)
        now = sequence_logprobs(model, ids.flatten(0, 1), mask.flatten(0, 1)).view(-1, 2)
        loss(now[:, 0], now[:, 1], reference[:, 0], reference[:, 1], beta).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def taste(
    deal: Callable[[list[str], list[str], list[bool]], Seen],
    tally: Callable[[list[str], list[bool]], tuple[int, int, int]] | None = None,
    preferences: Callable[[list[str], Seen, list[str]], list] | None = None,
) -> Result:
    """Check what has been built so far: the last function given, by what it does.

    Args:
        deal: two lists of texts and coins to what is seen left and right. tally: votes and coins to
            wins of the first, wins of the second, votes for left. preferences: titles, what was
            seen and votes to (title, chosen, rejected).
    """
    result = _check_deal(deal)
    if result and tally is not None:
        result = _check_tally(tally)
    if result and preferences is not None:
        result = _check_preferences(preferences)
    return result


def _dealt(first: list[str], second: list[str], thrown: list[bool]) -> Seen:
    pairs = zip(first, second, thrown, strict=True)
    return [(a, b) if coin else (b, a) for a, b, coin in pairs]


def _check_deal(fn: Callable) -> Result:
    return check(
        fn,
        cases=[(_FIRST, _SECOND, _COINS), (_FIRST[:2], _SECOND[:2], [False, True])],
        right=_dealt,
        wrongs=[
            Wrong(
                "the first text always stands left: a reader finds that out by the third pair",
                lambda a, b, coin: list(zip(a, b, strict=True)),
            ),
            Wrong(
                "left and right have changed places: the first text is left where the coin is True",
                lambda a, b, coin: _dealt(b, a, coin),
            ),
            Wrong(
                "two lists of sides, and no pairs: return one (left, right) for each title",
                lambda a, b, coin: [list(side) for side in zip(*_dealt(a, b, coin), strict=True)],
            ),
            Wrong(
                "the coin stands in the pair: a reader would see it",
                lambda a, b, coin: [(*p, c) for p, c in zip(_dealt(a, b, coin), coin, strict=True)],
            ),
        ],
        success="nobody can see from the place whose text it is",
    )


def _tallied(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
    cast = [(v == "left", coin) for v, coin in zip(votes, thrown, strict=True) if v != "tie"]
    wins = sum(left == coin for left, coin in cast)
    return wins, len(cast) - wins, sum(left for left, _ in cast)


def _check_tally(fn: Callable) -> Result:
    def swapped(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
        wins, losses, left = _tallied(votes, thrown)
        return losses, wins, left

    def by_side(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
        return votes.count("left"), votes.count("right"), votes.count("left")

    def ties_lost(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
        wins, _, left = _tallied(votes, thrown)
        return wins, len(votes) - wins, left

    def ties_won(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
        wins, losses, left = _tallied(votes, thrown)
        return wins + votes.count("tie"), losses, left

    def left_wins(votes: list[str], thrown: list[bool]) -> tuple[int, int, int]:
        wins, losses, _ = _tallied(votes, thrown)
        pairs = zip(votes, thrown, strict=True)
        return wins, losses, sum(v == "left" and coin for v, coin in pairs)

    many = _VOTES * 3 + ["right", "left", "left", "tie"]
    return check(
        fn,
        cases=[(many, coins(len(many), 1)), (_VOTES, _COINS), (["left", "left"], [False, False])],
        right=_tallied,
        wrongs=[
            Wrong("these are votes for left and right; the coins say whose text stood there",
                  by_side),
            Wrong("a tie was counted for the second text: it counts nowhere", ties_lost),
            Wrong("a tie was counted for the first text: it counts nowhere", ties_won),
            Wrong("wins and losses have changed places", swapped),
            Wrong("the third number is of all votes for the left, whosever text stood there",
                  left_wins),
        ],
        success="whose text won, and whether the reader preferred a side",
    )  # fmt: skip


def _preferred(titles: list[str], seen: Seen, votes: list[str]) -> list[tuple[str, str, str]]:
    found = []
    for title, (left, right), vote in zip(titles, seen, votes, strict=True):
        if vote != "tie":
            found.append((title, left, right) if vote == "left" else (title, right, left))
    return found


def _check_preferences(fn: Callable) -> Result:
    def with_ties(titles: list[str], seen: Seen, votes: list[str]) -> list:
        return _preferred(titles, seen, ["right" if vote == "tie" else vote for vote in votes])

    def as_seen(titles: list[str], seen: Seen, votes: list[str]) -> list:
        return [
            (title, *pair)
            for title, pair, vote in zip(titles, seen, votes, strict=True) if vote != "tie"
        ]  # fmt: skip

    def shifted(titles: list[str], seen: Seen, votes: list[str]) -> list:
        without = [(p, v) for p, v in zip(seen, votes, strict=True) if v != "tie"]
        return _preferred(titles[: len(without)], [p for p, _ in without], [v for _, v in without])

    seen, tie_inside = _dealt(_FIRST, _SECOND, _COINS), ["left", "tie", "right", "left", "right"]
    return check(
        fn,
        cases=[(_TITLES, seen, tie_inside), (_TITLES, seen, ["tie", *_VOTES[:4]])],
        right=_preferred,
        wrongs=[
            Wrong("the left story was always chosen: the vote says which", as_seen),
            Wrong(
                "the rejected story stands before the chosen one: DPO would learn to dislike what "
                "you like",
                lambda titles, s, votes: [(t, b, a) for t, a, b in _preferred(titles, s, votes)],
            ),
            Wrong("a tie prefers nothing, and gives no pair", with_ties),
            Wrong(
                "after a tie the titles belong to other stories: leave the title out together with "
                "its pair",
                shifted,
            ),
            Wrong(
                "the titles are missing: a story is preferred to another one to the same title",
                lambda titles, s, votes: [pair[1:] for pair in _preferred(titles, s, votes)],
            ),
        ],
        success="what you liked, before what you liked less",
    )
