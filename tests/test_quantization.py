"""Fewer bits: no weight is off by more than its step allows, and the codes are the libraries'."""

import copy
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig
from gptlib.quantization import (
    BLOCK,
    Int8Embedding,
    Int8Linear,
    dequantize_int8,
    quantize_int8,
    quantize_model,
    quantize_q4_0,
    quantize_q8_0,
)
from gptlib.quantization.blocks import FORMATS
from gptlib.sampling import generate

ROUNDING = 1.001  # of the scale in float16 and of a quotient in float32


@st.composite
def matrices(draw) -> torch.Tensor:
    """Matrices (out, in) of blocks, of any size of weight, with ties, halves, zeros, outliers."""
    rows, blocks = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    dice = torch.Generator().manual_seed(draw(st.integers(0, 2**32 - 1)))
    weight = torch.randn(rows, blocks * BLOCK, generator=dice)
    kind = draw(st.sampled_from(["normal", "halves", "outlier", "zeros", "equal"]))
    if kind == "halves":
        weight = (2 * weight).round() / 2
    if kind == "outlier":
        weight[0, draw(st.integers(0, BLOCK - 1))] = draw(st.sampled_from([-50.0, 50.0]))
    if kind == "zeros":
        weight[0] = 0
    if kind == "equal":
        weight = weight.sign()
    return weight * 10.0 ** draw(st.integers(-3, 3))


# Eight bits by row


@given(matrices())
def test_no_weight_is_off_by_more_than_half_a_step(weight):
    codes, scales = quantize_int8(weight)
    assert codes.dtype == torch.int8 and codes.min() >= -127
    off = (dequantize_int8(codes, scales) - weight).abs()
    assert (off <= ROUNDING * scales[:, None] / 2).all()


@given(matrices())
def test_the_codes_of_a_row_are_torchs(weight):
    """torch.ao's observer for the scales, its quantizer for the codes; torchao's functions, asked
    for -127 to 127, gave the same on thirty matrices (version 0.18, which is not in the lock)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        observer = torch.ao.quantization.PerChannelMinMaxObserver(
            dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127,
            eps=torch.finfo(torch.float32).tiny,
        )  # fmt: skip
        observer(weight)
        scales, zeros = observer.calculate_qparams()
        theirs = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    codes, ours = quantize_int8(weight)
    torch.testing.assert_close(ours, scales, rtol=1e-6, atol=0)
    halfway = ((weight / ours[:, None]).abs() % 1 - 0.5).abs() < 1e-4  # either code is right
    assert torch.equal(codes[~halfway], theirs.int_repr()[~halfway])
    assert not zeros.any()


@given(matrices(), st.integers(1, 4))
def test_an_int8_layer_is_the_layer_of_the_rounded_weights(weight, n):
    layer = torch.nn.Linear(weight.size(1), weight.size(0))
    layer.weight.data = weight
    ours = Int8Linear.of(layer)
    x = torch.randn(n, 3, weight.size(1))
    rounded = dequantize_int8(ours.codes, ours.scales)
    expected = torch.nn.functional.linear(x, rounded, layer.bias)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4 * float(weight.abs().max()))
    assert not list(ours.parameters())


def spread(**shape) -> GPT:
    """A small GPT whose logits differ."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(**(dict(block_size=16, vocab_size=50, n_layer=2, n_head=2, n_embd=32)
                             | shape))).eval()  # fmt: skip
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.2)
    return model


def rounded(model: GPT) -> GPT:
    """The model in float32 with the weights that eight bits leave."""
    other = copy.deepcopy(model)
    with torch.no_grad():
        for name, p in other.named_parameters():
            if p.dim() == 2 and "wpe" not in name:
                p.copy_(dequantize_int8(*quantize_int8(p)))
    return other


@pytest.mark.parametrize("shape", [{}, {"tied_head": False}, {"rotary": True, "bias": False}])
def test_a_quantized_model_computes_with_the_rounded_weights(shape):
    model = spread(**shape)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = quantize_model(model)
    idx = torch.randint(50, (2, 16))
    torch.testing.assert_close(small(idx)[0], rounded(model)(idx)[0], rtol=1e-4, atol=1e-4)
    assert torch.equal(generate(small, idx[0, :4], 9, temperature=0),
                       generate(rounded(model), idx[0, :4], 9, temperature=0))  # fmt: skip
    assert (small.device, small.dtype) == (model.device, model.dtype) and not small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(isinstance(module, torch.nn.Linear) for module in small.modules())


def test_a_tied_table_stays_one_and_takes_a_quarter_of_the_bytes():
    small = quantize_model(spread(n_embd=64))
    table, head = small.transformer.wte, small.lm_head
    assert isinstance(table, Int8Embedding) and isinstance(head, Int8Linear)
    assert table.codes.data_ptr() == head.codes.data_ptr() and table.codes.nbytes == 50 * 64
    untied = quantize_model(spread(tied_head=False))
    assert untied.transformer.wte.codes.data_ptr() != untied.lm_head.codes.data_ptr()


def test_ids_outside_a_quantized_table_are_named():
    small = quantize_model(spread())
    for wrong in (50, -1):
        with pytest.raises(DataError, match=f"{wrong}.*50"):
            small(torch.tensor([[wrong]]))


# Blocks


@pytest.mark.parametrize("name", FORMATS)
@given(matrices())
def test_the_bytes_are_ggufs(name, weight):
    gguf = pytest.importorskip("gguf")
    kind = gguf.GGMLQuantizationType[name.upper()]
    raw = FORMATS[name].quantize(weight)
    theirs = gguf.quants.quantize(weight.numpy(), kind)
    assert raw.dtype == torch.uint8 and np.array_equal(raw.numpy(), theirs)
    back = gguf.quants.dequantize(theirs, kind)
    assert np.array_equal(FORMATS[name].dequantize(raw).numpy(), back)
    assert 8 * raw.numel() == FORMATS[name].bits * weight.numel()


@given(matrices())
def test_a_block_of_eight_bits_is_off_by_half_a_step(weight):
    steps = weight.unflatten(1, (-1, BLOCK)).abs().amax(-1, keepdim=True) / 127
    off = (FORMATS["q8_0"].dequantize(quantize_q8_0(weight)) - weight).unflatten(1, (-1, BLOCK))
    least = 2.0**-24  # of a scale in float16, below which it is lost
    assert (off.abs() <= steps * (0.5 + 127 * 2**-11) + 127 * least).all()


@given(matrices())
def test_four_bits_miss_by_half_a_step_or_at_their_short_end_by_one(weight):
    blocks = weight.unflatten(1, (-1, BLOCK))
    largest = blocks.gather(-1, blocks.abs().argmax(-1, keepdim=True))
    steps = (largest / 8).abs()
    off = FORMATS["q4_0"].dequantize(quantize_q4_0(weight)).unflatten(1, (-1, BLOCK)) - blocks
    short = blocks * -largest.sign() > 7.49 * steps  # the other sign has seven levels, not eight
    slack = steps * 8 * 2**-10 + 8 * 2.0**-24
    assert (off.abs() <= torch.where(short, steps, steps / 2) + slack).all()


def test_one_large_weight_coarsens_its_row_and_no_other_block():
    torch.manual_seed(0)
    weight = torch.randn(1, 4 * BLOCK)
    weight[0, 0] = 60.0
    by_row = (dequantize_int8(*quantize_int8(weight)) - weight)[:, BLOCK:].abs().mean()
    by_block = (FORMATS["q8_0"].dequantize(quantize_q8_0(weight)) - weight)[:, BLOCK:].abs().mean()
    assert by_row > 10 * by_block


@pytest.mark.parametrize("quantize", [quantize_int8, quantize_q8_0, quantize_q4_0])
def test_what_no_scale_holds_is_refused(quantize):
    weight = torch.randn(3, 64)
    for bad in (float("nan"), float("inf")):
        weight[1, 5] = bad
        with pytest.raises(ConfigError, match="training has diverged"):
            quantize(weight)
    with pytest.raises(ConfigError, match=r"the shape \(64,\)"):
        quantize(weight[0])


def test_a_row_has_to_divide_into_blocks():
    with pytest.raises(ConfigError, match="rows of 40 weights; blocks of 32"):
        quantize_q8_0(torch.randn(2, 40))
