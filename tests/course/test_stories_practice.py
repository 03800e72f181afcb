"""Practice: the questions are those of the stories, and the weights count as told."""

import random

import pytest
import torch

from gptlib import GPT, GPTConfig, load_run
from gptlib.course.stories import practice
from gptlib.course.stories.probes import held_out
from gptlib.errors import DataError
from gptlib.evaluation import judge_story
from gptlib.finetuning.rehearsal import weighted_loss
from gptlib.grammar import Grammar

COLORS = "red green blue brown gray yellow white black".split()


@pytest.fixture(scope="module")
def shipped():
    model, tokenizer, _ = load_run("stories")
    return model, tokenizer


@pytest.fixture
def two_texts(shipped):
    tokenizer = shipped[1]
    return (
        practice.batches_of(Grammar.load("stories"), tokenizer, 60_000, seed=1),
        practice.batches_of(practice.practice_grammar(), tokenizer, 60_000, seed=2),
    )


def test_the_asked_color_is_the_one_that_was_said_first():
    questions = practice.color_questions(held_out(400))
    assert 10 < len(questions) < 40  # one story in eighteen
    for before, word in questions:
        said = [color for color in COLORS if f"was {color}" in before]
        assert said == [word.strip()]


def test_what_is_practised_holds_together_and_asks_more_often():
    rng, grammar = random.Random(0), practice.practice_grammar()
    stories = [grammar.sample(rng).text for _ in range(200)]
    assert all(judge_story(story).ok for story in stories)
    usual = held_out(200)
    assert len(practice.color_questions(stories)) > len(practice.color_questions(usual))


def test_the_short_form_asks_in_half_of_the_stories():
    rng, grammar = random.Random(0), practice.practice_grammar(short=True)
    stories = [grammar.sample(rng).text for _ in range(300)]
    assert len(practice.color_questions(stories)) > 90


def test_the_model_that_ships_answers(shipped):
    questions = practice.color_questions(held_out(1000, seed=6))[:40]
    assert practice.answered(*shipped, questions) > 0.95


def test_no_question_and_a_word_of_two_tokens_are_refused(shipped):
    with pytest.raises(DataError, match="no story asks"):
        practice.answered(*shipped, [])
    with pytest.raises(DataError, match="words of one"):
        practice.answered(*shipped, [("It is", " heliotrope")])


def test_rows_and_weights_follow_from_the_step(two_texts, shipped):
    tokenizer = shipped[1]
    weights = practice.weights_of(tokenizer, {"red": 30.0})
    batches = practice.Practice(*two_texts, share=6, weights=weights, until=3)
    x, y, w = batches.batch(2)
    usual, often = (part.batch(2) for part in two_texts)
    assert torch.equal(x[:10], usual[0][:10]) and torch.equal(y[10:], often[1][:6])
    assert torch.equal(w, weights[y]) and batches.weight((x, y, w)) == float(w.sum())
    x, y, w = batches.batch(3)
    assert torch.equal(x, two_texts[0].batch(3)[0]) and bool((w == 1).all())


def test_two_processes_share_a_batch(two_texts, shipped):
    weights = torch.ones(shipped[1].vocab_size)
    batches = practice.Practice(*two_texts, share=6, weights=weights, until=3)
    halves = [batches.batch(1, rank, 2) for rank in range(2)]
    for whole, parts in zip(batches.batch(1), zip(*halves, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))


def test_other_weights_are_other_data(two_texts, shipped):
    ones = torch.ones(shipped[1].vocab_size)
    first, second = (
        practice.Practice(*two_texts, share=6, weights=weights, until=3).sha256
        for weights in (ones, 2 * ones)
    )
    assert first != second


def test_a_weight_of_thirty_is_thirty_tokens():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=4, vocab_size=5))
    x, y = torch.tensor([[0, 1, 2]]), torch.tensor([[1, 2, 3]])
    weights = torch.tensor([[1.0, 30.0, 1.0]])
    each = model(x, y, reduction="none")[1].flatten()
    expected = (each[0] + 30 * each[1] + each[2]) / 32
    assert torch.allclose(weighted_loss(model, (x, y, weights)), expected)


def test_words_to_remember_are_those_of_the_tables(shipped):
    words = practice.asked_words(5.0)
    assert words["Ada"] == words["goat"] == 5.0 and words["red"] == 10.0
    weights = practice.weights_of(shipped[1], words)
    assert weights[shipped[1].encode(" Ada")[0]] == 5.0
    assert weights[shipped[1].encode(" the")[0]] == 1.0


def test_a_head_that_begins_anew_is_not_heard_and_no_other_changes():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=4, vocab_size=5))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    practice.regrow(model, [(1, 0)])
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= {f"transformer.h.1.attn.{n}" for n in
                       ("c_attn.weight", "c_attn.bias", "c_proj.weight")}  # fmt: skip
    proj = "transformer.h.1.attn.c_proj.weight"
    assert not after[proj][:, :4].any() and torch.equal(after[proj][:, 4:], before[proj][:, 4:])
    rows = torch.tensor([4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23])  # of the other head
    attn = "transformer.h.1.attn.c_attn.weight"
    assert torch.equal(after[attn][rows], before[attn][rows])


def test_what_is_spread_keeps_its_mean_direction_and_lies_apart():
    torch.manual_seed(0)
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=64, block_size=4, vocab_size=9))
    table = model.transformer.wte.weight
    with torch.no_grad():
        table[:8] = torch.randn(64) + 0.01 * torch.randn(8, 64)
    other = table[8].clone()
    practice.spread(model, list(range(8)))
    gaps = torch.pdist(table[:8].detach())
    assert gaps.min() > 0.7 and torch.equal(table[8], other)
