"""One model at three ages, judged by the same measures."""

import pytest

from gptlib.course.stories import stages
from gptlib.errors import DataError


def test_three_runs_are_judged_by_the_same_measures(monkeypatch):
    monkeypatch.setattr(stages, "DOCUMENTS", 4)
    result = stages.story_stages(["stories"] * 3, n=3).result
    first, second, third = result["stages"]
    assert [stage.pop("name") for stage in result["stages"]] == list(stages.NAMES)
    assert first == second == third, "it is one and the same model"
    assert first["loss"] > result["floor"]
    above = (first["loss"] - result["floor"]) / result["floor"]
    assert 0 < above < 0.2 and first["nats_a_story_above"] > 0


def test_other_than_three_runs_are_refused():
    with pytest.raises(DataError, match="give 3"):
        stages.story_stages(["stories"])
