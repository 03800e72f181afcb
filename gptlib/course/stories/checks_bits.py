"""Chapter 7's exercise on fewer bits: weights in blocks that share a scale.

One job: check it, and name the mistake that explains a wrong answer.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check


def _rounded(weight: Tensor, group: int, most: float, round_: Callable = torch.round) -> Tensor:
    parts = weight.unflatten(1, (-1, group))
    scale = (parts.abs().amax(-1, keepdim=True) / most).clamp(min=1e-30)
    return (round_(parts / scale) * scale).flatten(1)


def blocks(fn: Callable[[Tensor, int, int], Tensor]) -> Result:
    """Check `fn(weight, group, bits)`: a matrix (out, in) to the weights (out, in) that are left of
    it in codes of so many bits, where `group` neighbors of a row share a scale.

    A scale is the largest magnitude divided by the largest code, 2^(bits - 1) - 1.
    """

    def right(weight: Tensor, group: int, bits: int) -> Tensor:
        return _rounded(weight, group, 2 ** (bits - 1) - 1)

    def codes(weight: Tensor, group: int, bits: int) -> Tensor:
        most = 2 ** (bits - 1) - 1
        parts = weight.unflatten(1, (-1, group))
        scale = (parts.abs().amax(-1, keepdim=True) / most).clamp(min=1e-30)
        return (parts / scale).round().flatten(1)

    def signed(weight: Tensor, group: int, bits: int) -> Tensor:
        parts = weight.unflatten(1, (-1, group))
        scale = parts.amax(-1, keepdim=True) / (2 ** (bits - 1) - 1)
        scale = scale.where(scale != 0, 1e-30)
        return ((parts / scale).round() * scale).flatten(1)

    dice = torch.Generator().manual_seed(7)
    plain = torch.randn(3, 8, generator=dice)
    outlier = torch.randn(2, 12, generator=dice)
    outlier[0, 5] = -9.0
    zeros = torch.randn(2, 6, generator=dice)
    zeros[1, 3:] = 0
    return check(
        fn,
        cases=[(plain, 4, 4), (outlier, 3, 5), (zeros, 3, 3)],
        right=right,
        wrongs=[
            Wrong(
                "a block of zeros has the scale 0, and 0 / 0 is no number: keep the scale above 0, "
                "for instance with clamp(min=1e-30)",
                when=lambda got, *case: torch.isnan(got).any(),
            ),
            Wrong(
                "those are the codes: what they stand for is a code times the scale of its block",
                codes,
            ),
            Wrong(
                "one scale for a whole row: the large weight of one block coarsens all the others; "
                "cut the row into blocks first, with unflatten",
                lambda weight, group, bits: right(weight, weight.size(1), bits),
            ),
            Wrong(
                "one scale for the whole matrix: each block of each row has its own",
                lambda weight, group, bits: right(
                    weight.reshape(1, -1), weight.numel(), bits
                ).reshape(weight.shape),
            ),
            Wrong(
                "divided by 2^(bits - 1): the largest weight would get a code that so few bits do "
                "not hold; symmetric codes end one before",
                lambda weight, group, bits: _rounded(weight, group, 2 ** (bits - 1)),
            ),
            Wrong(
                "divided by 2^bits - 1: that is how many steps there are from end to end, and half "
                "of them lie on each side of 0",
                lambda weight, group, bits: _rounded(weight, group, 2**bits - 1),
            ),
            Wrong(
                "cut off instead of rounded: a weight may then be off by a whole step, not by half",
                lambda weight, group, bits: _rounded(
                    weight, group, 2 ** (bits - 1) - 1, torch.trunc
                ),
            ),
            Wrong(
                "the largest weight, not the largest magnitude: a block whose negative weights are "
                "larger gets codes that do not fit",
                signed,
            ),
        ],
        success="blocks that share a scale, and no weight off by more than half a step",
    )
