"""The section on fewer bits: its figures tell what they show, its exercise knows its mistakes."""

import re

import pytest
import torch
from check_promises import CheckPromises

from gptlib.course.records import Record
from gptlib.course.stories import bits, checks_bits
from gptlib.errors import DataError


def test_levels_tell_by_how_much_each_way_is_off():
    row = torch.sin(torch.arange(128) ** 1.5)
    assert "over horizontal lines, 16 for each block of 32" in bits.levels(row).alt
    assert "4 bits, by block, off by up to 0.1" in bits.levels(row).alt
    assert "8 bits, by row, off by up to 0.004" in bits.levels(row).alt


def test_errors_tell_what_blocks_gain_on_a_row_with_one_large_weight():
    weight = torch.sin(torch.arange(128) ** 1.5)[None]
    even = bits.errors(weight).alt
    weight[0, 0] = 20.0
    found = re.search(r"row, (\d+)% at 4 .*; for each block, (\d+)% at 4", bits.errors(weight).alt)
    assert found and int(found[1]) > int(found[2]) + 10
    assert "both lines fall by about half with each bit" in even


def test_the_table_has_a_row_for_each_form_of_one_model():
    row = {"form": "int8", "megabytes": 1.3, "loss": 0.4, "parse": 0.9, "simulator": 0.9,
           "tokens_per_s": 900.0, "faster_by": 0.8, "alike": None}  # fmt: skip
    several = [row | {"model": name} for name in ("stories", "124M")]
    record = Record("story-bits", "", {}, {}, {}, {"rows": several})
    (found,) = bits.rows(record)
    assert found["MB"] == 1.3 and "alike" not in found and len(bits.rows(record, "124M")) == 1
    with pytest.raises(DataError, match="has 124M, stories, and not 'x'"):
        bits.rows(record, "x")


def right_blocks(weight, group, bits):
    most, rows = 2 ** (bits - 1) - 1, []
    for row in weight:
        parts = []
        for part in row.split(group):
            scale = max(part.abs().max() / most, torch.tensor(1e-30))
            parts.append((part / scale).round() * scale)
        rows.append(torch.cat(parts))
    return torch.stack(rows)


def by(weight, group, most, scale=lambda part: part.abs().max(), cut=torch.round, times=True):
    rows = []
    for row in weight:
        for part in row.split(group):
            step = scale(part) / most
            step = step if step.abs() > 0 else torch.tensor(1e-30)
            rows.append(cut(part / step) * (step if times else 1))
    return torch.cat(rows).reshape(weight.shape)


def largest(bits):
    return 2 ** (bits - 1) - 1


def of_nothing(weight, group, bits):
    parts = weight.reshape(weight.size(0), -1, group)
    scale = parts.abs().max(-1, keepdim=True).values / largest(bits)
    return ((parts / scale).round() * scale).reshape(weight.shape)


def of_all(weight, group, bits):
    return by(weight, group, largest(bits), scale=lambda part: weight.abs().max())


def of_row(weight, group, bits):
    return by(weight, weight.size(1), largest(bits))


class TestBits(CheckPromises):
    module = checks_bits
    right = ((checks_bits.blocks, right_blocks),)
    wrong = tuple(
        (checks_bits.blocks, answer, words)
        for answer, words in (
            (of_nothing, "0 / 0 is no number"),
            (lambda w, g, b: by(w, g, largest(b), times=False), "those are the codes"),
            (of_row, "one scale for a whole row"),
            (of_all, "one scale for the whole matrix"),
            (lambda w, g, b: by(w, g, 2 ** (b - 1)), "symmetric codes end one before"),
            (lambda w, g, b: by(w, g, 2**b - 1), "from end to end"),
            (lambda w, g, b: by(w, g, largest(b), cut=torch.trunc), "cut off instead"),
            (lambda w, g, b: by(w, g, largest(b), scale=torch.max), "not the largest magnitude"),
        )
    )
