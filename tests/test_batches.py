"""A batch is a function of (seed, step, rank); an epoch visits every window once."""

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gptlib import batches
from gptlib.batches import TokenBatches, document_starts, permute
from gptlib.errors import ConfigError, DataError


@given(n=st.integers(1, 5000), key=st.integers(0, 2**63 - 1))
@settings(max_examples=60, deadline=None)
def test_permute_is_a_permutation(n, key):
    assert sorted(permute(np.arange(n), n, key)) == list(range(n))


def test_permutations_differ_by_key_and_mix():
    a, b = (permute(np.arange(1000), 1000, key) for key in (1, 2))
    assert (a == b).mean() < 0.01
    assert abs(np.corrcoef(a, np.arange(1000))[0, 1]) < 0.1


def test_permute_needs_no_table():
    """A trillion windows: only the places asked for are computed."""
    n = 10**12
    out = permute(np.array([0, 1, n - 1]), n, 3)
    assert len(set(out.tolist())) == 3 and (out < n).all() and (out >= 0).all()


@given(
    length=st.integers(17, 400),
    batch=st.integers(1, 9),
    T=st.integers(1, 16),
    seed=st.integers(0, 99),
)
@settings(max_examples=80, deadline=None)
def test_an_epoch_sees_each_window_once(length, batch, T, seed):
    data = TokenBatches(np.arange(length), batch, T, seed)
    n = data.windows
    seen = np.concatenate([data.offsets(s) for s in range(-(-2 * n // batch))])
    for epoch in (seen[:n], seen[n : 2 * n]):
        assert len(set(epoch.tolist())) == n
        assert len({int(o) % T for o in epoch}) == 1  # windows side by side, none overlaps
        assert epoch.min() >= 0 and epoch.max() + T + 1 <= length


def test_epochs_start_at_different_offsets():
    data = TokenBatches(np.arange(1000), 1, 64, 0)
    phases = {int(data.offsets(e * data.windows)[0]) % 64 for e in range(20)}
    assert len(phases) > 10


@given(step=st.integers(0, 10**6), seed=st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_targets_are_the_next_tokens(step, seed):
    x, y = TokenBatches(np.arange(500), 4, 32, seed).batch(step)
    assert x.shape == y.shape == (4, 32) and x.dtype == torch.int64
    assert torch.equal(x + 1, y)


@given(
    length=st.integers(17, 400), batch=st.integers(1, 9), T=st.integers(1, 16),
    step=st.integers(0, 10**6),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_in_order_the_windows_follow_one_another(length, batch, T, step):
    data = TokenBatches(np.arange(length), batch, T, sampling="in order")
    assert data.windows == max(1, (length - 1) // T)
    at = (step * batch + np.arange(batch)) % data.windows
    assert data.offsets(step).tolist() == (T * at).tolist()
    x, y = data.batch(step)
    assert torch.equal(x + 1, y) and y.max() < length
    other = TokenBatches(np.arange(length), batch, T, seed=9, sampling="in order")
    assert torch.equal(other.batch(step)[0], x)  # no seed decides anything


def test_in_order_windows_begin_at_the_starts():
    starts = np.array([3, 20, 50])
    data = TokenBatches(np.arange(70), 2, 8, sampling="in order", starts=starts)
    assert data.offsets(0).tolist() == [3, 20] and data.offsets(1).tolist() == [50, 3]


@pytest.mark.parametrize("sampling", ["shuffled", "random", "in order"])
def test_ranks_and_micro_batches_share_one_global_batch(sampling):
    data = TokenBatches(np.arange(5000), 12, 16, 7, sampling)
    whole = data.batch(5)[0]
    parts = [data.batch(5, rank, 3, micro, 2)[0] for micro in range(2) for rank in range(3)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(data.batch(5)[0], whole)  # no hidden state
    assert not torch.equal(data.batch(6)[0], whole)


def test_random_sampling_draws_any_offset_with_replacement():
    data = TokenBatches(np.arange(40), 256, 16, 0, "random")
    drawn = np.concatenate([data.offsets(s) for s in range(20)])
    assert set(drawn.tolist()) == set(range(24))


def test_block_size_plus_one_tokens_are_enough():
    x, y = TokenBatches(np.arange(9), 2, 8).batch(3)
    assert x.tolist() == [list(range(8))] * 2 and y[0, -1] == 8
    with pytest.raises(DataError, match="block_size \\+ 1 = 9"):
        TokenBatches(np.arange(8), 2, 8)


def test_tensors_and_narrow_types_serve():
    for tokens in (torch.arange(100), np.arange(100, dtype=np.uint16)):
        assert TokenBatches(tokens, 2, 8).batch(0)[0].dtype == torch.int64


def test_bad_settings_are_refused():
    with pytest.raises(ConfigError):
        TokenBatches(np.arange(100), 0, 8)
    with pytest.raises(ConfigError, match="shuffled, random"):
        TokenBatches(np.arange(100), 1, 8, sampling="sorted")
    with pytest.raises(ConfigError, match="multiple of 6"):
        TokenBatches(np.arange(100), 4, 8).batch(0, 0, 2, 0, 3)


def test_windows_can_begin_where_documents_do():
    tokens = np.array([0, 0, 1, 2, 3, 0, 0, 4, 5, 0, 0, 6, 7, 8, 0, 0])
    starts = document_starts(tokens, [0, 0])
    assert starts.tolist() == [0, 5, 9, 14]
    for sampling in ("shuffled", "random"):
        data = TokenBatches(tokens, 2, 4, 1, sampling, starts)
        seen = np.concatenate([data.offsets(s) for s in range(30)])
        assert set(seen.tolist()) == {0, 5, 9}  # after 14 there is no room
    epoch = np.concatenate(
        [TokenBatches(tokens, 1, 4, 1, starts=starts).offsets(s) for s in range(3)]
    )
    assert sorted(epoch.tolist()) == [0, 5, 9]
    with pytest.raises(DataError, match="leaves room"):
        TokenBatches(tokens, 2, 4, starts=np.array([14]))


class Pieces:
    """Tokens that notice how many of them are asked for at once."""

    def __init__(self, ids):
        self.ids, self.longest = ids, 0

    def __len__(self):
        return len(self.ids)

    def __getitem__(self, key):
        found = self.ids[key]
        self.longest = max(self.longest, len(found))
        return found


@given(
    ids=st.lists(st.integers(0, 2), max_size=60),
    separator=st.lists(st.integers(0, 2), min_size=1, max_size=4),
    piece=st.integers(1, 9),
)
@settings(max_examples=200, deadline=None)
def test_documents_are_found_in_pieces_as_in_one(ids, separator, piece):
    """A separator may lie across the border of two pieces, or of several."""
    n = len(separator)
    expected = [i for i in range(len(ids) - n + 1) if ids[i : i + n] == separator]
    tokens = Pieces(np.array(ids, dtype=np.uint16))
    with mock.patch.object(batches, "PIECE", piece):
        assert document_starts(tokens, separator).tolist() == expected
    assert tokens.longest <= piece + n - 1


@pytest.mark.parametrize("separator", [[], "ab", [0.5], [True], None, 3])
def test_a_separator_that_is_none_is_refused(separator):
    with pytest.raises(ConfigError, match="the separator is .*such as tokenizer.encode"):
        document_starts(np.arange(9), separator)
