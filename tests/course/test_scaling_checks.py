"""Every exercise of chapter 4: the right answer passes, each mistake gets its own diagnosis."""

import statistics

from check_promises import CheckPromises

from gptlib.course.scaling import checks


def right_passes(steps, B, T, characters):
    return steps * B * T / characters


def right_flops(V, T, C, L, tokens):
    in_block = 3 * C * C + C * C + 8 * C * C
    return tokens * (6 * (V * C + L * in_block) + 12 * L * C * T)


def flops_with(weights=6, attention=12, extra=lambda V, T, C, L: 0):
    def fn(V, T, C, L, tokens):
        matrices = V * C + 12 * L * C * C
        return tokens * (weights * matrices + 6 * extra(V, T, C, L) + attention * L * C * T)

    return fn


def variance_of_mean(values):
    mean = sum(values) / len(values)
    return sum((v - mean) ** 2 for v in values) / (len(values) - 1) / len(values)


def right_difference(a, b):
    apart = sum(a) / len(a) - sum(b) / len(b)
    return apart, (variance_of_mean(a) + variance_of_mean(b)) ** 0.5


def difference_with(error):
    return lambda a, b: (right_difference(a, b)[0], error(a, b))


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
    "passes": right_passes,
    "training_flops": right_flops,
    "difference": right_difference,
    "early_stop": right_stop,
    "choose": right_choice,
}

WRONG = [
    ("passes", lambda s, B, T, n: s, "called epochs"),
    ("passes", lambda s, B, T, n: s * B / n, "window was counted"),
    ("passes", lambda s, B, T, n: s * T / n, "batch is missing"),
    ("passes", lambda s, B, T, n: n / (s * B * T), "upside down"),
    ("passes", lambda s, B, T, n: s * B * T, "how many characters were read"),
    ("passes", lambda s, B, T, n: s * B * T // n, "whole passes"),
    ("training_flops", flops_with(2, 4), "forward only, 2 for each"),
    ("training_flops", flops_with(2, 12), "all of it for attention"),
    ("training_flops", flops_with(1, 12), "one for each weight"),
    ("training_flops", flops_with(6, 0), "two products are missing"),
    ("training_flops", flops_with(extra=lambda V, T, C, L: T * C), "counted: it is looked up"),
    (
        "training_flops",
        lambda V, T, C, L, n: n * 6 * ((V + T) * C + 12 * L * C * C),
        "products were forgotten",
    ),
    ("training_flops", flops_with(extra=lambda V, T, C, L: -V * C), "head is missing"),
    ("training_flops", flops_with(extra=lambda V, T, C, L: V * C), "counted twice"),
    (
        "training_flops",
        lambda V, T, C, L, n: n * (6 * (V * C + 12 * L * C * C) + 12 * L * C * T * T),
        "T squared",
    ),
    ("training_flops", lambda V, T, C, L, n: right_flops(V, T, C, L, 1), "for one token"),
    ("difference", lambda a, b: (-right_difference(a, b)[0], right_difference(a, b)[1]), "sign"),
    (
        "difference",
        difference_with(lambda a, b: (statistics.stdev(a) ** 2 + statistics.stdev(b) ** 2) ** 0.5),
        "single runs scatter",
    ),
    (
        "difference",
        difference_with(lambda a, b: variance_of_mean(a) ** 0.5 + variance_of_mean(b) ** 0.5),
        "errors were added",
    ),
    (
        "difference",
        difference_with(
            lambda a, b: sum(statistics.pstdev(x) ** 2 / len(x) for x in (a, b)) ** 0.5
        ),
        "n - 1",
    ),
    (
        "difference",
        difference_with(lambda a, b: variance_of_mean(a) + variance_of_mean(b)),
        "root is missing",
    ),
    ("difference", difference_with(lambda a, b: variance_of_mean(a) ** 0.5), "only the first"),
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
