"""Whatever comes in, nothing but gptlib's own errors comes out: 150 cases at each door;
`bench/fuzz.py` tries ten thousand."""

import collections

import doors
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> doors.World:
    return doors.World(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("door", doors.DOORS)
def test_only_errors_of_ours_come_out(door, world):
    answers = collections.Counter()

    @settings(max_examples=150, suppress_health_check=list(HealthCheck))
    @given(st.data())
    def cases(data):
        answers[doors.DOORS[door](data, world)] += 1

    cases()
    assert answers.total() >= 130  # hypothesis may find that it has drawn a case before
    assert min(answers[doors.REFUSED], answers[doors.ACCEPTED]) > 5  # the draws are not all alike
