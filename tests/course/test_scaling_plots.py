"""Chapter 4's figures say in words what they show."""

from gptlib.course.scaling import plots
from gptlib.course.scaling.law import Law

LAW = Law(0.5, 40.0, 0.5, 300.0, 0.45)
RUNS = [
    {"params": N, "tokens": R, "characters": R, "val": LAW(N, R) + 0.1, "best_val": LAW(N, R)}
    for N in (1e4, 1e5)
    for R in (5e5, 4.5e6)
]


def test_overfitting_tells_where_it_turned():
    val = [(0, 3.8), (5, 2.2), (10, 2.5)]
    plot = plots.overfitting([(5, 2.0), (10, 0.7)], val, {"as it is": val}, 0.5)
    assert "turns at 2.20 and rises to 2.50" in plot.alt and "falls to 0.70" in plot.alt
    assert "as it is best 2.20, last 2.50" in plot.alt


def test_size_and_text_names_the_floor_and_the_law():
    plot = plots.size_and_text(RUNS, LAW, 0.48)
    assert "Bands" not in plot.alt and "Bands" in plots.size_and_text(RUNS, LAW, 0.48, [LAW]).alt
    assert "0.5M read" in plot.alt and "4.5M read" in plot.alt
    assert "The floor is 0.48, the law's E is 0.50" in plot.alt


def test_prediction_tells_the_larger_run():
    plot = plots.prediction([1.0, 1.2], [1.01, 1.14], (0.9, 0.85, 0.95, 0.91))
    assert "One run of the grid is 5% off, the others 1.0% at most" in plot.alt
    assert "predicted at 0.90, came to 0.91" in plot.alt


def test_a_straight_line_crosses_the_floor():
    plot = plots.straight_line(RUNS, lambda N, R: 9 / N**0.1 / R**0.05, (1e8, 0.07), 0.51)
    assert "crosses the floor of 0.51 on its way down to 0.07" in plot.alt


def test_budgets_tell_the_best_size_of_each():
    plot = plots.budgets(LAW, (1e12, 1e14))
    for flops, power in ((1e12, "10¹²"), (1e14, "10¹⁴")):
        assert f"{power} FLOPs" in plot.alt
        assert f"at {LAW.best_size(flops) / 1000:,.0f}k parameters" in plot.alt


def test_unique_text_tells_best_and_last():
    plot = plots.unique_text(RUNS)
    assert "500k characters, best" in plot.alt and "4,500k characters" in plot.alt
