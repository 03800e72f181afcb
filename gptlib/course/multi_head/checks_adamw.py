"""Chapter 3's exercise on AdamW: one step, and the ways to get it slightly wrong.

One job: `adamw` checks that exercise and names the mistake that explains a wrong answer.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class _Step(NamedTuple):
    """What one step of AdamW gets: weights, their slope, both moments, and the settings."""

    w: Tensor
    g: Tensor
    m: Tensor
    v: Tensor
    t: int
    lr: float
    betas: tuple[float, float]
    eps: float
    decay: float


_Moved = tuple[Tensor, Tensor, Tensor]


def _moments(s: _Step) -> tuple[Tensor, Tensor]:
    m = s.betas[0] * s.m + (1 - s.betas[0]) * s.g
    return m, s.betas[1] * s.v + (1 - s.betas[1]) * s.g**2


def _corrected(s: _Step, later: int = 0) -> tuple[Tensor, Tensor]:
    m, v = _moments(s)
    return m / (1 - s.betas[0] ** (s.t + later)), v / (1 - s.betas[1] ** (s.t + later))


def _moved(s: _Step, by: Tensor, decay: float | None = None) -> _Moved:
    """Take a step of length lr along `by`, and shrink by lr times the decay unless told."""
    shrink = s.lr * s.decay if decay is None else decay
    return s.w - s.lr * by - shrink * s.w, *_moments(s)


def _direction(s: _Step) -> Tensor:
    m, v = _corrected(s)
    return m / (v.sqrt() + s.eps)


def _right_adamw(s: _Step) -> _Moved:
    return _moved(s, _direction(s))


def adamw(fn: Callable[..., _Moved]) -> Result:
    """Check `fn(w, g, m, v, t, lr, betas, eps, decay)`: weights and moments after step t >= 1."""

    def wrong(diagnosis: str, answer: Callable[[_Step], _Moved]) -> Wrong:
        return Wrong(diagnosis, lambda *case: answer(_Step(*case)))

    def coupled(s: _Step) -> _Moved:
        return _right_adamw(s._replace(g=s.g + s.decay * s.w, decay=0.0))

    def uncorrected(s: _Step) -> _Moved:
        m, v = _moments(s)
        return _moved(s, m / (v.sqrt() + s.eps))

    def half_corrected(s: _Step) -> _Moved:
        m, v = _corrected(s)[0], _moments(s)[1]
        return _moved(s, m / (v.sqrt() + s.eps))

    def inside(s: _Step) -> _Moved:
        m, v = _corrected(s)
        return _moved(s, m / (v + s.eps).sqrt())

    def rootless(s: _Step) -> _Moved:
        m, v = _corrected(s)
        return _moved(s, m / (v + s.eps))

    def forgetful(s: _Step) -> _Moved:
        return _right_adamw(s._replace(m=0 * s.m, v=0 * s.v))

    def late(s: _Step) -> _Moved:
        m, v = _corrected(s, 1)
        return _moved(s, m / (v.sqrt() + s.eps))

    def unsquared(s: _Step) -> _Moved:
        m, v = _moments(s)[0], s.betas[1] * s.v + (1 - s.betas[1]) * s.g.abs()
        hats = m / (1 - s.betas[0] ** s.t), v / (1 - s.betas[1] ** s.t)
        return s.w - s.lr * (hats[0] / (hats[1].sqrt() + s.eps) + s.decay * s.w), m, v

    w, g = _normal(3, 4), 2 * _normal(3, 4, seed=1)
    m, v = _normal(3, 4, seed=2) / 2, _normal(3, 4, seed=3).square()
    zeros = torch.zeros(3, 4)
    return check(
        fn,
        # A large eps makes its place visible; a large decay, where it is added.
        cases=[
            (w, g, zeros, zeros, 1, 0.1, (0.9, 0.95), 0.3, 0.5),
            (w, g, m, v, 3, 0.1, (0.8, 0.99), 0.3, 0.5),
        ],
        right=lambda *case: _right_adamw(_Step(*case)),
        wrongs=[
            wrong(
                "the moments are not corrected: both began at 0 and are still too small, so divide "
                "m by 1 - beta1**t and v by 1 - beta2**t",
                uncorrected,
            ),
            wrong("m is corrected and v is not: divide v by 1 - beta2**t too", half_corrected),
            wrong(
                "the decay went into the slope, and is divided by its typical size like the rest: "
                "that is L2 in Adam; AdamW takes lr * decay * w off beside it",
                coupled,
            ),
            wrong("eps stands inside the root: add it to √v, after the root", inside),
            wrong("divided by v: its root is missing, and v is in squares of slopes", rootless),
            wrong(
                "the moments are made from this slope alone: each keeps beta times what it was",
                forgetful,
            ),
            wrong(
                "the corrected moments were handed back: they would be corrected twice; the next "
                "step wants m and v as they are",
                lambda s: (_right_adamw(s)[0], *_corrected(s)),
            ),
            wrong(
                "the betas changed places: the first is for the slope, the second for its square",
                lambda s: _right_adamw(s._replace(betas=s.betas[::-1])),
            ),
            wrong("v is the running mean of the slope's size, not of its square: g**2", unsquared),
            wrong(
                "uphill: the step is subtracted",
                lambda s: _moved(s, -_direction(s)),
            ),
            wrong(
                "the decay is missing: each step also takes lr * decay * w away",
                lambda s: _moved(s, _direction(s), decay=0.0),
            ),
            wrong(
                "the decay takes a share of `decay` off the weight: a step is lr times that",
                lambda s: _moved(s, _direction(s), decay=s.decay),
            ),
            wrong("t counts steps from 1 and this one is counted already: no t + 1", late),
            Wrong(
                "the weights alone came back: the next step needs m and v as well",
                when=lambda got, *case: isinstance(got, Tensor) and got.shape == case[0].shape,
            ),
        ],
        success="the weights and both moments, as torch.optim.AdamW has them",
    )
