"""The speedrun's figures say in words what they show."""

import numpy as np

from gptlib.course.speedrun import plots


def test_rates_tell_the_usual_rate_and_the_best():
    plain = {1e-3: 2.66, 4e-3: 2.19, 8e-3: 2.10}
    change = {1e-3: 2.46, 4e-3: 2.08, 8e-3: 2.11}
    plot = plots.rates({"plain": plain, "change": change}, 1e-3)
    assert "plain 2.66 at the usual rate and 2.10 at its best, 0.008" in plot.alt
    assert "change 2.46 at the usual rate and 2.08 at its best, 0.004" in plot.alt


def test_schedules_tell_their_means():
    plot = plots.schedules({"level": [1.0] * 10, "line": list(np.linspace(1, 0, 11))})
    assert "level 1.00; line 0.50" in plot.alt


def test_pairs_tell_losses_and_differences():
    plot = plots.pairs([2.19, 2.22], [2.15, 2.19], ("zero", "tenth"))
    assert "between 2.19 and 2.22 with zero, between 2.15 and 2.19 with tenth" in plot.alt
    assert "between -0.040 and -0.030" in plot.alt


def test_diagonals_tell_whether_scores_depend_on_the_gap_alone():
    gap = np.subtract.outer(np.arange(9.0), np.arange(9.0))
    plot = plots.diagonals({"turned": gap, "added": np.outer(np.arange(9.0), np.arange(9.0))})
    assert "turned, scores of one gap differ by 0.00" in plot.alt
    assert "added, scores of one gap differ by 64.00" in plot.alt


def test_lifted_tells_where_values_end():
    grid = np.geomspace(1e-3, 1, 20)
    plot = plots.lifted([grid * (k + 1) for k in range(6)], [2.0, 0.01], [1.1, 0.7])
    assert "Above: five steps lift" in plot.alt and "and 6.00" in plot.alt
    assert "of a gradient's 2 singular values 1 are more than a tenth" in plot.alt
    assert "2 after them" in plot.alt


def test_gains_tell_alone_and_last_and_leave_out_what_is_missing():
    rows = [("muon", [0.18, 0.2], [0.28, 0.3]), ("compile", [0.0], []), ("later", [], [])]
    plot = plots.gains(rows)
    assert "muon +0.190 alone, +0.290 last; compile +0.000 alone." in plot.alt


def test_progress_tells_where_runs_end():
    plot = plots.progress({"base": [(0, 4.2), (768, 2.11)], "all": [(0, 4.2), (768, 1.67)]}, "read")
    assert "against read: base ends at 2.11; all ends at 1.67" in plot.alt


def test_a_race_tells_seconds():
    plot = plots.race({"tuned": (55.7, 63.6), "all": (12.8, 18.7)})
    assert "tuned 64, 56 of them steps; all 19, 13 of them steps" in plot.alt
