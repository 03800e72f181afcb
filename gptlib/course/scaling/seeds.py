"""How far apart two settings are that were each run with a few seeds.

One job: `difference`.
"""

from collections.abc import Sequence
from statistics import fmean, variance


def difference(a: Sequence[float], b: Sequence[float]) -> tuple[float, float]:
    """Compare losses by seed: (mean of a - mean of b, its standard error), seeds unpaired."""
    error = (variance(a) / len(a) + variance(b) / len(b)) ** 0.5
    return fmean(a) - fmean(b), error
