"""The lab of chapter 1: each step's right answer passes, and what goes wrong is named."""

import pytest
import torch

from gptlib.course.bigram import lab


def count_triples(ids, V):
    numbers = (ids[:-2] * V + ids[1:-1]) * V + ids[2:]
    return torch.bincount(numbers, minlength=V**3).view(V, V, V)


def backed_off(ids, V, weight):
    p = torch.full((V,), 1 / V)
    triples = count_triples(ids, V)
    for counts in (torch.bincount(ids, minlength=V), triples.sum(0), triples):
        p = (counts + weight * p) / (counts.sum(-1, keepdim=True) + weight)
    return p


def chosen(ids, V):
    cut = len(ids) * 4 // 5

    def cost(weight):
        return lab.price(backed_off(ids[:cut], V, weight), ids[cut:])

    return min((0.1, 0.3, 1, 3, 10), key=cost)


def test_the_right_answers_pass_step_by_step():
    for built in ((count_triples,), (count_triples, backed_off),
                  (count_triples, backed_off, chosen)):  # fmt: skip
        assert lab.trigram(*built).passed is True, lab.trigram(*built)


def test_a_stub_is_not_written_yet():
    assert lab.trigram(lambda ids, V: ...).passed is None
    assert lab.trigram(count_triples, lambda ids, V, weight: ...).passed is None
    assert lab.trigram(count_triples, backed_off, lambda ids, V: ...).passed is None


def once_each(ids, V):
    counts = torch.zeros(V, V, V)
    counts[ids[:-2], ids[1:-1], ids[2:]] += 1
    return counts


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda ids, V: count_triples(ids.flip(0), V), "last letter comes first"),
        (lambda ids, V: count_triples(ids, V).transpose(0, 1), "first two letters"),
        (lambda ids, V: sum(count_triples(ids[n:n + 3], V) for n in range(0, len(ids) - 2, 3)),
         "windows overlap"),
        (lambda ids, V: count_triples(torch.cat([ids, ids[:2]]), V), "goes round"),
        (once_each, "adds once"),
        (lambda ids, V: count_triples(ids, V).sum(0), "those are pairs"),
        (lambda ids, V: 1 / 0, "ZeroDivisionError"),
    ],
)  # fmt: skip
def test_wrong_counts_are_named(answer, words):
    result = lab.trigram(answer)
    assert result.passed is False and words in result.message, result


def never(ids, V, weight):
    triples = count_triples(ids, V)
    return triples / triples.sum(-1, keepdim=True)


def without_single_letters(ids, V, weight):
    triples = count_triples(ids, V)
    p = torch.bincount(ids, minlength=V) / len(ids)
    for counts in (triples.sum(0), triples):
        p = (counts + weight * p) / (counts.sum(-1, keepdim=True) + weight)
    return p


def on_top(ids, V, weight):
    triples = count_triples(ids, V)
    shorter = backed_off(ids, V, weight).mean(0).expand(V, V, V)
    return torch.where(triples > 0, triples / triples.sum(-1, keepdim=True), 0.4 * shorter)


def imaginary(ids, V, weight):
    counts = count_triples(ids, V) + weight
    return counts / counts.sum(-1, keepdim=True)


def pairs(ids, V, weight):
    counts = count_triples(ids, V).sum(0) + weight
    return (counts / counts.sum(-1, keepdim=True)).expand(V, V, V)


def of_all(ids, V, weight):
    return backed_off(ids, V, weight) / V**2


def nothing_known(ids, V, weight):
    seen = count_triples(ids, V).sum(-1, keepdim=True) > 0
    return torch.where(seen, backed_off(ids, V, weight), 1e-3)


def too_much(ids, V, weight):
    return backed_off(ids, V, weight) * 1.1


def from_the_notebook(ids, V, weight):
    _, val, letters = lab.texts()
    text = torch.cat([ids, val]) if letters == V else ids
    return backed_off(text, V, weight)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (never, "rows of nan"),
        (without_single_letters, "have probability 0"),
        (on_top, "taken from the others"),
        (imaginary, "imaginary sighting"),
        (pairs, "table of pairs"),
        (of_all, "more than one axis"),
        (nothing_known, "all of the row"),
        (too_much, "sum to between"),
        (from_the_notebook, "read train or val"),
        (lambda *case: backed_off(*case).permute(2, 1, 0), "over an earlier letter"),
        (lambda *case: backed_off(*case).transpose(0, 1), "exchanged"),
        (lambda *case: backed_off(*case) - 0.01, "negative"),
        (lambda *case: backed_off(*case)[0], "expected a tensor of shape"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(answer, words):
    result = lab.trigram(count_triples, answer)
    assert result.passed is False and words in result.message, result


def on_the_counted_text(ids, V):
    weights = (1e-3, 0.1, 1, 10)
    return min(weights, key=lambda w: lab.price(backed_off(ids, V, w), ids))


def by_val(ids, V):
    _, val, _ = lab.texts()
    weights = (0.1, 1, 3, 30, 1000)
    return min(weights, key=lambda w: lab.price(backed_off(ids, V, w), val))


def test_what_is_wrong_with_a_choice_is_named():
    for answer, words in (
        (on_the_counted_text, "smallest weight always wins"),
        (lambda ids, V: 300.0, "less weight"),
        (by_val, "does it ask val"),
        (lambda ids, V: [1, 3], "expected one weight"),
    ):
        result = lab.trigram(count_triples, backed_off, answer)
        assert result.passed is False and words in result.message, result


def test_a_table_that_no_weight_saves_is_named():
    def hasty(ids, V, weight):
        return 0.5 * imaginary(ids, V, 1.0) + 0.5 * pairs(ids, V, weight)

    result = lab.trigram(count_triples, hasty, lambda ids, V: 1.0)
    assert result.passed is False and "no weight would do it" in result.message
