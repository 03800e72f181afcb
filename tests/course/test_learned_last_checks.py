"""Every exercise on what is learned last: the right answer passes, each mistake is named."""

import math

import torch
from check_promises import CheckPromises

from gptlib.course.learned_last import checks


def left(margin=2.0, stays=True, error=lambda share, n: (0.25 / n) ** 0.5, place=False):
    def answer(steps, shares, n):
        good = [share > 0.5 + margin * error(share, n) for share in shares]
        for k in range(len(steps)):
            if all(good[k:]) if stays else good[k]:
                return k if place else steps[k]
        return None

    return answer


def copied(say=lambda ids, found: ids[found + 1], search=lambda past: reversed(past)):
    def answer(ids):
        said = []
        for t, token in enumerate(ids):
            places = [s for s in search(range(t)) if ids[s] == token]
            said.append(say(ids, places[0]) if places else -1)
        return said

    return answer


def after_itself(ids):
    return [ids[t + 1] if t + 1 < len(ids) else -1 for t in range(len(ids))]


def before(ids, found):
    return ids[found - 1] if found else -1


def odds(one=lambda answer: answer.sum(), together=lambda p: sum(p)):
    """One against many by way of probabilities, in 64 bits, where e to the −160 is a number."""

    def answer(right, wrongs):
        probabilities = [one(wrong.double()).exp() for wrong in wrongs]
        return one(right.double()) - together(probabilities).log()

    return answer


def product(probabilities):
    return torch.stack(probabilities).prod()


def in_32_bits(right, wrongs):
    return (right.sum().exp() / sum(wrong.sum().exp() for wrong in wrongs)).log()


def spoiled(first=lambda share: share, second=lambda gap: gap):
    def answer(gap, length, wanted):
        return first(math.exp(-gap * length)), second(-math.log(wanted) / length)

    return answer


RIGHT = (
    (checks.log_odds, odds()),
    (checks.left_the_coin, left()),
    (checks.find_and_copy, copied()),
    (checks.promised, spoiled()),
)

WRONG = (
    (checks.log_odds, odds(one=lambda answer: answer.mean()), "mean over characters"),
    (checks.log_odds, odds(one=lambda answer: answer[0]), "first character alone"),
    (checks.log_odds, odds(together=product), "logarithms of the wrong answers were added"),
    (checks.log_odds, odds(together=lambda p: sum(p) / len(p)), "mean of the wrong answers:"),
    (checks.log_odds, odds(together=lambda p: product(p) ** (1 / len(p))), "answers' logarithms"),
    (checks.log_odds, odds(together=max), "likeliest wrong answer"),
    (checks.log_odds, lambda r, w: -odds()(r, w), "wrong minus right"),
    (checks.log_odds, lambda r, w: odds()(r, w).exp(), "ratio itself"),
    (checks.log_odds, lambda r, w: odds()(r, w) / math.log(2), "in bits"),
    (checks.log_odds, in_32_bits, "to float32"),
    (checks.left_the_coin, left(stays=False), "single lucky measurement"),
    (checks.left_the_coin, left(margin=0), "a coin does that"),
    (checks.left_the_coin, left(margin=0, stays=False), "two mistakes"),
    (checks.left_the_coin, left(margin=1), "is not two"),
    (checks.left_the_coin, left(error=lambda share, n: 0.25 / n), "root is missing"),
    (
        checks.left_the_coin,
        left(error=lambda share, n: (share * (1 - share) / n) ** 0.5),
        "error of the measured share",
    ),
    (checks.left_the_coin, left(place=True), "place in the list"),
    (checks.find_and_copy, copied(say=lambda ids, found: ids[found]), "found and not copied"),
    (checks.find_and_copy, copied(search=lambda past: past), "first time it stood"),
    (checks.find_and_copy, copied(say=lambda ids, found: found + 1), "place came back"),
    (checks.find_and_copy, copied(say=before), "what stood before it"),
    (checks.find_and_copy, after_itself, "found itself"),
    (checks.find_and_copy, lambda ids: [-1, *copied()(ids)[:-1]], "one place late"),
    (checks.promised, lambda g, n, w: (math.exp(-g), -math.log(w) / n), "is for one character: a"),
    (checks.promised, lambda g, n, w: (1 - g * n, -math.log(w) / n), "nats are no share"),
    (checks.promised, spoiled(first=lambda share: 1 - share), "may be impossible"),
    (checks.promised, spoiled(first=lambda share: share ** math.log(2)), "not bits"),
    (checks.promised, spoiled(first=lambda share: 1 / share), "above 1"),
    (checks.promised, lambda g, n, w: (math.exp(-g * n), -math.log(w)), "whole document's"),
    (checks.promised, lambda g, n, w: (math.exp(-g * n), -math.log(1 - w) / n), "of `wanted`"),
    (checks.promised, lambda g, n, w: (math.exp(-g * n), (1 - w) / n), "shares out"),
    (checks.promised, spoiled(second=lambda gap: -gap), "sign of the second"),
)


class TestLearnedLast(CheckPromises):
    module, right, wrong = checks, RIGHT, WRONG
