"""Every exercise on what is learned last: the right answer passes, each mistake is named."""

import math

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


RIGHT = (
    (checks.log_odds, lambda r, w: r.sum() - w.sum()),
    (checks.left_the_coin, left()),
    (checks.find_and_copy, copied()),
    (checks.bill, lambda gap, length, possible: (gap * length, math.log(1 / possible))),
)

WRONG = (
    (checks.log_odds, lambda r, w: r.mean() - w.mean(), "mean over characters"),
    (checks.log_odds, lambda r, w: r[0] - w[0], "first character alone"),
    (checks.log_odds, lambda r, w: w.sum() - r.sum(), "wrong minus right"),
    (checks.log_odds, lambda r, w: r.exp().prod() - w.exp().prod(), "difference of probabilities"),
    (checks.log_odds, lambda r, w: r.exp().prod() / w.exp().prod(), "ratio itself"),
    (checks.log_odds, lambda r, w: (r.sum() - w.sum()) / math.log(2), "in bits"),
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
    (checks.bill, lambda gap, length, p: (gap * length, 1 - p), "a share and not a price"),
    (checks.bill, lambda gap, length, p: (gap * length, -math.log(1 - p)), "wrong event"),
    (checks.bill, lambda gap, length, p: (gap * length, -math.log2(p)), "in bits"),
    (checks.bill, lambda gap, length, p: (gap * length, math.log(p)), "sign of the second"),
    (checks.bill, lambda gap, length, p: (gap * length, -math.log(p) * length), "not multiply"),
    (checks.bill, lambda gap, length, p: (gap * length, -math.log(p) / length), "not divide"),
    (checks.bill, lambda gap, length, p: (gap, -math.log(p)), "for one character"),
)


class TestLearnedLast(CheckPromises):
    module, right, wrong = checks, RIGHT, WRONG
