"""Chapter 7's exercises on sampling: a nucleus, a stop that comes in pieces, and ranked beams.

One job: compare a learner's function with the right one on small cases, and name the misconception
behind each of the usual wrong answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def top_p(fn: Callable[[Tensor, float], Tensor]) -> Result:
    """Check `fn(probs, p)`: a distribution (V,) to the one that top-p draws from, (V,) in the order
    of the ids."""

    def kept(probs: Tensor, p: float) -> tuple[Tensor, Tensor]:
        """The distribution from the likeliest on, and which of it the nucleus keeps."""
        ordered = probs.sort(descending=True).values
        return ordered, ordered.cumsum(0) - ordered < p

    def of_ids(probs: Tensor, ranked: Tensor) -> Tensor:
        """What belongs to each rank, in the order of the ids."""
        return torch.empty_like(probs).scatter(0, probs.argsort(descending=True), ranked)

    def shares(weights: Tensor) -> Tensor:
        return weights / weights.sum()

    def right(probs: Tensor, p: float) -> Tensor:
        ordered, keep = kept(probs, p)
        return shares(of_ids(probs, ordered * keep))

    def short(probs: Tensor, p: float, least: int = 0) -> Tensor:
        ordered, _ = kept(probs, p)
        keep = ordered.cumsum(0) <= p
        keep[:least] = True
        return shares(of_ids(probs, ordered * keep))

    def not_shared(probs: Tensor, p: float) -> Tensor:
        ordered, keep = kept(probs, p)
        return of_ids(probs, ordered * keep)

    def by_rank(probs: Tensor, p: float) -> Tensor:
        ordered, keep = kept(probs, p)
        return shares(ordered * keep)

    def mask_by_rank(probs: Tensor, p: float) -> Tensor:
        return shares(probs * kept(probs, p)[1])

    def gathered(probs: Tensor, p: float) -> Tensor:
        return shares(probs * kept(probs, p)[1][probs.argsort(descending=True)])

    def unsorted(probs: Tensor, p: float) -> Tensor:
        return shares(probs * (probs.cumsum(0) - probs < p))

    def unlikely_first(probs: Tensor, p: float) -> Tensor:
        ordered = probs.sort().values
        keep = ordered.cumsum(0) - ordered < p
        back = torch.empty_like(probs).scatter(0, probs.argsort(), ordered * keep)
        return shares(back)

    cut = (
        "the token that crosses p is gone, so what you keep adds up to less than p: a token stays "
        "as long as those before it have not reached p yet"
    )
    order = (
        "the right tokens for the wrong ids: `sort` also returns where each probability came from, "
        "and what you found by rank has to go back there (`scatter`)"
    )
    return check(
        fn,
        cases=[
            (torch.tensor([0.1, 0.5, 0.03, 0.25, 0.12]), 0.8),
            (torch.tensor([0.05, 0.15, 0.6, 0.2]), 0.3),
            (torch.tensor([0.2, 0.07, 0.33, 0.4]), 0.72),
            (torch.tensor([0.04, 0.4, 0.16, 0.3, 0.1]), 0.95),
        ],
        right=right,
        wrongs=[
            Wrong(cut, short),
            Wrong(cut, lambda probs, p: short(probs, p, least=1)),
            Wrong(
                "the right tokens are kept, but their probabilities do not add up to 1 any more: "
                "divide by their sum",
                not_shared,
            ),
            Wrong(order, by_rank),
            Wrong(order, mask_by_rank),
            Wrong(order, gathered),
            Wrong(
                "you added up in the order of the ids: the nucleus begins with the likeliest, so "
                "sort first",
                unsorted,
            ),
            Wrong(
                "you began with the unlikeliest: sort with descending=True",
                unlikely_first,
            ),
        ],
        success="the fewest tokens that reach p, each in its place, and they add up to 1",
    )


def shown(fn: Callable[[list[str], str], str]) -> Result:
    """Check `fn(pieces, stop)`: what a reader may see of a text that has come in these pieces, one
    for each token, and ends before `stop`."""

    def beginnings(text: str, stop: str) -> list[int]:
        """How many characters at the end may be the beginning of a stop, the most first."""
        return [n for n in range(len(stop) - 1, 0, -1) if text.endswith(stop[:n])]

    def right(pieces: Sequence[str], stop: str) -> str:
        text = "".join(pieces)
        if stop in text:
            return text[: text.index(stop)]
        held = beginnings(text, stop)
        return text[: len(text) - held[0]] if held else text

    def newest(pieces: Sequence[str], stop: str) -> str:
        *before, last = pieces
        return "".join(before) + right([last], stop)

    def newest_whole(pieces: Sequence[str], stop: str) -> str:
        *before, last = pieces
        return "".join(before) + last.partition(stop)[0]

    def too_early(pieces: Sequence[str], stop: str) -> str:
        return "".join(pieces).partition(stop)[0]

    def with_stop(pieces: Sequence[str], stop: str) -> str:
        text = "".join(pieces)
        return text[: text.index(stop) + len(stop)] if stop in text else right(pieces, stop)

    def cautious(pieces: Sequence[str], stop: str) -> str:
        text = "".join(pieces)
        if stop in text:
            return text[: text.index(stop)]
        return text[: max(0, len(text) - len(stop) + 1)]

    def shortest(pieces: Sequence[str], stop: str) -> str:
        text = "".join(pieces)
        if stop in text:
            return text[: text.index(stop)]
        held = beginnings(text, stop)
        return text[: len(text) - held[-1]] if held else text

    def last_stop(pieces: Sequence[str], stop: str) -> str:
        text = "".join(pieces)
        return text[: text.rindex(stop)] if stop in text else right(pieces, stop)

    newest_only = (
        "you looked inside the newest piece alone, and a stop may begin in one token and end in "
        "another: join the pieces first"
    )
    return check(
        fn,
        cases=[
            (["no", " goat", ".\nMor", "al", ": wh"], "\nMoral:"),
            (["no", " goat", ".\nMor"], "\nMoral:"),
            (["no", " goat", ".\nMor", "e"], "\nMoral:"),
            (["no goat", ".", "\nMoral: a\n", "Moral: b"], "\nMoral:"),
            (["ring", " ba", "b"], "baba"),
            (["ring", " bab", "ab"], "baba"),
            (["no", " goat"], "\nMoral:"),
        ],
        right=right,
        wrongs=[
            Wrong(
                "right once the stop is whole, but before that you show its beginning, which "
                "would have to be taken back from the screen: hold back what may become a stop",
                too_early,
            ),
            Wrong("the stop itself is shown: the text ends before it", with_stop),
            Wrong(
                "never wrong, but always late: hold back only what a stop really begins with, not "
                "as many characters as it has",
                cautious,
            ),
            Wrong(
                "several beginnings of the stop may end the text, as b and bab do of baba: hold "
                "back the longest",
                shortest,
            ),
            Wrong(newest_only, newest),
            Wrong(newest_only, newest_whole),
            Wrong("the text ends before the first stop, not before the last", last_stop),
        ],
        success="nothing is shown that would have to be taken back, and nothing is held longer",
    )


def rank_beams(fn: Callable[[list[list[float]], int, float], list[int]]) -> Result:
    """Check `fn(beams, prompt, power)`: log-probabilities of each token of each beam, of which the
    first `prompt` belong to the prompt, to the places of the beams, the best first."""

    def by(score: Callable[[list[float], int, float], float]) -> Callable[..., list[int]]:
        def order(beams: list[list[float]], prompt: int, power: float) -> list[int]:
            scores = [score(beam, prompt, power) for beam in beams]
            return sorted(range(len(beams)), key=lambda i: -scores[i])

        return order

    right = by(lambda beam, prompt, power: sum(beam[prompt:]) / (len(beam) - prompt) ** power)
    short = [-0.5, -0.4, -0.6, -0.5]  # after a prompt of two
    long = [-0.5, -0.4, -0.4, -0.3, -0.5, -0.3]
    middle = [-0.5, -0.4, -0.7, -0.1, -0.7]
    return check(
        fn,
        cases=[
            ([short, long, middle], 2, 1.0),
            ([short, long, middle], 2, 0.0),
            (
                [[-3.0, -3.0, -0.4], [-3.0, -3.0, -0.5, -0.5], [-3.0, -3.0, -0.3, -0.7, -0.2]],
                2,
                1.0,
            ),
            ([[-0.1, -0.9, -0.9], [-0.1, -0.5, -0.7, -1.1, -0.5], [-0.1, -0.8]], 1, 0.6),
        ],
        right=right,
        wrongs=[
            Wrong(
                "ranked by the plain sum: each further token makes it smaller, so the shortest "
                "wins; divide by the number of new tokens to the power",
                by(lambda beam, prompt, power: sum(beam[prompt:])),
            ),
            Wrong(
                "the sum is of the new tokens, but you divided by the length of the whole text: "
                "the prompt is not the beam's work, so its tokens do not count",
                by(lambda beam, prompt, power: sum(beam[prompt:]) / len(beam) ** power),
            ),
            Wrong(
                "the prompt's log-probabilities are in your sum: add up those of new tokens only",
                by(lambda beam, prompt, power: sum(beam) / len(beam) ** power),
            ),
            Wrong(
                "the prompt's log-probabilities are in your sum: add up those of new tokens only",
                by(lambda beam, prompt, power: sum(beam) / (len(beam) - prompt) ** power),
            ),
            Wrong(
                "always the mean: the power says how much length counts, and at 0 not at all",
                by(lambda beam, prompt, power: sum(beam[prompt:]) / (len(beam) - prompt)),
            ),
            Wrong(
                "the worst stand first: log-probabilities are negative, and the best is the "
                "largest, nearest to 0",
                lambda *case: right(*case)[::-1],
            ),
        ],
        success="sums of new tokens over their number to the power, the largest first",
    )
