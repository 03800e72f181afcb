"""The fit of a scaling law finds the law that made the data, and says how sure it is."""

import numpy as np
import pytest

from gptlib.course.scaling.law import Law, bootstrap, fit_law, interval
from gptlib.errors import DataError

SIZES = np.array([1e4, 3e4, 8e4, 2e5, 4.5e5])
TEXTS = np.array([5e5, 1.5e6, 4.5e6])
LAWS = [
    Law(0.55, 40.0, 0.5, 300.0, 0.45),
    Law(1.2, 8.0, 0.3, 2000.0, 0.6),
    Law(0.9, 400.0, 0.8, 30.0, 0.35),
]
PAPER = Law(1.69, 406.4, 0.34, 410.7, 0.28)  # Hoffmann et al. 2022, equation 10


def grid(sizes=SIZES, texts=TEXTS):
    N, R = np.meshgrid(sizes, texts)
    return N.ravel(), R.ravel()


def noisy(law, sd, seed):
    N, R = grid()
    return N, R, law(N, R) * np.exp(np.random.default_rng(seed).normal(0, sd, len(N)))


@pytest.mark.parametrize("law", LAWS)
def test_without_noise_the_law_comes_back(law):
    N, R = grid()
    found = fit_law(N, R, law(N, R))
    for name in vars(law):
        assert getattr(found, name) == pytest.approx(getattr(law, name), rel=0.01), name


def test_the_published_law_comes_back_at_its_own_scale():
    N, R = grid(np.geomspace(5e7, 1.6e10, 6), np.geomspace(5e9, 5e11, 5))
    found = fit_law(N, R, PAPER(N, R))
    for name in vars(PAPER):
        assert getattr(found, name) == pytest.approx(getattr(PAPER, name), rel=0.02), name


def test_with_noise_the_prediction_of_a_larger_run_holds():
    misses = []
    for seed in range(6):
        found = fit_law(*noisy(LAWS[0], 0.005, seed))
        misses.append(found(1e6, 6e6) - LAWS[0](1e6, 6e6))
    assert np.abs(misses).max() < 0.05


def test_one_run_gone_wrong_hardly_moves_the_law():
    N, R = grid()
    losses = LAWS[0](N, R)
    losses[7] *= 1.3
    assert fit_law(N, R, losses)(1e6, 6e6) == pytest.approx(LAWS[0](1e6, 6e6), abs=0.02)


def test_bootstrap_intervals_cover_the_truth_about_as_often_as_they_say():
    hits = []
    for seed in range(6):
        N, R, losses = noisy(LAWS[0], 0.01, seed)
        laws = bootstrap(N, R, losses, n=40, seed=seed)
        low, high = interval([law(1e6, 6e6) for law in laws])
        hits.append(low <= LAWS[0](1e6, 6e6) <= high)
    assert sum(hits) >= 3


def test_bootstrap_repeats_itself():
    N, R, losses = noisy(LAWS[1], 0.01, 0)
    assert bootstrap(N, R, losses, 5, seed=3) == bootstrap(N, R, losses, 5, seed=3)


def test_the_best_size_is_where_the_loss_is_lowest():
    flops = 1e13
    N = np.geomspace(1e3, 1e8, 20001)
    losses = LAWS[0](N, flops / (6 * N))
    assert LAWS[0].best_size(flops) == pytest.approx(N[losses.argmin()], rel=1e-3)


def test_interval_by_hand():
    assert interval(range(11)) == pytest.approx((1.0, 9.0))


def test_too_few_runs_are_refused():
    N, R = grid(SIZES[:2])
    with pytest.raises(DataError, match="2 sizes and 3 amounts of text; five numbers need"):
        fit_law(N, R, LAWS[0](N, R))
    with pytest.raises(DataError, match="not positive"):
        fit_law([1, 2, 3], [1, 2, 3], [1.0, 0.0, 1.0])
