"""The slowest of encoding, reading and downloading decides how long a preparation takes."""

import pytest

from gptlib.errors import ConfigError
from gptlib.shards.hours import hours_to_prepare


@pytest.mark.parametrize(
    ("cores", "download", "hours"), [(1, 0, 10), (2, 0, 5), (100, 0, 2.5), (2, 0.5e6, 20)]
)
def test_the_slowest_decides(cores, download, hours):
    assert hours_to_prepare(36e9, cores, 1e6, 4e6, download) == pytest.approx(hours)


@pytest.mark.parametrize("wrong", [(0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 0, 1), (1, 1, 1, -1)])
def test_what_cannot_be(wrong):
    with pytest.raises(ConfigError, match="above 0"):
        hours_to_prepare(*wrong)
