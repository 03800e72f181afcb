"""Chapter 3's exercise on AdamW: a test that knows it from what is almost AdamW.

One job: `is_adamw` gives a learner's test the right optimizer twice, written in two ways, and then
thirteen that are slightly wrong, and names an experiment for one that the test let through.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from gptlib.course.checking import Result, attempt, failed, passed


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


def _coupled(s: _Step) -> _Moved:
    return _right_adamw(s._replace(g=s.g + s.decay * s.w, decay=0.0))


def _uncorrected(s: _Step) -> _Moved:
    m, v = _moments(s)
    return _moved(s, m / (v.sqrt() + s.eps))


def _half_corrected(s: _Step) -> _Moved:
    m, v = _corrected(s)[0], _moments(s)[1]
    return _moved(s, m / (v.sqrt() + s.eps))


def _inside(s: _Step) -> _Moved:
    m, v = _corrected(s)
    return _moved(s, m / (v + s.eps).sqrt())


def _rootless(s: _Step) -> _Moved:
    m, v = _corrected(s)
    return _moved(s, m / (v + s.eps))


def _forgetful(s: _Step) -> _Moved:
    return _right_adamw(s._replace(m=0 * s.m, v=0 * s.v))


def _late(s: _Step) -> _Moved:
    m, v = _corrected(s, 1)
    return _moved(s, m / (v.sqrt() + s.eps))


def _unsquared(s: _Step) -> _Moved:
    m, v = _moments(s)[0], s.betas[1] * s.v + (1 - s.betas[1]) * s.g.abs()
    hats = m / (1 - s.betas[0] ** s.t), v / (1 - s.betas[1] ** s.t)
    return s.w - s.lr * (hats[0] / (hats[1].sqrt() + s.eps) + s.decay * s.w), m, v


def _by_share(s: _Step) -> _Moved:
    """Take AdamW's step in another order: first the decay, then the step, by one root."""
    m, v = _moments(s)
    share = (1 - s.betas[1] ** s.t) ** 0.5 / (1 - s.betas[0] ** s.t)
    small = s.eps * (1 - s.betas[1] ** s.t) ** 0.5
    return s.w * (1 - s.lr * s.decay) - s.lr * share * m / (v.sqrt() + small), m, v


_STEADY = "give it the same slope several times, and add up the steps"
#: What is slightly wrong, and the experiment that shows it.
_WRONG: dict[str, tuple[str, Callable[[_Step], _Moved]]] = {
    "does not correct the moments": (_STEADY, _uncorrected),
    "corrects m and not v": (_STEADY, _half_corrected),
    "forgets the moments that it is given": (_STEADY, _forgetful),
    "hands back the corrected moments, to be corrected again": (
        _STEADY,
        lambda s: (_right_adamw(s)[0], *_corrected(s)),
    ),
    "corrects with t + 1": (_STEADY, _late),
    "divides by v and not by its root": ("compare slopes of two sizes", _rootless),
    "keeps the mean size of the slope as v, not of its square": (
        "compare slopes of two sizes",
        _unsquared,
    ),
    "goes uphill": ("look at the sign of one step", lambda s: _moved(s, -_direction(s))),
    "puts eps inside the root": ("make eps as large as the slope, and it shows", _inside),
    "has its betas in each other's places": (
        "a steady slope cannot show it; let the slope change, and work out two steps",
        lambda s: _right_adamw(s._replace(betas=s.betas[::-1])),
    ),
    "adds the decay to the slope": (
        "give a weight decay and no slope, and see how far it shrinks",
        _coupled,
    ),
    "has no decay": (
        "a weight that is not 0, decay, and no slope",
        lambda s: _moved(s, _direction(s), decay=0.0),
    ),
    "takes the whole decay off the weight, not lr times it": (
        "with decay and no slope, by what share does a weight shrink?",
        lambda s: _moved(s, _direction(s), decay=s.decay),
    ),
}


def _made(answer: Callable[[_Step], _Moved]) -> Callable[..., _Moved]:
    """Return a step as the exercise describes it, for tensors or plain numbers."""

    def step(
        w: Tensor,
        g: Tensor,
        m: Tensor,
        v: Tensor,
        t: int,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        decay: float = 0.01,
    ) -> _Moved:
        w, g, m, v = (torch.as_tensor(x, dtype=torch.float) for x in (w, g, m, v))
        return answer(_Step(w, g, m, v, t, lr, betas, eps, decay))

    return step


_RIGHT = (_made(_right_adamw), _made(_by_share))
_SUSPECTS = {words: _made(answer) for words, (_, answer) in _WRONG.items()}


def is_adamw(fn: Callable[[Callable[..., _Moved]], bool]) -> Result:
    """Check `fn(step)`: whether a step of an optimizer is AdamW's; two are, thirteen are not."""

    def verdict(step: Callable[..., _Moved]) -> bool | Result:
        said = attempt(fn, step)
        if isinstance(said, Result):
            return said
        if isinstance(said, Tensor) and said.dtype == torch.bool and said.numel() == 1:
            return bool(said)
        return said if isinstance(said, bool) else failed("expected True or False")

    for n, step in enumerate(_RIGHT):
        said = verdict(step)
        if isinstance(said, Result):
            return said
        if not said:
            return failed(
                "your test refuses AdamW itself"
                + (", written in another order: allow for rounding" if n else "")
                + "; try each of your experiments alone, and work out again what it should give"
            )
    missed = []
    for words, step in _SUSPECTS.items():
        said = verdict(step)
        if isinstance(said, Result):
            return said
        if said:
            missed.append(words)
    if not missed:
        return passed("AdamW is let through, in two spellings, and nothing else")
    return failed(
        f"of {len(_SUSPECTS)} wrong ones your test lets {len(missed)} through; one of them "
        f"{missed[0]}: {_WRONG[missed[0]][0]}"
    )
