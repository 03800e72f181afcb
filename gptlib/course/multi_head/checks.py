"""Chapter 3's exercises: a leak, bends, a norm folded away, the loss's gradient, parameters.

One job: each function checks one exercise and names the mistake that explains a wrong answer.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def leaks(fn: Callable[[int, int, int], str]) -> Result:
    """Check `fn(n, T, H)`: which of T places move with token n where H heads are cut by view."""

    def rows(n: int, T: int, H: int) -> list[int]:
        return [(n * H + piece) % T for piece in range(H)]

    def marks(places: Callable[[int, int, int], Sequence[int]]) -> Callable[..., str]:
        def answer(n: int, T: int, H: int) -> str:
            moved = places(n, T, H)
            return "".join("x" if t in moved else "." for t in range(T))

        return answer

    def later(first: Callable[[int, int, int], int]) -> Callable[..., str]:
        return marks(lambda n, T, H: range(first(n, T, H), T))

    return check(
        fn,
        cases=[(n, T, H) for T, H in ((8, 4), (6, 4), (9, 2), (5, 5)) for n in range(T)],
        right=later(lambda n, T, H: min(rows(n, T, H))),
        wrongs=[
            Wrong(
                "so it would be without a leak: everything from the changed token on; count off "
                "the tokens' pieces row by row instead, H a token and T a head",
                later(lambda n, T, H: n),
            ),
            Wrong(
                "these are the rows in which pieces of the token lie; the mask lets every later "
                "row of the same head read them too",
                marks(rows),
            ),
            Wrong(
                "a token may begin in the last rows of one head and go on in the first of the "
                "next: look at all of its pieces, not at the first one alone",
                later(lambda n, T, H: n * H % T),
            ),
            Wrong(
                "one piece a token: with D channels a row, each token fills H rows",
                later(lambda n, T, H: n % H),
            ),
            Wrong(
                "the marks are the wrong way round: x is for what moved",
                lambda n, T, H: "".join("." if t >= min(rows(n, T, H)) else "x" for t in range(T)),
            ),
            Wrong(
                "T marks are due, one a place",
                when=lambda got, n, T, H: isinstance(got, str) and len(got) != T,
            ),
        ],
        success="where a token's pieces end up decides who reads it, whatever the mask says",
    )


def bends(fn: Callable[[Sequence[float]], Sequence[float]]) -> Result:
    """Check `fn(answers)`: weights of bends at 0, 1, ... that sum to the answers at each count."""

    def slopes(y: Sequence[float]) -> list[float]:
        return [after - before for before, after in pairwise(y)]

    def right(y: Sequence[float]) -> list[float]:
        return slopes([0.0, *slopes(y)])

    return check(
        fn,
        cases=[([0.0, 1.0, 1.0, 4.0, 2.0],), ([0.0, -2.0, 0.5],), ([3.0, 3.0, 5.0, 1.0],)],
        right=right,
        wrongs=[
            Wrong(
                "these are the slopes between the counts; a channel goes on rising once it has "
                "bent, so each new one has to make up for the ones before: the change of slope",
                slopes,
            ),
            Wrong(
                "the first bend is missing: before the count 0 the slope is 0, so the channel that "
                "bends there gets the whole first slope",
                lambda y: slopes(slopes(y)),
            ),
            Wrong(
                "the answers themselves: what a channel adds at one count it adds to later ones "
                "too",
                lambda y: list(y[1:]),
            ),
            Wrong(
                "with all signs turned: new slope minus old slope",
                lambda y: [-weight for weight in right(y)],
            ),
            Wrong(
                "each weight stands one bend too late: the channel that bends at k changes the "
                "slope between k and k + 1",
                lambda y: [0.0, *right(y)[:-1]],
            ),
            Wrong(
                "one weight too many: the last count needs no bend, nothing lies beyond it",
                when=lambda got, y: isinstance(got, list) and len(got) == len(y),
            ),
        ],
        success="any answers at all, with a bend between each two of them",
    )


def fold_norm(fn: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]) -> Result:
    """Check `fn(W, b, gain, shift)`: W (A, C) and b (A,) of a layer that reads a bare norm."""

    def right(W: Tensor, b: Tensor, gain: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
        return W * gain, b + W @ shift

    def case(seed: int) -> tuple[Tensor, ...]:  # A = C, so that a mistake has an answer
        return _normal(16, 16, seed=seed), *_normal(3, 16, seed=seed + 1)

    return check(
        fn,
        cases=[case(0), case(2)],
        right=right,
        wrongs=[
            Wrong(
                "the gain went to the rows of W, which are its outputs; it belongs to the inputs, "
                "so column c of W is multiplied by g_c",
                lambda W, b, gain, shift: (W * gain[:, None], b + W @ shift),
            ),
            Wrong(
                "the shift was added to b as it is; it passes through the matrix before it gets "
                "there: b + W @ shift",
                lambda W, b, gain, shift: (W * gain, b + shift),
            ),
            Wrong(
                "the gain was counted twice: the shift comes after the gain, so it meets the old "
                "W, not the new one",
                lambda W, b, gain, shift: (W * gain, b + (W * gain) @ shift),
            ),
            Wrong(
                "b is as before: a constant push on every input arrives at the outputs as well",
                lambda W, b, gain, shift: (W * gain, b),
            ),
            Wrong(
                "W is as before: without the gain its inputs are smaller or larger by g_c",
                lambda W, b, gain, shift: (W, b + W @ shift),
            ),
            Wrong(
                "divided by the gain: the layer has to do what the norm no longer does, not undo "
                "it",
                lambda W, b, gain, shift: (W / gain, b + W @ shift),
            ),
            Wrong(
                "the matrix alone came back: its bias changes too",
                when=lambda got, W, *_: isinstance(got, Tensor) and got.shape == W.shape,
            ),
        ],
        success="the layer does the norm's last two steps itself, and nobody can tell",
    )


def loss_gradient(fn: Callable[[Tensor, Tensor], Tensor]) -> Result:
    """Check `fn(logits, targets)`: (B, T, V) and (B, T), -1 where nothing counts -> (B, T, V)."""

    def part(
        truth: float = 1.0,
        share: Callable[[Tensor, Tensor], Tensor] = lambda z, y: z.softmax(-1),
        by: Callable[[Tensor], float] = lambda y: float((y >= 0).sum()),
        masked: bool = True,
    ) -> Callable[[Tensor, Tensor], Tensor]:
        def answer(logits: Tensor, targets: Tensor) -> Tensor:
            y = F.one_hot(targets.clamp(min=0), logits.size(-1))
            counts = (targets >= 0).unsqueeze(-1) if masked else 1
            return (share(logits, targets) - truth * y) * counts / by(targets)

        return answer

    def uphill(logits: Tensor, targets: Tensor) -> Tensor:
        return -part()(logits, targets)

    def overflowed(got: Tensor, logits: Tensor, targets: Tensor) -> bool:
        return not bool(torch.isfinite(torch.as_tensor(got)).all())

    targets = torch.tensor([[0, 2, -1], [-1, 1, 3]])
    all_count = torch.tensor([[1, 0, 4], [2, 2, 3]])
    shifted = 3 * _normal(2, 3, 5, seed=6) + 200.0  # exp(200) is infinite in float32
    return check(
        fn,
        cases=[
            (3 * _normal(2, 3, 5), targets),
            (_normal(2, 3, 5, seed=7), all_count),
            (shifted, targets),
        ],
        right=part(),
        wrongs=[
            Wrong(
                "divided by all B * T tokens: the mean is over those that count",
                part(by=lambda y: float(y.numel())),
            ),
            Wrong(
                "a token that does not count still pushes: its V numbers are all 0, since no logit "
                "of its own changes the loss",
                part(masked=False),
            ),
            Wrong(
                "all tokens push and the mean is over all: two mistakes",
                part(masked=False, by=lambda y: float(y.numel())),
            ),
            Wrong("that is the gradient of the sum; the loss is a mean", part(by=lambda y: 1.0)),
            Wrong("truth minus probability: that is the way down, not the gradient", uphill),
            Wrong(
                "logit minus truth: softmax first",
                part(share=lambda z, y: z),
            ),
            Wrong(
                "the softmax ran over another axis than the V scores of one token",
                part(share=lambda z, y: z.softmax(1)),
            ),
            Wrong(
                "log-probability minus truth: the gradient has the probability itself",
                part(share=lambda z, y: z.log_softmax(-1)),
            ),
            Wrong(
                "exp overflowed on large logits: subtract each row's maximum first; the "
                "probabilities do not change",
                when=overflowed,
            ),
        ],
        success="as autograd has it: probability minus truth, shared among those that count",
    )


def count_parameters(fn: Callable[[int, int, int, int], int]) -> Result:
    """Check `fn(V, T, C, L)`: the parameters of a GPT with vocabulary V, context T, L blocks."""

    def right(V: int, T: int, C: int, L: int) -> int:
        return (V + T) * C + L * (12 * C * C + 13 * C) + 2 * C

    def off_by(term: Callable[[int, int, int, int], int]) -> Callable[..., int]:
        return lambda V, T, C, L: right(V, T, C, L) + term(V, T, C, L)

    return check(
        fn,
        cases=[(50257, 1024, 768, 12), (37, 256, 96, 3), (11, 7, 4, 1)],
        right=right,
        wrongs=[
            Wrong(
                "the head was counted twice: here it shares the token table's weights; only an "
                "untied model has both",
                off_by(lambda V, T, C, L: V * C),
            ),
            Wrong(
                "head counted twice, position table missing: two mistakes",
                off_by(lambda V, T, C, L: (V - T) * C),
            ),
            Wrong("the position table is missing: T * C", off_by(lambda V, T, C, L: -T * C)),
            Wrong(
                "the biases of the four linear layers in each block are missing: 9C a block",
                off_by(lambda V, T, C, L: -9 * C * L),
            ),
            Wrong(
                "the layer norms are missing: a gain and a shift, two a block and one at the end",
                off_by(lambda V, T, C, L: -4 * C * L - 2 * C),
            ),
            Wrong("the final layer norm is missing: 2C", off_by(lambda V, T, C, L: -2 * C)),
            Wrong(
                "queries, keys and values need three C x C matrices, not one",
                off_by(lambda V, T, C, L: -2 * L * C * C),
            ),
            Wrong(
                "the projection after the heads is missing: C x C in each block",
                off_by(lambda V, T, C, L: -L * C * C),
            ),
            Wrong(
                "the feed-forward layer widens to 4C and returns: 8C² a block, not 2C²",
                off_by(lambda V, T, C, L: -6 * L * C * C),
            ),
        ],
        success="every weight counted once, GPT-2's 124,439,808 among them",
        tolerance=1e-12,
    )
