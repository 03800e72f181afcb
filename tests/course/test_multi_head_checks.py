"""Every exercise of chapter 3: the right answer passes, each mistake gets its own diagnosis."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from check_promises import CheckPromises

from gptlib.course.multi_head import checks, checks_adamw


def dealt(n, T, H):
    """The rows of each head in which view leaves pieces of token n, by dealing them all out."""
    owners = torch.arange(T).repeat_interleave(H).view(H, T)
    return [t for head in owners.tolist() for t, owner in enumerate(head) if owner == n]


def marked(first):
    return lambda n, T, H: "." * first(n, T, H) + "x" * (T - first(n, T, H))


right_leaks = marked(lambda n, T, H: min(dealt(n, T, H)))


def right_bends(answers):
    weights = []
    for k in range(len(answers) - 1):  # what the bends so far say at k + 1, and what is missing
        so_far = answers[0] + sum(w * (k + 1 - bend) for bend, w in enumerate(weights))
        weights.append(answers[k + 1] - so_far)
    return weights


def changes(values):
    return [b - a for a, b in pairwise(values)]


def right_fold(W, b, gain, shift):
    return W @ torch.diag(gain), b + (W * shift).sum(1)


def right_gradient(logits, targets):
    logits = logits.clone().requires_grad_()
    loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)
    return torch.autograd.grad(loss, logits)[0]


def gradient(
    p=lambda z: z.softmax(-1), pushed=lambda y: y >= 0, number=lambda y: (y >= 0).sum(), sign=1
):
    def wrong(z, y):
        truth = F.one_hot(y.clamp(min=0), z.size(-1))
        return sign * (p(z) - truth) * pushed(y)[..., None] / number(y)

    return wrong


def everyone(y):
    return torch.ones_like(y)


def right_count(V, T, C, L):
    attention, mlp, norms = 4 * C * C + 4 * C, 8 * C * C + 5 * C, 4 * C
    return V * C + T * C + L * (attention + mlp + norms) + 2 * C


def count_off(term):
    return lambda V, T, C, L: right_count(V, T, C, L) + term(V, T, C, L)


def hats(m, v, t, betas):
    return m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)


def adam(
    slope=lambda w, g, decay: g,
    hats=hats,
    size=lambda v, eps: v.sqrt() + eps,
    square=lambda g: g**2,
    back=lambda m, v, hats: (m, v),
    keep=1,
    sign=1,
    shrink=1,
):
    """A step of AdamW of which any part can be replaced."""

    def step(w, g, m, v, t, lr, betas, eps, decay):
        g = slope(w, g, decay)
        m = keep * betas[0] * m + (1 - betas[0]) * g
        v = keep * betas[1] * v + (1 - betas[1]) * square(g)
        both = hats(m, v, t, betas)
        w = w * (1 - shrink * lr * decay) - sign * lr * both[0] / size(both[1], eps)
        return w, *back(m, v, both)

    return step


right_adamw = adam()


RIGHT = {
    "leaks": right_leaks,
    "bends": right_bends,
    "fold_norm": right_fold,
    "loss_gradient": right_gradient,
    "count_parameters": right_count,
}

WRONG = [
    ("leaks", marked(lambda n, T, H: n), "without a leak"),
    (
        "leaks",
        lambda n, T, H: "".join("x" if t in dealt(n, T, H) else "." for t in range(T)),
        "every later row of the same head",
    ),
    ("leaks", marked(lambda n, T, H: dealt(n, T, H)[0]), "at all of its pieces"),
    ("leaks", marked(lambda n, T, H: n % H), "one piece a token"),
    (
        "leaks",
        lambda n, T, H: right_leaks(n, T, H).translate(str.maketrans("x.", ".x")),
        "wrong way round",
    ),
    ("leaks", lambda n, T, H: right_leaks(n, T, H)[1:], "one a place"),
    ("bends", changes, "change of slope"),
    ("bends", lambda y: changes(changes(y)), "first bend is missing"),
    ("bends", lambda y: y[1:], "answers themselves"),
    ("bends", lambda y: [-w for w in right_bends(y)], "all signs turned"),
    ("bends", lambda y: [0, *right_bends(y)[:-1]], "one bend too late"),
    ("bends", lambda y: [*right_bends(y), 0], "one weight too many"),
    ("fold_norm", lambda W, b, g, s: ((W.T * g).T, b + W @ s), "rows of W"),
    ("fold_norm", lambda W, b, g, s: (W * g, b + s), "added to b as it is"),
    ("fold_norm", lambda W, b, g, s: (W * g, b + (W * g) @ s), "counted twice"),
    ("fold_norm", lambda W, b, g, s: (W * g, b), "b is as before"),
    ("fold_norm", lambda W, b, g, s: (W, b + W @ s), "W is as before"),
    ("fold_norm", lambda W, b, g, s: (W / g, b + W @ s), "divided by the gain"),
    ("fold_norm", lambda W, b, g, s: W * g, "matrix alone"),
    ("loss_gradient", gradient(number=lambda y: y.numel()), "over those that count"),
    ("loss_gradient", gradient(pushed=everyone), "still pushes"),
    ("loss_gradient", gradient(pushed=everyone, number=lambda y: y.numel()), "two mistakes"),
    ("loss_gradient", gradient(number=lambda y: 1), "of the sum"),
    ("loss_gradient", gradient(sign=-1), "the way down"),
    ("loss_gradient", gradient(p=lambda z: z), "softmax first"),
    ("loss_gradient", gradient(p=lambda z: z.softmax(1)), "another axis"),
    ("loss_gradient", gradient(p=lambda z: z.log_softmax(-1)), "log-probability minus"),
    (
        "loss_gradient",
        gradient(p=lambda z: z.exp() / z.exp().sum(-1, keepdim=True)),
        "overflowed",
    ),
    ("count_parameters", count_off(lambda V, T, C, L: V * C), "head was counted twice"),
    ("count_parameters", count_off(lambda V, T, C, L: (V - T) * C), "two mistakes"),
    ("count_parameters", count_off(lambda V, T, C, L: -T * C), "position table is missing"),
    ("count_parameters", count_off(lambda V, T, C, L: -9 * C * L), "biases"),
    ("count_parameters", count_off(lambda V, T, C, L: -4 * C * L - 2 * C), "layer norms are"),
    ("count_parameters", count_off(lambda V, T, C, L: -2 * C), "final layer norm"),
    ("count_parameters", count_off(lambda V, T, C, L: -2 * L * C * C), "three C x C"),
    ("count_parameters", count_off(lambda V, T, C, L: -L * C * C), "projection after the heads"),
    ("count_parameters", count_off(lambda V, T, C, L: -6 * L * C * C), "widens to 4C"),
]


def as_adamw(step, **settings):
    """A test by comparison: three steps of a learner's own AdamW beside those of the suspect."""
    settings = {"betas": (0.8, 0.99), "eps": 0.3, "decay": 0.5} | settings
    rest = 0.1, *settings.values()
    ours = theirs = (torch.tensor([2.0, -1.0]), torch.zeros(2), torch.zeros(2))
    for t, g in enumerate(torch.tensor([[3.0, 0.5], [-1.0, 0.5], [0.0, 2.0]]), 1):
        ours = right_adamw(ours[0], g, *ours[1:], t, *rest)
        theirs = step(theirs[0], g, *theirs[1:], t, *rest)
    return torch.allclose(ours[0], theirs[0], atol=1e-6)


def all_but(words):
    """A test that is right but for one impostor."""
    (known,) = [step for name, step in checks_adamw._SUSPECTS.items() if words in name]
    return lambda step: step is known or as_adamw(step)


WRONG_ADAMW = [
    *[(all_but(words), words) for words in checks_adamw._SUSPECTS],
    (lambda step: False, "refuses AdamW itself; try"),
    (lambda step: as_adamw(step) and step is not checks_adamw._RIGHT[1], "allow for rounding"),
    (lambda step: "yes", "expected True or False"),
]

#: Each impostor, made by hand: what the check calls it, and which arguments of `adam` make it.
IMPOSTORS = {
    "does not correct the moments": adam(hats=lambda m, v, t, b: (m, v)),
    "corrects m and not v": adam(hats=lambda m, v, t, b: (m / (1 - b[0] ** t), v)),
    "adds the decay to the slope": adam(slope=lambda w, g, decay: g + decay * w, shrink=0),
    "puts eps inside the root": adam(size=lambda v, eps: (v + eps).sqrt()),
    "divides by v and not by its root": adam(size=lambda v, eps: v + eps),
    "forgets the moments that it is given": adam(keep=0),
    "hands back the corrected moments, to be corrected again": adam(back=lambda m, v, hats: hats),
    "has its betas in each other's places": lambda *case: right_adamw(
        *case[:6], case[6][::-1], *case[7:]
    ),
    "keeps the mean size of the slope as v, not of its square": adam(square=abs),
    "goes uphill": adam(sign=-1),
    "has no decay": adam(shrink=0),
    "takes the whole decay off the weight, not lr times it": adam(shrink=10),
    "corrects with t + 1": adam(hats=lambda m, v, t, b: hats(m, v, t + 1, b)),
}


@pytest.mark.parametrize("words", checks_adamw._SUSPECTS)
def test_each_impostor_makes_the_mistake_that_it_is_named_for(words):
    case = torch.ones(3), torch.tensor([3.0, -0.5, 0.0]), torch.ones(3) / 2, torch.ones(3)
    rest = 3, 0.1, (0.8, 0.99), 0.3, 0.5
    found, expected = (f(*case, *rest) for f in (checks_adamw._SUSPECTS[words], IMPOSTORS[words]))
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, atol=1e-6)


class TestTransformer(CheckPromises):
    module = checks
    right = tuple((getattr(checks, name), answer) for name, answer in RIGHT.items())
    wrong = tuple((getattr(checks, name), answer, words) for name, answer, words in WRONG)


class TestAdamW(CheckPromises):
    module = checks_adamw
    right = ((checks_adamw.is_adamw, as_adamw),)
    wrong = tuple((checks_adamw.is_adamw, answer, words) for answer, words in WRONG_ADAMW)


def test_the_reference_of_adamw_is_torchs():
    torch.manual_seed(0)
    w = torch.randn(3, 4, requires_grad=True)
    ours, m, v = w.detach().clone(), torch.zeros(3, 4), torch.zeros(3, 4)
    settings = {"lr": 0.1, "betas": (0.8, 0.97), "eps": 0.01}
    optimizer = torch.optim.AdamW([w], weight_decay=0.3, **settings)
    for t in range(1, 9):
        w.grad = torch.randn(3, 4)
        ours, m, v = checks_adamw._right_adamw(
            checks_adamw._Step(ours, w.grad, m, v, t, **settings, decay=0.3)
        )
        optimizer.step()
        assert torch.allclose(ours, w, atol=1e-6)
