"""NF4: the levels are quantiles, the bytes are bitsandbytes', and a tie goes where it says."""

import logging

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.errors import ConfigError
from gptlib.quantization import dequantize_nf4, quantize_nf4
from gptlib.quantization.nf4 import (
    BLOCK,
    GROUP,
    LEVELS,
    Scales8,
    derived_levels,
    pack,
    scale_levels,
    unpack,
)


@pytest.fixture(scope="module")
def theirs():
    """`bitsandbytes.functional`; it says at import what it could not fetch."""
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    return pytest.importorskip("bitsandbytes.functional")


@st.composite
def matrices(draw) -> torch.Tensor:
    """Matrices with outliers, zeros, equal weights, and ties, in whole blocks or not; of an even
    width, since for an odd one bitsandbytes calls a compiler."""
    rows, columns = draw(st.integers(1, 9)), 2 * draw(st.integers(1, 150))
    dice = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    weight = torch.randn(rows, columns, generator=dice)
    kind = draw(st.sampled_from(["normal", "outlier", "zeros", "equal", "ties"]))
    if kind == "outlier":
        weight[0, draw(st.integers(0, columns - 1))] = draw(st.sampled_from([-50.0, 50.0]))
    if kind == "zeros":
        weight.flatten()[: 2 * BLOCK] = 0
    if kind == "equal":
        weight = weight.sign()
    if kind == "ties":
        middles = (LEVELS[:-1] + LEVELS[1:]) / 2
        weight = middles[torch.randint(15, (rows, columns), generator=dice)]
        weight.flatten()[::BLOCK] = 1.0
    return weight * 2.0 ** draw(st.integers(-10, 10))


def reads(weight: torch.Tensor) -> bool:
    """Does version 0.50 read such rows on every CPU? With AVX-512 it takes the scale of another
    block where a row is a multiple of 16 wide and none of 64; no large model has such rows."""
    return weight.size(1) % 16 != 0 or weight.size(1) % BLOCK == 0


# Levels


def test_the_levels_are_those_of_the_paper(theirs):
    assert torch.equal(LEVELS, theirs.get_4bit_type("nf4", device="cpu"))
    torch.testing.assert_close(derived_levels().float(), LEVELS, rtol=0, atol=5e-7)
    assert LEVELS[7] == 0 and LEVELS[0] == -1 and LEVELS[15] == 1


def test_of_normal_weights_every_level_gets_its_share():
    """Of blocks whose largest is known to be where the outermost quantile is: inner levels get a
    fifteenth or a sixteenth each, the two at the ends half of one and what is beyond."""
    torch.manual_seed(0)
    reach = torch.special.ndtri(torch.tensor(1 - (1 / 30 + 1 / 32) / 2))
    drawn = torch.randn(200_000)
    codes = torch.bucketize(drawn / reach, (LEVELS[:-1] + LEVELS[1:]) / 2)
    shares = torch.bincount(codes, minlength=16) / len(drawn)
    assert ((shares - 1 / 16).abs() < 0.012).all()


def test_the_levels_of_scales_are_their_dynamic_map(theirs):
    torch.testing.assert_close(scale_levels(), theirs.create_dynamic_map(), rtol=1e-6, atol=0)
    assert len(scale_levels().unique()) == 256


# Codes


@settings(max_examples=40)
@given(matrices())
def test_the_bytes_and_scales_are_bitsandbytes(theirs, weight):
    ours = quantize_nf4(weight, double=False)
    packed, state = theirs.quantize_4bit(weight, quant_type="nf4")
    assert torch.equal(ours.packed, packed.flatten())
    assert torch.allclose(ours.scales, state.absmax, rtol=0, atol=1e-37)  # theirs of zeros: 1e-38
    if reads(weight):
        back = theirs.dequantize_4bit(packed, state).reshape(weight.shape)
        torch.testing.assert_close(dequantize_nf4(ours), back, rtol=1e-6, atol=0)


@settings(max_examples=40)
@given(matrices())
def test_the_scales_in_eight_bits_are_bitsandbytes(theirs, weight):
    ours = quantize_nf4(weight)
    packed, state = theirs.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    scales = ours.scales
    assert isinstance(scales, Scales8) and torch.equal(ours.packed, packed.flatten())
    torch.testing.assert_close(scales.mean, state.offset, rtol=1e-6, atol=1e-37)
    largest = state.state2.absmax.repeat_interleave(GROUP)[: len(scales.codes)]
    off = quantize_nf4(weight, double=False).scales - scales.mean
    levels = scale_levels()
    middles = (levels[:-1] + levels[1:]) / 2
    tie = ((off / largest)[:, None] - middles).abs().amin(dim=1) < 2e-5
    decided = ~tie & (largest > 1e-6 * scales.mean)  # not a group of equal scales
    assert torch.equal(scales.codes[decided], state.absmax[decided])
    if reads(weight) and not tie.any():
        back = theirs.dequantize_4bit(packed, state).reshape(weight.shape)
        atol = 1e-6 * float(weight.abs().max())
        torch.testing.assert_close(dequantize_nf4(ours), back, rtol=1e-5, atol=atol)


def test_a_large_random_matrix_has_the_same_bytes(theirs):
    torch.manual_seed(1)
    weight = torch.randn(256, 512) * 0.02
    ours = quantize_nf4(weight)
    packed, state = theirs.quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
    assert torch.equal(ours.packed, packed.flatten())
    off = ours.scales.codes.int() - state.absmax.int()
    assert (off != 0).float().mean() < 0.01 and off.abs().max() <= 1  # their search, see the module
    back = theirs.dequantize_4bit(packed, state)
    same = (off == 0).repeat_interleave(BLOCK).view(weight.shape)
    torch.testing.assert_close(dequantize_nf4(ours)[same], back[same], rtol=1e-6, atol=1e-9)


@settings(max_examples=40)
@given(matrices())
def test_no_weight_goes_to_a_level_that_is_not_nearest(weight):
    stored = quantize_nf4(weight, double=False)
    scales = stored.scales.repeat_interleave(BLOCK)[: weight.numel()]
    every = scales[:, None] * LEVELS
    least = (weight.flatten()[:, None] - every).abs().amin(dim=1)
    off = (dequantize_nf4(stored) - weight).abs().flatten()
    assert (off <= least + 1e-6 * scales).all()


def test_a_tie_goes_to_the_lower_level():
    middles = (LEVELS[:-1] + LEVELS[1:]) / 2
    weight = torch.cat([torch.ones(1), middles, torch.zeros(48)])[None]
    codes = unpack(quantize_nf4(weight).packed)
    assert codes[1:16].tolist() == list(range(15)) and (codes[16:64] == 7).all()


def test_zero_and_the_largest_weight_of_a_block_are_kept():
    torch.manual_seed(0)
    weight = torch.randn(4, BLOCK)
    weight[:, 3] = 0
    back = dequantize_nf4(quantize_nf4(weight, double=False))
    place = weight.abs().argmax(dim=1, keepdim=True)
    assert (back[:, 3] == 0).all()
    # The lower end is -1 itself, so a negative one is met as well as a positive one.
    assert torch.equal(back.gather(1, place), weight.gather(1, place))


# Bytes


@given(st.lists(st.integers(0, 15), min_size=1, max_size=40))
def test_two_codes_a_byte(codes):
    packed = pack(torch.tensor(codes, dtype=torch.uint8))
    assert packed.nbytes == -(-len(codes) // 2)
    assert unpack(packed)[: len(codes)].tolist() == codes


def test_the_bits_of_a_weight():
    weight = torch.randn(512, 512)
    assert 8 * quantize_nf4(weight, double=False).nbytes / weight.numel() == 4.5
    with_mean = quantize_nf4(weight).nbytes - 4  # the mean is one number for the whole matrix
    assert 8 * with_mean / weight.numel() == 4 + 8 / 64 + 32 / (64 * 256)


def test_what_no_scale_holds_is_refused():
    with pytest.raises(ConfigError, match="training has diverged"):
        quantize_nf4(torch.tensor([[1.0, float("inf")]]))
    with pytest.raises(ConfigError, match=r"the shape \(64,\)"):
        quantize_nf4(torch.randn(64))
