"""The lab of chapter 6: each step's right answer passes, and what goes wrong is named."""

import math
from pathlib import Path

import pytest
import torch

import gptlib
from gptlib.course.pretraining import lab
from gptlib.evaluation import split_loss
from gptlib.shards import open_shards
from gptlib.tokenizers import load_tokenizer


def steps_in(rate, seconds, per_step):
    return int(0.9 * rate * seconds / per_step)


def train(shards, folder, steps, val=None, with_tokenizer=True):
    tokenizer = load_tokenizer(Path(shards) / "tokenizer")
    torch.manual_seed(0)
    model = gptlib.GPT(gptlib.GPTConfig(32, tokenizer.vocab_size, 1, 2, 16))
    config = gptlib.TrainConfig(steps=steps, batch_size=4, eval_windows=4, save_minutes=0)
    kept = tokenizer if with_tokenizer else None
    gptlib.Trainer(model, shards, val or shards, config, folder, kept).fit()


def loss_and_sizes(folder, text):
    model, tokenizer, _ = gptlib.load_run(folder)
    ids = torch.tensor(tokenizer.encode(text))
    return split_loss(model, ids), len(ids) - 1, text


def bits(folder, text):
    loss, n, text = loss_and_sizes(folder, text)
    return loss * n / len(text.encode()) / math.log(2)


def test_the_right_answers_pass_step_by_step():
    for built in ((steps_in,), (steps_in, train), (steps_in, train, bits)):
        assert lab.hour(*built).passed is True, lab.hour(*built)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda rate, seconds, per: int(rate * seconds / per), "nothing is left"),
        (lambda rate, seconds, per: int(0.9 * rate * seconds), "those are tokens"),
        (lambda rate, seconds, per: steps_in(rate, seconds, per) + 1, "rounded up"),
        (lambda rate, seconds, per: 0.9 * rate * seconds / per, "half a step"),
        (lambda rate, seconds, per: 7, "not that many"),
        (lambda rate, seconds, per: "many", "expected a number"),
    ],
)
def test_a_wrong_plan_is_named(answer, words):
    result = lab.hour(answer)
    assert result.passed is False and words in result.message


def test_a_stub_is_not_written_yet():
    assert lab.hour(lambda rate, seconds, per: ...).passed is None
    assert lab.hour(steps_in, lambda shards, folder, steps: ...).passed is None
    assert lab.hour(steps_in, train, lambda folder, text: ...).passed is None


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda s, f, n: train(s, f, n, with_tokenizer=False), "no tokenizer"),
        (lambda s, f, n: train(s, f, n + 1), "asked for 6 steps"),
        (
            lambda s, f, n: train(s, f, n, val=open_shards(s, "train")),
            "validated on other text",
        ),
        (lambda s, f, n: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_run_that_breaks_the_rules_is_named(answer, words):
    result = lab.hour(steps_in, answer)
    assert result.passed is False and words in result.message


@pytest.mark.parametrize(
    ("of", "words"),
    [
        (lambda loss, n, text: loss * n / len(text) / math.log(2), "umlauts"),
        (lambda loss, n, text: loss * n / len(text.encode()), "in nats"),
        (lambda loss, n, text: loss, "that is the loss"),
        (lambda loss, n, text: loss / math.log(2), "bits per token"),
        (lambda loss, n, text: loss * n / math.log(2), "of the whole text"),
        (lambda loss, n, text: 1.0, "not the bits"),
    ],
)
def test_wrong_bits_are_named(of, words):
    result = lab.hour(steps_in, train, lambda f, t: of(*loss_and_sizes(f, t)))
    assert result.passed is False and words in result.message


def test_a_run_is_judged_by_tales_that_it_never_read(tmp_path):
    _, shards, _ = lab._practice()
    train(shards, tmp_path / "run", 12)
    result = lab.judge(tmp_path / "run", characters=2_000)
    assert result.passed is not None and "bits per byte" in result.message
    late = lab.judge("tales", characters=2_000)
    assert late.passed is True and "above the floor" in late.message  # its log does not ship
    assert "cannot be judged" in lab.judge(tmp_path / "nothing").message
    text, floor = lab.exam(2_000)
    assert 0.6 < floor < 0.9 and text.endswith("\n\n")


def test_time_and_the_floor_are_kept(tmp_path, monkeypatch):
    _, shards, _ = lab._practice()
    train(shards, tmp_path / "run", 6)
    (tmp_path / "run" / "speed.jsonl").write_text('{"step": 6, "seconds": 4000}\n')
    assert "more than the 3,600" in lab.judge(tmp_path / "run", characters=1_000).message
    monkeypatch.setattr(lab, "exam", lambda characters: ("The fox sat.", 99.0))
    assert "trained on the exam" in lab.judge(tmp_path / "run").message
