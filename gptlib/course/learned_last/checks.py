"""The exercises on what is learned last: a probe's score, its first success, copying, a loss.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def log_odds(fn: Callable[[Tensor, Sequence[Tensor]], Tensor]) -> Result:
    """Check `fn(right, wrongs)`: log-probabilities by character -> nats, one against all others."""

    def against(
        one: Callable[[Tensor], Tensor] = torch.sum,
        together: Callable[[Tensor], Tensor] = lambda sums: sums.logsumexp(0),
    ) -> Callable[[Tensor, Sequence[Tensor]], Tensor]:
        def answer(right: Tensor, wrongs: Sequence[Tensor]) -> Tensor:
            return one(right) - together(torch.stack([one(wrong) for wrong in wrongs]))

        return answer

    def overflowed(got: Tensor, right: Tensor, wrongs: Sequence[Tensor]) -> bool:
        return not bool(torch.isfinite(torch.as_tensor(got)).all())

    three = [torch.tensor([-3.0, -0.45]), torch.tensor([-1.2]), torch.tensor([-0.8, -0.9, -0.3])]
    return check(
        fn,
        cases=[
            (torch.tensor([-0.5, -0.1, -0.2]), three),
            (torch.tensor([-2.5]), [torch.tensor([-0.7, -0.1, -0.6, -0.2])]),
            (torch.full((30,), -5.0), [torch.full((40,), -4.0), torch.full((31,), -5.2)]),
        ],
        right=against(),
        wrongs=[
            Wrong(
                "a mean over characters: the longer answer is let off; an answer's probability is "
                "the product over all its characters, so sum the logarithms",
                against(torch.mean),
            ),
            Wrong(
                "the first character alone was compared: the model has to say all of the answer",
                against(lambda answer: answer[0]),
            ),
            Wrong(
                "the logarithms of the wrong answers were added up: that is the probability that "
                "all of them come; one or another has the sum of the probabilities",
                against(together=torch.sum),
            ),
            Wrong(
                "the mean of the wrong answers: together they have the sum of their probabilities",
                against(together=lambda sums: sums.logsumexp(0) - math.log(len(sums))),
            ),
            Wrong(
                "the mean of the wrong answers' logarithms: sum their probabilities instead",
                against(together=torch.mean),
            ),
            Wrong(
                "only the likeliest wrong answer was counted: all of them stand against the right "
                "one",
                against(together=torch.max),
            ),
            Wrong(
                "wrong minus right: a model that knows should come out above zero",
                lambda right, wrongs: -against()(right, wrongs),
            ),
            Wrong(
                "that is the ratio itself: its logarithm was asked for, the difference of the sums",
                lambda right, wrongs: against()(right, wrongs).exp(),
            ),
            Wrong(
                "in bits: this book counts in nats",
                lambda right, wrongs: against()(right, wrongs) / math.log(2),
            ),
            Wrong(
                "a probability of e to the minus 150 is 0 to float32: stay with logarithms, as "
                "log-sum-exp does",
                when=overflowed,
            ),
        ],
        success="0 is as much as all others together; each nat above it is a factor of 2.7",
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


def promised(fn: Callable[[float, float, float], tuple[float, float]]) -> Result:
    """Check `fn(gap, length, wanted)`: the least share of possible documents, the gap for one."""

    def right(gap: float, length: float, wanted: float) -> tuple[float, float]:
        return math.exp(-gap * length), -math.log(wanted) / length

    def first(share: Callable[[float, float], float]) -> Callable[..., tuple[float, float]]:
        return lambda gap, length, wanted: (share(gap, length), right(gap, length, wanted)[1])

    def second(needed: Callable[[float, float], float]) -> Callable[..., tuple[float, float]]:
        return lambda gap, length, wanted: (right(gap, length, wanted)[0], needed(length, wanted))

    return check(
        fn,
        cases=[(0.01, 300.0, 0.5), (0.004, 500.0, 0.8)],
        right=right,
        wrongs=[
            Wrong(
                "the gap is for one character: a document pays it for every one of its characters",
                first(lambda gap, length: math.exp(-gap)),
            ),
            Wrong(
                "nats are no share: what has probability p costs -ln p, so n nats buy e to the "
                "minus n",
                first(lambda gap, length: 1 - gap * length),
            ),
            Wrong(
                "that is the share which may be impossible; the possible ones were asked for",
                first(lambda gap, length: 1 - math.exp(-gap * length)),
            ),
            Wrong(
                "nats and not bits: powers of e",
                first(lambda gap, length: 2 ** (-gap * length)),
            ),
            Wrong(
                "a share above 1: the sign of the exponent",
                first(lambda gap, length: math.exp(gap * length)),
            ),
            Wrong(
                "the second number is a whole document's: a gap is for one character",
                second(lambda length, wanted: -math.log(wanted)),
            ),
            Wrong(
                "the second number asks for the impossible share: take the logarithm of `wanted`",
                second(lambda length, wanted: -math.log(1 - wanted) / length),
            ),
            Wrong(
                "the second number shares out 1 - wanted over the characters; the price of keeping "
                "a share is the logarithm of it",
                second(lambda length, wanted: (1 - wanted) / length),
            ),
            Wrong(
                "the sign of the second number: a logarithm of a share is negative, a gap is not",
                second(lambda length, wanted: math.log(wanted) / length),
            ),
        ],
        success="what the last nats allow at worst, and how few would be few enough",
    )
