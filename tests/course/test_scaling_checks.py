"""Every exercise of chapter 4: the right answer passes, each mistake gets its own diagnosis."""

import statistics

from check_promises import CheckPromises

from gptlib.course.scaling import checks
from gptlib.course.scaling.seeds import difference


def right_readings(windows, B, steps):
    dealt = steps * B
    return dealt // windows, dealt % windows / windows


def right_gated(V, T, C, L, F, W):
    return 6 * V * C + L * (24 * C * C + 18 * C * F + 12 * C * W)


def gated_with(extra):
    return lambda *case: right_gated(*case) + extra(*case)


def square_error(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)


def contenders_with(
    error=lambda a, b: (square_error(a) + square_error(b)) ** 0.5, times=2, lone=True
):
    def fn(losses):
        means = {name: sum(found) / len(found) for name, found in losses.items()}
        first = sorted(means, key=means.get)[0]
        names = []
        for name in losses:
            if name == first:
                names.append(name)
            elif len(losses[name]) == 1 or len(losses[first]) == 1:
                names += [name] if lone else []
            elif means[name] - means[first] < times * error(losses[name], losses[first]):
                names.append(name)
        return names

    return fn


right_contenders = contenders_with()


def right_stop(vals, patience):
    best, since = 0, 0
    for index in range(1, len(vals)):
        since += 1
        if vals[index] < vals[best]:
            best, since = index, 0
        if since == patience:
            return best, index
    return best, len(vals) - 1


def previous_stop(vals, patience):
    best, since = 0, 0
    for index in range(1, len(vals)):
        best = index if vals[index] < vals[best] else best
        since = 0 if vals[index] < vals[index - 1] else since + 1
        if since == patience:
            return best, index
    return best, len(vals) - 1


def forgetful_stop(vals, patience):
    best, since = 0, 0
    for index in range(1, len(vals)):
        if vals[index] < vals[best]:
            best = index
        else:
            since += 1
        if since == patience:
            return best, index
    return best, len(vals) - 1


def late_stop(vals, patience):
    best, stop = right_stop(vals, patience)
    return best, min(stop + 1, len(vals) - 1)


def lowest(vals):
    return vals.index(min(vals))


def right_choice(law, flops, sizes):
    best = min((law(N, flops / (6 * N)), N) for N in sizes)[1]
    return best, flops / (6 * best)


def choice_by(key):
    def fn(law, flops, sizes):
        N = sorted(sizes, key=key(law, flops))[0]
        return N, flops / (6 * N)

    return fn


def choice_without_six(law, flops, sizes):
    N = min(sizes, key=lambda N: law(N, flops / N))
    return N, flops / N


RIGHT = {
    "readings": right_readings,
    "gated_flops": right_gated,
    "contenders": right_contenders,
    "early_stop": right_stop,
    "choose": right_choice,
}

WRONG = [
    ("readings", lambda w, B, s: (s, 0), "called passes"),
    ("readings", lambda w, B, s: (s // w, s % w / w), "batch is missing"),
    ("readings", lambda w, B, s: (s * B / w, s * B / w % 1), "mean over all"),
    ("readings", lambda w, B, s: (s * B // w + 1, s * B / w % 1), "rounded up"),
    ("readings", lambda w, B, s: (round(s * B / w), s * B / w % 1), "to the nearest"),
    ("readings", lambda w, B, s: (s * B // w, 1 - s * B / w % 1), "not reached yet"),
    ("readings", lambda w, B, s: (s * B // w, s * B % w), "how many windows"),
    ("gated_flops", lambda *case: right_gated(*case) / 3, "way back costs"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: 6 * V * C), "beside the head"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: -6 * V * C), "head is missing"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: 6 * T * C), "position table"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: -6 * L * C * F), "without a gate"),
    (
        "gated_flops",
        gated_with(lambda V, T, C, L, F, W: L * (48 * C * C - 18 * C * F)),
        "of GPT-2",
    ),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: 12 * L * C * (T - W)), "all T places"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: -12 * L * C * W), "two products are"),
    ("gated_flops", gated_with(lambda V, T, C, L, F, W: -8 * L * C * W), "products were counted"),
    ("contenders", contenders_with(times=0, lone=False), "lowest mean alone: which"),
    (
        "contenders",
        contenders_with(lambda a, b: (statistics.stdev(a) ** 2 + statistics.stdev(b) ** 2) ** 0.5),
        "single runs scatter",
    ),
    ("contenders", contenders_with(lambda a, b: square_error(a) ** 0.5), "only one of the two"),
    ("contenders", contenders_with(lambda a, b: square_error(b) ** 0.5), "error of the lowest"),
    (
        "contenders",
        contenders_with(lambda a, b: square_error(a) ** 0.5 + square_error(b) ** 0.5),
        "errors were added",
    ),
    ("contenders", contenders_with(times=1), "one error apart"),
    ("contenders", contenders_with(lone=False), "one seed was ruled out"),
    (
        "contenders",
        lambda runs: [n for n in runs if n not in right_contenders(runs)],
        "are the one",
    ),
    ("early_stop", lambda v, p: (right_stop(v, p)[1],) * 2, "last model was kept"),
    ("early_stop", late_stop, "too late"),
    ("early_stop", previous_stop, "validation before"),
    ("early_stop", forgetful_stop, "over a new best"),
    ("early_stop", lambda v, p: (lowest(v), right_stop(v, p)[1]), "never have been made"),
    ("early_stop", lambda v, p: (lowest(v), len(v) - 1), "never stopped"),
    ("choose", lambda *case: right_choice(*case)[::-1], "swapped"),
    ("choose", choice_without_six, "six for every token"),
    ("choose", choice_by(lambda law, flops: lambda N: -N), "largest model"),
    ("choose", choice_by(lambda law, flops: lambda N: N), "smallest model"),
    (
        "choose",
        choice_by(lambda law, flops: lambda N: abs(flops / (6 * N * N) - 20)),
        "twenty tokens",
    ),
    ("choose", choice_by(lambda law, flops: lambda N: -law(N, flops / (6 * N))), "highest loss"),
]


class TestScaling(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)


def test_a_difference_has_the_luck_of_both_means():
    apart, error = difference([1.5, 1.7, 1.6], [1.4, 1.5, 1.3, 1.8])
    assert abs(apart - 0.1) < 1e-12
    assert (
        abs(error**2 - (square_error([1.5, 1.7, 1.6]) + square_error([1.4, 1.5, 1.3, 1.8]))) < 1e-12
    )
