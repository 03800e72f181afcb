"""Chapter 9's exercise on four bits: rounding to the levels of a block.

One job: compare a learner's function with the right one on small matrices, and name the
misconception behind each of the usual wrong answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gptlib.course.checking import Result, Wrong, check

_FIVE = torch.tensor([-1.0, -0.4, 0.0, 0.3, 1.0])
_SEVEN = torch.tensor([-1.0, -0.55, -0.2, 0.0, 0.15, 0.5, 1.0])


def round_blocks(fn: Callable[[Tensor, Tensor, int], Tensor]) -> Result:
    """Check `fn(weight, levels, block)`: a matrix, sorted levels from -1 to 1 and how many weights
    share a scale, to the matrix as it comes back from these levels."""

    def back(
        weight: Tensor,
        levels: Tensor,
        block: int,
        scale: Callable[[Tensor], Tensor] = lambda b: b.abs().amax(1, keepdim=True),
        between: Callable[[Tensor], Tensor] = lambda v: (v[1:] + v[:-1]) / 2,
    ) -> Tensor:
        blocks = weight.reshape(-1, block)
        size = scale(blocks)
        codes = torch.bucketize((blocks / size).contiguous(), between(levels))
        return (levels[codes] * size).reshape(weight.shape)

    def of_matrix(weight: Tensor, levels: Tensor, block: int) -> Tensor:
        return back(weight, levels, block, lambda b: b.abs().max().expand(len(b), 1))

    def unscaled(weight: Tensor, levels: Tensor, block: int) -> Tensor:
        blocks = weight.reshape(-1, block)
        return back(weight, levels, block) / blocks.abs().amax(1, keepdim=True).expand_as(
            blocks
        ).reshape(weight.shape)

    def codes(weight: Tensor, levels: Tensor, block: int) -> Tensor:
        near = unscaled(weight, levels, block)[..., None] - levels
        return near.abs().argmin(-1)

    dice = torch.Generator().manual_seed(5)
    return check(
        fn,
        cases=[
            (torch.randn(2, 8, generator=dice) * 0.3, _FIVE, 4),
            (torch.randn(4, 6, generator=dice), _SEVEN, 8),
            (torch.tensor([[0.9, -3.0, 0.2, 1.6], [0.02, 0.05, -0.012, 0.035]]), _SEVEN, 4),
        ],
        right=back,
        wrongs=[
            Wrong(
                "one scale for the whole matrix: a single large weight anywhere then coarsens all "
                "of them; each block has a largest weight of its own",
                of_matrix,
            ),
            Wrong(
                "one scale for each row: a block goes on where the row has ended, so cut the "
                "matrix into blocks first",
                lambda weight, levels, block: back(weight, levels, weight.shape[1]),
            ),
            Wrong(
                "the scale is the largest weight and forgets the sign: where the farthest one from "
                "zero is negative, it has no level; take `abs` first",
                lambda weight, levels, block: back(
                    weight, levels, block, lambda b: b.amax(1, keepdim=True)
                ),
            ),
            Wrong(
                "the scale is the mean of the magnitudes, so the larger half of the weights lies "
                "beyond the last level",
                lambda weight, levels, block: back(
                    weight, levels, block, lambda b: b.abs().mean(1, keepdim=True)
                ),
            ),
            Wrong(
                "these are levels between -1 and 1: multiply each block by its scale again",
                unscaled,
            ),
            Wrong("these are the numbers of the levels: look the levels up", codes),
            Wrong(
                "each weight went up to the next level, not to the nearest: the border lies half "
                "way between two of them",
                lambda weight, levels, block: back(weight, levels, block, between=lambda v: v[:-1]),
            ),
            Wrong(
                "each weight went down to the next level, not to the nearest: the border lies half "
                "way between two of them",
                lambda weight, levels, block: back(
                    weight, levels, block, between=lambda v: v[1:] - 1e-6
                ),
            ),
        ],
        success="each block is as fine as its own largest weight allows",
    )
