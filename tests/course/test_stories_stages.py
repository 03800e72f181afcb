"""One model at four ages, judged by the same measures."""

import pytest

from gptlib.course.stories import stages
from gptlib.errors import DataError


def test_runs_are_judged_by_the_same_measures_at_once_or_later(monkeypatch):
    monkeypatch.setattr(stages, "DOCUMENTS", 4)
    record = stages.story_stages(["stories"] * 4, n=2)
    first, *others = record.result["stages"]
    assert [stage["name"] for stage in record.result["stages"]] == list(stages.NAMES)
    for other in others:
        assert other | {"name": first["name"]} == first, "it is one and the same model"
    assert first["loss"] > record.result["floor"]
    above = (first["loss"] - record.result["floor"]) / record.result["floor"]
    assert 0 < above < 0.2 and first["nats_a_story_above"] > 0
    later = stages.story_stages(["stories"], n=2, before=record)
    assert later.result == record.result and later.config == record.config


def test_other_than_four_runs_are_refused():
    with pytest.raises(DataError, match="give 4"):
        stages.story_stages(["stories"])
    with pytest.raises(DataError, match="give 4"):
        stages.story_stages(["stories"] * 5)
