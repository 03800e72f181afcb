"""Lessons from the judge: the right word is blamed, and what is learned is not to say it."""

import json

import pytest
import torch
import torch.nn.functional as F

from gptlib.course.stories import lessons
from gptlib.course.stories.lessons import Fault, Lessons, find_faults, lesson_loss, some_beginnings
from gptlib.errors import ConfigError, DataError
from gptlib.evaluation import judge_prefix
from gptlib.model import GPT, GPTConfig
from gptlib.runs import load_run
from gptlib.train_config import TrainConfig

FAULTS = [Fault((0, 3, 4), 5), Fault((0, 7), 2), Fault((0, 1, 2, 3, 4, 5), 6)]
TEXT = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7] * 12)  # every story begins with 0


def tiny() -> GPT:
    torch.manual_seed(0)
    return GPT(GPTConfig(block_size=8, vocab_size=8, n_layer=1, n_head=1, n_embd=16))


def made(**changes) -> Lessons:
    settings = dict(start=0, T=8, batch_size=5, faults_a_step=2) | changes
    return Lessons(TEXT, FAULTS, **settings)


@pytest.fixture(scope="module")
def written():
    """Forty stories of the shipped model, spoiled a little, so that some go wrong."""
    model, tokenizer, _ = load_run("stories")
    torch.manual_seed(1)
    with torch.no_grad():
        weight = model.transformer.h[-1].attn.c_proj.weight
        weight.add_(0.02 * torch.randn_like(weight))
    return model, tokenizer, find_faults(model, tokenizer, some_beginnings(40, seed=9), seed=3)


def test_what_stands_before_the_blamed_word_can_stand(written):
    _, tokenizer, (faults, failed) = written
    assert faults and len(faults) <= failed * 40
    for before, wrong in faults:
        text = tokenizer.decode(list(before))
        assert judge_prefix(text).ok, text
        assert wrong < tokenizer.vocab_size


def test_the_same_seed_blames_the_same_words(written):
    model, tokenizer, (faults, _) = written
    assert find_faults(model, tokenizer, some_beginnings(40, seed=9), seed=3)[0] == faults


def test_of_the_beginnings_half_have_titles():
    texts = some_beginnings(8, seed=1)
    assert ["<|title|>" in text for text in texts] == [False, False, True, True] * 2
    assert texts[0] == "<|start|>" and texts[1].startswith("<|start|><|")


def test_a_batch_holds_stories_to_tell_and_words_not_to_say():
    x, y, wrong = made().batch(0)
    assert (x[:3, 0] == 0).all() and (wrong[:3] == -1).all() and (y[:3] >= 0).all()
    assert (y[3:] == -1).all() and ((wrong[3:] >= 0).sum(dim=1) == 1).all()
    for row in (3, 4):
        place = int((wrong[row] >= 0).nonzero())
        fault = Fault(tuple(x[row, : place + 1].tolist()), int(wrong[row, place]))
        assert fault in FAULTS


def test_every_fault_has_its_turn_and_the_order_changes():
    def seen(first: int) -> list[int]:
        found = []
        for step in range(first, first + 3):
            wrong = made().batch(step)[2]
            found += wrong[wrong >= 0].tolist()
        return found

    assert sorted(seen(0)) == sorted([fault.wrong for fault in FAULTS] * 2)
    assert made().weight(made().batch(0)) == 24


def test_the_loss_is_what_was_said_and_what_must_not_be():
    model, batch = tiny(), made().batch(1)
    x, y, wrong = batch
    logits = model(x)[0]
    said = F.cross_entropy(logits[:3].flatten(0, 1), y[:3].flatten())
    p = torch.stack([
        logits[row, place].softmax(-1)[wrong[row, place]]
        for row in (3, 4) for place in (wrong[row] >= 0).nonzero()[0].tolist()
    ])  # fmt: skip
    expected = said - lessons.WEIGHT * (1 - p).log().mean()
    torch.testing.assert_close(lesson_loss(model, batch), expected)


def test_a_certain_wrong_word_still_has_a_gradient():
    model, batch = tiny(), made().batch(0)
    with torch.no_grad():
        model.lm_head.weight.mul_(1e4)
    loss = lesson_loss(model, batch)
    loss.backward()
    assert loss.isfinite() and all(p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize(
    "changes, error",
    [(dict(faults_a_step=5), DataError), (dict(faults_a_step=0), DataError)],
)
def test_a_batch_needs_rows_of_both_kinds(changes, error):
    with pytest.raises(error, match="a row or more"):
        made(**changes)
    with pytest.raises(ConfigError, match="one process"):
        made().batch(0, world_size=2)


def test_learning_goes_on_where_it_was_stopped(tmp_path):
    _, tokenizer, _ = load_run("stories")
    faults = [Fault(tuple(tokenizer.encode("<|start|><|title|>Ada and")), 9)]
    config = TrainConfig(steps=2, batch_size=3, lr=1e-4, warmup=1, eval_every=1, eval_windows=1)

    def learn(folder, steps=2):
        fresh = load_run("stories")[0]
        return lessons.learn_from(faults, fresh, tokenizer, folder, 30_000, config, 1)

    first = learn(tmp_path / "a")
    assert first.finished
    assert learn(tmp_path / "a").finished  # nothing is left to do
    log = (tmp_path / "a" / "log.jsonl").read_text()
    assert [json.loads(line)["step"] for line in log.splitlines() if "loss" in line] == [1, 2]


def test_faults_are_kept_and_gone_on_with(tmp_path, monkeypatch):
    asked = []

    def find(model, tokenizer, beginnings, seed):
        asked.append(seed)
        return [Fault((1, 2), seed)], 0.5

    monkeypatch.setattr(lessons, "find_faults", find)
    path = tmp_path / "faults.jsonl"
    first = lessons.collect(None, None, path, 2, 4, report=lambda line: None)
    again = lessons.collect(None, None, path, 3, 4, report=lambda line: None)
    assert asked == [0, 1, 2] and again[:2] == first == [Fault((1, 2), 0), Fault((1, 2), 1)]
