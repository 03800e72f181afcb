"""What stands behind chapter 5's records: cuts, losses token by token, and GPT-2's own ids."""

import math
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import gptlib
from gptlib.corpora.downloads import find_cached, read_registry
from gptlib.course.tokens import cutting, runs, sisters, texts
from gptlib.errors import DataError
from gptlib.evaluation import bits_per_byte, split_loss

TEXT = "the hen said 1849 times: hens! the three hens, 18 of 49.\n" * 9


def test_with_gpt2s_expression_a_cut_is_the_library_s_tokenizer():
    tokenizer = gptlib.BPETokenizer.train(TEXT, 300)
    cut = cutting.learn(TEXT, 300, cutting.DIGITS % "+")
    assert cut.pieces == tokenizer.pieces
    assert cut.encode_array(TEXT).tolist() == tokenizer.encode(TEXT)


def test_an_expression_keeps_merges_apart():
    by_one = cutting.learn(TEXT, 300, cutting.DIGITS % "")
    assert by_one.spelled(" 1849") == [" 1", "8", "4", "9"]
    loose = cutting.learn(TEXT, 400, cutting.PARAGRAPHS)
    assert any(b" " in piece.strip() for piece in loose.pieces)
    assert not any(b" " in piece.strip() for piece in by_one.pieces)


@pytest.mark.parametrize("length", [17, 33, 40])  # the last one ends in a short window
def test_losses_token_by_token_are_those_of_the_split(length):
    torch.manual_seed(0)
    model = gptlib.GPT(gptlib.GPTConfig(16, 50, 1, 1, 8))
    ids = np.random.default_rng(0).integers(50, size=length)
    each = runs.each_loss(model, ids)
    assert len(each) == length - 1
    if length % 16 == 1:
        assert each.mean() == pytest.approx(split_loss(model, ids), rel=1e-5)


def test_bits_by_hand():
    pieces = [b" hen", b" 18", b"49"]
    found = SimpleNamespace(nats=np.array([1.0, 2.0, 3.0]), pieces=pieces)
    assert runs.bits_per_digit(found) == pytest.approx(5 / math.log(2) / 4)
    assert runs.Read.bits_per_byte(found) == pytest.approx(bits_per_byte(2.0, 3, 9))


def test_a_text_that_is_not_at_hand_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("GPTLIB_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"reads edu/openstax_sample.jsonl from the folder"):
        texts.openstax()
    monkeypatch.delenv("GPTLIB_DATA")
    with pytest.raises(DataError, match="GPTLIB_DATA"):
        texts.cached("anything")


def test_the_record_of_gpt2s_tokens_is_what_gpt2_makes():
    if "GPTLIB_DATA" not in os.environ or not find_cached(read_registry()["gpt2"]):
        pytest.skip("GPT-2's merges are not at hand")
    gpt2 = gptlib.BPETokenizer.gpt2()
    recorded = gptlib.load_record("gpt2-tokens").result
    for language, sentence in sisters.SISTERS.items():
        pieces = [gpt2.decode([i]) for i in gpt2.encode(sentence)]
        assert pieces == recorded["sisters"][language]["gpt2"]
    assert recorded["equal_to_gpt2"]["equal"] == recorded["equal_to_gpt2"]["their_tokens"]


def test_the_records_say_what_the_chapter_says():
    """Opposite orders by token and by byte, and a cut that compresses better and reads worse."""
    rows = gptlib.load_record("vocabulary-sweep").result
    rows = [rows[size] for size in sorted(rows, key=int)]
    by_token = [row["nats_per_token"]["mean"] for row in rows]
    by_byte = [row["bits_per_byte"]["mean"] for row in rows]
    assert by_token == sorted(by_token) and by_byte == sorted(by_byte, reverse=True)
    cuts = gptlib.load_record("cutting-ablation").result
    worst = max(cuts, key=lambda cut: cuts[cut]["bits_per_byte"])
    shortest = max(cuts, key=lambda cut: cuts[cut]["bytes_per_token"])
    assert worst == shortest == "paragraphs"
