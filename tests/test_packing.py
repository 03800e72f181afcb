"""Windows of whole stories: what fits stays whole, and what should not count has no target."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gptlib import GPT, GPTConfig, TrainConfig, Trainer
from gptlib.errors import ConfigError, DataError
from gptlib.packing import PackedBatches, best_fit

START, END, BLANK = 1, 2, 3


def stories(lengths, blank: bool = True) -> np.ndarray:
    """Stories of so many tokens, of which those within say which story it is, from 10."""
    parts = [[START, *[10 + i] * (n - 2), END] + [BLANK] * blank for i, n in enumerate(lengths)]
    return np.concatenate(parts)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=60))
def test_best_fit_packs_everything_once_in_boxes_that_hold_it(lengths):
    boxes = best_fit(lengths, 20)
    assert sorted(i for box in boxes for i in box) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in box) <= 20 for box in boxes)
    filled = sorted(sum(lengths[i] for i in box) for box in boxes)
    assert len(filled) < 2 or filled[0] + filled[1] > 20  # else one of them was opened in vain


def test_best_fit_takes_the_tightest_box():
    assert best_fit([6, 5, 4, 5], 10) == [[0, 2], [1, 3]]


def test_a_window_is_whole_stories_and_a_story_end_predicts_nothing():
    packed = PackedBatches(stories([6, 4, 3]), [START], batch_size=1, block_size=10, end=END)
    assert (packed.windows, packed.stories, packed.cropped) == (2, 3, 0)
    assert packed.padded == pytest.approx(7 / 20)
    x, y = packed.window(0)
    assert x.tolist() == [1, 10, 10, 10, 10, 2, 1, 11, 11, 2]
    assert y.tolist() == [10, 10, 10, 10, 2, -1, 11, 11, 2, -1]
    x, y = packed.window(1)
    assert x.tolist() == [1, 12, 2, 0, 0, 0, 0, 0, 0, 0]
    assert y.tolist() == [12, 2, -1, -1, -1, -1, -1, -1, -1, -1]


def test_a_long_story_is_cropped_and_its_last_token_is_still_told_what_follows():
    packed = PackedBatches(stories([8, 4]), [START], 1, 5, end=END)
    assert packed.cropped == pytest.approx(3 / 12)
    x, y = packed.window(0)
    assert (x.tolist(), y.tolist()) == ([1, 10, 10, 10, 10], [10] * 5)


def test_without_an_end_what_stands_between_stories_counts():
    packed = PackedBatches(stories([4]), [START], 1, 6)
    assert packed.window(0)[1].tolist() == [10, 10, END, BLANK, -1, -1]


def test_every_window_once_an_epoch_in_another_order_and_shared_by_ranks():
    packed = PackedBatches(stories([5] * 12), [START], 4, 5, end=END)
    one = [packed.batch(step)[0] for step in range(6)]
    seen = [sorted(torch.cat(one[i : i + 3])[:, 1].tolist()) for i in (0, 3)]
    assert seen == [list(range(10, 22))] * 2 and not torch.cat(one[:3]).equal(torch.cat(one[3:]))
    parts = [packed.batch(1, rank, 2, micro, 2)[0] for micro in range(2) for rank in range(2)]
    assert torch.cat(parts).equal(one[1])
    other = PackedBatches(stories([5] * 12), [START], 4, 5, end=END, seed=1)
    assert not other.batch(0)[0].equal(one[0])
    assert packed.weight(packed.batch(0)) == 4 * 4


def test_what_cannot_be():
    with pytest.raises(DataError, match=r"no story begins in the text: the separator \[9\]"):
        PackedBatches(stories([5]), [9], 1, 5)
    with pytest.raises(ConfigError, match="block_size is 0"):
        PackedBatches(stories([5]), [START], 1, 0)


def test_other_stories_or_windows_are_another_data_set():
    about = [
        PackedBatches(ids, [START], 1, T, end=end).sha256
        for ids, T, end in [
            (stories([5, 4]), 8, END), (stories([5, 4]), 9, END), (stories([5, 3]), 8, END),
            (stories([5, 4]), 8, None),
        ]
    ]  # fmt: skip
    assert len(set(about)) == 4


def test_a_trainer_takes_them_and_resumes(tmp_path):
    ids = stories([6, 9, 4, 7] * 9)

    def fit(name, stop_after=None):
        torch.manual_seed(0)
        model = GPT(GPTConfig(16, 64, n_layer=1, n_head=2, n_embd=16))
        config = TrainConfig(steps=4, batch_size=4, accumulate=2, eval_every=2, attend="document")
        packed = PackedBatches(ids, [START], 4, 16, end=END)
        return Trainer(
            model, packed, ids, config, tmp_path / name, separator=[START]
        ).fit(stop_after=stop_after)  # fmt: skip

    whole = fit("whole")
    fit("parts", 1)
    parts = fit("parts")
    for a, b in zip(whole.model.parameters(), parts.model.parameters(), strict=True):
        assert a.equal(b)


def test_within_documents_packing_changes_no_loss():
    """The same stories, packed or one by one, cost the same where attention stays within them."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(16, 64, n_layer=2, n_head=2, n_embd=16)).double()
    model.document_start = START
    packed = PackedBatches(stories([6, 9, 4, 7, 5]), [START], 1, 16, end=END)
    alone = [PackedBatches(stories([n]) + 0, [START], 1, 16, end=END) for n in (6, 9, 4, 7, 5)]

    def total(x, y):
        return model(torch.tensor(x)[None], torch.tensor(y)[None], reduction="none")[1].sum()

    together = sum(total(*packed.window(i)) for i in range(packed.windows))
    for i, one in enumerate(alone):
        one._ids = np.where(one._ids == 10, 10 + i, one._ids)
    apart = sum(total(*one.window(0)) for one in alone)
    assert torch.allclose(together, apart, atol=1e-10)
