"""Chapter 9's exercise on four bits: the right answer passes, each mistake gets its diagnosis."""

import torch
from check_promises import CheckPromises

from gptlib.course.beats import checks_bits as checks
from gptlib.quantization import dequantize_nf4, quantize_nf4
from gptlib.quantization.nf4 import LEVELS


def rounded(weight, levels, block, scale=lambda b: b.abs().max()):
    """Block by block, level by level."""
    parts = []
    for part in weight.flatten().split(block):
        size = scale(part)
        parts.append(levels[(part[:, None] / size - levels).abs().argmin(1)] * size)
    return torch.cat(parts).view_as(weight)


def by_scale(scale):
    return lambda weight, levels, block: rounded(weight, levels, block, scale)


def of_matrix(weight, levels, block):
    return rounded(weight, levels, weight.numel())


def of_row(weight, levels, block):
    return rounded(weight, levels, weight.shape[1])


def relative(weight, levels, block):
    parts = rounded(weight, levels, block).flatten().split(block)
    sizes = [part.abs().max() for part in weight.flatten().split(block)]
    return torch.cat([p / s for p, s in zip(parts, sizes, strict=True)]).view_as(weight)


def numbers(weight, levels, block):
    return (relative(weight, levels, block)[..., None] - levels).abs().argmin(-1)


def one_way(pick):
    def fn(weight, levels, block):
        parts = []
        for part in weight.flatten().split(block):
            size = part.abs().max()
            parts.append(torch.stack([pick(levels, x) for x in part / size]) * size)
        return torch.cat(parts).view_as(weight)

    return fn


def up(levels, x):
    return levels[levels >= x - 1e-6].min()


def down(levels, x):
    return levels[levels <= x + 1e-6].max()


class TestChecks(CheckPromises):
    module = checks
    right = ((checks.round_blocks, rounded),)
    wrong = (
        (checks.round_blocks, of_matrix, "whole matrix"),
        (checks.round_blocks, of_row, "for each row"),
        (checks.round_blocks, by_scale(lambda part: part.max()), "forgets the sign"),
        (checks.round_blocks, by_scale(lambda part: part.abs().mean()), "mean of the magnitudes"),
        (checks.round_blocks, relative, "by its scale again"),
        (checks.round_blocks, numbers, "look the levels up"),
        (checks.round_blocks, one_way(up), "up to the next"),
        (checks.round_blocks, one_way(down), "down to the next"),
    )


def test_the_exercise_with_sixteen_levels_is_nf4():
    weight = torch.randn(6, 128, generator=torch.Generator().manual_seed(0))
    same = dequantize_nf4(quantize_nf4(weight, double=False))
    assert torch.allclose(rounded(weight, LEVELS, 64), same, atol=1e-6)
