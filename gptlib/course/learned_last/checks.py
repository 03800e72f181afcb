"""The exercises on what is learned last: a probe's score, its first success, copying, a loss.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def log_odds(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check `fn(right, wrong)`: log-probabilities by character -> nats between two answers."""

    def right(right: Tensor, wrong: Tensor) -> Tensor:
        return right.sum() - wrong.sum()

    return check(
        fn,
        cases=[
            (torch.tensor([-0.5, -0.1, -0.2]), torch.tensor([-3.0, -0.45])),
            (torch.tensor([-2.5]), torch.tensor([-0.7, -0.1, -0.6, -0.2])),
        ],
        right=right,
        wrongs=[
            Wrong(
                "a mean over characters: the longer answer is let off; an answer's probability is "
                "the product over all its characters, so sum the logarithms",
                lambda right, wrong: right.mean() - wrong.mean(),
            ),
            Wrong(
                "the first character alone was compared: the model has to say all of the answer",
                lambda right, wrong: right[0] - wrong[0],
            ),
            Wrong(
                "wrong minus right: a model that knows should come out above zero",
                lambda r, w: right(w, r),
            ),
            Wrong(
                "a difference of probabilities: keep the logarithms, whose difference is in nats",
                lambda right, wrong: right.sum().exp() - wrong.sum().exp(),
            ),
            Wrong(
                "that is the ratio itself: its logarithm was asked for, the difference of the sums",
                lambda r, w: right(r, w).exp(),
            ),
            Wrong(
                "in bits: this book counts in nats",
                lambda r, w: right(r, w) / math.log(2),
            ),
        ],
        success="0 is a coin, and each nat above it makes the right answer 2.7 times as likely",
    )


def _first(
    steps: Sequence[int], shares: Sequence[float], above: Callable[[float], bool], stays: bool
) -> int | None:
    """Return the first step whose share is `above`, and, if it `stays`, all later ones as well."""
    for k, step in enumerate(steps):
        if all(above(share) for share in (shares[k:] if stays else shares[k : k + 1])):
            return step
    return None


def left_the_coin(fn: Callable[[Sequence[int], Sequence[float], int], int | None]) -> Result:
    """Check `fn(steps, shares, n)`: the step from which on a share is 2 errors above a half."""

    def by(limit: Callable[[float, int], float], stays: bool = True) -> Callable[..., int | None]:
        def answer(steps: Sequence[int], shares: Sequence[float], n: int) -> int | None:
            return _first(steps, shares, lambda share: share > limit(share, n), stays)

        return answer

    def coin(share: float, n: int) -> float:
        return 0.5 + 2 * 0.5 / n**0.5

    def number(steps: Sequence[int], shares: Sequence[float], n: int) -> int | None:
        step = by(coin)(steps, shares, n)
        return None if step is None else list(steps).index(step)

    return check(
        fn,
        cases=[
            ([1, 2, 4, 8, 16, 32, 64], [0.47, 0.52, 0.64, 0.49, 0.56, 0.72, 0.99], 100),
            ([10, 20, 30, 40, 50, 60], [0.5, 0.53, 0.57, 0.595, 0.607, 0.9], 100),
            ([2, 4, 6, 8, 10, 12], [0.5001, 0.55, 0.65, 0.695, 0.74, 0.9], 25),
        ],
        right=by(coin),
        wrongs=[
            Wrong(
                "a single lucky measurement was believed: the share has to stay above at every "
                "later one",
                by(coin, stays=False),
            ),
            Wrong(
                "any share above one half counted: a coin does that every other time; ask for two "
                "standard errors, 2 * (0.25 / n) ** 0.5",
                by(lambda share, n: 0.5),
            ),
            Wrong(
                "any share above one half counted, and a lucky one was believed: two mistakes",
                by(lambda share, n: 0.5, stays=False),
            ),
            Wrong(
                "one standard error is not two: a coin is so far above a half one time in six",
                by(lambda share, n: 0.5 + 0.5 / n**0.5),
            ),
            Wrong(
                "the root is missing: a share strays by (0.25 / n) ** 0.5",
                by(lambda share, n: 0.5 + 2 * 0.25 / n),
            ),
            Wrong(
                "that is the error of the measured share; the question is whether a coin could "
                "have made it, so take a coin's error, with 0.5 * 0.5 under the root",
                by(lambda share, n: 0.5 + 2 * (share * (1 - share) / n) ** 0.5),
            ),
            Wrong("the place in the list came back: return the step that stands there", number),
        ],
        success="two standard errors above a coin, and from there on for good",
    )


def find_and_copy(fn: Callable[[Sequence[int]], list[int]]) -> Result:
    """Check `fn(ids)`: for each id, what followed it the last time before, or -1."""

    def places(ids: Sequence[int], t: int) -> list[int]:
        return [s for s in range(t) if ids[s] == ids[t]]

    def made(say: Callable[[Sequence[int], int, list[int]], int]) -> Callable[..., list[int]]:
        def answer(ids: Sequence[int]) -> list[int]:
            found = [places(ids, t) for t in range(len(ids))]
            return [say(ids, t, found[t]) if found[t] else -1 for t in range(len(ids))]

        return answer

    def looks_ahead(ids: Sequence[int]) -> list[int]:
        return [*ids[1:], -1]

    right = made(lambda ids, t, found: ids[found[-1] + 1])
    return check(
        fn,
        cases=[([5, 3, 5, 4, 3, 5, 9, 4, 4, 3],), ([2, 7, 2, 8, 2, 7, 6, 8],)],
        right=right,
        wrongs=[
            Wrong(
                "found and not copied: you return the token that was found, which is the one in "
                "hand; return what came after it",
                made(lambda ids, t, found: ids[t]),
            ),
            Wrong(
                "the first time it stood there, not the last: search backwards from the token "
                "in hand",
                made(lambda ids, t, found: ids[found[0] + 1]),
            ),
            Wrong(
                "the place came back, not the token that stands there",
                made(lambda ids, t, found: found[-1] + 1),
            ),
            Wrong(
                "you return what stood before it; the model wants to know what comes next",
                made(lambda ids, t, found: ids[found[-1] - 1] if found[-1] else -1),
            ),
            Wrong(
                "the token found itself: look at places before its own only, or you read the "
                "answer off the text",
                looks_ahead,
            ),
            Wrong(
                "all are one place late: entry t is what token t is followed by, not what it is",
                lambda ids: [-1, *right(ids)[:-1]],
            ),
        ],
        success="finds where it stood, and says what came next: the work of two heads",
    )


def bill(fn: Callable[[float, float, float], tuple[float, float]]) -> Result:
    """Check `fn(gap, length, possible)`: nats a document above the floor, and of them for what."""

    def right(gap: float, length: float, possible: float) -> tuple[float, float]:
        return gap * length, -math.log(possible)

    def second(price: Callable[[float, float], float]) -> Callable[..., tuple[float, float]]:
        return lambda gap, length, possible: (gap * length, price(length, possible))

    return check(
        fn,
        cases=[(0.01, 300.0, 0.5), (0.004, 500.0, 0.8)],
        right=right,
        wrongs=[
            Wrong(
                "that is a share and not a price: what has probability p costs -ln p",
                second(lambda length, possible: 1 - possible),
            ),
            Wrong(
                "the price of the wrong event: the model gave `possible` of its probability to "
                "documents that can be, so each of these costs -ln(possible) too much",
                second(lambda length, possible: -math.log(1 - possible)),
            ),
            Wrong(
                "the second number is in bits: this book counts in nats",
                second(lambda length, possible: -math.log2(possible)),
            ),
            Wrong(
                "the sign of the second number: a logarithm of a share is negative, a price is not",
                second(lambda length, possible: math.log(possible)),
            ),
            Wrong(
                "the share belongs to a whole document already: do not multiply by the characters",
                second(lambda length, possible: -length * math.log(possible)),
            ),
            Wrong(
                "the second number is a document's: do not divide by its characters",
                second(lambda length, possible: -math.log(possible) / length),
            ),
            Wrong(
                "the gap is for one character: a document pays it for every one of its characters",
                lambda gap, length, possible: (gap, -math.log(possible)),
            ),
        ],
        success="what a document costs too much, and how much of that went to impossible ones",
    )
