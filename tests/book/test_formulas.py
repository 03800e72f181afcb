"""The page of formulas: what it counts is what the library counts, and its links lead somewhere."""

import re

import pytest
import torch
from mdit_py_plugins.anchors.index import slugify

from gptlib import GPT, GPTConfig
from gptlib.footprint import flops_per_token, parameters
from gptlib.kv_cache import KVCache

SHAPE = GPTConfig(block_size=24, vocab_size=40, n_layer=3, n_head=4, n_embd=32)
SIZES = {"L": 3, "C": 32, "V": 40, "T": 24, "H": 4, "B": 5}


@pytest.fixture(scope="module")
def page(root) -> str:
    return (root / "formulas.md").read_text("utf8")


def value(page: str, row: str, **sizes: int) -> float:
    """What the first formula of a row comes to."""
    found = re.search(rf"^\| {re.escape(row)}[^|]*\| \$([^$]*)\$", page, re.M)
    assert found, f"no row {row}"
    text = re.sub(r"\^(\d)", r"**\1", found[1].replace(r"\cdot", "*"))
    text = re.sub(r"(?<=[\w)])\s*(?=[A-Za-z(])", "*", text)
    return eval(text, {}, {**SIZES, **sizes})


def test_parameters_and_flops_are_the_library_s(page):
    counted = value(page, "parameters of a GPT")
    assert counted == parameters(SHAPE).total == GPT(SHAPE).num_params()
    weights = counted - SIZES["T"] * SIZES["C"]
    assert value(page, "FLOPs to train on a token", P=weights) == flops_per_token(SHAPE)


def test_the_cache_s_bytes_are_the_library_s(page):
    cache = KVCache(SHAPE, SIZES["B"], torch.bfloat16, torch.device("cpu"))
    held = sum(part.nbytes for layer in cache.layers for part in layer)
    assert value(page, "bytes of the cache") == held


def test_bytes_a_parameter(page):
    assert value(page, "bytes of weight, slope and two moments", N=7) == 7 * 4 * 4


def test_every_link_names_a_heading(page, root):
    links = re.findall(r"\]\(chapters/(\w+)\.ipynb#([^)]+)\)", page)
    missing = []
    for name, anchor in links:
        text = (root / "chapters" / "src" / f"{name}.md").read_text("utf8")
        titles = re.findall(r"^#+ (.+)$", text, re.M)
        if anchor not in map(slugify, titles):  # as MyST names them
            missing.append(f"{name}#{anchor}")
    assert len(links) > 40 and not missing, "\n".join(missing)
