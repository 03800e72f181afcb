"""Chapter 2's checks: the right answer passes, each wrong answer gets its own diagnosis."""

import math

import pytest
import torch
from check_promises import CheckPromises

from gptlib.course.self_attention import checks as attention
from gptlib.course.self_attention import lab
from gptlib.model import naive_attention


def future(T, diagonal=1):
    return torch.ones(T, T, dtype=torch.bool).triu(diagonal)


def masked(scores, diagonal=1, fill=-math.inf):
    return scores.masked_fill(future(len(scores), diagonal), fill)


def rows(scores):
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    return e / e.sum(-1, keepdim=True)


def over_all(scores):
    return (scores - scores.max()).exp()


def dots(q, k):
    return q @ k.transpose(-2, -1)


def last_move(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def rotated(attend, x, order):
    y = torch.cat([x[-1:], x[:-1][order]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def every_row(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y) - attend(x)).abs().max()


def signed(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y)[-1] - attend(x)[-1]).max()


def shuffled_outputs(attend, x, order):
    y = attend(x)
    return (torch.cat([y[:-1][order], y[-1:]])[-1] - y[-1]).abs().max()


def moves(head, qkv, t, parts, change=1.0):
    """How far each output (T,) of each head moves, (H, T)."""
    changed = qkv.clone()
    for n in map("qkv".index, parts):
        changed[n, :, :, t] += change * torch.randn(qkv.size(-1))
    return (head(*changed) - head(*qkv)).abs().amax((0, 3))


def leaks(head, T, parts, seeds=4, change=1.0, more_than=1e-4, heads=slice(None)):
    """A learner's report, right as it stands; each argument spoils it in one way."""
    report = torch.zeros(T, T, dtype=torch.bool)
    for seed in range(seeds):
        torch.manual_seed(seed)
        qkv = torch.randn(3, 1, 2, T, 4)
        for t in range(T):
            report[:, t] |= moves(head, qkv, t, parts, change)[heads].amax(0) > more_than
    return report


def never_undone(head, T, parts):
    torch.manual_seed(0)
    qkv = torch.randn(3, 1, 2, T, 4)
    before = head(*qkv)
    columns = []
    for t in range(T):
        qkv[:, :, :, t] += 1
        columns.append((head(*qkv) - before).abs().amax((0, 1, 3)) > 1e-4)
    return torch.stack(columns, dim=1)


def other_texts(head, T, parts):
    torch.manual_seed(0)
    pairs = [torch.randn(2, 3, 1, 2, T, 4) for _ in range(T)]
    columns = [(head(*a) - head(*b)).abs().amax((0, 1, 3)) > 1e-4 for a, b in pairs]
    return torch.stack(columns, dim=1)


def last_token_only(head, T, parts):
    report = leaks(head, T, parts)
    report[:, :-1] = False
    return report


def before_the_neighbor(head, T, parts):
    """Compares outputs[: t - 1] where outputs[:t] was meant, and fills the rest in."""
    report = leaks(head, T, parts)
    return report & ~torch.ones(T, T, dtype=torch.bool).triu(1).tril(1)


def how_far(head, T, parts):
    torch.manual_seed(0)
    qkv = torch.randn(3, 1, 2, T, 4)
    return torch.stack([moves(head, qkv, t, parts).amax(0) for t in range(T)], dim=1)


def first_output_only(head, T, parts):
    report = leaks(head, T, parts)
    report[1:] = report[1:].tril()
    return report


def one_too_many(head, T, parts):
    report = leaks(head, T, parts)
    report[0, 2] = True
    return report


RIGHT = [
    (attention.causal_weights, lambda s: torch.softmax(masked(s), dim=-1)),
    (attention.causal_weights, lambda s: rows(s + torch.full_like(s, -math.inf).triu(1))),
    (attention.softmax, rows),
    (attention.softmax, lambda s: torch.softmax(s, dim=-1)),
    (attention.scaled_scores, lambda q, k: dots(q, k) * k.shape[-1] ** -0.5),
    (attention.shuffle_the_past, last_move),
    (attention.shuffle_the_past, lambda *args: last_move(*args).item()),
    (attention.find_the_leak, leaks),
    (attention.find_the_leak, lambda *case: leaks(*case, change=5.0, more_than=1e-3)),
    (attention.find_the_leak, lambda *case: leaks(*case).int()),
]

WRONG = [
    (attention.causal_weights, "after the softmax", lambda s: s.softmax(-1).tril()),
    (attention.causal_weights, "exp(0) is 1", lambda s: masked(s, fill=0.0).softmax(-1)),
    (attention.causal_weights, "diagonal is masked", lambda s: masked(s, 0).softmax(-1)),
    (
        attention.causal_weights,
        "masked the past",
        lambda s: s.masked_fill(future(len(s)).T, -math.inf).softmax(-1),
    ),
    (attention.causal_weights, "nothing was masked", lambda s: s.softmax(-1)),
    (attention.causal_weights, "a little weight", lambda s: masked(s, fill=-10.0).softmax(-1)),
    (
        attention.causal_weights,
        "a little weight",
        lambda s: (s - 10 * future(len(s)).float()).softmax(-1),
    ),
    (attention.softmax, "the whole table", lambda s: over_all(s) / over_all(s).sum(-1, True)),
    (attention.softmax, "keepdim=True the rows' numbers", lambda s: (s - s.amax(-1)).exp()),
    (attention.softmax, "keepdim=True the rows' numbers", lambda s: s.exp() / s.exp().sum(-1)),
    (attention.softmax, "dim=-2", lambda s: s.softmax(-2)),
    (attention.softmax, "exp(1000)", lambda s: s.exp() / s.exp().sum(-1, keepdim=True)),
    (attention.softmax, "all the weights together", lambda s: s.flatten().softmax(0).view_as(s)),
    (attention.softmax, "divide by the sum", torch.exp),
    (attention.softmax, "divide by the sum", lambda s: (s - s.amax(-1, keepdim=True)).exp()),
    (attention.softmax, "negative weights", lambda s: s / s.sum(-1, keepdim=True)),
    (
        attention.scaled_scores,
        "√C",
        lambda q, k: dots(q, k) * (q.shape[1] * q.shape[3]) ** -0.5,
    ),
    (attention.scaled_scores, "nothing was scaled", dots),
    (attention.scaled_scores, "divided by D", lambda q, k: dots(q, k) / q.shape[-1]),
    (attention.scaled_scores, "√T", lambda q, k: dots(q, k) / q.shape[-2] ** 0.5),
    (attention.scaled_scores, "multiplied", lambda q, k: dots(q, k) * q.shape[-1] ** 0.5),
    (attention.scaled_scores, "down the columns", lambda q, k: dots(k, q) / q.shape[-1] ** 0.5),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0.0),
    (attention.shuffle_the_past, "every row", every_row),
    (attention.shuffle_the_past, "shuffled the outputs", shuffled_outputs),
    (attention.shuffle_the_past, "another token asks", rotated),
    (attention.shuffle_the_past, "absolute value", signed),
    (attention.find_the_leak, "nothing moves", lambda *case: leaks(*case, change=0.0)),
    (attention.find_the_leak, "everything moves", never_undone),
    (attention.find_the_leak, "everything moves", other_texts),
    (attention.find_the_leak, "seventh digit", lambda *case: leaks(*case, more_than=0.0)),
    (attention.find_the_leak, "changed places", lambda *case: leaks(*case).T),
    (attention.find_the_leak, "the last token only", last_token_only),
    (attention.find_the_leak, "one head of two", lambda *case: leaks(*case, heads=slice(0, 1))),
    (attention.find_the_leak, "the very next token", before_the_neighbor),
    (attention.find_the_leak, "only outputs before", lambda *case: leaks(*case).triu(1)),
    (attention.find_the_leak, "together", lambda head, T, parts: leaks(head, T, "qkv")),
    (attention.find_the_leak, "the values only", lambda head, T, parts: leaks(head, T, "v")),
    (attention.find_the_leak, "True and False are expected", how_far),
    (attention.find_the_leak, "that move are not in", first_output_only),
    (attention.find_the_leak, "that do not move", one_too_many),
]


class TestAttention(CheckPromises):
    module, right = attention, RIGHT
    wrong = tuple((check, answer, words) for check, words, answer in WRONG)


VERDICT = {"ben": "k", "ivo": "safe", "nora": "vk", "sal": "q"}


def priced(masked, unmasked):
    """A learner's `worth` that returns one number for a masked head and one for another."""
    return lambda head: masked if head is naive_attention else unmasked


@pytest.mark.parametrize(
    ("worth", "words"),
    [
        (priced(-0.001, -0.6), "less than nothing"),
        (priced(0.69, 0.05), "that is the loss"),
        (priced(0.66, 0.66), "had just read"),
        (priced(0.0, 0.9), "nats, not bits"),
        (priced(0.2, 0.65), "trained on"),
        (priced(-0.3, 0.5), "trained long enough"),
        (priced(0.0, 0.01), "copy its neighbor"),
        (priced("much", "more"), "a number of nats"),
        (priced(math.nan, 0.6), "a number of nats"),
    ],
)
def test_a_wrong_price_gets_its_own_diagnosis(worth, words):
    result = attention.find_the_leak(leaks, worth)
    assert result.passed is False and words in result.message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ivo": "v"}, "blame ivo"),
        ({"nora": "safe"}, "let nora go"),
        ({"sal": "qk"}, "sal leaks, but not through q and k"),
        ({"ben": "no mask"}, "for ben: expected"),
        ({"tom": "safe"}, "a verdict on each of"),
    ],
)
def test_a_wrong_verdict_gets_its_own_diagnosis(change, words):
    result = attention.find_the_leak(leaks, verdict=VERDICT | change)
    assert result.passed is False and words in result.message
    assert not repr(result).endswith("…")


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (lab.ben, "that is ben's head"),
        (lab.nora, "that is nora's head"),
        (lab.sal, "that is sal's head"),
        (lambda q, k, v: naive_attention(q, k, v, causal=False), "it still leaks: let"),
        (lambda q, k, v: masked_scores(q @ k.mT).softmax(-1) @ v, "lost their √D"),
        (lambda q, k, v: v, "not attention to the past"),
    ],
)
def test_a_head_that_is_not_mended_gets_its_own_diagnosis(head, words):
    result = attention.find_the_leak(leaks, mended=head)
    assert result.passed is False and words in result.message


def masked_scores(scores):
    return scores.masked_fill(future(scores.size(-1)), -math.inf)


def test_the_lab_answers_with_the_last_that_was_built():
    unwritten = dict.fromkeys(VERDICT, ...)
    assert attention.find_the_leak(leaks, lambda head: ...).passed is None
    assert attention.find_the_leak(leaks, verdict=unwritten).passed is None
    assert attention.find_the_leak(lambda *case: ..., verdict=VERDICT).passed is None
    assert "caught at what" in repr(attention.find_the_leak(leaks, verdict=VERDICT))
    price = priced(0.001, 0.65)
    for mended in (naive_attention, lab.ivo):
        found = attention.find_the_leak(leaks, price, VERDICT, mended)
        assert found and "nothing but the past" in repr(found)
    assert "✓ nothing for a head" in repr(attention.find_the_leak(leaks, price))


def test_a_gambler_that_looks_ahead_gains_what_one_that_does_not_cannot():
    """The price is real: nora's head saves much of ln 2, ivo's saves nothing."""

    def saved(attend):
        torch.manual_seed(0)
        model = lab.Gambler(attend, T=4)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for _ in range(60):
            tosses = torch.randint(2, (32, 5))
            loss = torch.nn.functional.cross_entropy(model(tosses[:, :-1]).mT, tosses[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return math.log(2) - loss.item()

    assert saved(lab.nora) > 0.3 and abs(saved(lab.ivo)) < 0.1
