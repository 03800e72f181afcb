"""The build-up: each rung adds one thing, and a recipe gives the same numbers every time."""

from dataclasses import astuple
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from gptlib.course.multi_head import ladder
from gptlib.course.records import read_record
from gptlib.errors import ConfigError

TEXT = "the goose sat on the ladder. the gull sat on the goose.\n" * 60


@pytest.fixture(scope="module")
def tokens():
    letters = sorted(set(TEXT))
    ids = torch.tensor([letters.index(letter) for letter in TEXT])
    return ids[:3000], ids[3000:], len(letters)


def test_each_rung_changes_one_thing():
    for below, above in pairwise(list(ladder.RUNGS.values())):
        changes = [a != b for a, b in zip(astuple(below), astuple(above), strict=True)]
        assert sum(changes) == 1


@pytest.mark.parametrize("name", ["bigram", "one head", "layer norm"])
def test_a_rung_learns_and_repeats_itself(name, tokens):
    first, again = (ladder.run_rung(name, *tokens, seed=3, steps=40) for _ in range(2))
    untrained = ladder.run_rung(name, *tokens, seed=3, steps=0)
    assert first == again
    assert first["full_val"] < untrained["full_val"]
    assert abs(first["val"] - first["full_val"]) < 0.1
    assert len(first["sample"]) == 240


@pytest.mark.parametrize("name", ladder.RUNGS)
def test_no_rung_sees_the_future(name):
    torch.manual_seed(0)
    model = ladder.RungModel(ladder.RUNGS[name], 11)
    idx = torch.randint(11, (2, 8))
    changed = idx.clone()
    changed[:, -1] = (changed[:, -1] + 1) % 11
    assert torch.equal(model(idx)[:, :-1], model(changed)[:, :-1])
    assert not torch.equal(model(idx)[:, -1], model(changed)[:, -1])


def test_four_heads_have_the_parameters_of_one(tokens):
    one, four = (ladder.run_rung(n, *tokens, 0, 0)["params"] for n in ("one head", "multi-head"))
    assert one == four


def test_mean_loss_counts_every_window_once(tokens):
    model = ladder.RungModel(ladder.RUNGS["bigram"], tokens[2])
    starts = torch.arange(0, 320, 8)
    x, y = ladder.windows(tokens[1], starts)
    expected = F.cross_entropy(model(x).flatten(0, 1), y.flatten()).item()
    assert ladder.mean_loss(model, tokens[1], starts) == pytest.approx(expected, abs=1e-6)


def test_an_unknown_rung_is_refused(tokens):
    with pytest.raises(ConfigError, match="no rung is called 'seven heads'; choose from bigram"):
        ladder.run_rung("seven heads", *tokens, seed=0)


def test_the_command_writes_a_record(tmp_path):
    book = tmp_path / "goose.txt"
    book.write_text(TEXT)
    out = tmp_path / "ladder-goose"
    ladder.main([str(book), str(out), "--seeds", "2", "--steps", "3"])
    record = read_record(out)
    assert set(record.result["rungs"]) == set(ladder.RUNGS)
    assert record.config["corpus"] == "goose.txt" and record.config["seeds"] == [0, 1]
    rung = record.result["rungs"]["layer norm"]
    assert len(rung["val"]) == 2 and rung["val_sd"] > 0
    assert rung["val_mean"] == pytest.approx(sum(rung["val"]) / 2, abs=1e-5)
    assert [sample["rung"] for sample in record.samples] == list(ladder.RUNGS)
    assert all(TEXT[:2500].count(sample["prompt"][:20]) for sample in record.samples)
    assert "floor" not in record.result and str(tmp_path) not in record.command
