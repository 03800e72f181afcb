"""Chapter 2's checks: the right answer passes, each wrong answer gets its own diagnosis."""

import math

import pytest
import torch
from check_promises import CheckPromises

from gptlib.course.self_attention import checks as attention
from gptlib.course.self_attention import checks_formula, lab
from gptlib.model import naive_attention


def future(T, diagonal=1):
    return torch.ones(T, T, dtype=torch.bool).triu(diagonal)


def masked(scores, diagonal=1, fill=-math.inf):
    return scores.masked_fill(future(scores.size(-1), diagonal), fill)


def pieces(one, other, rescale, new_m=torch.maximum, divide=True):
    """A learner's `joined`, right where `rescale` takes each sum below the new m."""
    (m1, s1, a1), (m2, s2, a2) = one, other
    m = new_m(m1, m2)
    s1, s2 = s1 * rescale(m1, m), s2 * rescale(m2, m)
    a = s1 * a1 + s2 * a2
    return m, s1 + s2, a / (s1 + s2) if divide else a


def below(own, m):
    return (own - m).exp()


def joined(one, other):
    return pieces(one, other, below)


def joined_with_floats(one, other):
    (m1, s1, a1), (m2, s2, a2) = one, other
    m = max(m1.item(), m2.item())
    s1, s2 = s1.item() * math.exp(m1 - m), s2.item() * math.exp(m2 - m)
    return [m, s1 + s2, (s1 * a1 + s2 * a2) / (s1 + s2)]


def with_average(average):
    return lambda one, other: (*joined(one, other)[:2], average(one, other))


def mean_of_means(one, other):
    return (one[2] + other[2]) / 2


def old_sum(one, other):
    m, _, a = joined(one, other)
    return m, one[1] + other[1], a


def turned(degrees, loud=30.0, sine=1.0):
    a = math.radians(degrees)
    return loud * torch.tensor(
        [[math.cos(a), -math.sin(a)], [sine * math.sin(a), sine * math.cos(a)]]
    )


def hands(*args, **kwargs):
    return lambda: (turned(*args, **kwargs), torch.eye(2))


def dots(q, k):
    return q @ k.transpose(-2, -1)


def last_move(attend, x, order):
    y = torch.cat([x[:-1][order], x[-1:]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def rotated(attend, x, order):
    y = torch.cat([x[-1:], x[:-1][order]])
    return (attend(y)[-1] - attend(x)[-1]).abs().max()


def without_the_last(attend, x, order):
    return (attend(x[order])[-1] - attend(x)[-1]).abs().max()


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
    (attention.joined, joined),
    (attention.joined, joined_with_floats),
    (attention.one_back, hands(30)),
    (attention.one_back, lambda: (torch.eye(2), turned(-30, 40))),
    (attention.one_back, lambda: [6 * turned(15, 1), 6 * turned(-15, 1)]),
    (attention.shuffle_the_past, last_move),
    (attention.shuffle_the_past, lambda *args: last_move(*args).item()),
    (attention.find_the_leak, leaks),
    (attention.find_the_leak, lambda *case: leaks(*case, change=5.0, more_than=1e-3)),
    (attention.find_the_leak, lambda *case: leaks(*case).int()),
]

WRONG = [
    (attention.joined, "exp(1000)", lambda *two: pieces(*two, lambda own, m: own.exp())),
    (attention.joined, "wrong way round", lambda *two: pieces(*two, lambda own, m: below(m, own))),
    (attention.joined, "not yet the average", lambda *two: pieces(*two, below, divide=False)),
    (attention.joined, "half of the weight", with_average(mean_of_means)),
    (attention.joined, "as it stands", lambda *two: pieces(*two, lambda own, m: 1)),
    (attention.joined, "keep the larger", lambda *two: pieces(*two, below, torch.minimum)),
    (attention.joined, "below the new m", old_sum),
    (attention.joined, "expected 3 answers", lambda one, other: joined(one, other)[2]),
    (attention.one_back, "looks at itself", hands(0)),
    (attention.one_back, "forward", hands(-30)),
    (attention.one_back, "ask louder", hands(30, loud=1.0)),
    (attention.one_back, "ask louder", hands(20)),
    (attention.one_back, "2 hours back", hands(60)),
    (attention.one_back, "by one angle", hands(30, sine=-1.0)),
    (attention.one_back, "plain average", hands(30, loud=0.0)),
    (attention.one_back, "are W_Q and W_K finite", hands(30, loud=math.nan)),
    (attention.one_back, "two matrices in a tuple", lambda: turned(30)),
    (attention.one_back, "shape (2, 2) for W_K", lambda: (turned(30), torch.eye(3))),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0),
    (attention.shuffle_the_past, "never called attend", lambda *args: 0.0),
    (attention.shuffle_the_past, "every row", every_row),
    (attention.shuffle_the_past, "shuffled the outputs", shuffled_outputs),
    (attention.shuffle_the_past, "another token asks", rotated),
    (attention.shuffle_the_past, "the last token was lost", without_the_last),
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
    (attention.find_the_leak, "rests on 1 random text,", lambda *case: leaks(*case, seeds=1)),
]


class TestAttention(CheckPromises):
    module, right = attention, RIGHT
    wrong = tuple((check, answer, words) for check, words, answer in WRONG)


def hidden(S, T, late=1):
    return torch.ones(S, T, dtype=torch.bool).triu(T - S + late)


def written(scale=lambda q, k: q.size(-1) ** 0.5, hide=hidden, fill=-math.inf, dim=-1, after=False):
    """A learner's `attention`, right as it stands; each argument spoils it in one way."""

    def attend(q, k, v):
        scores = q @ k.mT / scale(q, k)
        future = hide(*scores.shape[-2:])
        if after:
            return scores.softmax(dim).masked_fill(future, 0) @ v
        return scores.masked_fill(future, fill).softmax(dim) @ v

    return attend


def from_query_0(S, T, late=1):
    return torch.ones(S, T, dtype=torch.bool).triu(late)


def square(S, T):
    return hidden(T, T)


def by_loops(q, k, v):
    (B, S, D), T = q.shape, k.size(1)
    out = torch.zeros(B, S, v.size(-1))
    for i in range(S):
        seen = T - S + i + 1
        scores = (k[:, :seen] * q[:, i : i + 1]).sum(-1) / math.sqrt(D)
        out[:, i] = (scores.softmax(-1)[..., None] * v[:, :seen]).sum(1)
    return out


def renormalized(q, k, v):
    w = (dots(q, k) / q.shape[-1] ** 0.5).softmax(-1).masked_fill(hidden(q.size(1), k.size(1)), 0)
    return w / w.sum(-1, keepdim=True) @ v


def root_of_tokens(q, k):
    return k.size(-2) ** 0.5


RIGHT_FORMULA = [written(), by_loops, renormalized]
WRONG_FORMULA = [
    ("not token 0", written(hide=from_query_0)),
    ("each token is given", lambda q, k, v: torch.softmax(q @ k.mT, -1)),
    ("no mask", written(hide=lambda S, T: torch.zeros(S, T, dtype=torch.bool))),
    ("too late", written(after=True)),
    ("too late", written(after=True, hide=from_query_0)),
    ("set to 0", written(fill=0.0)),
    ("set to 0", written(fill=0.0, hide=from_query_0)),
    ("turned over", written(hide=lambda S, T: hidden(T, T).T[T - S :])),
    ("turned over", written(hide=lambda S, T: hidden(T, T).T[:S])),
    ("its successor", written(hide=lambda S, T: hidden(S, T, 2))),
    ("may always see itself", written(hide=lambda S, T: hidden(S, T, 0))),
    ("do not multiply it", lambda q, k, v: (q @ k.mT + math.inf * 0).softmax(-1) @ v),
    ("not divided", written(scale=lambda q, k: 1)),
    ("not divided", written(scale=lambda q, k: 1, hide=from_query_0)),
    ("divided by D", written(scale=lambda q, k: q.size(-1))),
    ("multiplied by", written(scale=lambda q, k: q.size(-1) ** -0.5)),
    ("number of tokens", written(scale=root_of_tokens)),
    ("down the columns", written(dim=-2)),
    ("over the texts", written(dim=0)),
    ("has to be (S, T)", lambda q, k, v: written(hide=square)(q, k, v)),
    ("has to be (S, T)", lambda q, k, v: (q @ k.mT + hidden(k.size(1), k.size(1))) @ v),
    ("turn the last two axes of k", lambda q, k, v: (q @ k).softmax(-1) @ v),
]


class TestFormula(CheckPromises):
    module = checks_formula
    right = tuple((checks_formula.attention, answer) for answer in RIGHT_FORMULA)
    wrong = tuple((checks_formula.attention, answer, words) for words, answer in WRONG_FORMULA)


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
        (priced(0.0, 0.46), "could save more"),
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


def by(weights):
    """A learner's head, from scaled scores (B, H, T, T) to weights."""
    return lambda q, k, v: weights(dots(q, k) / q.shape[-1] ** 0.5) @ v


def nora_anew(h):
    """Nora's head, where it is head `h` that sees one token too many."""

    def weights(scores):
        return torch.stack([masked(scores[:, n], 1 + (n == h)) for n in range(2)], 1).softmax(-1)

    return by(weights)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (by(lambda s: s.softmax(-1).tril()), "ben"),
        (nora_anew(1), "nora"),
        (by(lambda s: masked(s).softmax(-2)), "sal"),
    ],
)
def test_each_head_can_be_rebuilt_from_outside(head, name):
    result = attention.find_the_leak(leaks, rebuilt=head)
    assert result and f"{name}'s head" in repr(result)


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (lab.ben, "as it was sent in"),
        (naive_attention, "that is attention to the past"),
        (by(lambda s: s.softmax(-1)), "without a mask"),
        (by(lambda s: masked(s, 2).softmax(-1)), "both see the next token"),
        (nora_anew(0), "her second head"),
        (by(lambda s: s.softmax(-2).tril()), "may see it"),
        (lambda q, k, v: masked(dots(q, k)).softmax(-2) @ v, "nearly sal's: the scores have lost"),
        (by(lambda s: s.softmax(-1).tril() / 2), "through k, as ben's does"),
        (by(lambda s: masked(s).flatten(-2).softmax(-1).view_as(s)), "none of the four"),
        (lambda q, k, v: v, "no later token reaches back"),
        (lambda q, k, v: q @ v, "your function raised"),
    ],
)
def test_a_head_that_is_nobodys_gets_its_own_diagnosis(head, words):
    result = attention.find_the_leak(leaks, rebuilt=head)
    assert result.passed is False and words in result.message
    assert not repr(result).endswith("…")


def test_the_lab_answers_with_the_last_that_was_built():
    unwritten = dict.fromkeys(VERDICT, ...)
    assert attention.find_the_leak(leaks, lambda head: ...).passed is None
    assert attention.find_the_leak(leaks, verdict=unwritten).passed is None
    assert attention.find_the_leak(lambda *case: ..., verdict=VERDICT).passed is None
    assert "caught at what" in repr(attention.find_the_leak(leaks, verdict=VERDICT))
    price = priced(0.001, 0.65)
    assert attention.find_the_leak(leaks, rebuilt=lambda q, k, v: ...).passed is None
    found = attention.find_the_leak(leaks, price, VERDICT, nora_anew(1))
    assert found and "found out from outside" in repr(found)
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
