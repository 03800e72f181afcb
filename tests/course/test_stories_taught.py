"""Stories with the grammar's odds: the marks say what could stand there, and the loss uses them."""

import random

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from gptlib import GPT, load_run
from gptlib.course.stories import taken, taught
from gptlib.course.stories.practice import practice_grammar
from gptlib.course.stories.probes import held_out
from gptlib.grammar import Grammar
from gptlib.resources import data_path
from gptlib.stories import END


@pytest.fixture(scope="module")
def tokenizer():
    return load_run("stories")[1]


@pytest.fixture(scope="module")
def told(tokenizer):
    """A teller, and two texts of its stories."""
    teller = taught.Teller(tokenizer)
    usual = teller.corpus(Grammar.load("stories"), 60_000, seed=1)
    return teller, usual, teller.corpus(practice_grammar(), 30_000, seed=2)


def batches(told, tokenizer, **changes):
    teller, usual, often = told
    settings = dict(rows=6, share=2, until=3, heavy=(30.0, 5.0), light=(10.0, 1.0)) | changes
    return taught.Taught(usual, often, tokenizer, teller.odds.tables()[2], **settings)


def test_tokens_are_the_text_and_what_came_was_possible(told, tokenizer):
    teller, (tokens, marks), _ = told
    text = tokenizer.decode(tokens.tolist())
    rng, grammar = random.Random(1), Grammar.load("stories")
    assert text.startswith(grammar.sample(rng).text)
    ids, p, excludes = teller.odds.tables()
    drawn = np.flatnonzero(marks > 0)
    assert 0.02 < len(drawn) / len(marks) < 0.08 and excludes[marks[drawn]].any()
    for at in drawn[:400]:
        row = marks[at]
        assert p[row].sum().item() == pytest.approx(1, abs=1e-4)
        assert p[row][ids[row] == int(tokens[at])].sum() > 0


def test_a_name_that_is_taken_cannot_come(tokenizer):
    teller, grammar, rng = taught.Teller(tokenizer), Grammar.load("stories"), random.Random(3)
    seen = 0
    for _ in range(40):
        text, shown = grammar.sample_shown(rng)
        ids, marks = teller.tell(text, shown)
        table_ids, p, excludes = teller.odds.tables()
        people = {one.values[one.entry] for one in shown if one.table == "person"}
        tokens = {token for name in people for token in tokenizer.encode(" " + name)[:1]}
        for at in np.flatnonzero(marks > 0):
            if excludes[marks[at]] and ids[at] in tokens:
                possible = set(table_ids[marks[at]][p[marks[at]] > 0].tolist())
                assert not possible & set(ids[:at]) & tokens
                seen += 1
    assert seen > 20


def test_rows_are_one_story_each_and_weigh_by_their_marks(told, tokenizer):
    rows = batches(told, tokenizer)
    x, y, marks, weights = rows.batch(0)
    assert x.shape == (6, taught.BLOCK) and torch.equal(x[:, 1:], y[:, :-1])
    end = tokenizer.encode(END)[0]
    for row in range(6):
        last = y[row].tolist().index(end)
        assert weights[row, last] > 0 and not weights[row, last + 1 :].any()
    counted = weights > 0
    excludes = told[0].odds.tables()[2]
    assert set(weights[counted & (marks == taught.AGAIN)].tolist()) == {5.0}
    assert set(weights[counted & (marks == taught.PLAIN)].tolist()) == {1.0}
    assert set(weights[counted & excludes[marks.clamp(min=0)]].tolist()) == {30.0}
    assert rows.weight((x, y, marks, weights)) == weights.sum()
    assert float(rows.batch(3)[3].max()) == 10.0


def test_two_processes_share_a_batch_and_other_weights_are_other_data(told, tokenizer):
    rows = batches(told, tokenizer)
    halves = [rows.batch(1, rank, 2) for rank in range(2)]
    for whole, parts in zip(rows.batch(1), zip(*halves, strict=True), strict=True):
        assert torch.equal(whole, torch.cat(parts))
    assert batches(told, tokenizer, heavy=(20.0, 5.0)).sha256 != rows.sha256


def test_the_loss_is_against_the_odds_where_there_are_some():
    ids, p = torch.tensor([[0, 0], [1, 2]]), torch.tensor([[0.0, 0.0], [0.25, 0.75]])
    logits = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor([[0, 1, 2]]), torch.tensor([[1, 1, 3]])
    marks, weights = torch.tensor([[0, 1, -1]]), torch.tensor([[1.0, 30.0, 5.0]])
    logp = F.log_softmax(logits[0], -1)
    each = -logp[0, 1] - 30 * (0.25 * logp[1, 1] + 0.75 * logp[1, 2]) - 5 * logp[2, 3]
    loss = taught.against(ids, p)(lambda _: (logits, None), (x, y, marks, weights))
    assert torch.allclose(loss, each / 36)


def test_a_run_ends_and_keeps_its_note(tmp_path, monkeypatch):
    for name, value in dict(STEPS=2, UNTIL=1, ROWS=2, SHARE=1, SIZES=(30_000, 10_000)).items():
        monkeypatch.setattr(taught, name, value)
    monkeypatch.setattr(taught, "held_out", lambda n, seed: held_out(2, seed))
    shipped = str(data_path("models") / "stories")
    taught.main([shipped, "--out", str(tmp_path / "four")])
    manifest = load_run(tmp_path / "four")[2]
    assert manifest["step"] == 2 and manifest["note"]["corpus"] == "stories"


def test_a_model_is_asked_what_it_gives_to_what_is_taken(tokenizer):
    torch.manual_seed(0)
    model, blank = load_run("stories")[0], GPT(load_run("stories")[0].config)
    known, told = (taken.taken(one, tokenizer, 30) for one in (model, blank))
    assert {"person", "color"} <= set(known)
    for table, row in told.items():
        assert row["places"] == known[table]["places"] > 0
        assert 0 < row["by_chance"] < 1 and row["given"] < 0.05, "it has not heard of any name"
    record = taken.story_odds(["stories"] * 2, n=10)
    assert record.result["before"] == record.result["after"]
    place = record.result["example"]
    odds = dict(zip(place["names"], place["odds"], strict=True))
    assert [name in place["text"] for name in odds if odds[name] == 0] == [True, True]
    assert odds[place["said"]] > 0 and 0.9 < sum(place["before"]) < 1.001
