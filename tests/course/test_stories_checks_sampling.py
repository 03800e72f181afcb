"""Chapter 7's exercises on sampling: the right answer passes, each mistake gets its diagnosis."""

import torch
from check_promises import CheckPromises

from gptlib.course.stories import checks_sampling as checks


def right_top_p(probs, p):
    out, total = torch.zeros_like(probs), 0.0
    for i in sorted(range(len(probs)), key=lambda i: -probs[i]):
        if total >= p:
            break
        out[i] = probs[i]
        total += probs[i]
    return out / out.sum()


def cut_top_p(probs, p, least=0, shares=True):
    out, total = torch.zeros_like(probs), 0.0
    for rank, i in enumerate(sorted(range(len(probs)), key=lambda i: -probs[i])):
        total += probs[i]
        if total > p and rank >= least:
            break
        out[i] = probs[i]
    return out / out.sum() if shares else out


def whole_top_p(probs, p):
    return right_top_p(probs, p) * sum(probs[right_top_p(probs, p) > 0])


def ranked_top_p(probs, p):
    return right_top_p(probs.sort(descending=True).values, p)


def masked_top_p(probs, p):
    ordered = probs.sort(descending=True).values
    kept = probs * (ordered.cumsum(0) - ordered < p)
    return kept / kept.sum()


def gathered_top_p(probs, p):
    ordered, order = probs.sort(descending=True)
    kept = probs * (ordered.cumsum(0) - ordered < p)[order]
    return kept / kept.sum()


def unsorted_top_p(probs, p):
    kept = probs * (probs.cumsum(0) - probs < p)
    return kept / kept.sum()


def unlikely_top_p(probs, p):
    ordered, order = probs.sort()
    kept = torch.zeros_like(probs)
    kept[order] = ordered * (ordered.cumsum(0) - ordered < p)
    return kept / kept.sum()


def right_shown(pieces, stop):
    text, _, _ = "".join(pieces).partition(stop)
    if len(text) < len("".join(pieces)):
        return text
    for n in range(len(stop) - 1, 0, -1):
        if text.endswith(stop[:n]):
            return text[:-n]
    return text


def shown_of_newest(pieces, stop):
    return "".join(pieces[:-1]) + right_shown(pieces[-1:], stop)


def shown_of_newest_whole(pieces, stop):
    return "".join(pieces[:-1]) + pieces[-1].split(stop)[0]


def shown_too_early(pieces, stop):
    return "".join(pieces).split(stop)[0]


def shown_with_stop(pieces, stop):
    text = "".join(pieces)
    return text.split(stop)[0] + stop if stop in text else right_shown(pieces, stop)


def shown_late(pieces, stop):
    text = "".join(pieces)
    return text.split(stop)[0] if stop in text else text[: 1 - len(stop)]


def shown_shortest(pieces, stop):
    text = "".join(pieces)
    if stop in text:
        return text.split(stop)[0]
    n = next((n for n in range(1, len(stop)) if text.endswith(stop[:n])), 0)
    return text[: len(text) - n]


def shown_to_the_last(pieces, stop):
    text = "".join(pieces)
    return text.rpartition(stop)[0] if stop in text else right_shown(pieces, stop)


def ranked(score):
    def rank(beams, prompt, power):
        return sorted(range(len(beams)), key=lambda i: score(beams[i], prompt, power), reverse=True)

    return rank


RIGHT_RANK = ranked(lambda b, n, power: sum(b[n:]) / len(b[n:]) ** power)


class TestChecks(CheckPromises):
    module = checks

    right = (
        (checks.top_p, right_top_p),
        (checks.shown, right_shown),
        (checks.rank_beams, RIGHT_RANK),
    )
    wrong = (
        (checks.top_p, cut_top_p, "crosses p is gone"),
        (checks.top_p, lambda probs, p: cut_top_p(probs, p, least=1), "crosses p is gone"),
        (checks.top_p, whole_top_p, "do not add up to 1"),
        (checks.top_p, ranked_top_p, "for the wrong ids"),
        (checks.top_p, masked_top_p, "for the wrong ids"),
        (checks.top_p, gathered_top_p, "for the wrong ids"),
        (checks.top_p, unsorted_top_p, "sort first"),
        (checks.top_p, unlikely_top_p, "descending=True"),
        (checks.shown, shown_of_newest, "inside the newest piece"),
        (checks.shown, shown_of_newest_whole, "inside the newest piece"),
        (checks.shown, shown_too_early, "taken back from the screen"),
        (checks.shown, shown_with_stop, "stop itself is shown"),
        (checks.shown, shown_late, "always late"),
        (checks.shown, shown_shortest, "hold back the longest"),
        (checks.shown, shown_to_the_last, "before the first stop"),
        (checks.rank_beams, ranked(lambda b, n, power: sum(b[n:])), "plain sum"),
        (
            checks.rank_beams,
            ranked(lambda b, n, power: sum(b[n:]) / len(b) ** power),
            "length of the whole text",
        ),
        (checks.rank_beams, ranked(lambda b, n, power: sum(b) / len(b) ** power), "in your sum"),
        (
            checks.rank_beams,
            ranked(lambda b, n, power: sum(b) / len(b[n:]) ** power),
            "in your sum",
        ),
        (checks.rank_beams, ranked(lambda b, n, power: sum(b[n:]) / len(b[n:])), "always the mean"),
        (checks.rank_beams, lambda *case: RIGHT_RANK(*case)[::-1], "worst stand first"),
    )
