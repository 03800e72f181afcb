"""Packed stories: whole, apart where they should be; marks that are ids and marks that are not."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib.course.records import read_record
from gptlib.course.stories import packing, unregistered
from gptlib.course.stories.packing import Windows, compare_packing, loss_within, pack
from gptlib.course.stories.probes import held_out
from gptlib.course.stories.small import Small, in_turn, train_rows
from gptlib.course.stories.unregistered import compare_marks
from gptlib.course.stories.writing import story_loss
from gptlib.errors import ConfigError, DataError
from gptlib.model import GPT, GPTConfig

TINY = Small(n_layer=1, n_head=2, n_embd=16, block_size=352, steps=2, batch_size=2)
ROWS = st.lists(st.lists(st.integers(1, 40), min_size=2, max_size=12), min_size=1, max_size=8)


def make(**shape) -> GPT:
    torch.manual_seed(2)
    model = GPT(GPTConfig(24, 41, n_layer=2, n_head=2, n_embd=16, **shape))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


@given(ROWS)
@settings(max_examples=40)
def test_every_story_is_in_one_window_whole_and_once(stories):
    windows = pack(stories, T=16)
    found = []
    for row in range(len(windows.x)):
        numbers = windows.story[row]
        assert numbers[numbers >= 0].diff().ge(0).all()
        for number in range(int(numbers.max()) + 1):
            here = numbers == number
            ids = windows.x[row, here].tolist()
            found.append(ids)
            assert windows.places()[row, here].tolist() == list(range(len(ids)))
            assert windows.y[row, here].tolist() == [*ids[1:], -1]
    assert sorted(found) == sorted(map(list, stories))
    filled = sum(map(len, stories))
    assert windows.padding == pytest.approx(1 - filled / windows.x.numel())
    assert (windows.y[windows.story < 0] == -1).all()


def test_a_story_sees_itself_and_its_own_past_only():
    windows = pack([[1, 2, 3], [4, 5]], T=6)
    seen = windows.mask()[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]


@given(ROWS)
@settings(max_examples=12)
def test_within_and_from_zero_a_packed_story_costs_what_it_costs_alone(stories):
    model = make()
    nats, tokens = story_loss(model, stories)
    with torch.no_grad():
        packed = loss_within(model, pack(stories, T=24), from_zero=True)
    assert packed.item() == pytest.approx(nats / tokens, rel=1e-4)


@given(ROWS)
@settings(max_examples=20)
def test_from_zero_is_what_the_library_does_for_documents(stories):
    model, windows = make(), pack([[0, *story] for story in stories], T=16)
    model.document_start = 0
    expected = model(windows.x, windows.y)[1]
    model.document_start = None
    assert torch.allclose(loss_within(model, windows, from_zero=True), expected, atol=1e-5)


def test_rotary_positions_need_no_restart():
    stories = [[5, 6, 7, 8], [9, 10, 11], [12, 13, 14, 15, 16]]
    model = make(rotary=True)
    nats, tokens = story_loss(model, stories)
    with torch.no_grad():
        packed = loss_within(model, pack(stories, T=24))
    assert packed.item() == pytest.approx(nats / tokens, rel=1e-4)


def test_across_a_story_hears_the_one_before_it():
    model, windows = make(), pack([[5, 6, 7, 8], [9, 10, 11]], T=8)
    with torch.no_grad():
        across = model(windows.x, windows.y)[1]
        within = loss_within(model, windows)
    assert abs(across - within) > 1e-3


def test_a_story_longer_than_a_window_is_refused():
    with pytest.raises(DataError, match="9 tokens, and a window 8"):
        pack([[1] * 9], T=8)


def test_training_learns_and_is_the_same_again():
    x, y = torch.randint(0, 41, (2, 8, 12), generator=torch.Generator().manual_seed(0))
    small = replace(TINY, steps=20, block_size=24)
    read = in_turn(8, 4)
    one, other = (
        train_rows(small.model(41), lambda step: (x[read(step)], y[read(step)]), small)
        for _ in range(2)
    )
    assert one == other and one[-1] < one[0]
    assert sorted(read(0) + read(1)) == list(range(8)) and read(2) == read(0)
    with pytest.raises(ConfigError, match="steps is 0"):
        train_rows(small.model(41), lambda step: (x, y), replace(small, steps=0))


def test_the_ways_to_pack_differ_in_padding_and_in_what_they_log(monkeypatch, tmp_path):
    monkeypatch.setattr(packing, "RECORDED", replace(TINY, block_size=640))
    monkeypatch.setattr(packing, "DOCUMENTS", 200)
    packing.main(["--steps", "2", "--n", "1", "--out", str(tmp_path)])
    found = read_record(tmp_path).result
    assert found.keys() == set(packing.WAYS)
    assert found["one a row"]["padding"] > found["across"]["padding"] > 0
    assert found["across"]["stories"] > found["one a row"]["stories"]
    assert all(6 < way["loss"] < 8 for way in found.values())  # ln 1,024 is 6.9
    with pytest.raises(ConfigError, match="'beside'"):
        compare_packing(TINY, ways=("beside",))


def test_padding_is_where_no_story_is():
    windows = Windows(torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([[0, 0, -1, -1]]))
    assert windows.padding == 0.5


def test_marks_that_no_tokenizer_knows_cost_tokens_and_are_not_seen():
    found = compare_marks(TINY, n=1, documents=60)
    known, spelled, padded = (found[way] for way in unregistered.WAYS)
    assert known.end == known.end_in_text == ["<|end|>"]
    assert "".join(spelled.end) == "<|end|>" and len(spelled.end) > 1
    assert spelled.end_in_text[0] != spelled.end[0]  # the full stop before it takes part in a merge
    assert spelled.tokens > known.tokens == padded.tokens
    with pytest.raises(ConfigError, match="'guessed'"):
        compare_marks(TINY, ways=("guessed",))


def test_fragments_are_parts_without_a_whole():
    assert not unregistered._has_fragment("<|start|><|title|>Ada</|title|>\nAda < Otto | Ines.")
    assert unregistered._has_fragment("<|start|>title|>Ada")


def test_an_end_that_is_padding_is_never_learned(monkeypatch):
    """Whatever the steps, no target is the end; where marks are registered, each row has one."""
    counted = {}

    def looked(model, rows, small, loss=None):
        counted[len(counted)] = [int((rows(step)[1] == end).sum()) for step in range(3)]

    tokenizer = unregistered.BPETokenizer.train(
        held_out(60, seed=5), unregistered.VOCABULARY, unregistered.special_tokens()
    )
    (end,) = tokenizer.encode("<|end|>")
    monkeypatch.setattr(unregistered, "train_rows", looked)
    compare_marks(TINY, n=1, documents=60, ways=("registered", "end is pad"))
    assert counted == {0: [2, 2, 2], 1: [0, 0, 0]}
